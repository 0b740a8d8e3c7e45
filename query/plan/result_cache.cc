#include "query/plan/result_cache.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/hash/hash.h"

namespace varve::query {
namespace {

/// Copies the part of a column, given with its times, that lies in [first, last].
template <typename Value>
void SliceColumn(const std::vector<int64_t>& times, const std::vector<Value>& values,
                 int64_t first_ms, int64_t last_ms, std::vector<int64_t>* out_times,
                 std::vector<Value>* out_values) {
  const auto begin = std::lower_bound(times.begin(), times.end(), first_ms);
  const auto end = std::upper_bound(begin, times.end(), last_ms);
  out_times->assign(begin, end);
  out_values->assign(values.begin() + (begin - times.begin()),
                     values.begin() + (end - times.begin()));
}

template <typename Value>
void AppendColumn(std::vector<Value>&& from, std::vector<Value>* to) {
  to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

std::shared_ptr<const CachedResult> ResultCache::Find(const ResultKey& key, uint64_t epoch) {
  absl::MutexLock lock(&mutex_);
  const auto at = by_key_.find(key);
  if (at == by_key_.end()) {
    ++stats_.misses;
    return nullptr;
  }
  if (at->second->result->state.epoch != epoch) {
    // Epochs of one database only grow, but a reader with an older snapshot may come late.
    if (at->second->result->state.epoch < epoch) Erase(at->second);
    ++stats_.misses;
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, at->second);
  ++stats_.hits;
  const std::shared_ptr<const CachedResult> result = at->second->result;
  CountText(&*at->second);
  return result;
}

void ResultCache::CountText(Entry* entry) {
  const std::shared_ptr<const std::string> text = entry->result->text->Get();
  const uint64_t bytes = entry->value_bytes + (text == nullptr ? 0 : text->capacity());
  if (bytes == entry->bytes) return;
  stats_.bytes += bytes - entry->bytes;
  entry->bytes = bytes;
  Shrink();
}

void ResultCache::Shrink() {
  while (stats_.bytes > bytes_max_) {
    Erase(std::prev(entries_.end()));
    ++stats_.evictions;
  }
}

void ResultCache::Put(const ResultKey& key, CachedResult result) {
  const uint64_t bytes = BytesOf(*result.value) + sizeof(CachedResult) + sizeof(Entry) + 64;
  if (bytes > entry_bytes_max()) return;
  auto shared = std::make_shared<const CachedResult>(std::move(result));
  absl::MutexLock lock(&mutex_);
  if (const auto at = by_key_.find(key); at != by_key_.end()) {
    if (at->second->result->state.epoch > shared->state.epoch) return;
    Erase(at->second);
  }
  stats_.bytes += bytes;
  entries_.push_front({key, std::move(shared), bytes, bytes});
  by_key_[key] = entries_.begin();
  ++stats_.entries;
  CountText(&entries_.front());
  Shrink();
}

void ResultCache::Erase(std::list<Entry>::iterator entry) {
  stats_.bytes -= entry->bytes;
  --stats_.entries;
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

bool ResultCache::AskedAgain(const ResultKey& key) {
  const uint64_t hash = absl::HashOf(key);
  return asked_[hash % asked_.size()].exchange(hash, std::memory_order_relaxed) == hash;
}

ResultCacheStats ResultCache::stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

Matrix SliceTimes(const Matrix& from, int64_t first_ms, int64_t last_ms) {
  Matrix out;
  for (const Series& series : from) {
    Series part;
    SliceColumn(series.times_ms, series.values, first_ms, last_ms, &part.times_ms, &part.values);
    SliceColumn(series.histogram_times_ms, series.histograms, first_ms, last_ms,
                &part.histogram_times_ms, &part.histograms);
    if (part.times_ms.empty() && part.histogram_times_ms.empty()) continue;
    part.labels = series.labels;
    out.push_back(std::move(part));
  }
  return out;
}

Matrix JoinTimes(Matrix earlier, Matrix later) {
  if (earlier.empty()) return later;
  if (later.empty()) return earlier;
  Matrix out;
  out.reserve(std::max(earlier.size(), later.size()));
  auto a = earlier.begin();
  auto b = later.begin();
  while (a != earlier.end() || b != later.end()) {
    const std::strong_ordering order = a == earlier.end() ? std::strong_ordering::greater
                                       : b == later.end() ? std::strong_ordering::less
                                                          : CompareLabels(a->labels, b->labels);
    if (order > 0) {
      out.push_back(std::move(*b++));
      continue;
    }
    out.push_back(std::move(*a++));
    if (order < 0) continue;
    Series& series = out.back();
    AppendColumn(std::move(b->times_ms), &series.times_ms);
    AppendColumn(std::move(b->values), &series.values);
    AppendColumn(std::move(b->histogram_times_ms), &series.histogram_times_ms);
    AppendColumn(std::move(b->histograms), &series.histograms);
    ++b;
  }
  return out;
}

uint64_t BytesOf(const Value& value) {
  uint64_t bytes = 0;
  const auto add_labels = [&](const Labels& labels) {
    for (const LabelView& label : labels.view()) {
      bytes += sizeof(LabelView) + label.name.size() + label.value.size();
    }
  };
  const auto add_histogram = [&](const HistogramPtr& h) {
    if (h == nullptr) return;
    bytes += sizeof(FloatHistogram) +
             8 * (h->positive_spans.size() + h->negative_spans.size() + h->positive_counts.size() +
                  h->negative_counts.size() + h->custom_values.size());
  };
  if (const auto* matrix = std::get_if<Matrix>(&value)) {
    for (const Series& series : *matrix) {
      bytes += sizeof(Series) + series.times_ms.size() * 16 + series.histograms.size() * 24;
      add_labels(series.labels);
      for (const HistogramPtr& h : series.histograms) add_histogram(h);
    }
  } else if (const auto* vector = std::get_if<Vector>(&value)) {
    for (const VectorSample& sample : *vector) {
      bytes += sizeof(VectorSample);
      add_labels(sample.labels);
      add_histogram(sample.histogram);
    }
  }
  return bytes;
}

}  // namespace varve::query
