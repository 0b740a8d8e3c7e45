#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "engine/metrics/block_directory.h"
#include "engine/metrics/block_split.h"
#include "tests/metrics_block/block_model.h"

namespace varve::metrics {
namespace {

using varve::testing::Compare;
using varve::testing::DrawModel;
using varve::testing::Model;
using varve::testing::ModelRun;
using varve::testing::RandomData;
using varve::testing::WriteModel;

constexpr uint64_t kFixedTag = 0x7661727665303031;
std::string BlockPath(uint64_t id) { return "/d/" + block::BlockFileName(id); }

std::shared_ptr<io::MemoryFileSystem> NewFileSystem() {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  EXPECT_TRUE(fs->MakeDirs("/d").ok());
  return fs;
}

void WriteFile(io::FileSystem* fs, const std::string& path, std::string_view bytes) {
  auto file = fs->Create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->WriteAt(0, bytes).ok());
  ASSERT_TRUE((*file)->Close().ok());
}

bool HasEverything(const Model& model) {
  bool values = false;
  bool histograms = false;
  bool starts = false;
  bool exemplars = false;
  for (const auto& series : model.series) {
    exemplars |= !series.exemplars.empty();
    for (const auto& run : series.runs) {
      values |= run.values.size() > 20;
      histograms |= run.histograms.size() > 3;
      starts |= !run.starts.empty();
    }
  }
  return values && histograms && starts && exemplars && !model.metadata.empty();
}

/// Draws a small block that has something of everything.
Model SmallModel() {
  for (uint64_t seed = 1;; ++seed) {
    Model model = DrawModel(seed, 8, 40);
    if (HasEverything(model)) return model;
  }
}

TEST(MetricsBlock, RoundTripsRandomBlocks) {
  for (uint64_t seed = 0; seed < 70; ++seed) {
    const Model model = DrawModel(seed, 30, seed % 4 == 0 ? 4 : 3000);
    auto fs = NewFileSystem();
    const auto meta = WriteModel(model, fs, "/d", 7);
    ASSERT_TRUE(meta.ok()) << meta.status();
    EXPECT_EQ(meta->series, model.series.size());
    uint64_t samples = 0;
    for (const auto& series : model.series) {
      for (const auto& run : series.runs) samples += run.times.size();
    }
    EXPECT_EQ(meta->rows, samples);
    const auto block = MetricsBlock::Open(*fs, BlockPath(7));
    ASSERT_TRUE(block.ok()) << block.status();
    EXPECT_EQ((*block)->range(), (TimeRange{meta->min_time, meta->max_time}));
    const auto difference = Compare(model, **block);
    ASSERT_TRUE(difference.ok()) << difference.status();
    ASSERT_EQ(*difference, "") << "seed " << seed;
    EXPECT_TRUE((*block)->VerifyAll().empty());
  }
}

TEST(MetricsBlock, HoldsNothing) {
  auto fs = NewFileSystem();
  ASSERT_TRUE(WriteModel(Model{}, fs, "/d", 1).ok());
  const auto block = MetricsBlock::Open(*fs, BlockPath(1));
  ASSERT_TRUE(block.ok()) << block.status();
  EXPECT_EQ((*block)->labels().size(), 0u);
  EXPECT_TRUE((*block)->VerifyAll().empty());
}

TEST(MetricsBlock, SharesAxesAndColumns) {
  Model model;
  RandomData data(1);
  const auto times = data.Times(3000, 1);
  const auto values = data.Values(3000, 2);
  for (int i = 0; i < 200; ++i) {
    model.series.push_back({Labels{{"__name__", "m"}, {"i", std::to_string(1000 + i)}},
                            {{times, values, {}, {}}},
                            {}});
  }
  // A series that came later shares the axes after the cut that follows.
  model.series.push_back(
      {Labels{{"__name__", "n"}},
       {{{times.begin() + 100, times.end()}, {values.begin() + 100, values.end()}, {}, {}}},
       {}});
  auto fs = NewFileSystem();
  const auto meta = WriteModel(model, fs, "/d", 1);
  ASSERT_TRUE(meta.ok());
  EXPECT_LT(meta->bytes, 16000u);
  const auto block = MetricsBlock::Open(*fs, BlockPath(1));
  ASSERT_TRUE(block.ok());
  std::vector<Chunk> first;
  std::vector<Chunk> last;
  ASSERT_TRUE((*block)->GetChunks(0, TimeRange{}, &first).ok());
  ASSERT_TRUE((*block)->GetChunks(200, TimeRange{}, &last).ok());
  ASSERT_EQ(first.size(), last.size());
  EXPECT_NE(first[0].axis, last[0].axis);
  EXPECT_EQ(first[1].axis, last[1].axis);
  std::vector<Chunk> part;
  ASSERT_TRUE((*block)->GetChunks(0, {first[1].min_time_ms, first[1].min_time_ms}, &part).ok());
  ASSERT_EQ(part.size(), 1u);
  EXPECT_EQ(part[0].min_time_ms, first[1].min_time_ms);
}

TEST(MetricsBlock, CutsLargeHistogramsFiner) {
  Model model;
  ModelRun run;
  for (int i = 0; i < 90; ++i) {
    Histogram h;
    h.schema = 3;
    for (int k = 0; k < 60000; ++k)
      h.positive_deltas.push_back((i * 7919 + k) % 1000003 * 1000003LL);
    h.positive_spans = {{0, 60000}};
    run.times.push_back(i);
    run.histograms.push_back(std::move(h));
  }
  model.series.push_back({Labels{{"__name__", "m"}}, {run}, {}});
  auto fs = NewFileSystem();
  ASSERT_TRUE(WriteModel(model, fs, "/d", 1).ok());
  const auto block = MetricsBlock::Open(*fs, BlockPath(1));
  ASSERT_TRUE(block.ok());
  const auto difference = Compare(model, **block);
  ASSERT_TRUE(difference.ok());
  EXPECT_EQ(*difference, "");
}

TEST(MetricsBlock, RefusesMisuse) {
  const std::vector<int64_t> times = {1, 2};
  const std::vector<double> values = {1, 2};
  struct Case {
    const char* name;
    std::vector<int64_t> times;
    std::vector<int64_t> starts;
  };
  for (const Case& c : {Case{"equal times", {3, 3}, {}}, Case{"descending", {5, 4}, {}},
                        Case{"overlap", {2, 3}, {}}, Case{"starts", {3, 4}, {1}}}) {
    auto fs = NewFileSystem();
    auto writer = MetricsBlockWriter::Create(fs, "/d", 1);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->BeginSeries(Labels{{"a", "b"}}).ok());
    ASSERT_TRUE((*writer)->AddFloats(times, values, {}).ok());
    EXPECT_EQ((*writer)->AddFloats(c.times, values, c.starts).code(), StatusCode::kInvalidArgument)
        << c.name;
    EXPECT_FALSE((*writer)->Finish({}).ok()) << c.name;
    writer->reset();
    EXPECT_FALSE(*fs->Exists(BlockPath(1)));
  }
  auto fs = NewFileSystem();
  auto writer = MetricsBlockWriter::Create(fs, "/d", 1);
  EXPECT_FALSE((*writer)->AddFloats(times, values, {}).ok());
}

