#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "varve/status.h"

namespace varve::udp {

/// Receives datagrams on a thread of its own.
class Listener {
 public:
  struct Options {
    std::string address = "127.0.0.1";  // an IP address
    uint16_t port = 0;                  // 0: any free one
    bool insecure_listen = false;       // see http::ServerOptions
    /// What the kernel may hold while a handler is busy.
    int buffer_bytes = 4 << 20;
  };
  using Handler = std::function<void(std::string_view datagram)>;

  /// Errors: kInvalidArgument for an address that is not allowed, kUnavailable if it cannot be
  /// bound.
  static Result<std::unique_ptr<Listener>> Start(const Options& options, Handler handler);
  virtual ~Listener() = default;
  /// "host:port".
  virtual std::string address() const = 0;
  virtual uint16_t port() const = 0;
  /// Handles what has arrived, then stops. Idempotent.
  virtual void Stop() = 0;
};

}  // namespace varve::udp
