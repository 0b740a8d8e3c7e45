// Writing logs and spans.

#include <algorithm>
#include <limits>

#include "bindings/c/internal.h"
#include "bindings/core/any_value.h"
#include "bindings/core/ingest.h"
#include "varve/log_batch.h"
#include "varve/span_batch.h"

using varve::AttributeView;
using varve::MakeStatus;
using varve::Result;
using varve::SpanBatch;
using varve::Status;
using varve::StatusCode;
using varve::ValueView;
using varve::c_api::Null;
using varve::c_api::Run;

struct varve_log_batch {
  varve::LogBatch batch;
};
struct varve_span_batch {
  SpanBatch batch;
};

namespace varve::c_api {
namespace {

Status Bad(const std::string& message) { return MakeStatus(StatusCode::kInvalidArgument, message); }

// Names an item of an array in front of what is wrong with it.
Status At(const char* what, size_t index, const Status& status) {
  return MakeStatus(status.code(),
                    std::string(what) + " " + std::to_string(index) + ": " +
                        std::string(status.message().data(), status.message().size()));
}

// The struct of an array's elements has had one size so far.
template <typename T>
Status CheckStride(size_t stride, const char* what) {
  if (stride == sizeof(T)) return absl::OkStatus();
  return Bad(std::string(what) + " is " + std::to_string(stride) + ", not " +
             std::to_string(sizeof(T)));
}

// --- Attributes ---

Result<std::string> EncodeItems(const varve_attribute& value, int depth);

// Appends one value to an AnyValue message.
Status EncodeAny(const varve_attribute& value, int depth, std::string* out) {
  switch (value.type) {
    case VARVE_EMPTY:
      return absl::OkStatus();
    case VARVE_TEXT: {
      const auto text = TextOf(value.text, value.text_size, "text");
      if (!text.ok()) return text.status();
      bindings::AppendAnyString(*text, out);
      return absl::OkStatus();
    }
    case VARVE_BYTES: {
      const auto bytes = BytesOf(value.text, value.text_size, "text");
      if (!bytes.ok()) return bytes.status();
      bindings::AppendAnyBytes(*bytes, out);
      return absl::OkStatus();
    }
    case VARVE_BOOL:
      bindings::AppendAnyBool(value.integer != 0, out);
      return absl::OkStatus();
    case VARVE_INT:
      bindings::AppendAnyInt(value.integer, out);
      return absl::OkStatus();
    case VARVE_DOUBLE:
      bindings::AppendAnyDouble(value.number, out);
      return absl::OkStatus();
    case VARVE_ARRAY:
    case VARVE_MAP: {
      const auto items = EncodeItems(value, depth);
      if (!items.ok()) return items.status();
      if (value.type == VARVE_MAP) {
        bindings::AppendAnyMap(*items, out);
      } else {
        bindings::AppendAnyArray(*items, out);
      }
      return absl::OkStatus();
    }
  }
  return Bad("there is no type " + std::to_string(value.type));
}

// Encodes an array or a map. A caller's pointers may go in circles: depth ends it, and so does
// size.
Result<std::string> EncodeItems(const varve_attribute& value, int depth) {
  constexpr size_t kBytesMax = 64u << 20;
  if (depth > bindings::kValueDepthMax) return Bad("nested too deep");
  if (Status status = CheckCount(value.items, value.items_count, "items"); !status.ok()) {
    return status;
  }
  std::string out;
  std::string one;
  for (size_t i = 0; i < value.items_count; ++i) {
    const varve_attribute& item = value.items[i];
    one.clear();
    if (Status status = EncodeAny(item, depth + 1, &one); !status.ok()) return status;
    if (value.type == VARVE_MAP) {
      const auto key = TextOf(item.key, item.key_size, "key");
      if (!key.ok()) return key.status();
      bindings::AppendMapItem(*key, one, &out);
    } else {
      bindings::AppendArrayItem(one, &out);
    }
    if (out.size() > kBytesMax) return Bad("over 64 MiB");
  }
  return out;
}

Result<ValueView> ValueOf(const varve_attribute& value, SpanBatch* batch) {
  switch (value.type) {
    case VARVE_TEXT: {
      const auto text = TextOf(value.text, value.text_size, "text");
      if (!text.ok()) return text.status();
      return ValueView::String(batch->Copy(*text));
    }
    case VARVE_BYTES: {
      const auto bytes = BytesOf(value.text, value.text_size, "text");
      if (!bytes.ok()) return bytes.status();
      return ValueView::Bytes(batch->Copy(*bytes));
    }
    case VARVE_ARRAY:
    case VARVE_MAP: {
      const auto items = EncodeItems(value, 0);
      if (!items.ok()) return items.status();
      const std::string_view wire = batch->Copy(*items);
      return value.type == VARVE_MAP ? ValueView::Map(wire) : ValueView::Array(wire);
    }
    case VARVE_EMPTY:
      return ValueView();
    case VARVE_BOOL:
      return ValueView::Bool(value.integer != 0);
    case VARVE_INT:
      return ValueView::Int(value.integer);
    case VARVE_DOUBLE:
      return ValueView::Double(value.number);
  }
  return Bad("there is no type " + std::to_string(value.type));
}

Result<std::vector<AttributeView>> AttributesOf(const varve_attribute* attributes, size_t count,
                                                SpanBatch* batch) {
  if (Status status = CheckCount(attributes, count, "attributes"); !status.ok()) return status;
  std::vector<AttributeView> out;
  for (size_t i = 0; i < count; ++i) {
    const auto key = TextOf(attributes[i].key, attributes[i].key_size, "key");
    if (!key.ok()) return At("attribute", i, key.status());
    const auto value = ValueOf(attributes[i], batch);
    if (!value.ok()) return At("attribute", i, value.status());
    out.push_back({batch->Copy(*key), *value});
  }
  return out;
}

// --- Spans ---

// A span whose texts are in the batch, and which has yet to be added.
struct ReadSpan {
  struct Event {
    int64_t time_ns;
    std::string_view name;
    std::vector<AttributeView> attributes;
    uint32_t dropped_attributes;
  };
  struct Link {
    SpanBatch::Link link;
    std::vector<AttributeView> attributes;
  };
  SpanBatch::Span span;
  std::vector<AttributeView> attributes;
  std::vector<Event> events;
  std::vector<Link> links;
};

template <typename Id>
Id IdOf(const uint8_t* bytes) {
  Id out;
  std::copy_n(bytes, out.bytes.size(), out.bytes.begin());
  return out;
}

Status ReadInto(const char* text, size_t size, const char* what, SpanBatch* batch,
                std::string_view* out) {
  const auto read = TextOf(text, size, what);
  if (!read.ok()) return read.status();
  *out = batch->Copy(*read);
  return absl::OkStatus();
}

Status ReadInto(const varve_attribute* attributes, size_t count, SpanBatch* batch,
                std::vector<AttributeView>* out) {
  auto read = AttributesOf(attributes, count, batch);
  if (!read.ok()) return read.status();
  *out = *std::move(read);
  return absl::OkStatus();
}

Status Read(const varve_span_event& from, SpanBatch* batch, ReadSpan::Event* out) {
  out->time_ns = from.time_ns;
  out->dropped_attributes = from.dropped_attributes;
  if (Status status = ReadInto(from.name, from.name_size, "name", batch, &out->name);
      !status.ok()) {
    return status;
  }
  return ReadInto(from.attributes, from.attributes_count, batch, &out->attributes);
}

Status Read(const varve_span_link& from, SpanBatch* batch, ReadSpan::Link* out) {
  out->link.trace_id = IdOf<TraceId>(from.trace_id);
  out->link.span_id = IdOf<SpanId>(from.span_id);
  out->link.dropped_attributes = from.dropped_attributes;
  out->link.flags = from.flags;
  if (Status status = ReadInto(from.trace_state, from.trace_state_size, "trace_state", batch,
                               &out->link.trace_state);
      !status.ok()) {
    return status;
  }
  return ReadInto(from.attributes, from.attributes_count, batch, &out->attributes);
}

template <typename From, typename To>
Status ReadAll(const From* from, size_t count, const char* what, SpanBatch* batch,
               std::vector<To>* out) {
  if (Status status = CheckCount(from, count, what); !status.ok()) return status;
  for (size_t i = 0; i < count; ++i) {
    if (Status status = Read(from[i], batch, &out->emplace_back()); !status.ok()) {
      return At(what, i, status);
    }
  }
  return absl::OkStatus();
}

Status Read(const varve_span& from, SpanBatch* batch, ReadSpan* out) {
  SpanBatch::Span& span = out->span;
  span.trace_id = IdOf<TraceId>(from.trace_id);
  span.span_id = IdOf<SpanId>(from.span_id);
  span.parent_id = IdOf<SpanId>(from.parent_id);
  if (from.kind < VARVE_KIND_UNSPECIFIED || from.kind > VARVE_KIND_CONSUMER) {
    return Bad("there is no kind " + std::to_string(from.kind));
  }
  if (from.status < VARVE_STATUS_UNSET || from.status > VARVE_STATUS_ERROR) {
    return Bad("there is no status " + std::to_string(from.status));
  }
  span.kind = static_cast<SpanKind>(from.kind);
  span.status = static_cast<SpanStatus>(from.status);
  span.start_ns = from.start_ns;
  span.end_ns = from.end_ns;
  span.flags = from.flags;
  span.dropped_attributes = from.dropped_attributes;
  span.dropped_events = from.dropped_events;
  span.dropped_links = from.dropped_links;
  Status status = ReadInto(from.name, from.name_size, "name", batch, &span.name);
  if (status.ok()) {
    status = ReadInto(from.status_message, from.status_message_size, "status_message", batch,
                      &span.status_message);
  }
  if (status.ok()) {
    status =
        ReadInto(from.trace_state, from.trace_state_size, "trace_state", batch, &span.trace_state);
  }
  if (status.ok()) {
    status = ReadInto(from.attributes, from.attributes_count, batch, &out->attributes);
  }
  if (status.ok()) status = ReadAll(from.events, from.events_count, "event", batch, &out->events);
  if (status.ok()) status = ReadAll(from.links, from.links_count, "link", batch, &out->links);
  return status;
}

void Add(const ReadSpan& read, SpanBatch* batch) {
  batch->AddSpan(read.span, read.attributes);
  for (const ReadSpan::Event& event : read.events) {
    batch->AddEvent(event.time_ns, event.name, event.attributes, event.dropped_attributes);
  }
  for (const ReadSpan::Link& link : read.links) batch->AddLink(link.link, link.attributes);
}

// Takes an Arrow stream over and runs `append(table, write options)`.
template <typename Append>
varve_code AppendArrow(varve_database* database, ArrowArrayStream* stream,
                       const varve_write_options* options, varve_append_counts* counts,
                       varve_error** error, const Append& append) {
  return Run(nullptr, error, [&]() -> Status {
    if (stream == nullptr) return Null("stream");
    if (stream->release == nullptr) return Bad("the stream is released already");
    const Result<arrow::Table> table = arrow::Table::Read(stream);
    if (database == nullptr) return Null("database");
    if (!table.ok()) return table.status();
    return Counted(options, counts,
                   [&](const WriteOptions& write) { return append(*table, write); });
  });
}

}  // namespace
}  // namespace varve::c_api

