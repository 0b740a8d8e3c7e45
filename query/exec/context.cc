#include "query/exec/context.h"

#include <utility>

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
  const std::string_view what = kind == Kind::kWarning ? "PromQL warning: " : "PromQL info: ";
  absl::MutexLock lock(&mutex_);
  for (;;) {
    const size_t end = place.find(kPlaceSeparator);
    notes_.emplace(Concat(what, text, " (", place.substr(0, end), ")"), kind);
    if (end == std::string_view::npos) return;
    place.remove_prefix(end + 1);
  }
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

void ExecContext::Count(SampleAccount of, SampleCounter* counter) {
  const uint64_t total = std::exchange(counter->total_, 0) * of.times;
  switch (of.kind) {
    case SampleAccount::Kind::kNone:
      return;
    case SampleAccount::Kind::kEveryStep:
      total_samples += total * query_grid.count;
      for (uint64_t& samples : samples_per_step) samples += total;
      return;
    case SampleAccount::Kind::kPerStep:
      total_samples += total;
      for (size_t i = 0; i < counter->steps_.size() && i < samples_per_step.size(); ++i) {
        samples_per_step[i] += std::exchange(counter->steps_[i], 0) * of.times;
      }
      return;
  }
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
