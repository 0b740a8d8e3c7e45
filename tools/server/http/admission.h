#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "tools/server/http/message.h"
#include "tools/server/http/router.h"
#include "tools/server/http/server.h"
#include "tools/server/http/url.h"

namespace varve::http {

/// What the head of a request leads to.
struct Admission {
  /// Set: the answer, and nothing is handled. A refusal, or what OPTIONS gets.
  std::optional<Response> answer;
  Router::Match match;        // with a route where `answer` is not set
  size_t body_bytes_max = 0;  // of the route
  /// The Origin whose page may read the answer, whatever that is; empty: none may.
  std::string cors_origin;
};

/// Judges a head: who it is for (Host), which page it comes from (Origin), how its body is framed,
/// which route it names, and that what it says of its body is within the limits. Fills `segments`,
/// `path_params` and the `params` of the query in. `content_length` is 0 where none is given.
Admission Admit(const ServerOptions& options, const Router& router, bool http11,
                uint64_t content_length, Request* request);

/// Moves the form of a POST from its body to its parameters, where the route takes forms. Returns
/// the refusal of one that is malformed.
std::optional<Response> TakeForm(const RouteOptions& options, Request* request);

/// The refusal of a body that is longer than `bytes_max`.
Response BodyTooLarge(size_t bytes_max);

}  // namespace varve::http
