#include "tools/server/http/admission.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/base/strings.h"

namespace varve::http {
namespace {

constexpr UrlLimits kUrlLimits;

using Answer = std::optional<Response>;

Answer BadRequest(const Status& status) {
  return Response::Text(400, Concat(ToStd(status.message()), "\n"));
}

bool Names(const std::vector<std::string>& allowed, std::string_view one) {
  return std::any_of(allowed.begin(), allowed.end(), [&](const std::string& entry) {
    return entry == "*" || EqualsIgnoreCase(entry, one);
  });
}

/// A page elsewhere can point its own name at this machine, but cannot make a browser send another.
Answer CheckHost(const ServerOptions& options, bool http11, const Request& request,
                 std::string_view host) {
  const auto hosts =
      std::count_if(request.headers.begin(), request.headers.end(),
                    [](const auto& field) { return EqualsIgnoreCase(field.first, "Host"); });
  if (hosts > 1 || (host.empty() && http11)) {
    return Response::Text(400, "exactly one Host header is required\n");
  }
  if (host.empty()) return std::nullopt;
  const Result<HostPort> parsed = ParseHost(host);
  if (!parsed.ok()) return BadRequest(parsed.status());
  if (IsIpLiteral(parsed->host) || IsLoopbackHost(parsed->host) ||
      Names(options.allowed_hosts, parsed->host)) {
    return std::nullopt;
  }
  return Response::Text(403, "this Host is not served here; --web.allowed-host adds one\n");
}

Response Preflight(const Request& request) {
  Response answer;
  answer.status = 204;
  answer.headers.Set("Access-Control-Allow-Methods",
                     request.headers.Get("Access-Control-Request-Method"));
  const std::string wanted = request.headers.Joined("Access-Control-Request-Headers");
  if (!wanted.empty()) answer.headers.Set("Access-Control-Allow-Headers", wanted);
  answer.headers.Set("Access-Control-Max-Age", "600");
  return answer;
}

/// A page elsewhere may send simple POSTs to a loopback address without asking anyone.
Answer CheckOrigin(const Request& request, std::string_view host, bool allowed) {
  const std::string_view origin = request.headers.Get("Origin");
  const Method method = request.method;
  if (allowed && method == Method::kOptions &&
      request.headers.Has("Access-Control-Request-Method")) {
    return Preflight(request);
  }
  if (origin.empty() || allowed || method == Method::kGet || method == Method::kHead ||
      method == Method::kOptions || EqualsIgnoreCase(origin, Concat("http://", host)) ||
      EqualsIgnoreCase(origin, Concat("https://", host))) {
    return std::nullopt;
  }
  return Response::Text(403, "requests from other origins are not accepted\n");
}

Answer CheckFraming(const Request& request) {
  const std::string_view encoding = request.headers.Get("Transfer-Encoding");
  if (encoding.empty()) return std::nullopt;
  if (!EqualsIgnoreCase(encoding, "chunked")) {
    return Response::Text(501, "unsupported Transfer-Encoding\n");
  }
  if (request.headers.Has("Content-Length")) {
    return Response::Text(400, "both Content-Length and Transfer-Encoding\n");
  }
  return std::nullopt;
}

Answer FindRoute(const Router& router, const Request& request, Router::Match* match) {
  *match = router.Find(request.method, request.segments);
  if (match->route != nullptr) return std::nullopt;
  const bool options = request.method == Method::kOptions;
  if (match->allowed == 0 && !(options && request.target == "*")) {
    return Response::Text(404, "404 page not found\n");
  }
  Response answer = options ? Response() : Response::Text(405, "Method Not Allowed\n");
  if (options) answer.status = 204;
  answer.headers.Set("Allow", AllowOf(match->allowed));
  return answer;
}

Answer CheckBody(const Request& request, uint64_t content_length, size_t bytes_max) {
  if (content_length > bytes_max) return BodyTooLarge(bytes_max);
  const std::string_view expect = request.headers.Get("Expect");
  if (!expect.empty() && !EqualsIgnoreCase(expect, "100-continue")) {
    return Response::Text(417, "unsupported Expect\n");
  }
  return std::nullopt;
}

}  // namespace

Response BodyTooLarge(size_t bytes_max) {
  return Response::Text(413, Concat("body exceeds ", bytes_max, " bytes\n"));
}

Admission Admit(const ServerOptions& options, const Router& router, bool http11,
                uint64_t content_length, Request* request) {
  Admission out;
  Result<Target> target = ParseTarget(request->target, kUrlLimits);
  if (!target.ok()) {
    out.answer = BadRequest(target.status());
    return out;
  }
  const std::string_view host = target->authority.empty() ? request->headers.Get("Host")
                                                          : std::string_view(target->authority);
  const std::string_view origin = request->headers.Get("Origin");
  if (!origin.empty() && Names(options.allowed_origins, origin)) out.cors_origin = origin;

  out.answer = CheckHost(options, http11, *request, host);
  if (!out.answer) out.answer = CheckOrigin(*request, host, !out.cors_origin.empty());
  if (!out.answer) out.answer = CheckFraming(*request);
  if (out.answer) return out;

  request->segments = std::move(target->segments);
  out.answer = FindRoute(router, *request, &out.match);
  if (out.answer) return out;

  request->path_params = std::move(out.match.path_params);
  const size_t own_max = out.match.route->options.body_bytes_max;
  out.body_bytes_max = own_max != 0 ? own_max : options.body_bytes_max;
  const Status query = ParseForm(target->query, kUrlLimits, &request->params);
  out.answer =
      query.ok() ? CheckBody(*request, content_length, out.body_bytes_max) : BadRequest(query);
  return out;
}

std::optional<Response> TakeForm(const RouteOptions& options, Request* request) {
  if (!options.form || request->method != Method::kPost || request->body.empty()) {
    return std::nullopt;
  }
  std::string_view type = request->headers.Get("Content-Type");
  type = Trim(type.substr(0, type.find(';')));
  if (!EqualsIgnoreCase(type, "application/x-www-form-urlencoded")) return std::nullopt;
  const Status form = ParseForm(request->body, kUrlLimits, &request->params);
  request->body = std::string();
  return form.ok() ? std::nullopt : BadRequest(form);
}

}  // namespace varve::http