TEST(MetricsBlock, FindsEverySingleBitFlip) {
  const Model model = SmallModel();
  auto fs = NewFileSystem();
  ASSERT_TRUE(WriteModel(model, fs, "/d", 3, kFixedTag).ok());
  const std::string whole = *fs->ReadFile(BlockPath(3), 1 << 20);
  ASSERT_LT(whole.size(), 20000u);
  uint64_t found_at_open = 0;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    WriteFile(fs.get(), "/d/flipped", bytes);
    const auto block = MetricsBlock::Open(*fs, "/d/flipped");
    if (!block.ok()) {
      ++found_at_open;
      continue;
    }
    const auto difference = Compare(model, **block);
    if (difference.ok()) {
      ASSERT_EQ(*difference, "") << "bit " << bit;
    }
    const auto damage = (*block)->VerifyAll();
    ASSERT_FALSE(damage.empty()) << "bit " << bit;
    EXPECT_EQ(damage[0].code(), StatusCode::kDataLoss);
    EXPECT_TRUE(FilePlaceOf(damage[0]).has_value());
  }
  EXPECT_GT(found_at_open, 0u);
  for (size_t cut = 0; cut < whole.size(); cut += 7) {
    WriteFile(fs.get(), "/d/cut", whole.substr(0, cut));
    EXPECT_FALSE(MetricsBlock::Open(*fs, "/d/cut").ok());
  }
}

