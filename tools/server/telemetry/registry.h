#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

/// The server's metrics about itself.
namespace varve::telemetry {

enum class Kind : uint8_t { kCounter, kGauge, kHistogram, kInfo };
/// kJson: an array of io.prometheus.client.MetricFamily in protobuf's JSON mapping.
enum class Format : uint8_t { kText, kOpenMetrics, kJson };

/// Picks the exposition format by an Accept header.
Format NegotiateFormat(std::string_view accept);
std::string_view ContentTypeOf(Format format);

using LabelList = std::vector<std::pair<std::string, std::string>>;

/// Writes an exposition, family by family, in any format.
class Exposition {
 public:
  explicit Exposition(Format format) : format_(format) {}

  /// Leaves out families whose full names `wanted` does not want. Before the first family.
  void Only(std::function<bool(std::string_view)> wanted) { wanted_ = std::move(wanted); }

  /// Begins a family; `name` is without `_total` and `_info`.
  void Family(std::string_view name, Kind kind, std::string_view help);
  /// Adds a sample of the family begun last; `suffix` is that of histograms only.
  void Sample(const LabelList& labels, double value, std::string_view suffix = "");
  /// Shorthands for families of one sample.
  void Counter(std::string_view name, std::string_view help, double value);
  void Gauge(std::string_view name, std::string_view help, double value);

  /// Ends the exposition and returns it.
  std::string Finish();

 private:
  void JsonSample(const LabelList& labels, double value, std::string_view suffix);
  void EndJsonFamily();

  const Format format_;
  std::function<bool(std::string_view)> wanted_;
  bool skipping_ = false;
  Kind kind_ = Kind::kGauge;
  std::string name_;
  std::string out_;
  // JSON only: what stands before the next family and metric, and the buckets of the histogram
  // that is under way.
  std::string_view before_family_ = "[";
  std::string_view before_metric_;
  std::string buckets_;
};

/// Counts from many threads without sharing a cache line between most of them.
class Counter {
 public:
  void Add(uint64_t by = 1) { shards_[Shard()].value.fetch_add(by, std::memory_order_relaxed); }
  uint64_t value() const;

 private:
  static constexpr size_t kShards = 8;
  struct alignas(64) Cell {
    std::atomic<uint64_t> value{0};
  };
  static size_t Shard();
  std::array<Cell, kShards> shards_;
};

class Gauge {
 public:
  void Add(int64_t by) { value_.fetch_add(by, std::memory_order_relaxed); }
  void Set(int64_t value) { value_.store(value, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

/// Counts durations in buckets from 100 us to a minute.
class DurationHistogram {
 public:
  static constexpr std::array<double, 14> kBoundsSeconds = {
      0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 20, 60};
  void Observe(double seconds);
  void Write(const LabelList& labels, Exposition* out) const;

 private:
  std::array<std::atomic<uint64_t>, kBoundsSeconds.size() + 1> buckets_{};
  std::atomic<uint64_t> sum_ns_{0};
};

/// Metrics of one name that differ in labels. Thread-safe; a metric once made stays.
template <typename Metric>
class Family {
 public:
  explicit Family(std::vector<std::string> label_names) : label_names_(std::move(label_names)) {}

  /// Returns the metric for these label values, in the order of the names.
  Metric& With(std::initializer_list<std::string_view> values) {
    std::string key;
    for (const std::string_view value : values) {
      key.append(value);
      key.push_back('\xff');
    }
    const absl::MutexLock lock(&mutex_);
    std::unique_ptr<Entry>& entry = entries_[key];
    if (entry == nullptr) {
      entry = std::make_unique<Entry>();
      size_t i = 0;
      for (const std::string_view value : values) {
        entry->labels.emplace_back(label_names_[i++], std::string(value));
      }
    }
    return entry->metric;
  }
  template <typename Visit>
  void ForEach(Visit visit) const {
    const absl::MutexLock lock(&mutex_);
    for (const auto& [key, entry] : entries_) visit(entry->labels, entry->metric);
  }

 private:
  struct Entry {
    LabelList labels;
    Metric metric;
  };
  const std::vector<std::string> label_names_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::unique_ptr<Entry>> entries_ ABSL_GUARDED_BY(mutex_);
};

/// Adds process_*: CPU, memory, descriptors, threads, start time.
void WriteProcessMetrics(Exposition* out);

}  // namespace varve::telemetry
