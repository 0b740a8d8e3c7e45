#include "bindings/c/include/varve.h"

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/core/store.h"
#include "varve/database.h"
#include "varve/query.h"
#include "varve/selector.h"

using varve::MakeStatus;
using varve::Result;
using varve::Status;
using varve::StatusCode;
using varve::bindings::MetricResult;
using varve::bindings::Store;

struct varve_error {
  varve_code code = VARVE_INTERNAL;
  std::string message;
  std::string rendered;
  std::string file;
  uint64_t offset = 0;
  uint32_t line = 0;
  uint32_t column = 0;
};
struct varve_database {
  std::shared_ptr<Store> store;
};
struct varve_batch {
  varve::WriteBatch batch;
};
struct varve_cancellation {
  std::shared_ptr<varve::query::Cancellation> cancellation;
};
struct varve_result {
  std::shared_ptr<const MetricResult> columns;
  std::vector<std::vector<varve_label>> labels;  // of each series
  std::string label_bytes;                       // of all labels, each with its NUL
  std::vector<std::string> notes;
  std::string analysis;
};
struct varve_list {
  std::vector<std::string> items;
};

namespace {

varve_code CodeOf(const Status& status) {
  switch (status.code()) {
    case StatusCode::kOk:
      return VARVE_OK;
    case StatusCode::kInvalidArgument:
      return VARVE_INVALID_ARGUMENT;
    case StatusCode::kOutOfRange:
      return VARVE_OUT_OF_RANGE;
    case StatusCode::kAlreadyExists:
      return VARVE_ALREADY_EXISTS;
    case StatusCode::kNotFound:
      return VARVE_NOT_FOUND;
    case StatusCode::kResourceExhausted:
      return VARVE_RESOURCE_EXHAUSTED;
    case StatusCode::kFailedPrecondition:
      return VARVE_FAILED_PRECONDITION;
    case StatusCode::kCancelled:
      return VARVE_CANCELLED;
    case StatusCode::kDeadlineExceeded:
      return VARVE_DEADLINE_EXCEEDED;
    case StatusCode::kDataLoss:
      return VARVE_DATA_LOSS;
    case StatusCode::kUnavailable:
      return VARVE_UNAVAILABLE;
    case StatusCode::kUnimplemented:
      return VARVE_UNIMPLEMENTED;
    default:
      return VARVE_INTERNAL;
  }
}

// Describes `status` in `error`; out of memory leaves it NULL, and the code still says what is up.
varve_code Report(const Status& status, const char* query, varve_error** error) {
  if (status.ok()) return VARVE_OK;
  const varve_code code = CodeOf(status);
  if (error == nullptr) return code;
  *error = nullptr;
  try {
    auto out = std::make_unique<varve_error>();
    out->code = code;
    out->message.assign(status.message().data(), status.message().size());
    out->rendered = out->message;
    if (const auto place = varve::TextPlaceOf(status)) {
      out->line = place->line;
      out->column = place->column;
      if (query != nullptr) out->rendered = varve::query::RenderError(query, status);
    }
    if (const auto place = varve::FilePlaceOf(status)) {
      out->file = place->file;
      out->offset = place->offset;
    }
    *error = out.release();
  } catch (const std::exception&) {
  }
  return code;
}

// Runs `work`, which returns a Status, and turns what it throws into one.
template <typename Work>
varve_code Run(const char* query, varve_error** error, const Work& work) {
  Status status;
  try {
    status = work();
  } catch (const std::bad_alloc&) {
    status = MakeStatus(StatusCode::kResourceExhausted, "out of memory");
  } catch (const std::exception& caught) {
    status = MakeStatus(StatusCode::kInternal, caught.what());
  }
  return Report(status, query, error);
}

Status Null(const char* what) {
  return MakeStatus(StatusCode::kInvalidArgument, std::string(what) + " is NULL");
}

// Copies as much of a caller's struct as that caller's header knew; the rest keeps its default.
template <typename T>
Status Adopt(const T* from, const char* what, T* to) {
  if (from == nullptr) return absl::OkStatus();
  if (from->struct_size < sizeof(size_t) || from->struct_size > sizeof(T)) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      std::string(what) + ".struct_size is not set; use the INIT macro");
  }
  std::memcpy(static_cast<void*>(to), from, from->struct_size);
  return absl::OkStatus();
}

Status CheckQueryArguments(const varve_database* database, const char* query, const void* out,
                           const char* out_name) {
  if (database == nullptr) return Null("database");
  if (query == nullptr) return Null("query");
  if (out == nullptr) return Null(out_name);
  return absl::OkStatus();
}