using namespace varve::c_api;  // NOLINT(google-build-using-namespace)

// --- Logs ---

varve_log_batch* varve_log_batch_new(void) {
  try {
    return new varve_log_batch();
  } catch (const std::exception&) {
    return nullptr;
  }
}
void varve_log_batch_free(varve_log_batch* batch) { delete batch; }
void varve_log_batch_clear(varve_log_batch* batch) {
  if (batch != nullptr) batch->batch.Clear();
}

varve_code varve_log_batch_add_stream(varve_log_batch* batch, const varve_label* labels,
                                      size_t labels_count, uint32_t* stream, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (batch == nullptr) return Null("batch");
    if (stream == nullptr) return Null("stream");
    auto views = LabelsOf(labels, labels_count, "labels");
    if (!views.ok()) return views.status();
    const auto canonical = varve::Labels::Make(*std::move(views));
    if (!canonical.ok()) return canonical.status();
    *stream = batch->batch.AddStream(canonical->view());
    return absl::OkStatus();
  });
}

varve_code varve_log_batch_add_entries(varve_log_batch* batch, uint32_t stream,
                                       const varve_log_entry* entries, size_t entry_size,
                                       size_t count, varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (batch == nullptr) return Null("batch");
    varve::LogBatch& log = batch->batch;
    if (stream >= log.streams().size()) {
      return Bad("stream " + std::to_string(stream) + " is not in this batch of " +
                 std::to_string(log.streams().size()));
    }
    if (Status status = CheckStride<varve_log_entry>(entry_size, "entry_size"); !status.ok()) {
      return status;
    }
    if (Status status = CheckCount(entries, count, "entries"); !status.ok()) return status;
    if (count > std::numeric_limits<uint32_t>::max() - log.entries().size()) {
      return Bad("the batch has too many entries");
    }
    // First everything is read, so that an error adds nothing.
    struct Read {
      std::string_view line;
      size_t metadata_begin;
    };
    std::vector<Read> read;
    std::vector<varve::LabelView> metadata;
    for (size_t i = 0; i < count; ++i) {
      const varve_log_entry& entry = entries[i];
      const auto line = BytesOf(entry.line, entry.line_size, "line");
      if (!line.ok()) return At("entry", i, line.status());
      auto own = LabelsOf(entry.metadata, entry.metadata_count, "metadata");
      if (!own.ok()) return At("entry", i, own.status());
      std::sort(own->begin(), own->end());
      for (size_t m = 0; m < own->size(); ++m) {
        if ((*own)[m].name.empty() || (m > 0 && (*own)[m].name == (*own)[m - 1].name)) {
          return At("entry", i, Bad("a metadata name is empty or repeated"));
        }
      }
      read.push_back({*line, metadata.size()});
      metadata.insert(metadata.end(), own->begin(), own->end());
    }
    std::vector<varve::LabelView> own;
    for (size_t i = 0; i < count; ++i) {
      const size_t end = i + 1 < count ? read[i + 1].metadata_begin : metadata.size();
      own.clear();
      for (size_t m = read[i].metadata_begin; m < end; ++m) {
        own.push_back({log.Copy(metadata[m].name), log.Copy(metadata[m].value)});
      }
      log.AddEntry(stream, entries[i].time_ns, log.Copy(read[i].line), own);
    }
    return absl::OkStatus();
  });
}

