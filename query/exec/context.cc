#include "query/exec/context.h"

#include "engine/base/strings.h"

namespace varve::query {
namespace {

void RaisePeak(std::atomic<uint64_t>& peak, uint64_t value) {
  uint64_t seen = peak.load(std::memory_order_relaxed);
  while (seen < value && !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

Status TooManySamples() {
  return MakeStatus(StatusCode::kResourceExhausted,
                    "query processing would load too many samples into memory in query execution");
}

}  // namespace

void AnnotationSink::Add(Kind kind, std::string_view text, std::string_view place) {
  std::string note =
      Concat(kind == Kind::kWarning ? "PromQL warning: " : "PromQL info: ", text, " (", place, ")");
  absl::MutexLock lock(&mutex_);
  notes_.emplace(std::move(note), kind);
}

Annotations AnnotationSink::Take() {
  absl::MutexLock lock(&mutex_);
  Annotations out;
  for (const auto& [text, kind] : notes_) {
    (kind == Kind::kWarning ? out.warnings : out.infos).push_back(text);
  }
  notes_.clear();
  return out;
}

Status Budget::Take(uint64_t samples, uint64_t bytes) {
  const uint64_t now = samples_.fetch_add(samples, std::memory_order_relaxed) + samples;
  const uint64_t now_bytes = bytes_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  RaisePeak(peak_samples_, now);
  RaisePeak(peak_bytes_, now_bytes);
  if (now > samples_max_) return TooManySamples();
  if (bytes_max_ != 0 && now_bytes > bytes_max_) {
    return MakeStatus(StatusCode::kResourceExhausted,
                      Concat("query needs more than its ", bytes_max_, " bytes of memory"));
  }
  return absl::OkStatus();
}

void Budget::Give(uint64_t samples, uint64_t bytes) {
  samples_.fetch_sub(samples, std::memory_order_relaxed);
  bytes_.fetch_sub(bytes, std::memory_order_relaxed);
}

Status Budget::Check(uint64_t samples) const {
  const uint64_t now = samples_.load(std::memory_order_relaxed) + samples;
  RaisePeak(peak_samples_, now);
  return now > samples_max_ ? TooManySamples() : absl::OkStatus();
}

Status ExecContext::Poll() const {
  if (cancellation != nullptr && cancellation->cancelled()) {
    return MakeStatus(StatusCode::kCancelled, "query was canceled in expression evaluation");
  }
  if (has_deadline && std::chrono::steady_clock::now() >= deadline) {
    return MakeStatus(StatusCode::kDeadlineExceeded, "query timed out in expression evaluation");
  }
  return absl::OkStatus();
}

LabelsView ExecContext::KeepLabels(std::span<const LabelView> labels) {
  if (labels.empty()) return {};
  auto* out = reinterpret_cast<LabelView*>(
      views_.Allocate(labels.size() * sizeof(LabelView), alignof(LabelView)));
  std::uninitialized_copy(labels.begin(), labels.end(), out);
  return {out, labels.size()};
}

}  // namespace varve::query