Status ReadOptions(const varve_query_options* options, varve::query::QueryOptions* out) {
  varve_query_options all = VARVE_QUERY_OPTIONS_INIT;
  if (Status status = Adopt(options, "options", &all); !status.ok()) return status;
  if (all.timeout_ms < 0 || all.lookback_ms < 0) {
    return MakeStatus(StatusCode::kInvalidArgument, "a negative duration in the query options");
  }
  out->timeout = std::chrono::milliseconds(all.timeout_ms);
  out->lookback_delta = std::chrono::milliseconds(all.lookback_ms);
  out->max_samples = all.samples_max;
  out->analyze = all.analyze != 0;
  if (all.cancellation != nullptr) out->cancellation = all.cancellation->cancellation;
  return absl::OkStatus();
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

template <typename List>
Status GiveList(Result<List> found, varve_list** list) {
  if (!found.ok()) return found.status();
  auto out = std::make_unique<varve_list>();
  for (auto& item : *found) {
    if constexpr (std::is_same_v<std::decay_t<decltype(item)>, std::string>) {
      out->items.push_back(std::move(item));
    } else if constexpr (std::is_same_v<std::decay_t<decltype(item)>, Status>) {
      out->items.emplace_back(item.message().data(), item.message().size());
    } else {
      out->items.push_back(varve::ToString(item.view()));
    }
  }
  *list = out.release();
  return absl::OkStatus();
}

std::string_view OrEmpty(const char* text) { return text == nullptr ? "" : text; }

}  // namespace

// --- Errors ---

varve_code varve_error_code(const varve_error* error) {
  return error == nullptr ? VARVE_OK : error->code;
}
const char* varve_error_message(const varve_error* error) {
  return error == nullptr ? "" : error->message.c_str();
}
uint32_t varve_error_line(const varve_error* error) { return error == nullptr ? 0 : error->line; }
uint32_t varve_error_column(const varve_error* error) {
  return error == nullptr ? 0 : error->column;
}
const char* varve_error_rendered(const varve_error* error) {
  return error == nullptr ? "" : error->rendered.c_str();
}
const char* varve_error_file(const varve_error* error) {
  return error == nullptr || error->file.empty() ? nullptr : error->file.c_str();
}
uint64_t varve_error_offset(const varve_error* error) {
  return error == nullptr ? 0 : error->offset;
}
void varve_error_free(varve_error* error) { delete error; }

const char* varve_code_name(varve_code code) {
  static constexpr const char* kNames[] = {"ok",
                                           "invalid_argument",
                                           "out_of_range",
                                           "already_exists",
                                           "not_found",
                                           "resource_exhausted",
                                           "failed_precondition",
                                           "cancelled",
                                           "deadline_exceeded",
                                           "data_loss",
                                           "unavailable",
                                           "unimplemented",
                                           "internal"};
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}
const char* varve_version(void) { return VARVE_VERSION; }

// --- Opening and closing ---

varve_code varve_open(const char* path, const varve_options* options, varve_database** database,
                      varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (path == nullptr) return Null("path");
    if (database == nullptr) return Null("database");
    varve_options all = VARVE_OPTIONS_INIT;
    if (Status status = Adopt(options, "options", &all); !status.ok()) return status;
    if (all.out_of_order_window_ms < 0 || all.retention_ms < 0) {
      return MakeStatus(StatusCode::kInvalidArgument, "a negative duration in the options");
    }
    if (all.query_threads > 1024) {
      return MakeStatus(StatusCode::kInvalidArgument, "query_threads is over 1024");
    }
    varve::Options out;
    out.dir = path;
    out.create_if_missing = all.create_if_missing != 0;
    out.read_only = all.read_only != 0;
    out.durability = all.durability == VARVE_PROCESS_CRASH ? varve::Durability::kProcessCrash
                                                           : varve::Durability::kDurable;
    out.out_of_order_window = std::chrono::milliseconds(all.out_of_order_window_ms);
    out.retention_time = std::chrono::milliseconds(all.retention_ms);
    out.retention_bytes = all.retention_bytes;
    varve::query::EngineOptions engine;
    engine.memory_bytes_max = all.query_memory_bytes_max;
    engine.max_points = all.query_points_max;
    engine.threads = all.query_threads;
    Result<std::shared_ptr<Store>> store = Store::Open(out, engine);
    if (!store.ok()) return store.status();
    *database = new varve_database{*std::move(store)};
    return absl::OkStatus();
  });
}

