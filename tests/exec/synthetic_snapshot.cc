#include "tests/exec/synthetic_snapshot.h"

#include <re2/re2.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "engine/base/strings.h"

namespace varve::testing {
namespace {

struct StoredChunk {
  const std::vector<int64_t>* times;
  std::vector<double> values;
  uint32_t begin = 0;  // into times
};

class Store final : public Chunk::Impl {
 public:
  std::vector<std::vector<int64_t>> axes;
  std::vector<StoredChunk> chunks;

  Status DecodeTimes(uint32_t token, std::span<int64_t> out) const override {
    const StoredChunk& chunk = chunks[token];
    std::copy_n(chunk.times->begin() + chunk.begin, out.size(), out.begin());
    return absl::OkStatus();
  }
  Status DecodeValues(uint32_t token, uint32_t begin, std::span<double> out) const override {
    std::copy_n(chunks[token].values.begin() + begin, out.size(), out.begin());
    return absl::OkStatus();
  }
};

struct StoredSeries {
  Labels labels;
  std::vector<Chunk> chunks;
};

class Set final : public SeriesSet {
 public:
  explicit Set(std::vector<const StoredSeries*> series) : series_(std::move(series)) {}
  size_t size() const override { return series_.size(); }
  void GetLabels(size_t i, std::vector<LabelView>* out) const override {
    const LabelsView view = series_[i]->labels.view();
    out->assign(view.begin(), view.end());
  }
  std::string_view GetLabel(size_t i, std::string_view name) const override {
    return series_[i]->labels.Get(name);
  }
  Status GetChunks(size_t i, TimeRange range, std::vector<Chunk>* out) const override {
    out->clear();
    for (const Chunk& chunk : series_[i]->chunks) {
      if (chunk.range().Overlaps(range)) out->push_back(chunk);
    }
    return absl::OkStatus();
  }

 private:
  std::vector<const StoredSeries*> series_;
};

bool Matches(const Matcher& m, std::string_view value) {
  switch (m.type) {
    case MatchType::kEqual:
      return m.value == value;
    case MatchType::kNotEqual:
      return m.value != value;
    default: {
      const bool match = RE2::FullMatch(re2::StringPiece(value.data(), value.size()), m.value);
      return match == (m.type == MatchType::kRegex);
    }
  }
}

class SyntheticSnapshot final : public Snapshot {
 public:
  std::shared_ptr<Store> store = std::make_shared<Store>();
  std::vector<StoredSeries> series;
  TimeRange range;

  Result<std::unique_ptr<SeriesSet>> Select(std::span<const Matcher> matchers,
                                            TimeRange) const override {
    std::vector<const StoredSeries*> found;
    for (const StoredSeries& s : series) {
      if (std::all_of(matchers.begin(), matchers.end(),
                      [&](const Matcher& m) { return Matches(m, s.labels.Get(m.name)); })) {
        found.push_back(&s);
      }
    }
    return std::make_unique<Set>(std::move(found));
  }
  Result<LookupResult> LabelNames(std::span<const Matcher>, TimeRange, LookupLimit) const override {
    return LookupResult();
  }
  Result<LookupResult> LabelValues(std::string_view, std::span<const Matcher>, TimeRange,
                                   LookupLimit) const override {
    return LookupResult();
  }
  Result<std::vector<SeriesExemplars>> Exemplars(std::span<const Matcher>,
                                                 TimeRange) const override {
    return std::vector<SeriesExemplars>();
  }
  std::map<std::string, std::vector<Metadata>> FamilyMetadata() const override { return {}; }
  Result<Cardinality> CardinalityStats(size_t) const override { return Cardinality(); }
  TimeRange time_range() const override { return range; }
};

}  // namespace

std::shared_ptr<const Snapshot> MakeSyntheticSnapshot(const SyntheticShape& shape) {
  auto snapshot = std::make_shared<SyntheticSnapshot>();
  Store& store = *snapshot->store;
  std::mt19937_64 random(shape.seed);
  std::uniform_real_distribution<double> uniform(0, 1);
  store.axes.resize(shape.targets);
  for (std::vector<int64_t>& axis : store.axes) {
    int64_t last = std::numeric_limits<int64_t>::min();
    for (uint32_t i = 0; i < shape.samples; ++i) {
      const auto jitter =
          static_cast<int64_t>(uniform(random) * static_cast<double>(shape.jitter_ms));
      last = std::max(last + 1, shape.start_ms + i * shape.interval_ms + jitter);
      axis.push_back(last);
    }
  }
  for (uint32_t t = 0; t < shape.targets; ++t) {
    for (uint32_t p = 0; p < shape.per_target; ++p) {
      StoredSeries series;
      const std::string instance = Concat("host-", t, ":9100");
      const std::string job = Concat("job-", t % 7);
      const std::string path = Concat("/p", p);
      const std::string le = p + 1 == shape.per_target ? "+Inf" : std::to_string(p + 1);
      if (shape.histogram_labels) {
        series.labels =
            Labels({{kMetricName, shape.metric}, {"instance", instance}, {"job", job}, {"le", le}});
      } else {
        series.labels = Labels(
            {{kMetricName, shape.metric}, {"instance", instance}, {"job", job}, {"path", path}});
      }
      double value = shape.histogram_labels ? p * 10.0 : std::floor(uniform(random) * 1000);
      for (uint32_t begin = 0; begin < shape.samples; begin += shape.chunk_samples) {
        const uint32_t count = std::min(shape.chunk_samples, shape.samples - begin);
        StoredChunk stored{&store.axes[t], {}, begin};
        bool rising = true;
        bool stale = false;
        for (uint32_t i = 0; i < count; ++i) {
          if (shape.counters) {
            if (uniform(random) < shape.reset_chance) {
              value = 0;
              rising &= i == 0;
            }
            value += shape.histogram_labels ? p + 1.0 : std::floor(uniform(random) * 100);
          } else {
            value = uniform(random) * 100;
            rising = false;
          }
          const bool mark = shape.stale_chance > 0 && uniform(random) < shape.stale_chance;
          stale |= mark;
          stored.values.push_back(mark ? StaleNan() : value);
        }
        Chunk chunk;
        chunk.count = count;
        chunk.min_time_ms = store.axes[t][begin];
        chunk.max_time_ms = store.axes[t][begin + count - 1];
        if (shape.flags) {
          if (!stale) chunk.flags |= kChunkHasNoNan | kChunkHasNoStale;
          if (rising && !stale) chunk.flags |= kChunkNonDecreasing;
          chunk.axis = 1 + t * 1000ull + begin / shape.chunk_samples;
        }
        chunk.impl = snapshot->store;
        chunk.token = static_cast<uint32_t>(store.chunks.size());
        store.chunks.push_back(std::move(stored));
        series.chunks.push_back(std::move(chunk));
      }
      snapshot->series.push_back(std::move(series));
    }
  }
  std::sort(snapshot->series.begin(), snapshot->series.end(),
            [](const StoredSeries& a, const StoredSeries& b) { return a.labels < b.labels; });
  snapshot->range = {shape.start_ms, shape.start_ms + shape.samples * shape.interval_ms};
  return snapshot;
}

}  // namespace varve::testing
