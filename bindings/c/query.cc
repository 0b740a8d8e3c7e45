// Queries and their results.

#include <chrono>
#include <string>

#include "bindings/c/internal.h"
#include "bindings/core/search.h"

using varve::MakeStatus;
using varve::Result;
using varve::Status;
using varve::StatusCode;
using varve::bindings::MetricResult;
using varve::c_api::Adopt;
using varve::c_api::GiveText;
using varve::c_api::Null;
using varve::c_api::Run;

struct varve_result {
  // One of the three is set.
  std::shared_ptr<const MetricResult> columns;
  std::shared_ptr<const varve::bindings::LogResult> entries;
  std::shared_ptr<const varve::query::SearchResult> traces;
  std::vector<std::vector<varve_label>> labels;  // of each series
  std::string label_bytes;                       // of all labels, each with its NUL
  std::vector<std::string> notes;
  std::string analysis;
};

namespace {

Status CheckQueryArguments(const varve_database* database, const char* query, const void* out,
                           const char* out_name) {
  if (database == nullptr) return Null("database");
  if (query == nullptr) return Null("query");
  if (out == nullptr) return Null(out_name);
  return absl::OkStatus();
}

// Checks what all languages have in common.
Status ReadOptions(const varve_query_options* options, varve_query_options* out) {
  if (Status status = Adopt(options, "options", out); !status.ok()) return status;
  if (out->timeout_ms < 0 || out->lookback_ms < 0) {
    return MakeStatus(StatusCode::kInvalidArgument, "a negative duration in the query options");
  }
  // A thousand years, so that no sum of times and durations overflows.
  constexpr int64_t kDurationMsMax = int64_t{1000} * 366 * 86'400 * 1000;
  if (out->timeout_ms > kDurationMsMax || out->lookback_ms > kDurationMsMax) {
    return MakeStatus(StatusCode::kInvalidArgument, "a duration of over a thousand years");
  }
  return absl::OkStatus();
}

// Fills what the options of the three engines share.
template <typename Options>
void FillCommon(const varve_query_options& all, Options* out) {
  out->timeout = std::chrono::milliseconds(all.timeout_ms);
  if (all.cancellation != nullptr) out->cancellation = all.cancellation->cancellation;
}

varve::query::QueryOptions PromQlOptions(const varve_query_options& all) {
  varve::query::QueryOptions out;
  FillCommon(all, &out);
  out.lookback_delta = std::chrono::milliseconds(all.lookback_ms);
  out.max_samples = all.samples_max;
  out.analyze = all.analyze != 0;
  return out;
}

varve_result* MakeResult(std::shared_ptr<const MetricResult> columns) {
  auto out = std::make_unique<varve_result>();
  size_t bytes = 0;
  for (const varve::Labels& labels : columns->series) {
    for (const varve::LabelView& label : labels)
      bytes += label.name.size() + label.value.size() + 2;
  }
  out->label_bytes.reserve(bytes);  // so that nothing below moves
  const auto keep = [&out](std::string_view text) {
    const char* const begin = out->label_bytes.data() + out->label_bytes.size();
    out->label_bytes.append(text).push_back('\0');
    return begin;
  };
  out->labels.reserve(columns->series.size());
  for (const varve::Labels& labels : columns->series) {
    std::vector<varve_label>& row = out->labels.emplace_back();
    row.reserve(labels.size());
    for (const varve::LabelView& label : labels) {
      row.push_back({keep(label.name), keep(label.value), label.name.size(), label.value.size()});
    }
  }
  out->notes = columns->annotations.warnings;
  out->notes.insert(out->notes.end(), columns->annotations.infos.begin(),
                    columns->annotations.infos.end());
  out->analysis = varve::query::Engine::FormatAnalysis(columns->statistics);
  out->columns = std::move(columns);
  return out.release();
}

varve_result* MakeResult(std::shared_ptr<const varve::bindings::LogResult> entries) {
  auto out = std::make_unique<varve_result>();
  out->notes = entries->warnings;
  out->analysis = entries->analysis;
  out->entries = std::move(entries);
  return out.release();
}

varve_result* MakeResult(std::shared_ptr<const varve::query::SearchResult> traces) {
  auto out = std::make_unique<varve_result>();
  out->analysis = varve::bindings::FormatAnalysis(traces->stats);
  out->traces = std::move(traces);
  return out.release();
}

// Evaluates LogQL over `range`, or a metric query at its end.
varve_code LogQl(varve_database* database, const char* query, varve::query::LogQueryRange range,
                 bool instant, const varve_query_options* options, varve_result** result,
                 varve_error** error) {
  return Run(query, error, [&]() -> Status {
    if (Status status = CheckQueryArguments(database, query, result, "result"); !status.ok()) {
      return status;
    }
    varve_query_options all = VARVE_QUERY_OPTIONS_INIT;
    if (Status status = ReadOptions(options, &all); !status.ok()) return status;
    varve::query::LogQueryOptions log;
    FillCommon(all, &log);
    log.analyze = all.analyze != 0;
    if (all.limit != 0) range.limit = all.limit;
    range.direction = all.forward != 0 ? varve::query::LogDirection::kForward
                                       : varve::query::LogDirection::kBackward;
    auto answer = database->store->LogQl(query, range, instant, log);
    if (!answer.ok()) return answer.status();
    *result = answer->entries != nullptr ? MakeResult(std::move(answer->entries))
                                         : MakeResult(std::move(answer->metrics));
    return absl::OkStatus();
  });
}

}  // namespace

