#include "tools/server/traces/grpc_api.h"

#include <algorithm>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/protobuf.h"
#include "tools/otlp/decode_common.h"
#include "tools/otlp/traces.h"
#include "tools/otlp/wire_writer.h"
#include "tools/server/traces/jaeger_query.h"
#include "tools/server/traces/trace_common.h"
#include "tools/tracing/jaeger_model.h"
#include "tools/tracing/jaeger_protobuf.h"
#include "tools/tracing/wire_formats.h"

namespace varve::api {
namespace {

using ingest::WireFault;
using ingest::WireReader;
using otlp::AppendBytesField;
using otlp::AppendTextUnlessEmpty;
using otlp::AppendVarintUnlessZero;
using otlp::Submessage;
using rpc::CallStatus;
using rpc::Code;

// Clients take messages of 4 MiB unless told otherwise.
constexpr size_t kMessageBytes = 1 << 20;
constexpr uint32_t kLimitMax = 10'000;

CallStatus Unavailable(std::string_view message) {
  return {Code::kUnavailable, std::string(message), {}};
}

// --- Ingest ---

CallStatus Export(TraceContext& context, otlp::Signal signal, std::string_view request,
                  std::string* response) {
  otlp::Receiver* const receiver = context.receiver.load(std::memory_order_acquire);
  if (receiver == nullptr) return Unavailable("the store is not open yet");
  const otlp::ExportResult result = receiver->Export(signal, otlp::BodyFormat::kProtobuf, request);
  if (result.status.ok()) {
    *response =
        otlp::ResponseBody(signal, otlp::BodyFormat::kProtobuf, result.rejected, result.message);
    return {};
  }
  CallStatus status = CallStatus::From(result.status);
  if (!result.retryable) {
    // A limit that the request itself breaks is not retried: no RetryInfo.
    return status;
  }
  if (result.status.code() == StatusCode::kResourceExhausted) {
    status.details = otlp::StatusBody(otlp::BodyFormat::kProtobuf, 8, status.message, 1);
  } else {
    status.code = Code::kUnavailable;
  }
  return status;
}

CallStatus PostSpans(TraceContext& context, std::string_view request) {
  tracing::TraceIngest* const ingest = context.ingest.load(std::memory_order_acquire);
  if (ingest == nullptr) return Unavailable("the store is not open yet");
  SpanBatch batch;
  if (const Status status = tracing::DecodeJaegerPostSpans(request, &batch); !status.ok()) {
    return CallStatus::From(status);
  }
  if (batch.empty()) return {};
  const Result<SpanAppendResult> appended = ingest->Append(batch);
  if (appended.ok()) return {};
  CallStatus status = CallStatus::From(appended.status());
  if (otlp::IsRetryable(appended.status())) status.code = Code::kUnavailable;
  return status;
}

// --- Requests of Jaeger ---

// Timestamp and Duration: {int64 seconds = 1; int32 nanos = 2}.
bool ReadNanos(WireReader* outer, WireFault* fault, int64_t* ns) {
  std::string_view message;
  if (!outer->Bytes(&message)) return false;
  int64_t seconds = 0;
  int64_t nanos = 0;
  WireReader reader(message, fault, "Timestamp");
  while (reader.Next()) {
    const bool good = reader.field() == 1   ? reader.Int64(&seconds)
                      : reader.field() == 2 ? reader.Int64(&nanos)
                                            : reader.Skip();
    if (!good) return false;
  }
  seconds = std::clamp<int64_t>(seconds, -9'000'000'000, 9'000'000'000);
  *ns = tracing::AddClamped(seconds * 1'000'000'000,
                            std::clamp<int64_t>(nanos, -1'000'000'000, 1'000'000'000));
  return fault->ok();
}

// How the TraceQueryParameters of the three packages differ.
struct QueryForm {
  bool typed_attributes = false;  // KeyValue, else a map of strings
  uint32_t filter_field = 0;      // 0: the package has none
  uint32_t pagination_field = 0;
};
constexpr QueryForm kApiV2;
constexpr QueryForm kApiV3{.filter_field = 10, .pagination_field = 11};
constexpr QueryForm kStorageV2{.typed_attributes = true, .filter_field = 9, .pagination_field = 10};

// Pagination: {uint32 page_size = 1; string page_token = 2}.
Status ReadPagination(std::string_view wire, WireFault* fault, JaegerSearch* out) {
  uint64_t size = 0;
  std::string_view token;
  WireReader reader(wire, fault, "Pagination");
  while (reader.Next()) {
    const bool good = reader.field() == 1   ? reader.Varint(&size)
                      : reader.field() == 2 ? reader.Bytes(&token)
                                            : reader.Skip();
    if (!good) return fault->ToStatus();
  }
  if (!fault->ok()) return fault->ToStatus();
  if (size == 0) return MakeStatus(StatusCode::kInvalidArgument, "page_size is required");
  out->paginated = true;
  out->search.limit = static_cast<uint32_t>(std::min<uint64_t>(size, kLimitMax));
  out->search.cursor = token;
  return absl::OkStatus();
}

Status ReadQuery(std::string_view wire, WireFault* fault, const QueryForm& form,
                 JaegerSearch* out) {
  WireReader reader(wire, fault, "TraceQueryParameters");
  bool has_depth = false;
  out->search.limit = 100;
  out->search.spans_per_spanset = 1;
  while (reader.Next()) {
    std::string_view text;
    int64_t number = 0;
    bool good = true;
    if (reader.field() == form.filter_field && form.filter_field != 0) {
      if (!reader.Bytes(&text)) break;
      VARVE_ASSIGN_OR_RETURN(out->structured, tracing::SpanFilter::FromProtobuf(text));
      continue;
    }
    if (reader.field() == form.pagination_field && form.pagination_field != 0) {
      if (!reader.Bytes(&text)) break;
      VARVE_RETURN_IF_ERROR(ReadPagination(text, fault, out));
      continue;
    }
    switch (reader.field()) {
      case 1:
        good = reader.Bytes(&text);
        out->filter.service = text;
        break;
      case 2:
        good = reader.Bytes(&text);
        out->filter.operation = text;
        break;
      case 3: {
        good = reader.Bytes(&text);
        if (!good) break;
        if (form.typed_attributes) {
          AttributeView attribute;
          good = otlp::ReadAttribute(text, fault, &attribute);
          out->filter.tags.emplace_back(attribute.key, ToString(attribute.value));
          break;
        }
        std::string_view key;
        std::string_view value;
        WireReader entry(text, fault, "MapEntry");
        while (entry.Next()) {
          good = entry.field() == 1   ? entry.Bytes(&key)
                 : entry.field() == 2 ? entry.Bytes(&value)
                                      : entry.Skip();
          if (!good) break;
        }
        good = fault->ok();
        out->filter.tags.emplace_back(key, value);
        break;
      }
      case 4:
        good = ReadNanos(&reader, fault, &out->search.range.min_ns);
        break;
      case 5:
        good = ReadNanos(&reader, fault, &out->search.range.max_ns);
        // Excluded.
        if (good && out->search.range.max_ns > kMinTime) --out->search.range.max_ns;
        break;
      case 6:
        good = ReadNanos(&reader, fault, &number);
        if (number > 0) out->filter.min_duration_ns = number;
        break;
      case 7:
        good = ReadNanos(&reader, fault, &number);
        if (number > 0) out->filter.max_duration_ns = number;
        break;
      case 8:
        good = reader.Int64(&number);
        has_depth = number > 0;
        if (number > 0)
          out->search.limit = static_cast<uint32_t>(std::min<int64_t>(number, kLimitMax));
        break;
      default:
        good = reader.Skip();
    }
    if (!good) break;
  }
  if (!fault->ok()) return fault->ToStatus();
  return has_depth && out->paginated ? MakeStatus(StatusCode::kInvalidArgument,
                                                  "pagination and search_depth exclude one another")
                                     : absl::OkStatus();
}

Result<JaegerSearch> ParseFind(std::string_view request, const QueryForm& form) {
  WireFault fault;
  fault.body = request.data();
  JaegerSearch out;
  WireReader reader(request, &fault, "FindTracesRequest");
  while (reader.Next()) {
    std::string_view query;
    if (reader.field() != 1) {
      if (!reader.Skip()) break;
      continue;
    }
    if (!reader.Bytes(&query)) break;
    VARVE_RETURN_IF_ERROR(ReadQuery(query, &fault, form, &out));
  }
  if (!fault.ok()) return fault.ToStatus();
  return out;
}

// Reads the strings of fields 1 and 2 of a small request.
Result<std::pair<std::string, std::string>> ParseTwo(std::string_view request) {
  WireFault fault;
  fault.body = request.data();
  std::string_view first;
  std::string_view second;
  WireReader reader(request, &fault, "request");
  while (reader.Next()) {
    const bool text = reader.wire() == ingest::WireType::kBytes;
    const bool good = reader.field() == 1 && text   ? reader.Bytes(&first)
                      : reader.field() == 2 && text ? reader.Bytes(&second)
                                                    : reader.Skip();
    if (!good) break;
  }
  if (!fault.ok()) return fault.ToStatus();
  return std::pair{std::string(first), std::string(second)};
}

// --- Answers ---

// Sends a trace as TracesData, cut by bytes.
bool SendOtlp(const SpanBatch& batch, std::vector<uint32_t> spans, const rpc::Write& write) {
  otlp::TraceWriter writer(otlp::TraceWriter::Format::kProtobuf, batch, std::move(spans));
  bool more = true;
  while (more) {
    std::string message;
    more = writer.Next(kMessageBytes, &message);
    if (!message.empty() && !write(std::move(message))) return false;
  }
  return true;
}

// The same as SpansResponseChunk of api_v2.
bool SendJaeger(const SpanBatch& batch, std::vector<uint32_t> spans, const rpc::Write& write) {
  std::string message;
  for (const uint32_t span : spans) {
    {
      const Submessage inner(1, &message);
      tracing::AppendJaegerSpan(batch, batch.spans()[span], &message);
    }
    if (message.size() >= kMessageBytes) {
      if (!write(std::move(message))) return false;
      message.clear();
    }
  }
  return message.empty() || write(std::move(message));
}

using Send = bool (*)(const SpanBatch&, std::vector<uint32_t>, const rpc::Write&);

CallStatus SendTraces(const TraceLookup& lookup, const std::vector<TraceId>& ids, Send send,
                      const rpc::Write& write, size_t* found) {
  SpanBatch batch;
  for (const TraceId& id : ids) {
    batch.Clear();
    auto spans = lookup.Get(id, &batch);
    if (!spans.ok()) return CallStatus::From(spans.status());
    if (spans->empty()) continue;
    ++*found;
    if (!send(batch, *std::move(spans), write)) break;
  }
  return {};
}

class Methods {
 public:
  explicit Methods(TraceContext* context) : context_(context) {}

