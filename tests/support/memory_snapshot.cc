#include "tests/support/memory_snapshot.h"

#include <re2/re2.h>

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::testing {
namespace {

/// Holds the samples of one chunk.
struct MemoryChunk {
  std::vector<int64_t> times;
  std::vector<double> values;
  std::vector<int64_t> starts;
  std::vector<Histogram> histograms;
};

class ChunkImpl final : public Chunk::Impl {
 public:
  explicit ChunkImpl(MemoryChunk chunk) : chunk_(std::move(chunk)) {}
  Status DecodeTimes(uint32_t, std::span<int64_t> out) const override {
    VARVE_CHECK(out.size() == chunk_.times.size());
    std::copy(chunk_.times.begin(), chunk_.times.end(), out.begin());
    return absl::OkStatus();
  }
  Status DecodeValues(uint32_t, uint32_t begin, std::span<double> out) const override {
    VARVE_CHECK(begin + out.size() <= chunk_.values.size());
    std::copy_n(chunk_.values.begin() + begin, out.size(), out.begin());
    return absl::OkStatus();
  }
  Status DecodeStartTimes(uint32_t, std::span<int64_t> out) const override {
    VARVE_CHECK(out.size() == chunk_.starts.size());
    std::copy(chunk_.starts.begin(), chunk_.starts.end(), out.begin());
    return absl::OkStatus();
  }
  Status DecodeHistograms(uint32_t, std::vector<Histogram>* out) const override {
    *out = chunk_.histograms;
    return absl::OkStatus();
  }

 private:
  const MemoryChunk chunk_;
};

struct MemorySeries {
  Labels labels;
  std::vector<Chunk> chunks;
};

Chunk Seal(MemoryChunk samples) {
  Chunk chunk;
  chunk.kind = samples.histograms.empty() ? ChunkKind::kFloat : ChunkKind::kHistogram;
  chunk.count = static_cast<uint32_t>(samples.times.size());
  chunk.min_time_ms = samples.times.front();
  chunk.max_time_ms = samples.times.back();
  const bool has_starts = std::any_of(samples.starts.begin(), samples.starts.end(),
                                      [](int64_t start) { return start != kNoStartTime; });
  if (has_starts) chunk.flags |= kChunkHasStartTimes;
  chunk.impl = std::make_shared<ChunkImpl>(std::move(samples));
  return chunk;
}

std::vector<Chunk> CutChunks(const std::map<int64_t, MemoryStore::Sample>& samples,
                             size_t chunk_samples) {
  std::vector<Chunk> out;
  MemoryChunk open;
  for (const auto& [time_ms, sample] : samples) {
    const bool other_kind = sample.histogram ? !open.values.empty() : !open.histograms.empty();
    if (other_kind || open.times.size() >= chunk_samples)
      out.push_back(Seal(std::exchange(open, {})));
    if (sample.histogram) {
      open.histograms.push_back(*sample.histogram);
    } else {
      open.values.push_back(sample.value);
    }
    open.times.push_back(time_ms);
    open.starts.push_back(sample.start_ms);
  }
  if (!open.times.empty()) out.push_back(Seal(std::move(open)));
  return out;
}

class MemorySeriesSet final : public SeriesSet {
 public:
  explicit MemorySeriesSet(std::vector<const MemorySeries*> series) : series_(std::move(series)) {}
  size_t size() const override { return series_.size(); }
  void GetLabels(size_t i, std::vector<LabelView>* out) const override {
    out->assign(series_[i]->labels.begin(), series_[i]->labels.end());
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
  std::vector<const MemorySeries*> series_;
};

class MemorySnapshot final : public Snapshot {
 public:
  explicit MemorySnapshot(std::vector<MemorySeries> series) : series_(std::move(series)) {
    for (const MemorySeries& one : series_) by_name_[one.labels.metric_name()].push_back(&one);
  }

  Result<std::unique_ptr<SeriesSet>> Select(std::span<const Matcher> matchers,
                                            TimeRange range) const override {
    return std::make_unique<MemorySeriesSet>(Find(matchers, range));
  }

  Result<LookupResult> LabelNames(std::span<const Matcher> matchers, TimeRange range,
                                  LookupLimit limit) const override {
    std::set<std::string> names;
    for (const MemorySeries* series : Find(matchers, range)) {
      for (const LabelView& label : series->labels) names.emplace(label.name);
    }
    return Limited(names, limit);
  }
  Result<LookupResult> LabelValues(std::string_view name, std::span<const Matcher> matchers,
                                   TimeRange range, LookupLimit limit) const override {
    std::set<std::string> values;
    for (const MemorySeries* series : Find(matchers, range)) {
      if (const auto value = series->labels.Get(name); !value.empty()) values.emplace(value);
    }
    return Limited(values, limit);
  }
  Result<std::vector<SeriesExemplars>> Exemplars(std::span<const Matcher>,
                                                 TimeRange) const override {
    return std::vector<SeriesExemplars>();
  }
  std::map<std::string, std::vector<Metadata>> FamilyMetadata() const override { return {}; }
  Result<Cardinality> CardinalityStats(size_t) const override {
    Cardinality out;
    out.series = series_.size();
    return out;
  }
  TimeRange time_range() const override {
    TimeRange range{kMaxTime, kMinTime};
    for (const MemorySeries& series : series_) {
      range.min_ms = std::min(range.min_ms, series.chunks.front().min_time_ms);
      range.max_ms = std::max(range.max_ms, series.chunks.back().max_time_ms);
    }
    return range;
  }

 private:
  static bool InRange(const MemorySeries& series, TimeRange range) {
    return std::any_of(series.chunks.begin(), series.chunks.end(),
                       [&](const Chunk& chunk) { return chunk.range().Overlaps(range); });
  }
  /// Finds the series that match, by labels.
  std::vector<const MemorySeries*> Find(std::span<const Matcher> matchers, TimeRange range) const {
    std::vector<const MemorySeries*> out;
    const MatcherSet set(matchers);
    const auto add = [&](const MemorySeries& series) {
      if (InRange(series, range) && set.Matches(series.labels)) out.push_back(&series);
    };
    for (const Matcher& matcher : matchers) {
      if (matcher.type != MatchType::kEqual || matcher.name != kMetricName) continue;
      if (const auto found = by_name_.find(matcher.value); found != by_name_.end()) {
        for (const MemorySeries* series : found->second) add(*series);
      }
      return out;
    }
    for (const MemorySeries& series : series_) add(series);
    return out;
  }

  static LookupResult Limited(const std::set<std::string>& all, LookupLimit limit) {
    LookupResult out;
    for (const std::string& value : all) {
      if (limit.values_max != 0 && out.values.size() == limit.values_max) {
        out.truncated = true;
        break;
      }
      out.values.push_back(value);
    }
    return out;
  }

  const std::vector<MemorySeries> series_;                                // sorted by labels
  std::map<std::string_view, std::vector<const MemorySeries*>> by_name_;  // each sorted by labels
};

class MemoryScriptStorage final : public promqltest::ScriptStorage {
 public:
  Status Append(const WriteBatch& batch) override { return store_.Append(batch); }
  Result<std::shared_ptr<const Snapshot>> TakeSnapshot() override { return store_.TakeSnapshot(); }
  Status Flush() override { return absl::OkStatus(); }
  Status Compact() override { return absl::OkStatus(); }
  Status Restart(bool) override { return absl::OkStatus(); }
  Status Delete(std::span<const Matcher> matchers) override {
    store_.Delete(matchers);
    return absl::OkStatus();
  }

 private:
  MemoryStore store_;
};

}  // namespace

struct MatcherSet::Compiled {
  Matcher matcher;
  std::unique_ptr<const RE2> regex;  // null for equality
};

MatcherSet::MatcherSet(std::span<const Matcher> matchers) {
  RE2::Options options;
  options.set_dot_nl(true);
  for (const Matcher& matcher : matchers) {
    const bool is_regex = matcher.type == MatchType::kRegex || matcher.type == MatchType::kNotRegex;
    matchers_.push_back(
        {matcher, is_regex ? std::make_unique<const RE2>(matcher.value, options) : nullptr});
  }
}

MatcherSet::~MatcherSet() = default;

bool MatcherSet::Matches(LabelsView labels) const {
  return std::all_of(matchers_.begin(), matchers_.end(), [&](const Compiled& compiled) {
    const std::string_view value = FindLabel(labels, compiled.matcher.name);
    const MatchType type = compiled.matcher.type;
    const bool wanted = type == MatchType::kEqual || type == MatchType::kRegex;
    const bool holds = compiled.regex ? RE2::FullMatch(re2::StringPiece(value.data(), value.size()),
                                                       *compiled.regex)
                                      : value == compiled.matcher.value;
    return holds == wanted;
  });
}

Status MemoryStore::Append(const WriteBatch& batch) {
  const auto labels_of = [&](uint32_t series) {
    return Labels(batch.labels(batch.series()[series]));
  };
  for (const WriteBatch::Sample& sample : batch.samples()) {
    series_[labels_of(sample.series)][sample.time_ms] = {sample.value, sample.start_ms, nullptr};
  }
  for (const WriteBatch::HistogramSample& sample : batch.histograms()) {
    series_[labels_of(sample.series)][sample.time_ms] = {
        0, sample.start_ms, std::make_shared<const Histogram>(sample.histogram)};
  }
  return absl::OkStatus();
}

void MemoryStore::Delete(std::span<const Matcher> matchers) {
  const MatcherSet set(matchers);
  std::erase_if(series_, [&](const auto& entry) { return set.Matches(entry.first); });
}

std::shared_ptr<const Snapshot> MemoryStore::TakeSnapshot() const {
  std::vector<MemorySeries> out;
  for (const auto& [labels, samples] : series_) {
    if (!samples.empty()) out.push_back({labels, CutChunks(samples, chunk_samples_)});
  }
  return std::make_shared<MemorySnapshot>(std::move(out));
}

std::shared_ptr<const Snapshot> MakeSnapshot(std::vector<FloatSeries> series,
                                             size_t chunk_samples) {
  std::sort(series.begin(), series.end(),
            [](const FloatSeries& a, const FloatSeries& b) { return a.labels < b.labels; });
  std::vector<MemorySeries> out;
  for (const FloatSeries& from : series) {
    MemorySeries to{from.labels, {}};
    for (size_t begin = 0; begin < from.times_ms.size(); begin += chunk_samples) {
      const size_t end = std::min(begin + chunk_samples, from.times_ms.size());
      MemoryChunk chunk;
      chunk.times.assign(from.times_ms.begin() + begin, from.times_ms.begin() + end);
      chunk.values.assign(from.values.begin() + begin, from.values.begin() + end);
      chunk.starts.resize(end - begin, kNoStartTime);
      to.chunks.push_back(Seal(std::move(chunk)));
    }
    if (!to.chunks.empty()) out.push_back(std::move(to));
  }
  return std::make_shared<MemorySnapshot>(std::move(out));
}

promqltest::StorageFactory MemoryStorage() {
  return []() -> Result<std::unique_ptr<promqltest::ScriptStorage>> {
    return std::make_unique<MemoryScriptStorage>();
  };
}

}  // namespace varve::testing