varve_cancellation* varve_cancellation_new(void) {
  try {
    return new varve_cancellation{std::make_shared<varve::query::Cancellation>()};
  } catch (const std::exception&) {
    return nullptr;
  }
}
void varve_cancellation_cancel(varve_cancellation* cancellation) {
  if (cancellation != nullptr) cancellation->cancellation->Cancel();
}
void varve_cancellation_free(varve_cancellation* cancellation) { delete cancellation; }

varve_code varve_promql(varve_database* database, const char* query, int64_t time_ms,
                        const varve_query_options* options, varve_result** result,
                        varve_error** error) {
  return Run(query, error, [&]() -> Status {
    if (Status status = CheckQueryArguments(database, query, result, "result"); !status.ok()) {
      return status;
    }
    varve_query_options all = VARVE_QUERY_OPTIONS_INIT;
    if (Status status = ReadOptions(options, &all); !status.ok()) return status;
    auto columns = database->store->Instant(query, time_ms, PromQlOptions(all));
    if (!columns.ok()) return columns.status();
    *result = MakeResult(*std::move(columns));
    return absl::OkStatus();
  });
}

varve_code varve_promql_range(varve_database* database, const char* query, int64_t start_ms,
                              int64_t end_ms, int64_t step_ms, const varve_query_options* options,
                              varve_result** result, varve_error** error) {
  return Run(query, error, [&]() -> Status {
    if (Status status = CheckQueryArguments(database, query, result, "result"); !status.ok()) {
      return status;
    }
    varve_query_options all = VARVE_QUERY_OPTIONS_INIT;
    if (Status status = ReadOptions(options, &all); !status.ok()) return status;
    auto columns = database->store->Range(query, {start_ms, end_ms, step_ms}, PromQlOptions(all));
    if (!columns.ok()) return columns.status();
    *result = MakeResult(*std::move(columns));
    return absl::OkStatus();
  });
}

varve_code varve_promql_explain(varve_database* database, const char* query, int64_t start_ms,
                                int64_t end_ms, int64_t step_ms, char** plan, varve_error** error) {
  return Run(query, error, [&]() -> Status {
    if (Status status = CheckQueryArguments(database, query, plan, "plan"); !status.ok()) {
      return status;
    }
    return GiveText(database->store->Explain(query, {start_ms, end_ms, step_ms}), plan);
  });
}
void varve_string_free(char* text) { std::free(text); }

varve_code varve_logql(varve_database* database, const char* query, int64_t time_ns,
                       const varve_query_options* options, varve_result** result,
                       varve_error** error) {
  varve::query::LogQueryRange range;
  range.start_ns = range.end_ns = time_ns;
  return LogQl(database, query, range, true, options, result, error);
}

varve_code varve_logql_range(varve_database* database, const char* query, int64_t start_ns,
                             int64_t end_ns, int64_t step_ns, const varve_query_options* options,
                             varve_result** result, varve_error** error) {
  varve::query::LogQueryRange range;
  range.start_ns = start_ns;
  range.end_ns = end_ns;
  range.step_ns = step_ns;
  return LogQl(database, query, range, false, options, result, error);
}

varve_code varve_logql_explain(varve_database* database, const char* query, char** plan,
                               varve_error** error) {
  return Run(query, error, [&]() -> Status {
    if (Status status = CheckQueryArguments(database, query, plan, "plan"); !status.ok()) {
      return status;
    }
    return GiveText(database->store->ExplainLogQl(query), plan);
  });
}

