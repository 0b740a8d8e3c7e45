// The bytes of format version 1 of blocks and manifests: today's writers make them, today's readers
// read them.

#include "tests/io/golden.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/block/container.h"
#include "engine/block/manifest.h"
#include "engine/io/memory_file_system.h"

namespace varve::block {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing_golden::CheckGolden;

constexpr uint64_t kTag = 0x1122334455667700;

BlockMeta GoldenMeta() {
  BlockMeta meta;
  meta.id = 7;
  meta.wing = Wing::kMetrics;
  meta.level = 1;
  meta.min_time = 1'700'000'000'000;
  meta.max_time = 1'700'000'360'000;
  meta.rows = 24;
  meta.series = 2;
  meta.sources = {5, 6};
  meta.wal_floor = 3;
  meta.opaque = "wing";
  return meta;
}

TEST(BlockGolden, Version1) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  ASSERT_TRUE(fs->MakeDirs("blocks").ok());
  {
    auto writer = BlockWriter::Create(fs, "blocks", 7, Wing::kMetrics, kTag);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->AddSection(1, 0, 2, "whole section", 40, 2).ok());
    ASSERT_TRUE((*writer)->BeginPagedSection(2, kSkippable, 0).ok());
    ASSERT_TRUE((*writer)->Append("paged ").ok());
    ASSERT_TRUE((*writer)->Append("section").ok());
    ASSERT_TRUE((*writer)->EndPagedSection(13, 1).ok());
    ASSERT_TRUE((*writer)->Finish(GoldenMeta()).ok());
  }
  const std::string path = "blocks/000007.varve";
  const std::string golden =
      CheckGolden("tests/block/golden/block-v1.hex", *fs->ReadFile(path, 1 << 20));
  ASSERT_TRUE(fs->Put(path, golden).ok());
  auto block = BlockReader::Open(*fs, path);
  ASSERT_TRUE(block.ok()) << block.status();
  BlockMeta expected = GoldenMeta();
  expected.bytes = golden.size();
  EXPECT_EQ((*block)->meta(), expected);
  ASSERT_THAT((*block)->sections(), SizeIs(3));
  EXPECT_EQ((*block)->sections()[0].codec, 2);
  EXPECT_EQ((*block)->sections()[0].raw_bytes, 40u);
  EXPECT_TRUE((*block)->sections()[1].skippable());
  EXPECT_EQ(*(*block)->Section(1), "whole section");
  EXPECT_EQ(*(*(*block)->Paged(2))->Read(0, 13), "paged section");
  EXPECT_THAT((*block)->VerifyAll(), IsEmpty());
}

TEST(ManifestGolden, Version1) {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  ASSERT_TRUE(fs->MakeDirs("db").ok());
  ManifestOptions options;
  options.fixed_tag = kTag;
  ManifestState expected;
  {
    auto manifest = Manifest::Open(fs, "db", options, nullptr);
    ASSERT_TRUE(manifest.ok());
    ManifestEdit edit;
    for (const uint64_t id : {5, 6}) {
      edit.add_blocks.emplace_back();
      edit.add_blocks.back().id = id;
    }
    ASSERT_TRUE((*manifest)->Commit(edit).ok());
    edit = {};
    edit.add_blocks = {GoldenMeta()};
    edit.remove_blocks = {5, 6};
    edit.wal_floors[Wing::kMetrics] = 3;
    edit.add_tombstones = {{1, Wing::kMetrics, 7, "hidden"}};
    ASSERT_TRUE((*manifest)->Commit(edit).ok());
    edit = {};
    edit.remove_tombstones = {{Wing::kMetrics, 1}};
    edit.next_block_id = 12;
    ASSERT_TRUE((*manifest)->Commit(edit).ok());
    expected = (*manifest)->state();
  }
  auto old = std::make_shared<io::MemoryFileSystem>();
  for (const auto& [path, golden] :
       {std::pair("db/MANIFEST-000001", "tests/block/golden/manifest-v1.hex"),
        std::pair("db/CURRENT", "tests/block/golden/current-v1.hex")}) {
    ASSERT_TRUE(old->Put(path, CheckGolden(golden, *fs->ReadFile(path, 1 << 20))).ok());
  }
  ManifestReport report;
  auto manifest = Manifest::Open(old, "db", {}, &report);
  ASSERT_TRUE(manifest.ok());
  EXPECT_TRUE(report.clean());
  EXPECT_EQ(report.copies_repaired, 0u);
  EXPECT_EQ(report.edits, 4u);
  EXPECT_EQ((*manifest)->state(), expected);
}

TEST(BlockGolden, TheFormatPagesQuoteIt) {
  testing_golden::CheckDocument("engine/docs/format/block-container.md",
                                {"tests/block/golden/block-v1.hex"});
  testing_golden::CheckDocument("engine/docs/format/manifest.md",
                                {"tests/block/golden/manifest-v1.hex"});
}

}  // namespace
}  // namespace varve::block