// Version 1 as it was first written; a change of the format gets a new file beside it. Written by
// this test with VARVE_WRITE_GOLDEN=1.
TEST(MetricsBlock, ReadsTheGoldenFile) {
  const char* source = std::getenv("VARVE_SOURCE");
  const std::string path =
      std::string(source == nullptr ? "." : source) + "/tests/metrics_block/golden/v1.varve";
  const Model model = SmallModel();
  auto fs = NewFileSystem();
  if (const char* make = std::getenv("VARVE_WRITE_GOLDEN"); make != nullptr && *make == '1') {
    ASSERT_TRUE(WriteModel(model, fs, "/d", 3, kFixedTag).ok());
    std::ofstream(path, std::ios::binary) << *fs->ReadFile(BlockPath(3), 1 << 20);
  }
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file.good()) << path;
  const std::string golden{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  WriteFile(fs.get(), "/d/golden", golden);
  const auto block = MetricsBlock::Open(*fs, "/d/golden");
  ASSERT_TRUE(block.ok()) << block.status();
  const auto difference = Compare(model, **block);
  ASSERT_TRUE(difference.ok());
  EXPECT_EQ(*difference, "");
}

BlockDirectory DrawDirectory(RandomData* data, uint64_t* bulk_bytes) {
  BlockDirectory d;
  d.begins.push_back(0);
  *bulk_bytes = 0;
  int64_t end = static_cast<int64_t>(data->Below(100000));
  for (uint64_t s = 1 + data->Below(20); s > 0; --s) {
    uint32_t from = 0;
    for (uint64_t c = data->Below(5); c > 0; --c) {
      BlockDirectory::ChunkEntry chunk;
      if (d.axes.empty() || from >= d.axes.size() || data->OneIn(5)) {
        BlockDirectory::Axis axis;
        axis.offset = *bulk_bytes;
        axis.bytes = static_cast<uint32_t>(1 + data->Below(300));
        axis.count = static_cast<uint32_t>(data->OneIn(3) ? 1 : 2 + data->Below(1000));
        axis.min_time = end + static_cast<int64_t>(data->Below(5000));
        axis.max_time =
            axis.min_time + (axis.count == 1 ? 0 : 1 + static_cast<int64_t>(data->Below(90000)));
        end = axis.max_time + 1;
        *bulk_bytes += axis.bytes;
        chunk.axis = static_cast<uint32_t>(d.axes.size());
        d.axes.push_back(axis);
      } else {
        chunk.axis = from;
      }
      from = chunk.axis + 1;
      if (d.columns.empty() || data->OneIn(2)) {
        BlockDirectory::Column column;
        column.offset = *bulk_bytes;
        column.bytes = static_cast<uint32_t>(1 + data->Below(2000));
        column.kind = static_cast<ChunkKind>(data->Below(2));
        column.flags = static_cast<uint8_t>(data->Below(16));
        *bulk_bytes += column.bytes;
        chunk.column = static_cast<uint32_t>(d.columns.size());
        d.columns.push_back(column);
      } else {
        chunk.column = static_cast<uint32_t>(data->Below(d.columns.size()));
      }
      uint32_t starts = BlockDirectory::kNoStarts;
      if (data->OneIn(3)) {
        starts = static_cast<uint32_t>(d.starts.size());
        d.starts.push_back({*bulk_bytes, static_cast<uint32_t>(1 + data->Below(9))});
        *bulk_bytes += d.starts.back().bytes;
      }
      d.chunks.push_back(chunk);
      d.chunk_starts.push_back(starts);
    }
    d.begins.push_back(static_cast<uint32_t>(d.chunks.size()));
  }
  if (d.starts.empty()) d.chunk_starts.clear();
  return d;
}