varve_code varve_close(varve_database* database, varve_error** error) {
  if (database == nullptr) return VARVE_OK;
  const varve_code code = Run(nullptr, error, [&] { return database->store->Close(); });
  delete database;
  return code;
}

// --- Writing ---

varve_batch* varve_batch_new(void) {
  try {
    return new varve_batch();
  } catch (const std::exception&) {
    return nullptr;
  }
}
void varve_batch_free(varve_batch* batch) { delete batch; }
void varve_batch_clear(varve_batch* batch) {
  if (batch != nullptr) batch->batch.Clear();
}

varve_code varve_batch_add_series(varve_batch* batch, const varve_label* labels,
                                  size_t labels_count, uint32_t* series, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (batch == nullptr) return Null("batch");
    if (series == nullptr) return Null("series");
    if (labels == nullptr && labels_count > 0) return Null("labels");
    std::vector<varve::LabelView> views;
    views.reserve(labels_count);
    for (size_t i = 0; i < labels_count; ++i) {
      const varve_label& label = labels[i];
      if (label.name == nullptr) return Null("a label's name");
      if (label.value == nullptr) return Null("a label's value");
      views.push_back({label.name_size == 0 ? std::string_view(label.name)
                                            : std::string_view(label.name, label.name_size),
                       label.value_size == 0 ? std::string_view(label.value)
                                             : std::string_view(label.value, label.value_size)});
    }
    const Result<varve::Labels> canonical = varve::Labels::Make(std::move(views));
    if (!canonical.ok()) return canonical.status();
    *series = batch->batch.AddSeries(canonical->view());
    return absl::OkStatus();
  });
}

varve_code varve_batch_add_samples(varve_batch* batch, uint32_t series, const int64_t* times_ms,
                                   const double* values, size_t count, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (batch == nullptr) return Null("batch");
    if (count == 0) return absl::OkStatus();
    if (times_ms == nullptr) return Null("times_ms");
    if (values == nullptr) return Null("values");
    if (series >= batch->batch.series().size()) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "series " + std::to_string(series) + " is not in this batch of " +
                            std::to_string(batch->batch.series().size()));
    }
    for (size_t i = 0; i < count; ++i) batch->batch.AddSample(series, times_ms[i], values[i]);
    return absl::OkStatus();
  });
}

varve_code varve_batch_add_metadata(varve_batch* batch, const char* family, const char* type,
                                    const char* help, const char* unit, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (batch == nullptr) return Null("batch");
    if (family == nullptr) return Null("family");
    varve::Metadata metadata;
    metadata.help = OrEmpty(help);
    metadata.unit = OrEmpty(unit);
    bool known = type == nullptr;
    for (uint8_t i = 0; !known && i <= static_cast<uint8_t>(varve::MetricType::kStateSet); ++i) {
      known = varve::ToString(static_cast<varve::MetricType>(i)) == type;
      if (known) metadata.type = static_cast<varve::MetricType>(i);
    }
    if (!known) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        std::string("\"") + type + "\" is not a metric type");
    }
    batch->batch.AddMetadata(family, std::move(metadata));
    return absl::OkStatus();
  });
}

varve_code varve_append(varve_database* database, const varve_batch* batch,
                        const varve_write_options* options, varve_append_counts* counts,
                        varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (batch == nullptr) return Null("batch");
    varve_write_options all = VARVE_WRITE_OPTIONS_INIT;
    if (Status status = Adopt(options, "options", &all); !status.ok()) return status;
    varve::WriteOptions write;
    write.partial = all.partial != 0;
    const Result<varve::AppendResult> done =
        database->store->Call([&](varve::Database& db) { return db.Append(batch->batch, write); });
    if (!done.ok()) return done.status();
    if (counts != nullptr) *counts = {done->samples + done->histograms, done->rejected};
    return absl::OkStatus();
  });
}

// --- Queries ---

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
    varve::query::QueryOptions all;
    if (Status status = ReadOptions(options, &all); !status.ok()) return status;
    auto columns = database->store->Instant(query, time_ms, all);
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
    varve::query::QueryOptions all;
    if (Status status = ReadOptions(options, &all); !status.ok()) return status;
    auto columns = database->store->Range(query, {start_ms, end_ms, step_ms}, all);
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
    const Result<std::string> text = database->store->Explain(query, {start_ms, end_ms, step_ms});
    if (!text.ok()) return text.status();
    auto* const copy = static_cast<char*>(std::malloc(text->size() + 1));
    if (copy == nullptr) return MakeStatus(StatusCode::kResourceExhausted, "out of memory");
    std::memcpy(copy, text->c_str(), text->size() + 1);
    *plan = copy;
    return absl::OkStatus();
  });
}
void varve_string_free(char* text) { std::free(text); }