  void Unary(std::string_view path,
             std::function<CallStatus(std::string_view, std::string*)> handler) {
    methods_[std::string(path)].unary = std::move(handler);
  }
  /// The handler gets a snapshot.
  template <typename Handler>
  void Read(std::string_view path, Handler handler) {
    methods_[std::string(path)].unary = [context = context_, handler](std::string_view request,
                                                                      std::string* response) {
      Database* const database = context->base->database.load(std::memory_order_acquire);
      if (database == nullptr) return Unavailable("the store is not open yet");
      const auto snapshot = database->TakeTraceSnapshot();
      if (!snapshot.ok()) return CallStatus::From(snapshot.status());
      return CallStatus::From(handler(*context, **snapshot, request, response));
    };
  }
  /// The handler gets a lookup.
  template <typename Handler>
  void Stream(std::string_view path, Handler handler) {
    methods_[std::string(path)].stream = [context = context_, handler](std::string_view request,
                                                                       const rpc::Write& write) {
      Database* const database = context->base->database.load(std::memory_order_acquire);
      if (database == nullptr) return Unavailable("the store is not open yet");
      const auto lookup = TraceLookup::Make(*database, context->archive);
      if (!lookup.ok()) return CallStatus::From(lookup.status());
      return handler(*context, *lookup, request, write);
    };
  }
  rpc::Methods Take() { return std::move(methods_); }

