#include <algorithm>

#include "engine/base/strings.h"
#include "tools/ingest/compression.h"
#include "tools/ingest/http_status.h"
#include "tools/loki/context.h"
#include "tools/loki/push_decode.h"
#include "tools/server/http/coding.h"

namespace varve::loki {
namespace {

using http::Response;

// A batch that has held a large body is not worth keeping.
constexpr size_t kKeptBytesMax = 16u << 20;
constexpr size_t kKeptEntriesMax = 1u << 18;
constexpr size_t kPoolMax = 32;
constexpr uint32_t kRejectionsMax = 100;  // more than the errors of one answer
// Asks that nothing be added to the labels and the metadata of a push.
constexpr std::string_view kAsSentHeader = "X-Varve-As-Sent";

Response Failure(int status, std::string_view text) {
  return Response::Text(status, Concat(text, "\n"));
}

// Adds an error to what the intake found, for an entry that the store refused.
void AddRejection(const LogRejection& rejection, const LogBatch& batch, GroupedErrors* errors) {
  std::string stream;
  if (rejection.stream < batch.streams().size()) {
    stream = ToString(batch.labels(batch.streams()[rejection.stream]));
    if (stream.size() > 2048) stream = Concat(stream.substr(0, 2048), "...");
  }
  if (rejection.reason == LogRejectReason::kStreamLimit) {
    errors->Add(StreamLimitText(stream));
    return;
  }
  std::string text =
      Concat("entry for stream '", stream, "' was not stored: ", ToString(rejection.reason));
  if (!rejection.detail.empty()) text += Concat(": ", rejection.detail);
  errors->Add(std::move(text));
}

struct ContentType {
  bool json = false;
  bool good = true;
};
ContentType ParseContentType(std::string_view header) {
  const std::string_view type = http::Trim(header.substr(0, header.find(';')));
  ContentType out;
  out.json = http::EqualsIgnoreCase(type, "application/json");
  out.good = type.empty() || type.find('/') != std::string_view::npos;
  return out;
}

}  // namespace

Context::Loan::Loan(Context& context) : context_(context) {
  {
    const absl::MutexLock lock(&context.mutex);
    if (!context.pool.empty()) {
      scratch_ = std::move(context.pool.back());
      context.pool.pop_back();
    }
  }
  if (scratch_ == nullptr) scratch_ = std::make_unique<PushScratch>(&context.limits);
  context.Reset(scratch_.get());
}

Context::Loan::~Loan() {
  if (scratch_->decoded.capacity() > kKeptBytesMax) scratch_->decoded = std::string();
  if (scratch_->batch.entries().capacity() > kKeptEntriesMax) scratch_->batch = LogBatch();
  const absl::MutexLock lock(&context_.mutex);
  if (context_.pool.size() < kPoolMax) context_.pool.push_back(std::move(scratch_));
}

void Context::Reset(PushScratch* scratch) const {
  scratch->batch.Clear();
  scratch->intake.Reset(NowNs(), &scratch->batch, stream_rates.get(), clock->Monotonic());
}

bool Context::TakeRate(uint64_t bytes) {
  if (limits.ingestion_rate_mb <= 0) return true;
  const double burst = std::max(limits.ingestion_burst_size_mb, 0.0) * (1 << 20);
  const auto now = clock->Monotonic();
  const absl::MutexLock lock(&mutex);
  if (rate_tokens < 0) {
    rate_tokens = burst;
  } else {
    const double seconds = std::chrono::duration<double>(now - rate_time).count();
    rate_tokens = std::min(burst, rate_tokens + seconds * limits.ingestion_rate_mb * (1 << 20));
  }
  rate_time = now;
  if (static_cast<double>(bytes) > rate_tokens) return false;
  rate_tokens -= static_cast<double>(bytes);
  return true;
}

AppendOutcome AppendIntake(Context& context, Database& database, PushScratch& scratch) {
  PushCounters& counters = context.counters;
  LogIntake& intake = scratch.intake;
  AppendOutcome out;
  intake.Finish();
  const uint64_t bytes = scratch.batch.line_bytes();
  if (!scratch.batch.empty() && !context.TakeRate(bytes)) {
    out.status = 429;
    out.retry = true;
    out.error = Concat(
        "Ingestion rate limit exceeded for user ", kTenant,
        " (limit: ", static_cast<uint64_t>(context.limits.ingestion_rate_mb * (1 << 20)),
        " bytes/sec) while attempting to ingest '", scratch.batch.entries().size(),
        "' lines totaling '", bytes,
        "' bytes, reduce log volume or contact your Loki administrator to see if the limit can be "
        "increased");
    return out;
  }
  bool limited = intake.limited();
  if (!scratch.batch.empty()) {
    WriteOptions options;
    options.durability = context.durability;
    options.partial = true;
    // Whoever watches must not see what was refused.
    const bool watched = context.watched && context.watched();
    options.rejections_max =
        watched ? static_cast<uint32_t>(scratch.batch.entries().size()) : kRejectionsMax;
    const Result<LogAppendResult> result = database.AppendLogs(scratch.batch, options);
    if (!result.ok()) {
      const ingest::HttpOutcome failure = ingest::OutcomeOfStoreError(result.status());
      out.status = failure.status;
      out.retry = failure.status >= 500;
      out.rejected = scratch.batch.entries().size() + intake.discarded();
      out.error = ToStd(result.status().message());
      return out;
    }
    counters.entries += result->entries;
    counters.line_bytes += bytes;
    counters.entries_discarded += result->rejected;
    out.accepted = result->entries;
    out.rejected = result->rejected;
    GroupedErrors* const errors = intake.mutable_errors();
    for (uint64_t i = 0; i < result->rejected; ++i) {
      const LogRejection* const rejection =
          i < result->rejections.size() ? &result->rejections[i] : nullptr;
      limited =
          limited || (rejection != nullptr && rejection->reason == LogRejectReason::kStreamLimit);
      if (rejection == nullptr || errors->full()) {
        errors->Count();
      } else {
        AddRejection(*rejection, scratch.batch, errors);
      }
    }
    if (context.on_append) context.on_append(scratch.batch, *result);
  }
  counters.entries_discarded += intake.discarded();
  out.rejected += intake.discarded();
  if (!intake.errors().empty()) {
    out.status = limited ? 429 : 400;
    out.retry = limited;
    out.error = intake.errors().Text();
  }
  return out;
}

AppendOutcome AppendDecoded(Context& context, Database& database, const LogBatch& decoded) {
  Context::Loan scratch(context);
  uint32_t stream = UINT32_MAX;
  for (const LogBatch::Entry& entry : decoded.entries()) {
    if (entry.stream != stream) {
      stream = entry.stream;
      scratch->intake.BeginStream(decoded.labels(decoded.streams()[stream]));
    }
    scratch->intake.AddEntry(entry.time_ns, entry.line, decoded.metadata(entry));
  }
  return AppendIntake(context, database, *scratch);
}

Response ToResponse(const AppendOutcome& outcome) {
  if (outcome.status < 400) {
    Response response;
    response.status = outcome.status;
    return response;
  }
  Response response = Failure(outcome.status, outcome.error);
  if (outcome.retry) response.headers.Add("Retry-After", outcome.status == 429 ? "1" : "5");
  return response;
}

namespace {

Response Push(Context& context, Database& database, http::Request& request) {
  const Limits& limits = context.limits;
  if (context.NowNs() / 1'000'000 < limits.block_ingestion_until_ms) {
    return Failure(limits.block_ingestion_status_code,
                   Concat("ingestion blocked for user ", kTenant, " until '",
                          FormatSeconds(limits.block_ingestion_until_ms * 1'000'000),
                          "' with status code '", limits.block_ingestion_status_code, "'"));
  }
  const ContentType type = ParseContentType(request.headers.Get("Content-Type"));
  if (!type.good) return Failure(400, "mime: expected slash in the media type");
  const std::string encoding = request.headers.Joined("Content-Encoding");
  const Result<ingest::BodyEncoding> parsed = ingest::ParseContentEncoding(encoding);
  if (!parsed.ok()) {
    return Failure(400, Concat("Content-Encoding ", GoQuote(encoding), " not supported"));
  }
  ingest::BodyEncoding coding = *parsed;
  // Protobuf bodies are raw snappy, said or not.
  if (!type.json && coding == ingest::BodyEncoding::kIdentity) {
    coding = ingest::BodyEncoding::kSnappyBlock;
  }
  Context::Loan scratch(context);
  if (request.headers.Get(kAsSentHeader) == "true") scratch->intake.KeepAsSent();
  std::string_view body = request.body;
  if (coding == ingest::BodyEncoding::kDeflate) {
    // Loki means the bare stream by that word, most others the zlib wrapper: both are taken.
    http::DecodeLimits limits;
    limits.output_bytes_max = context.limits.max_recv_msg_size;
    Result<std::string> decoded = http::Decode(http::Coding::kDeflate, request.body, limits);
    if (!decoded.ok()) {
      const bool large = decoded.status().code() == StatusCode::kResourceExhausted;
      return Failure(large ? 413 : 400, ToStd(decoded.status().message()));
    }
    scratch->decoded = *std::move(decoded);
    body = scratch->decoded;
  } else if (coding != ingest::BodyEncoding::kIdentity) {
    const Result<std::string_view> decoded = ingest::DecodeBody(
        coding, request.body, context.limits.max_recv_msg_size, &scratch->decoded);
    if (!decoded.ok()) {
      const bool large = decoded.status().code() == StatusCode::kResourceExhausted;
      return Failure(large ? 413 : 400, ToStd(decoded.status().message()));
    }
    body = *decoded;
  }
  context.counters.bytes_decoded += body.size();
  PushCounts counts;
  // JSON strings are unescaped where they stand; both buffers are ours alone.
  char* const text =
      coding == ingest::BodyEncoding::kIdentity ? request.body.data() : scratch->decoded.data();
  const Status status = type.json ? DecodePushJson(text, body.size(), &scratch->intake, &counts)
                                  : DecodePushProtobuf(body, &scratch->intake, &counts);
  if (!status.ok()) return Failure(400, ToStd(status.message()));
  if (counts.streams == 0) {
    return Failure(422, "error at least one valid stream is required for ingestion");
  }
  return ToResponse(AppendIntake(context, database, *scratch));
}

}  // namespace

Response HandlePush(Context& context, Database& database, http::Request& request) {
  PushCounters& counters = context.counters;
  ++counters.requests;
  counters.bytes_received += request.body.size();
  Response response = Push(context, database, request);
  if (response.status >= 400) ++counters.requests_failed;
  return response;
}

void AddRoute(Context* context, http::Router* router, http::MethodSet methods,
              std::string_view pattern, const http::RouteOptions& options,
              DatabaseHandler handler) {
  router->Add(
      methods, pattern,
      [context, handler = std::move(handler)](http::Request& request) {
        Database* const database = context->database.load(std::memory_order_acquire);
        if (database == nullptr) {
          Response response = Failure(503, "Ingester not ready: the store is being opened");
          response.headers.Add("Retry-After", "1");
          return response;
        }
        return handler(*context, *database, request);
      },
      options);
}

void AddPushRoutes(Context* context, http::Router* router) {
  // What has arrived is worth storing even if nobody waits for the answer.
  const http::RouteOptions write{.lane = http::Lane::kWrite,
                                 .body_bytes_max = context->limits.max_recv_msg_size,
                                 .ignore_disconnect = true};
  AddRoute(context, router, http::kPostOnly, "/loki/api/v1/push", write, HandlePush);
  AddRoute(context, router, http::kPostOnly, "/api/prom/push", write, HandlePush);
}

}  // namespace varve::loki
