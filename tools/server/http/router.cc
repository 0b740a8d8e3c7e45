#include "tools/server/http/router.h"

#include <algorithm>

#include "engine/base/macros.h"

namespace varve::http {
namespace {

bool MatchSegments(const std::vector<std::string>& pattern,
                   const std::vector<std::string>& segments, Params* params) {
  // Most routes differ in how many segments they have, or in the last one.
  const std::string& last = pattern.back();
  if (!last.starts_with('*')) {
    if (pattern.size() != segments.size()) return false;
    if (!last.starts_with(':') && last != segments.back()) return false;
  }
  size_t i = 0;
  for (; i < pattern.size(); ++i) {
    const std::string& part = pattern[i];
    if (!part.empty() && part.front() == '*') {
      if (i >= segments.size()) return false;
      std::string rest = segments[i];
      for (size_t k = i + 1; k < segments.size(); ++k) rest += "/" + segments[k];
      params->Add(part.substr(1), std::move(rest));
      return true;
    }
    if (i >= segments.size()) return false;
    if (!part.empty() && part.front() == ':') {
      if (segments[i].empty()) return false;
      params->Add(part.substr(1), segments[i]);
    } else if (part != segments[i]) {
      return false;
    }
  }
  return i == segments.size();
}

/// Tells that a pattern fits any path of its length: it says nothing about which paths there are.
bool FitsAnything(const std::vector<std::string>& pattern) {
  return std::all_of(pattern.begin(), pattern.end(), [](const std::string& part) {
    return part.starts_with(':') || part.starts_with('*');
  });
}

}  // namespace

void Router::Add(MethodSet methods, std::string_view pattern, Handler handler,
                 const RouteOptions& options) {
  VARVE_CHECK(!pattern.empty() && pattern.front() == '/');
  Route route;
  route.name = pattern;
  route.methods = methods;
  route.handler = std::move(handler);
  route.options = options;
  pattern.remove_prefix(1);
  while (true) {
    const size_t slash = pattern.find('/');
    route.pattern.emplace_back(pattern.substr(0, slash));
    if (slash == std::string_view::npos) break;
    pattern.remove_prefix(slash + 1);
  }
  routes_.push_back(std::move(route));
}

Router::Match Router::Find(Method method, const std::vector<std::string>& segments) const {
  const Method wanted = method == Method::kHead ? Method::kGet : method;
  Match match;
  for (const Route& route : routes_) {
    Params params;
    if (!MatchSegments(route.pattern, segments, &params)) continue;
    if (!FitsAnything(route.pattern)) match.allowed |= route.methods;
    if (match.route == nullptr && (route.methods & Only(wanted)) != 0) {
      match.route = &route;
      match.path_params = std::move(params);
    }
  }
  return match;
}

std::string AllowOf(MethodSet methods) {
  std::string out;
  const auto add = [&](Method method) {
    if (!out.empty()) out += ", ";
    out += ToString(method);
  };
  for (const Method method : {Method::kGet, Method::kPost, Method::kPut, Method::kDelete}) {
    if ((methods & Only(method)) == 0) continue;
    add(method);
    if (method == Method::kGet) add(Method::kHead);
  }
  add(Method::kOptions);
  return out;
}

}  // namespace varve::http
