// Block files: what was written is read, and version 1 stays readable.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "engine/base/strings.h"
#include "engine/block/plan.h"
#include "engine/io/memory_file_system.h"
#include "engine/logs/block_reader.h"
#include "engine/logs/block_writer.h"
#include "engine/logs/seal.h"
#include "engine/logs/source.h"

namespace varve::logs {
namespace {

constexpr uint64_t kFixedTag = 0x76617276656c6f67;

struct Row {
  int64_t time_ns;
  std::string line;
  std::vector<std::pair<std::string, std::string>> metadata;
  friend bool operator==(const Row&, const Row&) = default;
};
using Model = std::vector<std::pair<Labels, std::vector<Row>>>;

Model SmallModel() {
  Model out;
  for (int s = 0; s < 3; ++s) {
    std::vector<Row> rows;
    for (int i = 0; i < 40; ++i) {
      Row row{1'000'000'000LL * (i + s),
              Concat("request ", i, " of user", i % 5, " took ", i * 3, " ms, id=", 1000000000 + i,
                     "abcdef"),
              {}};
      if (s == 1) row.metadata = {{"trace_id", Concat("t", i % 4)}};
      if (i == 7) row.line = std::string("\0\xff bytes", 8);
      rows.push_back(std::move(row));
    }
    out.emplace_back(Labels{{"app", "shop"}, {"pod", Concat("p", s)}}, std::move(rows));
  }
  return out;
}

Status Write(const Model& model, std::shared_ptr<io::FileSystem> fs, uint64_t id) {
  auto writer = LogsBlockWriter::Create(std::move(fs), "/d", id, kFixedTag);
  if (!writer.ok()) return writer.status();
  for (const auto& [labels, rows] : model) {
    Status status = (*writer)->BeginStream(labels);
    if (!status.ok()) return status;
    LogRows batch;
    batch.metadata_begin.push_back(0);
    for (const Row& row : rows) {
      batch.times_ns.push_back(row.time_ns);
      batch.lines.push_back(row.line);
      for (const auto& [name, value] : row.metadata) batch.metadata.push_back({name, value});
      batch.metadata_begin.push_back(static_cast<uint32_t>(batch.metadata.size()));
    }
    status = (*writer)->Add(batch);
    if (!status.ok()) return status;
  }
  block::BlockMeta meta;
  meta.wing = block::Wing::kLogs;
  block::ApplySealMeta({}, id, &meta);
  return (*writer)->Finish(std::move(meta)).status();
}

Model Read(const std::shared_ptr<const LogsBlock>& block) {
  Model out;
  const auto scan = *CompileLogScan({});
  std::vector<LabelView> labels;
  LogRows rows;
  LogScanStats stats;
  for (uint32_t stream = 0; stream < block->labels().size(); ++stream) {
    block->labels().GetLabels(stream, &labels);
    out.emplace_back(Labels(LabelsView(labels)), std::vector<Row>());
    for (const LogsPart& part : block->parts_of(stream)) {
      const Status status = block->ReadPart(block->index_of(part), *scan, {}, &rows, &stats);
      EXPECT_TRUE(status.ok()) << status;
      for (size_t i = 0; i < rows.size(); ++i) {
        Row row{rows.times_ns[i], std::string(rows.lines[i]), {}};
        for (const LabelView& label : rows.metadata_of(i)) {
          row.metadata.emplace_back(label.name, label.value);
        }
        out.back().second.push_back(std::move(row));
      }
    }
  }
  return out;
}

std::shared_ptr<io::MemoryFileSystem> NewFileSystem() {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  EXPECT_TRUE(fs->MakeDirs("/d").ok());
  return fs;
}

TEST(LogsBlock, ReadsWhatWasWritten) {
  auto fs = NewFileSystem();
  const Status status = Write(SmallModel(), fs, 3);
  ASSERT_TRUE(status.ok()) << status;
  const auto block = LogsBlock::Open(*fs, io::JoinPath("/d", block::BlockFileName(3)));
  ASSERT_TRUE(block.ok()) << block.status();
  EXPECT_EQ(Read(*block), SmallModel());
  EXPECT_TRUE((*block)->VerifyAll().empty());
  EXPECT_EQ((*block)->Stats().entries, 120u);
  EXPECT_EQ((*block)->range(), (NsRange{0, 41'000'000'000}));
  std::vector<std::string> names;
  (*block)->MetadataNames({0, 1, 2}, {}, &names);
  EXPECT_EQ(names, std::vector<std::string>{"trace_id"});
}

/// A stream of `megabytes` and a small one. Lines have a word of their own, `mark`, now and then.
Model LargeModel(int64_t first_ns, size_t megabytes, const std::string& mark,
                 const std::string& name) {
  std::vector<Row> rows;
  std::vector<Row> few;
  size_t bytes = 0;
  for (int i = 0; bytes < megabytes << 20; ++i) {
    Row row{first_ns + i,
            Concat("GET /item/", i * 7919 % 100'003, " for user", i % 331, " in ", i % 1000,
                   " us, status=", i % 17 == 0 ? 500 : 200),
            {}};
    if (i % 5000 == 1) row.line += Concat(" note ", mark, i);
    if (i % 3 == 0) row.metadata = {{name, Concat("v", i % 100)}};
    if (i % 1000 == 0) few.push_back(row);
    bytes += row.line.size();
    rows.push_back(std::move(row));
  }
  Model out;
  out.emplace_back(Labels{{"app", "hot"}}, std::move(rows));
  out.emplace_back(Labels{{"app", "small"}}, std::move(few));
  return out;
}

/// Counts the rows of a block that hold `text`, and the row groups that had to be looked at.
uint64_t CountWith(const std::shared_ptr<const LogsBlock>& block, const std::string& text,
                   LogScanStats* stats) {
  LogScanSpec spec;
  spec.line_filters = {{LineFilter::Op::kContains, {text}}};
  const auto scan = *CompileLogScan(spec);
  LogRows rows;
  uint64_t found = 0;
  for (uint32_t stream = 0; stream < block->labels().size(); ++stream) {
    for (const LogsPart& part : block->parts_of(stream)) {
      EXPECT_TRUE(block->ReadPart(block->index_of(part), *scan, {}, &rows, stats).ok());
      found += rows.size();
    }
  }
  return found;
}

// Large row groups of one stream pass through a merge as they are stored; what they leave between
// them is joined. Names of metadata are numbered anew, words and filters stay with the rows.
TEST(LogsBlock, MergesCopyWholeGroups) {
  auto fs = NewFileSystem();
  Model early = LargeModel(1'000'000, 5, "zebrafinch", "trace");
  const Model late = LargeModel(2'000'000'000, 5, "quokkas", "agent");
  ASSERT_TRUE(Write(early, fs, 3).ok());
  ASSERT_TRUE(Write(late, fs, 4).ok());
  std::vector<SourcePtr> sources;
  std::vector<std::shared_ptr<const LogsBlock>> blocks;
  for (const uint64_t id : {3, 4}) {
    blocks.push_back(*LogsBlock::Open(*fs, io::JoinPath("/d", block::BlockFileName(id))));
    sources.push_back(MakeBlockSource(blocks.back(), {}));
  }
  const block::SealTarget target{fs, "/d", [] { return uint64_t{5}; }};
  const auto meta = WriteMerged(sources, NsRange{}, {}, target);
  ASSERT_TRUE(meta.ok()) << meta.status();
  const auto merged = *LogsBlock::Open(*fs, io::JoinPath("/d", block::BlockFileName(5)));
  EXPECT_TRUE(merged->VerifyAll().empty());
  for (size_t s = 0; s < early.size(); ++s) {
    auto& rows = early[s].second;
    rows.insert(rows.end(), late[s].second.begin(), late[s].second.end());
  }
  EXPECT_EQ(Read(merged), early);

  const auto groups_of = [](const LogsBlock& block) {
    std::vector<std::string_view> out;
    for (uint32_t g = 0; g < block.directory().groups.size(); ++g) {
      out.push_back(block.ReadGroup(g)->rows);
    }
    return out;
  };
  const std::vector<std::string_view> written = groups_of(*merged);
  // Five groups of each block are whole; what is left of the first waits in a group that copying
  // the others closes.
  size_t copied = 0;
  for (const auto& block : blocks) {
    for (const std::string_view group : groups_of(*block)) {
      copied += std::count(written.begin(), written.end(), group);
    }
  }
  EXPECT_GE(copied, 9u);
  EXPECT_LT(copied, written.size());

  for (const std::string text : {"brafin", "uokka"}) {
    LogScanStats stats;
    const auto expected = static_cast<uint64_t>(
        std::count_if(early[0].second.begin(), early[0].second.end(),
                      [&](const Row& row) { return row.line.find(text) != std::string::npos; }));
    EXPECT_GT(expected, 5u);
    EXPECT_EQ(CountWith(merged, text, &stats), expected);
    EXPECT_GE(stats.skipped_words.groups, 2u) << "the groups of the other block";
  }
  LogScanStats stats;
  EXPECT_EQ(CountWith(merged, "nowhere", &stats), 0u);
  EXPECT_EQ(stats.groups_read, 0u);
}

// Version 3 as it was first written; a change of the format gets a new file. Written by this test
// with VARVE_WRITE_GOLDEN=1.
TEST(LogsBlock, ReadsTheGoldenFile) {
  const char* source = std::getenv("VARVE_SOURCE");
  const std::string path =
      std::string(source == nullptr ? "." : source) + "/tests/logs/golden/v3.varve";
  auto fs = NewFileSystem();
  if (const char* make = std::getenv("VARVE_WRITE_GOLDEN"); make != nullptr && *make == '1') {
    ASSERT_TRUE(Write(SmallModel(), fs, 3).ok());
    std::ofstream(path, std::ios::binary)
        << *fs->ReadFile(io::JoinPath("/d", block::BlockFileName(3)), 1 << 20);
  }
  std::ifstream file(path, std::ios::binary);
  ASSERT_TRUE(file.good()) << path;
  const std::string golden{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ASSERT_TRUE(fs->Put("/d/golden", golden).ok());
  const auto block = LogsBlock::Open(*fs, "/d/golden");
  ASSERT_TRUE(block.ok()) << block.status();
  EXPECT_EQ(Read(*block), SmallModel());
  EXPECT_TRUE((*block)->VerifyAll().empty());
}

}  // namespace
}  // namespace varve::logs