varve_code varve_traceql(varve_database* database, const char* query, int64_t start_ns,
                         int64_t end_ns, int64_t step_ns, const varve_query_options* options,
                         varve_result** result, varve_error** error) {
  return Run(query, error, [&]() -> Status {
    if (Status status = CheckQueryArguments(database, query, result, "result"); !status.ok()) {
      return status;
    }
    constexpr int64_t kMs = 1'000'000;
    if (step_ns < 0 || step_ns % kMs != 0) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "the step must be whole milliseconds and not negative");
    }
    varve_query_options all = VARVE_QUERY_OPTIONS_INIT;
    if (Status status = ReadOptions(options, &all); !status.ok()) return status;
    varve::query::TraceQueryOptions trace;
    FillCommon(all, &trace);
    varve::query::TraceSearch search;
    search.range = {start_ns, end_ns};
    if (all.limit != 0) search.limit = all.limit;
    if (all.spans_per_trace != 0) search.spans_per_spanset = all.spans_per_trace;
    if (all.cursor != nullptr) search.cursor = all.cursor;
    auto answer = database->store->TraceQl(query, search, step_ns / kMs, trace);
    if (!answer.ok()) return answer.status();
    *result = answer->traces != nullptr ? MakeResult(std::move(answer->traces))
                                        : MakeResult(std::move(answer->metrics));
    return absl::OkStatus();
  });
}

varve_code varve_traceql_explain(varve_database* database, const char* query, char** plan,
                                 varve_error** error) {
  return Run(query, error, [&]() -> Status {
    if (Status status = CheckQueryArguments(database, query, plan, "plan"); !status.ok()) {
      return status;
    }
    return GiveText(database->store->ExplainTraceQl(query), plan);
  });
}

varve_kind varve_result_kind(const varve_result* result) {
  if (result == nullptr) return VARVE_SCALAR;
  if (result->entries != nullptr) return VARVE_ENTRIES;
  if (result->traces != nullptr) return VARVE_TRACES;
  return static_cast<varve_kind>(result->columns->kind);
}
size_t varve_result_series_count(const varve_result* result) {
  return result == nullptr || result->columns == nullptr ? 0 : result->columns->series.size();
}
varve_code varve_result_series(const varve_result* result, size_t index, varve_series* series,
                               varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (result == nullptr) return Null("result");
    if (series == nullptr) return Null("series");
    if (result->columns == nullptr) {
      return MakeStatus(StatusCode::kInvalidArgument, "entries and traces have no series");
    }
    const MetricResult& columns = *result->columns;
    if (index >= columns.series.size()) {
      return MakeStatus(StatusCode::kInvalidArgument, "series " + std::to_string(index) +
                                                          " of a result with " +
                                                          std::to_string(columns.series.size()));
    }
    const uint64_t begin = columns.offsets[index];
    *series = {result->labels[index].data(), result->labels[index].size(),
               columns.times_ms.data() + begin, columns.values.data() + begin,
               static_cast<size_t>(columns.offsets[index + 1] - begin)};
    return absl::OkStatus();
  });
}
uint64_t varve_result_rows(const varve_result* result) {
  if (result == nullptr) return 0;
  if (result->entries != nullptr) return result->entries->entries.size();
  if (result->traces != nullptr) return result->traces->traces.size();
  return result->columns->rows();
}
const char* varve_result_text(const varve_result* result) {
  if (result == nullptr || result->columns == nullptr ||
      result->columns->kind != varve::bindings::Kind::kString) {
    return nullptr;
  }
  return result->columns->text.c_str();
}
size_t varve_result_notes_count(const varve_result* result) {
  return result == nullptr ? 0 : result->notes.size();
}
const char* varve_result_note(const varve_result* result, size_t index) {
  if (result == nullptr || index >= result->notes.size()) return nullptr;
  return result->notes[index].c_str();
}
const char* varve_result_analysis(const varve_result* result) {
  return result == nullptr ? "" : result->analysis.c_str();
}
const char* varve_result_next(const varve_result* result) {
  if (result == nullptr || result->traces == nullptr || result->traces->next.empty()) {
    return nullptr;
  }
  return result->traces->next.c_str();
}
varve_code varve_result_arrow_stream(const varve_result* result, struct ArrowArrayStream* stream,
                                     varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (result == nullptr) return Null("result");
    if (stream == nullptr) return Null("stream");
    constexpr int64_t kRows = 1 << 20;
    varve::arrow::ExportStream(
        result->entries != nullptr  ? varve::bindings::LogSource(result->entries, kRows)
        : result->traces != nullptr ? varve::bindings::TraceSource(result->traces)
                                    : varve::bindings::LongSource(result->columns, kRows),
        stream);
    return absl::OkStatus();
  });
}
void varve_result_free(varve_result* result) { delete result; }