 private:
  TraceContext* const context_;
  rpc::Methods methods_;
};

// {repeated string services = 1}.
Status Services(TraceContext&, const TraceSnapshot& snapshot, std::string_view,
                std::string* response) {
  VARVE_ASSIGN_OR_RETURN(const LookupResult services, snapshot.Services({}));
  for (const std::string& service : services.values) AppendBytesField(1, service, response);
  return absl::OkStatus();
}

// Sends what a search finds.
auto FindAnd(Send send, const QueryForm& form) {
  return [send, form](TraceContext& context, const TraceLookup& lookup, std::string_view request,
                      const rpc::Write& write) -> CallStatus {
    const Result<JaegerSearch> search = ParseFind(request, form);
    if (!search.ok()) return CallStatus::From(search.status());
    if (search->paginated) return {Code::kInvalidArgument, "FindTraces has no pages", {}};
    const auto result = FindTraces(context, lookup.store(), *search, {});
    if (!result.ok()) return CallStatus::From(result.status());
    std::vector<TraceId> ids;
    for (const query::TraceSummary& trace : result->traces) ids.push_back(trace.id);
    size_t found = 0;
    return SendTraces(lookup, ids, send, write, &found);
  };
}

bool ReadTraceIdBytes(std::string_view bytes, TraceId* id) {
  if (bytes.size() != 16 && bytes.size() != 8) return false;
  std::copy(bytes.begin(), bytes.end(), id->bytes.end() - static_cast<ptrdiff_t>(bytes.size()));
  return true;
}

auto GetTrace(Send send, bool hex) {
  return [send, hex](TraceContext&, const TraceLookup& lookup, std::string_view request,
                     const rpc::Write& write) -> CallStatus {
    const auto fields = ParseTwo(request);
    if (!fields.ok()) return CallStatus::From(fields.status());
    TraceId id;
    if (hex && !tracing::ParseJaegerTraceId(fields->first, &id)) {
      return {Code::kInvalidArgument, "malformed trace id", {}};
    }
    if (!hex && !ReadTraceIdBytes(fields->first, &id)) {
      return {Code::kInvalidArgument, "a trace id has 16 bytes", {}};
    }
    size_t found = 0;
    CallStatus status = SendTraces(lookup, {id}, send, write, &found);
    if (status.code == Code::kOk && found == 0) return {Code::kNotFound, "trace not found", {}};
    return status;
  };
}

std::string_view BytesOf(const TraceId& id) {
  return {reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()};
}

// Timestamp: {int64 seconds = 1; int32 nanos = 2}.
void AppendTimestamp(uint32_t field, int64_t ns, std::string* out) {
  constexpr int64_t kSecond = 1'000'000'000;
  const int64_t nanos = (ns % kSecond + kSecond) % kSecond;
  const Submessage message(field, out);
  AppendVarintUnlessZero(1, static_cast<uint64_t>((ns - nanos) / kSecond), out);
  AppendVarintUnlessZero(2, static_cast<uint64_t>(nanos), out);
}

// TraceSummary of api_v3, whose ids are hex, and of storage.v2, whose ids are bytes.
void AppendSummary(const query::TraceSummary& trace, bool hex, std::string* out) {
  const Submessage summary(1, out);
  if (hex) {
    AppendBytesField(1, ToString(trace.id), out);
  } else {
    AppendBytesField(1, BytesOf(trace.id), out);
  }
  AppendTextUnlessEmpty(2, trace.root_service, out);
  AppendTextUnlessEmpty(3, trace.root_name, out);
  otlp::AppendFixed64Field(4, static_cast<uint64_t>(trace.start_ns), out);
  otlp::AppendFixed64Field(5, static_cast<uint64_t>(trace.end_ns), out);
  AppendVarintUnlessZero(6, trace.spans, out);
  AppendVarintUnlessZero(7, trace.errors, out);
  AppendVarintUnlessZero(8, trace.orphans, out);
  for (const query::ServiceSummary& service : trace.services) {
    const Submessage inner(9, out);
    AppendTextUnlessEmpty(1, service.service, out);
    AppendVarintUnlessZero(2, service.spans, out);
    AppendVarintUnlessZero(3, service.errors, out);
  }
}

auto FindSummaries(bool hex, const QueryForm& form) {
  return [hex, form](TraceContext& context, const TraceLookup& lookup, std::string_view request,
                     const rpc::Write& write) -> CallStatus {
    const Result<JaegerSearch> search = ParseFind(request, form);
    if (!search.ok()) return CallStatus::From(search.status());
    const auto result = FindTraces(context, lookup.store(), *search, {});
    if (!result.ok()) return CallStatus::From(result.status());
    std::string message;
    for (const query::TraceSummary& trace : result->traces) {
      AppendSummary(trace, hex, &message);
      if (message.size() < kMessageBytes) continue;
      if (!write(std::move(message))) return {};
      message.clear();
    }
    // The last message says where the next page begins.
    if (search->paginated) AppendTextUnlessEmpty(2, result->next, &message);
    if (!message.empty()) write(std::move(message));
    return {};
  };
}

// GetCapabilitiesResponse of storage.v2 and api_v3: {SearchCapabilities search = 1}.
CallStatus Capabilities(std::string_view, std::string* response) {
  const Submessage search(1, response);
  AppendVarintUnlessZero(1, 1, response);  // without_service_name
  AppendVarintUnlessZero(2, 1, response);  // same_span_conjunction
  {
    const Submessage filter(3, response);
    for (const std::string_view level : tracing::SpanFilter::levels()) {
      AppendBytesField(1, level, response);
    }
    for (const std::string_view op : tracing::SpanFilter::operators()) {
      AppendBytesField(2, op, response);
    }
  }
  AppendVarintUnlessZero(4, 1, response);  // paginated
  return {};
}

// Operations as api_v3 and storage.v2 list them.
Status Operations(TraceContext&, const TraceSnapshot& snapshot, std::string_view request,
                  std::string* response) {
  VARVE_ASSIGN_OR_RETURN(const auto fields, ParseTwo(request));
  VARVE_ASSIGN_OR_RETURN(const auto operations,
                         OperationsOf(snapshot, fields.first, fields.second));
  for (const auto& [name, kind] : operations) {
    const Submessage message(1, response);
    AppendTextUnlessEmpty(1, name, response);
    AppendTextUnlessEmpty(2, kind, response);
  }
  return absl::OkStatus();
}

Status Dependencies(TraceContext& context, std::string_view request, std::string* response) {
  WireFault fault;
  fault.body = request.data();
  int64_t min_ns = 0;
  int64_t max_ns = std::numeric_limits<int64_t>::max();
  WireReader reader(request, &fault, "GetDependenciesRequest");
  while (reader.Next()) {
    const bool good = reader.field() == 1   ? ReadNanos(&reader, &fault, &min_ns)
                      : reader.field() == 2 ? ReadNanos(&reader, &fault, &max_ns)
                                            : reader.Skip();
    if (!good) break;
  }
  if (!fault.ok()) return fault.ToStatus();
  Database* const database = context.base->database.load(std::memory_order_acquire);
  VARVE_ASSIGN_OR_RETURN(
      const std::vector<DependencyLink> links,
      DependenciesBetween(context, *database, min_ns / 1'000'000, max_ns / 1'000'000));
  for (const DependencyLink& link : links) {
    const Submessage message(1, response);
    AppendTextUnlessEmpty(1, link.parent, response);
    AppendTextUnlessEmpty(2, link.child, response);
    AppendVarintUnlessZero(3, link.calls, response);
  }
  return absl::OkStatus();
}

}  // namespace

rpc::Methods TraceMethods(TraceContext* context) {
  Methods methods(context);
  constexpr std::pair<std::string_view, otlp::Signal> kSignals[] = {
      {"/opentelemetry.proto.collector.trace.v1.TraceService/Export", otlp::Signal::kTraces},
      {"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", otlp::Signal::kMetrics},
      {"/opentelemetry.proto.collector.logs.v1.LogsService/Export", otlp::Signal::kLogs},
  };
  for (const auto& [path, signal] : kSignals) {
    methods.Unary(path,
                  [context, signal = signal](std::string_view request, std::string* response) {
                    return Export(*context, signal, request, response);
                  });
  }
  methods.Unary("/jaeger.api_v2.SamplingManager/GetSamplingStrategy",
                [context](std::string_view request, std::string* response) -> CallStatus {
                  const auto fields = ParseTwo(request);
                  if (!fields.ok()) return CallStatus::From(fields.status());
                  *response = tracing::SamplingProtobuf(context->sampling->Find(fields->first));
                  return {};
                });
  methods.Unary(
      "/jaeger.api_v2.CollectorService/PostSpans",
      [context](std::string_view request, std::string*) { return PostSpans(*context, request); });

  for (const std::string_view service :
       {"/jaeger.api_v2.QueryService/", "/jaeger.api_v3.QueryService/",
        "/jaeger.storage.v2.TraceReader/"}) {
    methods.Read(Concat(service, "GetServices"), Services);
  }
  // api_v2 repeats the names without their kinds in field 1.
  methods.Read("/jaeger.api_v2.QueryService/GetOperations",
               [](TraceContext&, const TraceSnapshot& snapshot, std::string_view request,
                  std::string* response) -> Status {
                 VARVE_ASSIGN_OR_RETURN(const auto fields, ParseTwo(request));
                 VARVE_ASSIGN_OR_RETURN(const auto operations,
                                        OperationsOf(snapshot, fields.first, fields.second));
                 std::string_view last;
                 for (const auto& [name, kind] : operations) {
                   if (name == last && !last.empty()) continue;
                   AppendBytesField(1, name, response);
                   last = name;
                 }
                 for (const auto& [name, kind] : operations) {
                   const Submessage message(2, response);
                   AppendTextUnlessEmpty(1, name, response);
                   AppendTextUnlessEmpty(2, kind, response);
                 }
                 return absl::OkStatus();
               });
  methods.Read("/jaeger.api_v3.QueryService/GetOperations", Operations);
  methods.Read("/jaeger.storage.v2.TraceReader/GetOperations", Operations);

  methods.Stream("/jaeger.api_v2.QueryService/GetTrace", GetTrace(SendJaeger, false));
  methods.Stream("/jaeger.api_v2.QueryService/FindTraces", FindAnd(SendJaeger, kApiV2));
  methods.Stream("/jaeger.api_v3.QueryService/GetTrace", GetTrace(SendOtlp, true));
  methods.Stream("/jaeger.api_v3.QueryService/FindTraces", FindAnd(SendOtlp, kApiV3));
  methods.Stream("/jaeger.storage.v2.TraceReader/FindTraces", FindAnd(SendOtlp, kStorageV2));
  methods.Stream("/jaeger.storage.v2.TraceReader/GetTraces",
                 [](TraceContext&, const TraceLookup& lookup, std::string_view request,
                    const rpc::Write& write) -> CallStatus {
                   WireFault fault;
                   fault.body = request.data();
                   std::vector<TraceId> ids;
                   WireReader reader(request, &fault, "GetTracesRequest");
                   while (reader.Next()) {
                     std::string_view params;
                     if (reader.field() != 1) {
                       if (!reader.Skip()) break;
                       continue;
                     }
                     if (!reader.Bytes(&params)) break;
                     TraceId& id = ids.emplace_back();
                     WireReader inner(params, &fault, "GetTraceParams");
                     while (inner.Next()) {
                       const bool good =
                           inner.field() == 1 ? otlp::ReadId(&inner, &id) : inner.Skip();
                       if (!good) break;
                     }
                   }
                   if (!fault.ok()) return CallStatus::From(fault.ToStatus());
                   size_t found = 0;
                   return SendTraces(lookup, ids, SendOtlp, write, &found);
                 });
  // {repeated FoundTraceID {bytes trace_id = 1; Timestamp start = 2, end = 3} trace_ids = 1;
  // string next_page_token = 2}.
  methods.Read("/jaeger.storage.v2.TraceReader/FindTraceIDs",
               [](TraceContext& context, const TraceSnapshot& snapshot, std::string_view request,
                  std::string* response) -> Status {
                 VARVE_ASSIGN_OR_RETURN(const JaegerSearch search, ParseFind(request, kStorageV2));
                 VARVE_ASSIGN_OR_RETURN(const auto result,
                                        FindTraces(context, snapshot, search, {}));
                 for (const query::TraceSummary& trace : result.traces) {
                   const Submessage message(1, response);
                   AppendBytesField(1, BytesOf(trace.id), response);
                   AppendTimestamp(2, trace.start_ns, response);
                   AppendTimestamp(3, trace.end_ns, response);
                 }
                 if (search.paginated) AppendTextUnlessEmpty(2, result.next, response);
                 return absl::OkStatus();
               });
  methods.Stream("/jaeger.api_v3.QueryService/FindTraceSummaries", FindSummaries(true, kApiV3));
  methods.Stream("/jaeger.storage.v2.TraceReader/FindTraceSummaries",
                 FindSummaries(false, kStorageV2));
  methods.Unary("/jaeger.storage.v2.Capabilities/GetCapabilities", Capabilities);
  methods.Unary("/jaeger.api_v3.Capabilities/GetCapabilities", Capabilities);
  for (const std::string_view path : {"/jaeger.api_v2.QueryService/GetDependencies",
                                      "/jaeger.api_v3.QueryService/GetDependencies",
                                      "/jaeger.storage.v2.DependencyReader/GetDependencies"}) {
    methods.Read(
        path, [](TraceContext& trace_context, const TraceSnapshot&, std::string_view request,
                 std::string* response) { return Dependencies(trace_context, request, response); });
  }
  methods.Read("/jaeger.api_v2.QueryService/ArchiveTrace",
               [](TraceContext& trace_context, const TraceSnapshot& snapshot,
                  std::string_view request, std::string*) -> Status {
                 VARVE_ASSIGN_OR_RETURN(const auto fields, ParseTwo(request));
                 TraceId id;
                 if (!ReadTraceIdBytes(fields.first, &id)) {
                   return MakeStatus(StatusCode::kInvalidArgument, "a trace id has 16 bytes");
                 }
                 return trace_context.archive->Add(snapshot, id);
               });
  return methods.Take();
}

}  // namespace varve::api
