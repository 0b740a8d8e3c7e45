// Loads what the scripts of Prometheus load into a Database and into plain maps, and compares all
// that can be read back: while it is in the head, flushed, compacted, reopened, and after a crash.

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/base/strings.h"
#include "tests/support/memory_snapshot.h"
#include "tests/support/shared_data.h"
#include "tools/promqltest/runner.h"
#include "tools/promqltest/script.h"
#include "tools/promqltest/storage.h"

namespace varve::promqltest {
namespace {

WriteBatch BatchOf(const LoadCommand& load) {
  WriteBatch batch;
  for (const LoadedSeries& series : load.series) {
    const uint32_t index = batch.AddSeries(series.labels);
    for (const LoadedSample& sample : series.samples) {
      if (sample.histogram) {
        batch.AddHistogram(index, sample.time_ms, StoredHistogram(*sample.histogram),
                           sample.start_ms);
      } else {
        batch.AddSample(index, sample.time_ms, sample.value, sample.start_ms);
      }
    }
  }
  return batch;
}

/// Prints a histogram by what it means, so that spans and deltas may be laid out differently.
std::string Show(const Histogram& h) {
  std::string out =
      Concat(h.schema, " ", h.zero_threshold, " sum ", std::bit_cast<uint64_t>(h.sum), " count ",
             h.is_float ? h.float_count : static_cast<double>(h.count), " zero ",
             h.is_float ? h.float_zero_count : static_cast<double>(h.zero_count));
  if (h.reset_hint == CounterResetHint::kGauge) out += " gauge";
  for (const double bound : h.custom_values) out += Concat(" <", bound);
  const auto side = [&](const std::vector<BucketSpan>& spans, const std::vector<double>& counts,
                        const std::vector<int64_t>& deltas) {
    int64_t index = 0;
    int64_t sum = 0;
    size_t at = 0;
    for (const BucketSpan& span : spans) {
      index += span.offset;
      for (uint32_t i = 0; i < span.length; ++i, ++at, ++index) {
        if (!h.is_float) sum += deltas[at];
        const double count = h.is_float ? counts[at] : static_cast<double>(sum);
        if (count != 0) out += Concat(" ", index, ":", count);
      }
    }
  };
  if (h.is_stale()) return "stale histogram";
  side(h.positive_spans, h.positive_counts, h.positive_deltas);
  out += " |";
  side(h.negative_spans, h.negative_counts, h.negative_deltas);
  return out;
}

/// Lists every sample of a snapshot, one a line.
std::map<std::string, std::vector<std::string>> Dump(const Snapshot& snapshot) {
  std::map<std::string, std::vector<std::string>> out;
  const Matcher all[] = {{MatchType::kRegex, "__name__", ".*"}};
  const auto set = snapshot.Select(all, TimeRange{});
  EXPECT_TRUE(set.ok()) << set.status();
  std::vector<LabelView> labels;
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < (*set)->size(); ++i) {
    (*set)->GetLabels(i, &labels);
    std::vector<std::string>& lines = out[ToString(LabelsView(labels))];
    const Status status = (*set)->GetChunks(i, TimeRange{}, &chunks);
    EXPECT_TRUE(status.ok()) << status;
    for (const Chunk& chunk : chunks) {
      std::vector<int64_t> times(chunk.count);
      std::vector<int64_t> starts(chunk.count, kNoStartTime);
      EXPECT_TRUE(chunk.DecodeTimes(times).ok());
      if (chunk.has(kChunkHasStartTimes)) {
        EXPECT_TRUE(chunk.DecodeStartTimes(starts).ok());
      }
      std::vector<double> values(chunk.count);
      std::vector<Histogram> histograms;
      if (chunk.kind == ChunkKind::kFloat) {
        EXPECT_TRUE(chunk.DecodeValues(values).ok());
      } else {
        EXPECT_TRUE(chunk.DecodeHistograms(&histograms).ok());
      }
      for (size_t s = 0; s < chunk.count; ++s) {
        lines.push_back(Concat(
            times[s], " start ", starts[s], " ",
            histograms.empty() ? Concat(std::bit_cast<uint64_t>(values[s])) : Show(histograms[s])));
      }
    }
  }
  return out;
}

TEST(ScriptLoads, ReadBackAsWritten) {
  const auto folder = testing::SharedPath("conformance/promql");
  if (!folder) GTEST_SKIP() << "skipped: no shared folder, so no scripts of Prometheus";
  const StorageFactory database = DatabaseStorage(Options());
  const StorageFactory memory = testing::MemoryStorage();
  size_t compared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(*folder)) {
    if (entry.path().extension() != ".test") continue;
    const auto commands = ParseScript(testing::ReadFile(entry.path().string()));
    ASSERT_TRUE(commands.ok());
    auto stored = database();
    auto model = memory();
    ASSERT_TRUE(stored.ok()) << stored.status();
    for (const Command& command : *commands) {
      const std::string place = Concat(entry.path().filename().string(), ":", command.line);
      if (std::holds_alternative<ClearCommand>(command.what)) {
        stored = database();
        model = memory();
        ASSERT_TRUE(stored.ok()) << stored.status();
      }
      const auto* load = std::get_if<LoadCommand>(&command.what);
      if (load == nullptr) continue;
      const WriteBatch batch = BatchOf(*load);
      const Status appended = (*stored)->Append(batch);
      ASSERT_TRUE(appended.ok()) << place << ": " << appended;
      ASSERT_TRUE((*model)->Append(batch).ok());
      const auto expected = Dump(**(*model)->TakeSnapshot());
      const auto check = [&](std::string_view when, const Status& status) {
        ASSERT_TRUE(status.ok()) << place << " " << when << ": " << status;
        const auto snapshot = (*stored)->TakeSnapshot();
        ASSERT_TRUE(snapshot.ok()) << place << " " << when << ": " << snapshot.status();
        EXPECT_EQ(Dump(**snapshot), expected) << place << " " << when;
        ++compared;
      };
      check("in the head", absl::OkStatus());
      check("after a crash", (*stored)->Restart(true));
      check("reopened", (*stored)->Restart(false));
      check("flushed", (*stored)->Flush());
      check("flushed and reopened", (*stored)->Restart(false));
      check("compacted", (*stored)->Compact());
      check("compacted, after a crash", (*stored)->Restart(true));
    }
  }
  std::printf("%zu snapshots compared\n", compared);
}

}  // namespace
}  // namespace varve::promqltest
