#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "varve/status.h"

/// Requests and responses as handlers see them: plain values, nothing of the HTTP library.
namespace varve::http {

enum class Method : uint8_t { kGet, kHead, kPost, kPut, kDelete, kOptions, kOther };
std::string_view ToString(Method method);

/// A set of methods, for routes.
using MethodSet = uint8_t;
constexpr MethodSet Only(Method method) {
  return static_cast<MethodSet>(1u << static_cast<unsigned>(method));
}
inline constexpr MethodSet kGetOnly = Only(Method::kGet);
inline constexpr MethodSet kPostOnly = Only(Method::kPost);
inline constexpr MethodSet kGetPost = kGetOnly | kPostOnly;
inline constexpr MethodSet kPostPut = kPostOnly | Only(Method::kPut);

/// Compares ASCII text without regard to case.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);
/// Removes blanks and tabs at both ends.
std::string_view Trim(std::string_view text);

/// Header fields in arrival order; names compare without regard to case.
class Headers {
 public:
  using Field = std::pair<std::string, std::string>;

  void Add(std::string_view name, std::string_view value) { fields_.emplace_back(name, value); }
  /// Replaces all fields of that name by one.
  void Set(std::string_view name, std::string_view value);
  /// Returns the first value of `name`, or an empty view; valid until the next change.
  std::string_view Get(std::string_view name) const;
  bool Has(std::string_view name) const;
  /// Returns all values of `name` joined by ", ": how list-valued fields combine.
  std::string Joined(std::string_view name) const;

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  size_t size() const { return fields_.size(); }

 private:
  std::vector<Field> fields_;
};

/// Decoded name-value pairs of a query string or form, in order, names possibly repeated.
class Params {
 public:
  using Pair = std::pair<std::string, std::string>;

  void Add(std::string name, std::string value) {
    pairs_.emplace_back(std::move(name), std::move(value));
  }
  /// Returns the first value of `name`, or an empty view.
  std::string_view Get(std::string_view name) const;
  bool Has(std::string_view name) const;
  std::vector<std::string_view> All(std::string_view name) const;
  size_t size() const { return pairs_.size(); }
  auto begin() const { return pairs_.begin(); }
  auto end() const { return pairs_.end(); }

 private:
  std::vector<Pair> pairs_;
};

/// Tells running work that nobody waits for its answer any more. Thread-safe.
class CancelFlag {
 public:
  void Cancel();
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }
  /// Calls `callback` when cancelled, on the thread that cancels; at once if that has happened.
  /// At most one callback; a later one replaces it.
  void OnCancel(std::function<void()> callback);

 private:
  std::atomic<bool> cancelled_{false};
  absl::Mutex mutex_;
  std::function<void()> callback_ ABSL_GUARDED_BY(mutex_);
};

struct Request {
  Method method = Method::kGet;
  std::string target;                 // as sent
  std::vector<std::string> segments;  // of the path, each percent-decoded once
  Params params;                      // query string, then the form body of a POST
  Params path_params;                 // what `:name` parts of the route matched
  Headers headers;
  std::string body;  // as sent, Content-Encoding not undone; empty if it was a form
  std::string peer;  // address of the client
  /// Set when the client has gone or the server stops. Never null.
  std::shared_ptr<CancelFlag> cancel = std::make_shared<CancelFlag>();
};

/// Produces a response body piece by piece. Used by one thread at a time, not always the same.
class BodySource {
 public:
  virtual ~BodySource() = default;
  /// Appends the next piece to `out`, about `bytes_hint` bytes, and returns false once nothing
  /// follows. An error cuts the connection, so that the client sees a broken body.
  virtual Result<bool> Next(size_t bytes_hint, std::string* out) = 0;
};

class WebSocketQueue;

struct Response {
  int status = 200;
  Headers headers;
  std::string body;
  /// If set, what follows `body`; sent chunked and pulled only as fast as the client reads.
  std::unique_ptr<BodySource> source;
  /// If set, the connection becomes a WebSocket (the request must have asked: WantsWebSocket) and
  /// carries what is queued here; all else is ignored.
  std::shared_ptr<WebSocketQueue> websocket;

  static Response Text(int status, std::string body);
  static Response Json(int status, std::string body);
};

using Handler = std::function<Response(Request&)>;

/// Returns the reason phrase of a status code, "Unknown" for codes we never send.
std::string_view ReasonOf(int status);

}  // namespace varve::http
