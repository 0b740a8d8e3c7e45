#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/server/http/message.h"

namespace varve::http {

/// Which threads run a handler. Each lane has its own, so that a flood of one kind does not stop
/// the others, and health checks answer while all query threads are busy.
enum class Lane : uint8_t { kQuick, kWrite, kQuery };
inline constexpr size_t kLanes = 3;

struct RouteOptions {
  Lane lane = Lane::kQuick;
  /// Bounds the body as sent; 0 is the server's default.
  size_t body_bytes_max = 0;
  /// Decodes an application/x-www-form-urlencoded body of a POST into Request::params.
  bool form = false;
  /// Keeps running when the client goes: what was sent is worth storing.
  bool ignore_disconnect = false;
  /// Rewrites what the server answers in place of the handler (body too large, no room, no thread),
  /// so that a protocol can say it in its own words. Null: plain text.
  void (*refuse)(const Request& request, Response* response) = nullptr;
};

/// A registered path. `name` is the pattern and labels metrics, so that hostile paths cannot make
/// new series.
struct Route {
  std::string name;
  MethodSet methods = 0;
  std::vector<std::string> pattern;  // segments; ":name" matches any one, "*name" all that follow
  Handler handler;
  RouteOptions options;
};

/// Finds the handler for a path. Build it once, then share it between threads.
class Router {
 public:
  /// Adds a route such as "/api/v1/label/:name/values". GET also answers HEAD.
  void Add(MethodSet methods, std::string_view pattern, Handler handler,
           const RouteOptions& options = {});

  struct Match {
    const Route* route = nullptr;  // null: no route for this path and method
    MethodSet allowed = 0;         // of the path; 0: there is no such path
    Params path_params;
  };
  /// Routes added earlier win. Patterns of wildcards alone do not make paths known: they count for
  /// their methods only. Cost: linear in the routes of the same length.
  Match Find(Method method, const std::vector<std::string>& segments) const;

  const std::vector<Route>& routes() const { return routes_; }

 private:
  std::vector<Route> routes_;
};

/// Lists methods as the Allow header does; HEAD goes with GET, OPTIONS with everything.
std::string AllowOf(MethodSet methods);

}  // namespace varve::http
