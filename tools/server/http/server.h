#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tools/server/http/router.h"
#include "varve/status.h"

namespace varve::http {

struct ServerOptions {
  std::string address = "127.0.0.1";  // an IP address; a name is resolved
  uint16_t port = 9090;               // 0: any free one
  /// Allows an address that other machines can reach, without TLS and authentication.
  bool insecure_listen = false;
  /// Names that a Host header may carry besides loopback names and IP addresses; "*" is any. A
  /// page on evil.example can point its own name at this machine (DNS rebinding), but cannot make
  /// a browser send another name.
  std::vector<std::string> allowed_hosts;
  /// Origins ("https://app.example") whose pages may read answers and send requests (CORS); "*" is
  /// any. None by default.
  std::vector<std::string> allowed_origins;

  size_t connections_max = 512;
  size_t header_bytes_max = 64u << 10;  // request line and fields together
  size_t body_bytes_max = 64u << 20;    // as sent; routes may say otherwise
  /// All bodies being held at once. Above it, requests get 503 and Retry-After.
  size_t bodies_bytes_max = 512u << 20;

  std::chrono::milliseconds header_timeout{5'000};       // for the whole head
  std::chrono::milliseconds body_stall_timeout{30'000};  // without one byte of progress
  std::chrono::milliseconds idle_timeout{120'000};       // between requests
  std::chrono::milliseconds write_stall_timeout{30'000};

  size_t io_threads = 1;
  /// Threads of each lane, and how many requests may wait for one.
  std::array<size_t, kLanes> lane_threads{2, 16, 8};
  std::array<size_t, kLanes> lane_queue_max{256, 1024, 256};

  size_t compress_bytes_min = 1024;
};

/// Hears about traffic. Called from many threads.
class ServerObserver {
 public:
  virtual ~ServerObserver() = default;
  /// One request has been answered. `route` is the pattern, or "none".
  virtual void OnRequest(std::string_view route, Method method, int status,
                         std::chrono::nanoseconds elapsed, size_t bytes_in, size_t bytes_out) = 0;
  virtual void OnConnections(int64_t change) = 0;
  virtual void OnInFlight(int64_t change) = 0;
};

/// Serves HTTP/1.1. Starts listening at once.
class Server {
 public:
  /// `router` and `observer` (may be null) must outlive it.
  /// Errors: kInvalidArgument for an address that is not allowed, kUnavailable if it cannot be
  /// bound.
  static Result<std::unique_ptr<Server>> Start(const ServerOptions& options, const Router* router,
                                               ServerObserver* observer);
  /// Shuts down with no grace.
  virtual ~Server() = default;

  virtual uint16_t port() const = 0;
  /// "host:port", IPv6 in brackets.
  virtual std::string address() const = 0;
  /// Stops accepting, closes idle connections, and waits for running requests to be answered. What
  /// still runs after `grace` is cancelled, and what still writes after twice that is cut.
  /// Idempotent.
  virtual void Shutdown(std::chrono::milliseconds grace) = 0;
};

}  // namespace varve::http
