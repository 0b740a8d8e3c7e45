#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/io/memory_file_system.h"
#include "varve/database.h"

namespace varve::db_testing {

/// All samples of a database: printed labels -> time -> bits of the value (of a histogram: of its
/// sum).
using Contents = std::map<std::string, std::map<int64_t, uint64_t>>;

inline uint64_t Bits(double value) { return std::bit_cast<uint64_t>(value); }

/// Reads everything through the public API, checking what scan.h promises on the way.
inline Result<Contents> ReadAll(const Snapshot& snapshot, std::vector<Matcher> matchers = {},
                                TimeRange range = {}) {
  auto selected = snapshot.Select(matchers, range);
  if (!selected.ok()) return selected.status();
  Contents out;
  std::vector<LabelView> labels;
  std::vector<LabelView> before;
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < (*selected)->size(); ++i) {
    (*selected)->GetLabels(i, &labels);
    if (i > 0) {
      EXPECT_TRUE(CompareLabels(before, labels) < 0);
    }
    before = labels;
    Status status = (*selected)->GetChunks(i, range, &chunks);
    if (!status.ok()) return status;
    std::map<int64_t, uint64_t>& series = out[ToString(LabelsView(labels))];
    int64_t last = 0;
    bool first = true;
    for (const Chunk& chunk : chunks) {
      EXPECT_GE(chunk.count, 1u);
      EXPECT_TRUE(chunk.range().Overlaps(range));
      std::vector<int64_t> times(chunk.count);
      status = chunk.DecodeTimes(times);
      if (!status.ok()) return status;
      EXPECT_EQ(times.front(), chunk.min_time_ms);
      EXPECT_EQ(times.back(), chunk.max_time_ms);
      std::vector<uint64_t> bits;
      if (chunk.kind == ChunkKind::kFloat) {
        std::vector<double> values(chunk.count);
        status = chunk.DecodeValues(values);
        if (!status.ok()) return status;
        for (const double value : values) bits.push_back(Bits(value));
      } else {
        std::vector<Histogram> histograms;
        status = chunk.DecodeHistograms(&histograms);
        if (!status.ok()) return status;
        for (const Histogram& histogram : histograms) bits.push_back(Bits(histogram.sum));
      }
      for (size_t k = 0; k < times.size(); ++k) {
        EXPECT_TRUE(first || times[k] > last) << times[k] << " after " << last;
        first = false;
        last = times[k];
        if (range.Contains(last)) series[last] = bits[k];
      }
    }
    if (series.empty()) out.erase(ToString(LabelsView(labels)));
  }
  return out;
}

inline Contents MustReadAll(const Database& db, std::vector<Matcher> matchers = {},
                            TimeRange range = {}) {
  auto snapshot = db.TakeSnapshot();
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  auto contents = ReadAll(**snapshot, std::move(matchers), range);
  EXPECT_TRUE(contents.ok()) << contents.status();
  return contents.ok() ? *contents : Contents();
}

inline Options TestOptions(std::shared_ptr<io::FileSystem> fs) {
  Options options;
  options.dir = "db";
  options.file_system = std::move(fs);
  options.background_threads = 0;
  return options;
}

inline std::unique_ptr<Database> MustOpen(const Options& options) {
  auto db = Database::Open(options);
  EXPECT_TRUE(db.ok()) << db.status();
  return db.ok() ? std::move(*db) : nullptr;
}

inline Labels Series(int i, std::string_view metric = "m") {
  return Labels{{"__name__", metric}, {"i", std::to_string(i)}};
}

}  // namespace varve::db_testing
