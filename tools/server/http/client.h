#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tools/server/http/message.h"
#include "varve/status.h"

namespace varve::http {

struct ClientRequest {
  Method method = Method::kGet;
  std::string path = "/";  // encoded, with the query string
  Headers headers;
  std::string body;
};
struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string body;  // chunking undone, Content-Encoding not
};

/// Sends one plain-HTTP request over a connection of its own and reads the answer: for the command
/// line and tests. Blocking.
/// Errors: kUnavailable (cannot connect, connection lost), kDeadlineExceeded, kInvalidArgument for
/// an answer that is not HTTP, kResourceExhausted over `body_bytes_max`.
Result<ClientResponse> Fetch(const std::string& host, uint16_t port, const ClientRequest& request,
                             std::chrono::milliseconds timeout = std::chrono::seconds(30),
                             size_t body_bytes_max = 1u << 30);

/// A connection on which a test says exactly which bytes go out, and when.
class RawConnection {
 public:
  static Result<RawConnection> Connect(const std::string& host, uint16_t port,
                                       std::chrono::milliseconds timeout);
  RawConnection(RawConnection&& other) noexcept;
  RawConnection& operator=(RawConnection&& other) noexcept;
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;
  ~RawConnection();

  Status Send(std::string_view bytes);
  /// Says that nothing more will be sent.
  void FinishSending();
  /// Reads one response; `head` tells that it answers a HEAD request. Bytes after it stay for the
  /// next call. kUnavailable once the peer has closed.
  Result<ClientResponse> ReadResponse(bool head = false, size_t body_bytes_max = 1u << 30);
  /// Reads what has come, at least `size` bytes, without taking it; Consume takes it. Errors as
  /// ReadResponse.
  Result<std::string_view> Peek(size_t size);
  void Consume(size_t size) { buffer_.erase(0, size); }
  /// Waits until the peer closes; returns false if `timeout` passes first. Drops what arrives.
  bool WaitForClose(std::chrono::milliseconds timeout);

 private:
  RawConnection(int fd, std::chrono::milliseconds timeout) : fd_(fd), timeout_(timeout) {}
  Status Fill();

  int fd_ = -1;
  std::chrono::milliseconds timeout_;
  std::string buffer_;
};

}  // namespace varve::http
