#include "tools/ingest/http_status.h"

#include "engine/base/strings.h"

namespace varve::ingest {

HttpOutcome ErrorOutcome(int status, std::string_view text) {
  HttpOutcome outcome;
  outcome.status = status;
  outcome.headers.emplace_back("Content-Type", "text/plain; charset=utf-8");
  outcome.body = text;
  if (outcome.body.empty() || outcome.body.back() != '\n') outcome.body.push_back('\n');
  return outcome;
}

HttpOutcome OutcomeOfStoreError(const Status& status) {
  const std::string_view message = ToStd(status.message());
  HttpOutcome outcome;
  switch (status.code()) {
    case StatusCode::kInvalidArgument:
    case StatusCode::kOutOfRange:
    case StatusCode::kAlreadyExists:
      return ErrorOutcome(400, message);
    case StatusCode::kResourceExhausted:
      outcome = ErrorOutcome(507, message);
      outcome.headers.emplace_back("Retry-After", "5");
      return outcome;
    case StatusCode::kFailedPrecondition:
    case StatusCode::kUnavailable:
      outcome = ErrorOutcome(503, message);
      outcome.headers.emplace_back("Retry-After", "5");
      return outcome;
    default:
      return ErrorOutcome(500, message);
  }
}

HttpOutcome OutcomeOfBodyError(const Status& status) {
  return ErrorOutcome(status.code() == StatusCode::kResourceExhausted ? 413 : 400,
                      ToStd(status.message()));
}

}  // namespace varve::ingest
