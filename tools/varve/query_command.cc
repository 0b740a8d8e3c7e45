#include "tools/varve/query_command.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/parse.h"
#include "tools/loki/api.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/json/writer.h"
#include "tools/varve/commands.h"
#include "tools/varve/entry_printer.h"
#include "tools/varve/shell/render.h"
#include "tools/varve/shell/render_json.h"
#include "tools/varve/shell/render_wings.h"
#include "tools/varve/shell/source.h"
#include "varve/selector.h"

namespace varve::cli {
namespace {

using shell::Source;

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kHourMs = 3'600'000;

Status Bad(std::string_view text) { return MakeStatus(StatusCode::kInvalidArgument, text); }

// --- Times: "now", "-1h" (before now), or what the language's API takes ---

bool IsBeforeNow(const std::string& text) {
  return text.size() > 1 && text.front() == '-' && text.back() >= 'a' && text.back() <= 'z';
}

Result<int64_t> ReadTimeMs(const std::string& text, int64_t now_ms) {
  if (text == "now") return now_ms;
  if (!IsBeforeNow(text)) return api::ParseTime(text);
  VARVE_ASSIGN_OR_RETURN(const auto before, api::ParseDuration(text.substr(1)));
  return now_ms - before.count();
}

Result<int64_t> ReadTimeNs(const std::string& text, int64_t now_ns) {
  if (text == "now") return now_ns;
  if (!IsBeforeNow(text)) return loki::ParseTime(text);
  VARVE_ASSIGN_OR_RETURN(const int64_t before, loki::ParseDuration(text.substr(1)));
  return now_ns - before;
}

bool IsRange(const QueryCommand& command) {
  return command.start.has_value() || command.end.has_value() || command.step.has_value();
}

// Reads --start and --end, the last hour by default.
Result<NsRange> ReadRangeNs(const QueryCommand& command, int64_t now_ns) {
  NsRange out;
  VARVE_ASSIGN_OR_RETURN(out.max_ns, ReadTimeNs(command.end.value_or("now"), now_ns));
  out.min_ns = out.max_ns - kHourMs * kMs;
  if (command.start.has_value()) {
    VARVE_ASSIGN_OR_RETURN(out.min_ns, ReadTimeNs(*command.start, now_ns));
  }
  if (out.empty()) return Bad("--end is before --start");
  return out;
}

// Reads --step; 0 when it is not given.
Result<int64_t> ReadStepNs(const QueryCommand& command) {
  if (!command.step.has_value()) return 0;
  VARVE_ASSIGN_OR_RETURN(const int64_t step, loki::ParseDuration(*command.step));
  if (step < kMs) return Bad("--step must be at least a millisecond");
  return step;
}

Result<query::QueryRange> ReadSteps(const QueryCommand& command, int64_t now_ms) {
  query::QueryRange out;
  if (!IsRange(command)) {
    VARVE_ASSIGN_OR_RETURN(out.end_ms, ReadTimeMs(command.time.value_or("now"), now_ms));
    out.start_ms = out.end_ms;
    out.step_ms = 0;
    return out;
  }
  VARVE_ASSIGN_OR_RETURN(out.end_ms, ReadTimeMs(command.end.value_or("now"), now_ms));
  out.start_ms = out.end_ms - kHourMs;
  if (command.start.has_value()) {
    VARVE_ASSIGN_OR_RETURN(out.start_ms, ReadTimeMs(*command.start, now_ms));
  }
  if (out.end_ms < out.start_ms) return Bad("--end is before --start");
  out.step_ms = std::max<int64_t>(1000, (out.end_ms - out.start_ms) / 250 / 1000 * 1000);
  if (command.step.has_value()) {
    VARVE_ASSIGN_OR_RETURN(const auto step, api::ParseDuration(*command.step));
    if (step.count() <= 0) return Bad("--step must be positive");
    out.step_ms = step.count();
  }
  return out;
}

// --- Samples ---

std::string ValueText(double value, const query::HistogramPtr& histogram) {
  if (histogram != nullptr) return query::ToString(*histogram);
  std::string out;
  json::AppendFloat(value, &out);
  return out;
}

void PrintVector(const query::Vector& vector) {
  std::vector<std::string> labels;
  size_t width = 0;
  for (const query::VectorSample& sample : vector) {
    labels.push_back(ToString(sample.labels.view()));
    width = std::max(width, labels.back().size());
  }
  width = std::min<size_t>(width, 120);
  for (size_t i = 0; i < vector.size(); ++i) {
    std::cout << labels[i];
    if (!labels[i].empty()) {
      const size_t pad = width > labels[i].size() ? width - labels[i].size() : 0;
      std::cout << std::string(pad + 2, ' ');
    }
    std::cout << ValueText(vector[i].value, vector[i].histogram) << "\n";
  }
}

void PrintSeries(const query::Series& series) {
  std::vector<std::pair<int64_t, std::string>> points;
  for (size_t i = 0; i < series.times_ms.size(); ++i) {
    points.emplace_back(series.times_ms[i], ValueText(series.values[i], nullptr));
  }
  for (size_t i = 0; i < series.histograms.size(); ++i) {
    points.emplace_back(series.histogram_times_ms[i], ValueText(0, series.histograms[i]));
  }
  std::stable_sort(points.begin(), points.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  const std::string labels = ToString(series.labels.view());
  std::cout << (labels.empty() ? "{}" : labels) << "\n";
  for (const auto& [time_ms, value] : points) {
    std::cout << "  " << api::FormatTime(time_ms) << "  " << value << "\n";
  }
}

// Prints every value, other than the shell's tables, which draw a range as a line.
void PrintTable(const query::QueryResult& result) {
  bool empty = false;
  if (const auto* scalar = std::get_if<query::Scalar>(&result.value)) {
    std::cout << ValueText(scalar->value, nullptr) << "\n";
  } else if (const auto* string = std::get_if<query::StringValue>(&result.value)) {
    std::cout << string->value << "\n";
  } else if (const auto* vector = std::get_if<query::Vector>(&result.value)) {
    PrintVector(*vector);
    empty = vector->empty();
  } else {
    const auto& matrix = std::get<query::Matrix>(result.value);
    for (const query::Series& series : matrix) PrintSeries(series);
    empty = matrix.empty();
  }
  for (const auto* notes : {&result.annotations.warnings, &result.annotations.infos}) {
    for (const std::string& note : *notes) std::cerr << "varve: " << note << "\n";
  }
  if (empty) std::cerr << "varve: empty result\n";
}

int PrintMetrics(query::QueryResult result, const std::string& output) {
  if (output == "json") {
    const Result<std::string> json = shell::RenderJson(std::move(result));
    if (!json.ok()) return Fail(json.status());
    std::cout << *json;
  } else if (output == "csv") {
    std::cout << shell::RenderCsv(result);
  } else {
    PrintTable(result);
  }
  return kOk;
}

// --- The three languages ---

int FailQuery(const QueryCommand& command, const Status& status) {
  return Fail(query::RenderError(command.expression, status));
}

int PrintPlan(const QueryCommand& command, const Result<std::string>& plan) {
  if (!plan.ok()) return FailQuery(command, plan.status());
  std::cout << *plan;
  return kOk;
}

Result<std::unique_ptr<Source>> OpenSource(const QueryCommand& command) {
  return command.url.empty() ? Source::OpenDirectory(command.data, command.engine)
                             : Source::Connect(command.url);
}

int RunPromQl(const QueryCommand& command) {
  const auto steps = ReadSteps(command, Clock::Real()->NowMs());
  if (!steps.ok()) return Fail(steps.status());
  if (command.explain) {
    return PrintPlan(command, query::Engine::Make({})->Explain(command.expression, *steps));
  }
  // A mistake in the expression shows before a large store is opened.
  if (const auto tree = promql::Parse(command.expression);
      !tree.ok() && command.url.empty() && command.output != "json") {
    return FailQuery(command, tree.status());
  }
  const auto source = OpenSource(command);
  if (!source.ok()) return Fail(source.status());
  Result<query::QueryResult> result =
      IsRange(command) ? (*source)->Range(command.expression, *steps, nullptr)
                       : (*source)->Instant(command.expression, steps->end_ms, nullptr);
  if (!result.ok() && command.output == "json") {
    std::cout << api::Error(result.status()).body << "\n";
    return kFailed;
  }
  if (!result.ok()) return FailQuery(command, result.status());
  const std::string analysis = query::Engine::FormatAnalysis(result->statistics);
  const int code = PrintMetrics(*std::move(result), command.output);
  if (command.analyze) std::cerr << analysis;
  return code;
}

int RunLogQl(const QueryCommand& command) {
  const auto info = query::InspectLogQuery(command.expression);
  if (!info.ok()) return FailQuery(command, info.status());
  if (command.explain) {
    return PrintPlan(command, query::LogEngine::Make({})->Explain(command.expression));
  }
  const int64_t now_ns = Clock::Real()->NowMs() * kMs;
  const bool instant = !info->is_log_query && !IsRange(command);
  const Result<NsRange> span = ReadRangeNs(command, now_ns);
  if (!span.ok()) return Fail(span.status());
  const Result<int64_t> step = ReadStepNs(command);
  if (!step.ok()) return Fail(step.status());
  query::LogQueryRange range;
  range.start_ns = span->min_ns;
  range.end_ns = span->max_ns;
  range.step_ns = *step;
  range.limit = command.limit.value_or(1000);
  range.direction =
      command.forward ? query::LogDirection::kForward : query::LogDirection::kBackward;
  if (instant) {
    const Result<int64_t> time = ReadTimeNs(command.time.value_or("now"), now_ns);
    if (!time.ok()) return Fail(time.status());
    range.end_ns = *time;
  }
  const auto source = OpenSource(command);
  if (!source.ok()) return Fail(source.status());
  auto result = (*source)->LogQl(command.expression, range, instant, nullptr);
  if (!result.ok()) return FailQuery(command, result.status());
  const std::string analysis = query::LogEngine::FormatAnalysis(result->statistics);
  const auto* const streams = std::get_if<query::Streams>(&result->value);
  int code = kOk;
  if (streams == nullptr) {
    code = PrintMetrics(shell::MetricsOf(*std::move(result)), command.output);
  } else {
    for (const std::string& warning : result->warnings) std::cerr << "varve: " << warning << "\n";
    if (streams->empty()) std::cerr << "varve: empty result\n";
    if (command.output != "json") {
      EntryPrinter(command.output, isatty(STDOUT_FILENO) != 0).Print(*streams, !command.forward);
    } else {
      const auto json = shell::RenderLogsJson(*std::move(result), !command.forward);
      if (!json.ok()) return Fail(json.status());
      std::cout << *json;
    }
  }
  if (command.analyze) std::cerr << analysis;
  return code;
}

int RunTraceQl(const QueryCommand& command) {
  const auto engine = query::TraceEngine::Make({});
  // A mistake shows before a large store is opened.
  if (const auto parsed = engine->Parse(command.expression); !parsed.ok()) {
    return FailQuery(command, parsed.status());
  }
  if (command.explain) return PrintPlan(command, engine->Explain(command.expression));
  if (command.time.has_value()) {
    return Fail("TraceQL looks at a range: --start and --end, not --time");
  }
  const Result<NsRange> range = ReadRangeNs(command, Clock::Real()->NowMs() * kMs);
  if (!range.ok()) return Fail(range.status());
  const Result<int64_t> step = ReadStepNs(command);
  if (!step.ok()) return Fail(step.status());
  const auto source = OpenSource(command);
  if (!source.ok()) return Fail(source.status());
  auto answer = (*source)->TraceQl(command.expression, *range, *step / kMs,
                                   command.limit.value_or(20), nullptr);
  if (!answer.ok()) return FailQuery(command, answer.status());
  if (auto* metrics = std::get_if<query::QueryResult>(&*answer)) {
    return PrintMetrics(std::move(*metrics), command.output);
  }
  const auto& traces = std::get<query::SearchResult>(*answer);
  if (command.output == "json") {
    std::cout << shell::RenderTracesJson(traces);
  } else if (command.output == "csv") {
    std::cout << shell::RenderTracesCsv(traces);
  } else {
    const shell::Look look{.width = 0, .color = isatty(STDOUT_FILENO) != 0};
    std::cout << shell::RenderTraceList(traces, look);
  }
  if (traces.traces.empty()) std::cerr << "varve: empty result\n";
  if (command.analyze) std::cerr << shell::RenderAnalysis(traces.stats);
  return kOk;
}

}  // namespace

int RunQuery(const QueryCommand& command) {
  if (command.time.has_value() && IsRange(command)) {
    return Fail("--time does not go with --start, --end and --step");
  }
  if (command.language == "logql") return RunLogQl(command);
  if (command.language == "traceql") return RunTraceQl(command);
  return RunPromQl(command);
}

}  // namespace varve::cli