varve_code varve_append_logs(varve_database* database, const varve_log_batch* batch,
                             const varve_write_options* options, varve_append_counts* counts,
                             varve_error** error) {
  return AppendBatch(database, batch, options, counts, error,
                     [](varve::Database& db, const varve::LogBatch& rows,
                        const varve::WriteOptions& write) -> Result<varve::bindings::RowCounts> {
                       const auto done = db.AppendLogs(rows, write);
                       if (!done.ok()) return done.status();
                       return varve::bindings::RowCounts{done->entries, done->rejected};
                     });
}

varve_code varve_append_samples_arrow(varve_database* database, struct ArrowArrayStream* stream,
                                      const varve_write_options* options,
                                      varve_append_counts* counts, varve_error** error) {
  return AppendArrow(database, stream, options, counts, error,
                     [&](const varve::arrow::Table& table, const varve::WriteOptions& write) {
                       return varve::bindings::AppendSampleTable(*database->store, table, write);
                     });
}

varve_code varve_append_logs_arrow(varve_database* database, struct ArrowArrayStream* stream,
                                   const varve_write_options* options, varve_append_counts* counts,
                                   varve_error** error) {
  return AppendArrow(database, stream, options, counts, error,
                     [&](const varve::arrow::Table& table, const varve::WriteOptions& write) {
                       return varve::bindings::AppendLogTable(
                           *database->store, table, varve::bindings::LogTableShape(), write);
                     });
}

