#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"
#include "tools/server/api/result_json.h"
#include "tools/server/traces/tempo_json.h"
#include "tools/varve/commands.h"
#include "tools/varve/shell/render_wings.h"
#include "tools/varve/shell/source.h"
#include "tools/varve/trace_command.h"

namespace varve::cli {
namespace {

constexpr int64_t kMs = 1'000'000;

// "now", "-1h" (before now), Unix seconds or nanoseconds, or RFC 3339.
Result<int64_t> ReadTime(const std::string& text, int64_t now_ns) {
  if (text == "now") return now_ns;
  if (text.size() > 1 && text.front() == '-' && text.back() >= 'a' && text.back() <= 'z') {
    const Result<int64_t> before = loki::ParseDuration(text.substr(1));
    if (!before.ok()) return before.status();
    return now_ns - *before;
  }
  return loki::ParseTime(text);
}

struct Times {
  NsRange range;
  int64_t step_ms = 0;  // 0: once over the whole range
};

Result<Times> ReadTimes(const TraceQueryCommand& command) {
  if (command.time.has_value()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "TraceQL looks at a range: --start and --end, not --time");
  }
  const int64_t now_ns = Clock::Real()->NowMs() * kMs;
  Times out;
  const Result<int64_t> end = ReadTime(command.end.value_or("now"), now_ns);
  if (!end.ok()) return end.status();
  out.range = {*end - 3600 * int64_t{1'000'000'000}, *end};
  if (command.start.has_value()) {
    const Result<int64_t> start = ReadTime(*command.start, now_ns);
    if (!start.ok()) return start.status();
    out.range.min_ns = *start;
  }
  if (out.range.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument, "--end is before --start");
  }
  if (command.step.has_value()) {
    const Result<int64_t> step = loki::ParseDuration(*command.step);
    if (!step.ok()) return step.status();
    out.step_ms = *step / kMs;
    if (out.step_ms < 1) {
      return MakeStatus(StatusCode::kInvalidArgument, "--step must be at least a millisecond");
    }
  }
  return out;
}

int FailQuery(const std::string& text, const Status& status) {
  return Fail(query::TraceEngine::RenderError(text, status));
}

Result<std::string> Json(query::QueryResult result) {
  http::Response response = api::ResultResponse(std::move(result), {});
  std::string out = response.body;
  for (bool more = response.source != nullptr; more;) {
    std::string piece;
    const Result<bool> next = response.source->Next(1 << 16, &piece);
    if (!next.ok()) return next.status();
    out += piece;
    more = *next;
  }
  return out + "\n";
}

}  // namespace

int RunTraceQuery(const TraceQueryCommand& command) {
  const auto engine = query::TraceEngine::Make({});
  // A mistake shows before a large store is opened.
  if (const auto parsed = engine->Parse(command.expression); !parsed.ok()) {
    return FailQuery(command.expression, parsed.status());
  }
  if (command.explain) {
    const Result<std::string> plan = engine->Explain(command.expression);
    if (!plan.ok()) return FailQuery(command.expression, plan.status());
    std::cout << *plan;
    return kOk;
  }
  const Result<Times> times = ReadTimes(command);
  if (!times.ok()) return Fail(times.status());
  const Result<std::unique_ptr<shell::Source>> source =
      command.url.empty() ? shell::Source::OpenDirectory(command.data, {})
                          : shell::Source::Connect(command.url);
  if (!source.ok()) return Fail(source.status());
  Result<shell::Source::TraceAnswer> answer =
      (*source)->TraceQl(command.expression, times->range, times->step_ms, command.limit, nullptr);
  if (!answer.ok()) return FailQuery(command.expression, answer.status());
  const shell::Look look{.width = 0, .color = isatty(STDOUT_FILENO) != 0};
  if (auto* metrics = std::get_if<query::QueryResult>(&*answer)) {
    if (command.output == "json") {
      const Result<std::string> json = Json(std::move(*metrics));
      if (!json.ok()) return Fail(json.status());
      std::cout << *json;
    } else {
      std::cout << (command.output == "csv" ? shell::RenderCsv(*metrics)
                                            : shell::RenderTable(*metrics, look));
    }
    return kOk;
  }
  const auto& traces = std::get<query::SearchResult>(*answer);
  if (command.output == "json") {
    std::string body;
    api::WriteTempoSearch(traces, /*details=*/true, &body);
    std::cout << body << "\n";
  } else if (command.output == "csv") {
    std::cout << shell::RenderTracesCsv(traces);
  } else if (traces.traces.empty()) {
    std::cerr << "varve: empty result\n";
  } else {
    std::cout << shell::RenderTraceList(traces, look);
  }
  return kOk;
}

}  // namespace varve::cli
