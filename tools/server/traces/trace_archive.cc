#include "tools/server/traces/trace_archive.h"

#include <algorithm>
#include <set>
#include <string>

#include "engine/base/macros.h"
#include "tools/otlp/traces.h"
#include "tools/server/traces/trace_common.h"

namespace varve::api {
namespace {

// What one append of a copy may hold: well below what a record of the log takes.
constexpr size_t kPieceBytes = 4 << 20;

}  // namespace

Result<Database*> TraceArchive::Get(bool create) {
  if (open_ == nullptr) {
    return MakeStatus(StatusCode::kUnimplemented, "archive span storage was not configured");
  }
  const absl::MutexLock lock(&mutex_);
  if (database_ != nullptr) return database_.get();
  if (absent_ && !create) return MakeStatus(StatusCode::kNotFound, "nothing is archived");
  auto database = open_(create);
  if (!database.ok()) {
    absent_ = database.status().code() == StatusCode::kNotFound;
    return database.status();
  }
  database_ = *std::move(database);
  return database_.get();
}

Result<std::shared_ptr<const TraceSnapshot>> TraceArchive::TakeSnapshot() {
  if (open_ == nullptr) return std::shared_ptr<const TraceSnapshot>();
  const Result<Database*> database = Get(false);
  if (database.status().code() == StatusCode::kNotFound) {
    return std::shared_ptr<const TraceSnapshot>();
  }
  if (!database.ok()) return database.status();
  return (*database)->TakeTraceSnapshot();
}

Status TraceArchive::Add(const TraceSnapshot& store, const TraceId& id) {
  SpanBatch trace;
  VARVE_RETURN_IF_ERROR(store.GetTrace(id, &trace));
  if (trace.empty()) {
    VARVE_ASSIGN_OR_RETURN(const auto archived, TakeSnapshot());
    if (archived != nullptr) VARVE_RETURN_IF_ERROR(archived->GetTrace(id, &trace));
    // What only the archive has is archived already.
    return trace.empty() ? MakeStatus(StatusCode::kNotFound, "trace not found") : absl::OkStatus();
  }
  VARVE_ASSIGN_OR_RETURN(Database * database, Get(true));
  otlp::TraceWriter writer(otlp::TraceWriter::Format::kProtobuf, trace);
  std::string wire;
  SpanBatch piece;
  for (bool more = true; more;) {
    wire.clear();
    piece.Clear();
    more = writer.Next(kPieceBytes, &wire);
    otlp::DecodeReport report;
    VARVE_RETURN_IF_ERROR(otlp::DecodeTraces(wire, &piece, &report));
    if (!piece.empty()) VARVE_RETURN_IF_ERROR(database->AppendSpans(piece).status());
  }
  // It has no thread of its own for this.
  return database->Maintain();
}

Status TraceArchive::Backup(const std::string& dir, const BackupOptions& options) {
  if (open_ == nullptr) return absl::OkStatus();
  const Result<Database*> database = Get(false);
  if (database.status().code() == StatusCode::kNotFound) return absl::OkStatus();
  if (!database.ok()) return database.status();
  return (*database)->Backup(dir, options);
}

Status TraceArchive::Close() {
  const absl::MutexLock lock(&mutex_);
  if (database_ == nullptr) return absl::OkStatus();
  const Status status = database_->Close();
  database_.reset();
  return status;
}

Result<TraceLookup> TraceLookup::Make(Database& store, TraceArchive* archive) {
  VARVE_ASSIGN_OR_RETURN(auto stored, store.TakeTraceSnapshot());
  TraceLookup out(std::move(stored));
  if (archive != nullptr) {
    VARVE_ASSIGN_OR_RETURN(auto archived, archive->TakeSnapshot());
    if (archived != nullptr) out.views_.push_back(std::move(archived));
  }
  return out;
}

Result<std::vector<uint32_t>> TraceLookup::Get(const TraceId& id, SpanBatch* out) const {
  std::vector<uint32_t> spans;
  std::set<std::pair<SpanId, SpanKind>> seen;
  for (size_t i = 0; i < views_.size(); ++i) {
    auto next = static_cast<uint32_t>(out->spans().size());
    VARVE_RETURN_IF_ERROR(views_[i]->GetTrace(id, out));
    if (next < out->spans().size()) {
      for (const uint32_t earlier : spans) {
        seen.emplace(out->spans()[earlier].span_id, out->spans()[earlier].kind);
      }
    }
    for (; next < out->spans().size(); ++next) {
      const SpanBatch::Span& span = out->spans()[next];
      // One view repeats no span.
      if (seen.empty() || !seen.contains({span.span_id, span.kind})) spans.push_back(next);
    }
  }
  return SpansByStart(*out, std::move(spans));
}

Result<bool> TraceLookup::Has(const TraceId& id) const {
  SpanBatch probe;
  const TraceId ids[] = {id};
  for (const auto& view : views_) {
    VARVE_RETURN_IF_ERROR(view->GetTraces(ids, 1, &probe));
    if (!probe.empty()) return true;
  }
  return false;
}

}  // namespace varve::api