// --- Spans ---

varve_span_batch* varve_span_batch_new(void) {
  try {
    return new varve_span_batch();
  } catch (const std::exception&) {
    return nullptr;
  }
}
void varve_span_batch_free(varve_span_batch* batch) { delete batch; }
void varve_span_batch_clear(varve_span_batch* batch) {
  if (batch != nullptr) batch->batch.Clear();
}

varve_code varve_span_batch_add_resource(varve_span_batch* batch, const varve_attribute* attributes,
                                         size_t attributes_count, const char* scope_name,
                                         const char* scope_version, uint32_t* resource,
                                         varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (batch == nullptr) return Null("batch");
    if (resource == nullptr) return Null("resource");
    SpanBatch& spans = batch->batch;
    const auto views = AttributesOf(attributes, attributes_count, &spans);
    if (!views.ok()) return views.status();
    std::string_view name;
    std::string_view version;
    if (Status status = ReadInto(scope_name, 0, "scope_name", &spans, &name); !status.ok()) {
      return status;
    }
    if (Status status = ReadInto(scope_version, 0, "scope_version", &spans, &version);
        !status.ok()) {
      return status;
    }
    *resource = spans.AddScope(spans.AddResource(*views), name, version);
    return absl::OkStatus();
  });
}

varve_code varve_span_batch_add_spans(varve_span_batch* batch, uint32_t resource,
                                      const varve_span* spans, size_t span_size, size_t count,
                                      varve_error** error) {
  return Run(nullptr, error, [&]() -> Status {
    if (batch == nullptr) return Null("batch");
    if (resource >= batch->batch.scopes().size()) {
      return Bad("resource " + std::to_string(resource) + " is not in this batch of " +
                 std::to_string(batch->batch.scopes().size()));
    }
    if (Status status = CheckStride<varve_span>(span_size, "span_size"); !status.ok()) {
      return status;
    }
    if (Status status = CheckCount(spans, count, "spans"); !status.ok()) return status;
    std::vector<ReadSpan> read;
    for (size_t i = 0; i < count; ++i) {
      ReadSpan& one = read.emplace_back();
      if (Status status = Read(spans[i], &batch->batch, &one); !status.ok()) {
        return At("span", i, status);
      }
      one.span.scope = resource;
    }
    for (const ReadSpan& one : read) Add(one, &batch->batch);
    return absl::OkStatus();
  });
}

varve_code varve_append_spans(varve_database* database, const varve_span_batch* batch,
                              const varve_write_options* options, varve_append_counts* counts,
                              varve_error** error) {
  return AppendBatch(database, batch, options, counts, error,
                     [](varve::Database& db, const varve::SpanBatch& rows,
                        const varve::WriteOptions& write) -> Result<varve::bindings::RowCounts> {
                       const auto done = db.AppendSpans(rows, write);
                       if (!done.ok()) return done.status();
                       return varve::bindings::RowCounts{done->spans, done->rejected};
                     });
}

varve_code varve_append_spans_arrow(varve_database* database, struct ArrowArrayStream* stream,
                                    const varve_write_options* options, varve_append_counts* counts,
                                    varve_error** error) {
  return AppendArrow(database, stream, options, counts, error,
                     [&](const varve::arrow::Table& table, const varve::WriteOptions& write) {
                       return varve::bindings::AppendSpanTable(
                           *database->store, table, varve::bindings::SpanTableShape(), write);
                     });
}