TEST(BlockDirectory, RoundTripsAndRefusesHostileBytes) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomData data(seed);
    uint64_t bulk_bytes;
    const BlockDirectory expected = DrawDirectory(&data, &bulk_bytes);
    const auto series = static_cast<uint32_t>(expected.begins.size() - 1);
    const std::string bytes = EncodeDirectory(expected);
    BlockDirectory got;
    const Status status = DecodeDirectory(bytes, series, bulk_bytes, "f", 100, &got);
    ASSERT_TRUE(status.ok()) << status << " seed " << seed;
    ASSERT_EQ(got.begins, expected.begins);
    ASSERT_EQ(got.chunk_starts, expected.chunk_starts);
    for (size_t i = 0; i < expected.chunks.size(); ++i) {
      ASSERT_EQ(got.chunks[i].axis, expected.chunks[i].axis);
      ASSERT_EQ(got.chunks[i].column, expected.chunks[i].column);
    }
    for (size_t i = 0; i < expected.axes.size(); ++i) {
      ASSERT_EQ(got.axes[i].offset, expected.axes[i].offset);
      ASSERT_EQ(got.axes[i].count, expected.axes[i].count);
      ASSERT_EQ(got.axes[i].min_time, expected.axes[i].min_time);
      ASSERT_EQ(got.axes[i].max_time, expected.axes[i].max_time);
    }
    for (size_t i = 0; i < expected.columns.size(); ++i) {
      ASSERT_EQ(got.columns[i].offset, expected.columns[i].offset);
      ASSERT_EQ(got.columns[i].kind, expected.columns[i].kind);
      ASSERT_EQ(got.columns[i].flags, expected.columns[i].flags);
    }
    EXPECT_FALSE(DecodeDirectory(bytes, series, bulk_bytes + 1, "f", 0, &got).ok());
    EXPECT_FALSE(DecodeDirectory(bytes + "x", series, bulk_bytes, "f", 0, &got).ok());
    for (int i = 0; i < 100; ++i) {
      std::string bad = bytes.substr(0, data.OneIn(2) ? bytes.size() : data.Below(bytes.size()));
      for (int k = 0; k < 2 && !bad.empty(); ++k)
        bad[data.Below(bad.size())] = static_cast<char>(data.Word());
      const Status refused = DecodeDirectory(bad, series, bulk_bytes, "f", 100, &got);
      if (!refused.ok()) {
        ASSERT_EQ(refused.code(), StatusCode::kDataLoss);
        ASSERT_GE(FilePlaceOf(refused)->offset, 100u);
      }
    }
  }
}

TEST(SplitRun, CutsOnASharedGrid) {
  RandomData data(9);
  const auto times = data.Times(5000, 4);
  const auto whole = SplitRun(times, 1024, times[0]);
  EXPECT_LE(whole.size(), 7u);
  // The same scrape target seen from the 700th scrape on: the same cuts from there.
  const std::span<const int64_t> later = std::span(times).subspan(700);
  const auto part = SplitRun(later, 1024, times[0]);
  std::vector<size_t> expected;
  for (const size_t end : whole) {
    if (end > 700) expected.push_back(end - 700);
  }
  EXPECT_EQ(part, expected);
}

TEST(SplitRun, TakesAnyTimes) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    RandomData data(seed);
    auto times =
        data.Times(1 + data.Below(6000), static_cast<int>(data.Below(RandomData::kTimeShapes)));
    if (data.OneIn(3)) {
      for (size_t i = 0; i < times.size() / 2; ++i) times[i] -= int64_t{1} << data.Below(60);
      std::sort(times.begin(), times.end());
      times.erase(std::unique(times.begin(), times.end()), times.end());
    }
    const size_t most = 1 + data.Below(1024);
    const auto ends = SplitRun(times, most, static_cast<int64_t>(data.Word()));
    size_t begin = 0;
    for (const size_t end : ends) {
      ASSERT_GT(end, begin);
      ASSERT_LE(end - begin, most);
      begin = end;
    }
    ASSERT_EQ(begin, times.size());
    ASSERT_LE(ends.size(), 2 * ((times.size() + most - 1) / most) + 1);
  }
}

}  // namespace
}  // namespace varve::metrics
