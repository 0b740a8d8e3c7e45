#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/status.h"

/// gRPC without generated classes: methods take and give the bytes of messages.
namespace varve::rpc {

/// Codes of gRPC, as far as handlers use them.
enum class Code : int {
  kOk = 0,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kResourceExhausted = 8,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
};

/// How a call ends. `details` are the bytes of a google.rpc.Status, sent along where not empty.
struct CallStatus {
  Code code = Code::kOk;
  std::string message;
  std::string details;
  static CallStatus From(const Status& status);
};

/// Answers one request with one message.
using Unary = std::function<CallStatus(std::string_view request, std::string* response)>;
/// Answers one request with any number of messages; `write` blocks until one is taken and returns
/// false once the client has gone.
using Write = std::function<bool(std::string message)>;
using Stream = std::function<CallStatus(std::string_view request, const Write& write)>;

struct Method {
  Unary unary;
  Stream stream;  // one of the two
};
/// By path: "/package.Service/Method".
using Methods = std::map<std::string, Method, std::less<>>;

struct ListenPort {
  std::string name;  // for logs
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: any free one
};

struct ServerOptions {
  std::vector<ListenPort> ports;
  bool insecure_listen = false;  // see http::ServerOptions
  /// Bounds a message after decompression: the Collector's default. Larger ones end with
  /// RESOURCE_EXHAUSTED, which clients do not repeat.
  size_t message_bytes_max = 4u << 20;
  size_t threads = 8;
  size_t queue_max = 256;  // calls that may wait for a thread; past it RESOURCE_EXHAUSTED to retry
};

class Server {
 public:
  /// Errors: kInvalidArgument for an address that is not allowed, kUnavailable if it cannot be
  /// bound.
  static Result<std::unique_ptr<Server>> Start(const ServerOptions& options, Methods methods);
  virtual ~Server() = default;
  /// The ports as they are listened on, in the order of the options: name and "host:port".
  virtual const std::vector<std::pair<std::string, std::string>>& addresses() const = 0;
  /// Stops accepting; what still runs after `grace` is cancelled.
  virtual void Shutdown(std::chrono::milliseconds grace) = 0;
};

}  // namespace varve::rpc
