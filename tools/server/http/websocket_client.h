#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "tools/server/http/client.h"
#include "varve/status.h"

namespace varve::http {

/// Reads text messages from a WebSocket server: for the command line and tests. Blocking.
class WebSocketClient {
 public:
  /// Connects and asks for `path` (encoded, with the query string). Errors: kUnavailable,
  /// kDeadlineExceeded; kInvalidArgument with the server's text if it does not agree.
  static Result<WebSocketClient> Connect(const std::string& host, uint16_t port,
                                         const std::string& path, const Headers& headers = {},
                                         std::chrono::milliseconds timeout = std::chrono::hours(1));

  /// Reads the next message; answers pings meanwhile. Errors: kUnavailable with the server's reason
  /// once it has closed the connection, kDeadlineExceeded, kResourceExhausted over 64 MiB.
  Result<std::string> Next();
  /// Says goodbye.
  Status Close();

 private:
  explicit WebSocketClient(RawConnection connection) : connection_(std::move(connection)) {}
  Status SendFrame(uint8_t opcode, std::string_view payload);

  RawConnection connection_;
};

}  // namespace varve::http
