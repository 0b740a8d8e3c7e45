#include "bindings/c/include/varve.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "bindings/c/internal.h"
#include "bindings/core/spans.h"
#include "varve/selector.h"

using varve::MakeStatus;
using varve::Result;
using varve::Status;
using varve::StatusCode;
using varve::bindings::Store;
using varve::c_api::Adopt;
using varve::c_api::AppendBatch;
using varve::c_api::CheckCount;
using varve::c_api::GiveList;
using varve::c_api::LabelsOf;
using varve::c_api::Null;
using varve::c_api::OrEmpty;
using varve::c_api::Run;

namespace varve::c_api {
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

}  // namespace

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
    if (const auto place = TextPlaceOf(status)) {
      out->line = place->line;
      out->column = place->column;
      if (query != nullptr) out->rendered = query::RenderError(query, status);
    }
    if (const auto place = FilePlaceOf(status)) {
      out->file = place->file;
      out->offset = place->offset;
    }
    *error = out.release();
  } catch (const std::exception&) {
  }
  return code;
}

Status Null(const char* what) {
  return MakeStatus(StatusCode::kInvalidArgument, std::string(what) + " is NULL");
}

namespace {
constexpr size_t kTextBytesMax = 64u << 20;  // what a record of the log holds
}  // namespace

Result<std::string_view> TextOf(const char* text, size_t size, const char* what) {
  if (text != nullptr && size == 0) size = std::strlen(text);
  return BytesOf(text, size, what);
}

Result<std::string_view> BytesOf(const char* bytes, size_t size, const char* what) {
  if (bytes == nullptr && size > 0) return Null(what);
  if (size > kTextBytesMax) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      std::string(what) + " has " + std::to_string(size) + " bytes, more than " +
                          std::to_string(kTextBytesMax));
  }
  return bytes == nullptr ? std::string_view() : std::string_view(bytes, size);
}

Status CheckCount(const void* items, size_t count, const char* what) {
  if (count == 0) return absl::OkStatus();
  if (items == nullptr) return Null(what);
  constexpr size_t kCountMax = 1u << 28;
  if (count > kCountMax) {
    return MakeStatus(
        StatusCode::kInvalidArgument,
        std::string(what) + ": " + std::to_string(count) + " items are more than a batch holds");
  }
  return absl::OkStatus();
}

Result<std::vector<LabelView>> LabelsOf(const varve_label* labels, size_t count, const char* what) {
  if (Status status = CheckCount(labels, count, what); !status.ok()) return status;
  constexpr size_t kLabelsMax = 65'536;  // far over what the engine takes
  if (count > kLabelsMax) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      std::string(what) + ": " + std::to_string(count) + " labels");
  }
  std::vector<LabelView> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    if (labels[i].name == nullptr) return Null("a label's name");
    if (labels[i].value == nullptr) return Null("a label's value");
    const auto name = TextOf(labels[i].name, labels[i].name_size, "a label's name");
    if (!name.ok()) return name.status();
    const auto value = TextOf(labels[i].value, labels[i].value_size, "a label's value");
    if (!value.ok()) return value.status();
    out.push_back({*name, *value});
  }
  return out;
}

Status ReadWriteOptions(const varve_write_options* options, WriteOptions* out) {
  varve_write_options all = VARVE_WRITE_OPTIONS_INIT;
  if (Status status = Adopt(options, "options", &all); !status.ok()) return status;
  out->partial = all.partial != 0;
  return absl::OkStatus();
}

Status GiveText(const Result<std::string>& text, char** out) {
  if (!text.ok()) return text.status();
  auto* const copy = static_cast<char*>(std::malloc(text->size() + 1));
  if (copy == nullptr) return MakeStatus(StatusCode::kResourceExhausted, "out of memory");
  std::memcpy(copy, text->c_str(), text->size() + 1);
  *out = copy;
  return absl::OkStatus();
}

}  // namespace varve::c_api

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

const char* varve_code_name(int code) {
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
    if (all.durability != VARVE_DURABLE && all.durability != VARVE_PROCESS_CRASH) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "there is no durability " + std::to_string(all.durability));
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
    auto views = LabelsOf(labels, labels_count, "labels");
    if (!views.ok()) return views.status();
    const Result<varve::Labels> canonical = varve::Labels::Make(*std::move(views));
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
    if (Status status = CheckCount(values, count, "values"); !status.ok()) return status;
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
  return AppendBatch(database, batch, options, counts, error,
                     [](varve::Database& db, const varve::WriteBatch& rows,
                        const varve::WriteOptions& write) -> Result<varve::bindings::RowCounts> {
                       const auto done = db.Append(rows, write);
                       if (!done.ok()) return done.status();
                       return varve::bindings::RowCounts{done->samples + done->histograms,
                                                         done->rejected};
                     });
}

// --- What is stored ---

namespace {

constexpr int64_t kStreamRows = 1 << 16;

Status GiveStream(Result<std::unique_ptr<varve::arrow::Source>> source, ArrowArrayStream* stream) {
  if (!source.ok()) return source.status();
  varve::arrow::ExportStream(*std::move(source), stream);
  return absl::OkStatus();
}

}  // namespace

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
    return GiveStream(database->store->Samples(OrEmpty(selector), {start_ms, end_ms}, kStreamRows),
                      stream);
  });
}

varve_code varve_services(varve_database* database, varve_list** list, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (list == nullptr) return Null("list");
    return GiveList(database->store->Services(), list);
  });
}
varve_code varve_log_entries_arrow_stream(varve_database* database, const char* selector,
                                          int64_t start_ns, int64_t end_ns,
                                          struct ArrowArrayStream* stream, varve_error** error) {
  return Run(selector, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (stream == nullptr) return Null("stream");
    return GiveStream(
        database->store->LogEntries(OrEmpty(selector), {start_ns, end_ns}, kStreamRows), stream);
  });
}
varve_code varve_spans_arrow_stream(varve_database* database, const char* service, int64_t start_ns,
                                    int64_t end_ns, struct ArrowArrayStream* stream,
                                    varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (stream == nullptr) return Null("stream");
    return GiveStream(database->store->Spans(std::string(OrEmpty(service)), {start_ns, end_ns}),
                      stream);
  });
}
varve_code varve_trace_arrow_stream(varve_database* database, const uint8_t trace_id[16],
                                    struct ArrowArrayStream* stream, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (trace_id == nullptr) return Null("trace_id");
    if (stream == nullptr) return Null("stream");
    varve::TraceId id;
    std::copy_n(trace_id, id.bytes.size(), id.bytes.begin());
    auto spans = database->store->Trace(id);
    if (!spans.ok()) return spans.status();
    varve::arrow::ExportStream(varve::bindings::SpanBatchSource(*std::move(spans)), stream);
    return absl::OkStatus();
  });
}

// --- Care ---

varve_code varve_delete_logs(varve_database* database, const char* query, int64_t start_ns,
                             int64_t end_ns, varve_error** error) {
  return Run(query, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (query == nullptr) return Null("query");
    return database->store->DeleteLogs(query, {start_ns, end_ns});
  });
}
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