varve_kind varve_result_kind(const varve_result* result) {
  return result == nullptr ? VARVE_SCALAR : static_cast<varve_kind>(result->columns->kind);
}
size_t varve_result_series_count(const varve_result* result) {
  return result == nullptr ? 0 : result->columns->series.size();
}
varve_code varve_result_series(const varve_result* result, size_t index, varve_series* series,
                               varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (result == nullptr) return Null("result");
    if (series == nullptr) return Null("series");
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
  return result == nullptr ? 0 : result->columns->rows();
}
const char* varve_result_text(const varve_result* result) {
  if (result == nullptr || result->columns->kind != varve::bindings::Kind::kString) return nullptr;
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
varve_code varve_result_arrow_stream(const varve_result* result, struct ArrowArrayStream* stream,
                                     varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (result == nullptr) return Null("result");
    if (stream == nullptr) return Null("stream");
    varve::arrow::ExportStream(varve::bindings::LongSource(result->columns, 1 << 20), stream);
    return absl::OkStatus();
  });
}
void varve_result_free(varve_result* result) { delete result; }

// --- What is stored ---

size_t varve_list_count(const varve_list* list) { return list == nullptr ? 0 : list->items.size(); }
const char* varve_list_at(const varve_list* list, size_t index, size_t* size) {
  if (list == nullptr || index >= list->items.size()) return nullptr;
  if (size != nullptr) *size = list->items[index].size();
  return list->items[index].c_str();
}
void varve_list_free(varve_list* list) { delete list; }

varve_code varve_label_names(varve_database* database, const char* selector, int64_t start_ms,
                             int64_t end_ms, varve_list** list, varve_error** error) {
  return Run(selector, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (list == nullptr) return Null("list");
    return GiveList(database->store->LabelNames(OrEmpty(selector), {start_ms, end_ms}), list);
  });
}
varve_code varve_label_values(varve_database* database, const char* name, const char* selector,
                              int64_t start_ms, int64_t end_ms, varve_list** list,
                              varve_error** error) {
  return Run(selector, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (name == nullptr) return Null("name");
    if (list == nullptr) return Null("list");
    return GiveList(database->store->LabelValues(name, OrEmpty(selector), {start_ms, end_ms}),
                    list);
  });
}
varve_code varve_series_list(varve_database* database, const char* selector, int64_t start_ms,
                             int64_t end_ms, varve_list** list, varve_error** error) {
  return Run(selector, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (list == nullptr) return Null("list");
    return GiveList(database->store->Series(OrEmpty(selector), {start_ms, end_ms}), list);
  });
}
varve_code varve_samples_arrow_stream(varve_database* database, const char* selector,
                                      int64_t start_ms, int64_t end_ms,
                                      struct ArrowArrayStream* stream, varve_error** error) {
  return Run(selector, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (stream == nullptr) return Null("stream");
    auto source = database->store->Samples(OrEmpty(selector), {start_ms, end_ms}, 1 << 16);
    if (!source.ok()) return source.status();
    varve::arrow::ExportStream(*std::move(source), stream);
    return absl::OkStatus();
  });
}

// --- Care ---

varve_code varve_delete_series(varve_database* database, const char* selector, int64_t start_ms,
                               int64_t end_ms, varve_error** error) {
  return Run(selector, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (selector == nullptr) return Null("selector");
    return database->store->DeleteSeries(selector, {start_ms, end_ms});
  });
}
varve_code varve_sync(varve_database* database, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    return database->store->Call([](varve::Database& db) { return db.Sync(); });
  });
}
varve_code varve_flush(varve_database* database, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    return database->store->Call([](varve::Database& db) { return db.Flush(); });
  });
}
varve_code varve_compact(varve_database* database, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    return database->store->Call([](varve::Database& db) { return db.Compact(); });
  });
}
varve_code varve_backup(varve_database* database, const char* path, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (path == nullptr) return Null("path");
    return database->store->Call([&](varve::Database& db) { return db.Backup(path); });
  });
}
varve_code varve_verify(varve_database* database, varve_list** damage, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (damage == nullptr) return Null("damage");
    return GiveList(database->store->Call([](varve::Database& db) { return db.Verify(); }), damage);
  });
}
