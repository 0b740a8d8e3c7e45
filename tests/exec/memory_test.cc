// What a query needs is bounded by its tiles and its groups, not by what it reads: measured as the
// growth of the process over samples that are made while they are decoded.

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "varve/query.h"
#include "varve/scan.h"

namespace varve::query {
namespace {

constexpr int64_t kInterval = 15'000;
constexpr uint32_t kSamples = 960;  // four hours
constexpr uint32_t kSeries = 60'000;

class MadeChunk final : public Chunk::Impl {
 public:
  Status DecodeTimes(uint32_t, std::span<int64_t> out) const override {
    for (size_t k = 0; k < out.size(); ++k) out[k] = static_cast<int64_t>(k) * kInterval;
    return absl::OkStatus();
  }
  Status DecodeValues(uint32_t token, uint32_t begin, std::span<double> out) const override {
    for (size_t k = 0; k < out.size(); ++k)
      out[k] = static_cast<double>(begin + k) * (token % 7 + 1);
    return absl::OkStatus();
  }
};

class MadeSeries final : public SeriesSet {
 public:
  MadeSeries(const std::vector<std::string>& names, std::shared_ptr<const MadeChunk> data)
      : names_(names), data_(std::move(data)) {}
  size_t size() const override { return names_.size(); }
  void GetLabels(size_t i, std::vector<LabelView>* out) const override {
    *out = {{kMetricName, "m_total"}, {"i", names_[i]}, {"job", JobOf(i)}};
  }
  std::string_view GetLabel(size_t i, std::string_view name) const override {
    return name == "i"           ? std::string_view(names_[i])
           : name == "job"       ? JobOf(i)
           : name == kMetricName ? "m_total"
                                 : "";
  }
  Status GetChunks(size_t i, TimeRange, std::vector<Chunk>* out) const override {
    Chunk chunk;
    chunk.flags = kChunkHasNoNan | kChunkHasNoStale | kChunkNonDecreasing;
    chunk.count = kSamples;
    chunk.max_time_ms = (kSamples - 1) * kInterval;
    chunk.axis = 1;
    chunk.impl = data_;
    chunk.token = static_cast<uint32_t>(i);
    out->assign(1, chunk);
    return absl::OkStatus();
  }

 private:
  static std::string_view JobOf(size_t i) { return i % 2 == 0 ? "a" : "b"; }
  const std::vector<std::string>& names_;
  const std::shared_ptr<const MadeChunk> data_;
};

class MadeSnapshot final : public Snapshot {
 public:
  MadeSnapshot() {
    for (uint32_t i = 0; i < kSeries; ++i) names_.push_back(std::to_string(100'000 + i));
  }
  Result<std::unique_ptr<SeriesSet>> Select(std::span<const Matcher> matchers,
                                            TimeRange) const override {
    // Labels that no series has are asked for, too.
    const bool none = matchers[0].name != kMetricName;
    return std::make_unique<MadeSeries>(none ? none_ : names_, data_);
  }
  Result<LookupResult> LabelNames(std::span<const Matcher>, TimeRange, LookupLimit) const override {
    return absl::UnimplementedError("");
  }
  Result<LookupResult> LabelValues(std::string_view, std::span<const Matcher>, TimeRange,
                                   LookupLimit) const override {
    return absl::UnimplementedError("");
  }
  Result<std::vector<SeriesExemplars>> Exemplars(std::span<const Matcher>,
                                                 TimeRange) const override {
    return absl::UnimplementedError("");
  }
  std::map<std::string, std::vector<Metadata>> FamilyMetadata() const override { return {}; }
  Result<Cardinality> CardinalityStats(size_t) const override {
    return absl::UnimplementedError("");
  }
  TimeRange time_range() const override { return {0, (kSamples - 1) * kInterval}; }

 private:
  std::vector<std::string> names_;
  const std::vector<std::string> none_;
  const std::shared_ptr<const MadeChunk> data_ = std::make_shared<const MadeChunk>();
};

/// The most memory that the process has had since the last Forget, in KiB.
uint64_t Peak() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    uint64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib;
  }
  return 0;
}
void Forget() { std::ofstream("/proc/self/clear_refs") << 5; }

TEST(Memory, IsThatOfTilesAndGroups) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "skipped: a sanitizer keeps memory of its own";
#endif
  const auto snapshot = std::make_shared<const MadeSnapshot>();
  EngineOptions options;
  options.threads = 2;
  options.max_samples = UINT64_MAX;
  const auto engine = Engine::Make(options);
  const QueryRange range{600'000, (kSamples - 1) * kInterval, 60'000};
  // Kept whole, the samples would need 460 MB and the rates 110 MB.
  const struct {
    const char* query;
    uint64_t mib_max;
    size_t series;
  } cases[] = {
      {"sum by (job) (rate(m_total[5m]))", 16, 2},
      {"count(m_total)", 16, 1},
      {"stddev without (i) (m_total)", 16, 2},
      // With rows between, the label sets of the members are made: a third of a kilobyte each.
      {"max by (job) (m_total * 2)", 48, 2},
      {"topk(2, max_over_time(m_total[5m]))", 48, 0},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.query);
    Forget();
    const uint64_t before = Peak();
    ASSERT_GT(before, 0u);
    const auto result = engine->Range(snapshot, c.query, range);
    ASSERT_TRUE(result.ok()) << result.status();
    const uint64_t grown = Peak() - before;
    std::printf("%s: %.1f MiB\n", c.query, static_cast<double>(grown) / 1024);
    EXPECT_EQ(result->statistics.series, kSeries);
    const size_t series = std::get<Matrix>(result->value).size();
    EXPECT_TRUE(c.series == 0 || series == c.series) << series;
    EXPECT_LT(grown, c.mib_max * 1024);
  }
}

}  // namespace
}  // namespace varve::query
