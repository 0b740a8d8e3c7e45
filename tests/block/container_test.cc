// Block files: writing, lazy verification, damage, crashes.

#include "engine/block/container.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <thread>

#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"

namespace varve::block {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kPath[] = "blocks/000007.varve";

std::string RandomBytes(uint64_t seed, size_t bytes) {
  std::mt19937_64 random(seed);
  std::string out(bytes, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

BlockMeta TestMeta() {
  BlockMeta meta;
  meta.id = 7;
  meta.wing = Wing::kMetrics;
  meta.level = 2;
  meta.min_time = -5;
  meta.max_time = 1'700'000'000'000;
  meta.rows = 12345;
  meta.series = 67;
  meta.sources = {3, 4, 6};
  meta.wal_floor = 9;
  meta.opaque = "opaque";
  return meta;
}

std::shared_ptr<io::MemoryFileSystem> NewFileSystem() {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  EXPECT_TRUE(fs->MakeDirs("blocks").ok());
  return fs;
}

std::unique_ptr<BlockWriter> NewWriter(const std::shared_ptr<io::MemoryFileSystem>& fs) {
  auto writer = BlockWriter::Create(fs, "blocks", 7, Wing::kMetrics);
  EXPECT_TRUE(writer.ok()) << writer.status();
  return std::move(*writer);
}

/// Writes a block with a small section, an empty one, a paged one of `paged_bytes`, and another.
BlockMeta WriteBlock(const std::shared_ptr<io::MemoryFileSystem>& fs, uint64_t paged_bytes) {
  auto writer = NewWriter(fs);
  EXPECT_TRUE(writer->AddSection(1, 0, 5, "small", 50, 3).ok());
  EXPECT_TRUE(writer->AddSection(2, kSkippable, 0, "").ok());
  EXPECT_TRUE(writer->BeginPagedSection(3, 0, 9).ok());
  const std::string bytes = RandomBytes(1, paged_bytes);
  std::mt19937_64 random(2);
  for (size_t at = 0; at < bytes.size();) {
    EXPECT_EQ(writer->section_offset(), at);
    const size_t take = std::min<size_t>(bytes.size() - at, random() % 100'000);
    EXPECT_TRUE(writer->Append(std::string_view(bytes).substr(at, take)).ok());
    at += take;
  }
  EXPECT_TRUE(writer->EndPagedSection(7, 8).ok());
  EXPECT_TRUE(writer->AddSection(4, 0, 0, RandomBytes(3, 1000)).ok());
  auto meta = writer->Finish(TestMeta());
  EXPECT_TRUE(meta.ok()) << meta.status();
  return *meta;
}

TEST(Container, RoundTrip) {
  for (const uint64_t paged_bytes : {0u, 1u, 8u, 65535u, 65536u, 65537u, 1'000'003u}) {
    auto fs = NewFileSystem();
    const BlockMeta meta = WriteBlock(fs, paged_bytes);
    EXPECT_THAT(*fs->List("blocks"), ElementsAre("000007.varve"));
    auto block = BlockReader::Open(*fs, kPath);
    ASSERT_TRUE(block.ok()) << block.status();
    const BlockReader& reader = **block;
    BlockMeta expected = TestMeta();
    expected.bytes = *fs->FileSize(kPath);
    EXPECT_EQ(meta, expected);
    EXPECT_EQ(reader.meta(), expected);
    EXPECT_EQ(reader.file_bytes(), expected.bytes);
    EXPECT_EQ(reader.path(), kPath);
    ASSERT_THAT(reader.sections(), SizeIs(5));
    EXPECT_EQ(reader.sections()[0].codec, 5);
    EXPECT_EQ(reader.sections()[0].raw_bytes, 50u);
    EXPECT_EQ(reader.sections()[0].items, 3u);
    EXPECT_EQ(reader.sections()[2].bytes, paged_bytes);
    EXPECT_EQ(*reader.Section(1), "small");
    EXPECT_EQ(*reader.Section(2), "");
    EXPECT_EQ(*reader.Section(4), RandomBytes(3, 1000));
    auto paged = reader.Paged(3);
    ASSERT_TRUE(paged.ok());
    EXPECT_EQ((*paged)->size(), paged_bytes);
    const std::string bytes = RandomBytes(1, paged_bytes);
    EXPECT_EQ(*(*paged)->Read(0, paged_bytes), bytes);
    std::mt19937_64 random(4);
    for (int i = 0; i < 200; ++i) {
      const uint64_t at = random() % (paged_bytes + 1);
      const uint64_t size = random() % (paged_bytes - at + 1);
      EXPECT_EQ(*(*paged)->Read(at, size), std::string_view(bytes).substr(at, size));
    }
    EXPECT_THAT(reader.VerifyAll(), IsEmpty());
  }
}

TEST(Container, AccountsForEveryByte) {
  auto fs = NewFileSystem();
  WriteBlock(fs, 200'000);
  auto block = BlockReader::Open(*fs, kPath);
  ASSERT_TRUE(block.ok());
  uint64_t sum = 64 + 64 + 48 * (*block)->sections().size();
  for (const SectionInfo& section : (*block)->sections()) sum += section.stored_bytes();
  EXPECT_EQ(sum, (*block)->file_bytes());
}

TEST(Container, AsksForWhatIsNotThere) {
  auto fs = NewFileSystem();
  WriteBlock(fs, 100);
  auto block = BlockReader::Open(*fs, kPath);
  ASSERT_TRUE(block.ok());
  EXPECT_EQ((*block)->Section(99).status().code(), StatusCode::kNotFound);
  EXPECT_EQ((*block)->Paged(99).status().code(), StatusCode::kNotFound);
  EXPECT_EQ((*block)->Section(3).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ((*block)->Paged(1).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ((*block)->Find(99), nullptr);
  const PagedSection* paged = *(*block)->Paged(3);
  for (const auto& [offset, bytes] : std::vector<std::pair<uint64_t, uint64_t>>{
           {0, 101}, {100, 1}, {101, 0}, {50, UINT64_MAX}, {UINT64_MAX, 2}}) {
    EXPECT_EQ(paged->Read(offset, bytes).status().code(), StatusCode::kDataLoss);
  }
  EXPECT_TRUE(paged->Read(100, 0).ok());
  const SectionType some[] = {1, 3};
  const SectionType enough[] = {1, 3, 4};
  EXPECT_EQ((*block)->CheckKnown(some).code(), StatusCode::kUnimplemented);
  EXPECT_TRUE((*block)->CheckKnown(enough).ok()) << "type 2 is skippable";
  EXPECT_EQ(BlockReader::Open(*fs, "blocks/000008.varve").status().code(), StatusCode::kNotFound);
}

TEST(Container, WriterRefusesMisuse) {
  auto fs = NewFileSystem();
  const auto refused = [&fs](const auto& use) {
    auto writer = NewWriter(fs);
    EXPECT_TRUE(writer->AddSection(1, 0, 0, "x").ok());
    EXPECT_EQ(use(*writer).code(), StatusCode::kInvalidArgument);
    EXPECT_FALSE(writer->Finish(TestMeta()).ok()) << "the error stays";
  };
  refused([](BlockWriter& w) { return w.AddSection(1, 0, 0, "twice"); });
  refused([](BlockWriter& w) { return w.AddSection(kMetaSection, 0, 0, ""); });
  refused([](BlockWriter& w) { return w.AddSection(2, 0x80, 0, ""); });
  refused([](BlockWriter& w) { return w.Append("no section"); });
  refused([](BlockWriter& w) { return w.EndPagedSection(); });
  refused([](BlockWriter& w) {
    EXPECT_TRUE(w.BeginPagedSection(2, 0, 0).ok());
    return w.AddSection(3, 0, 0, "");
  });
  EXPECT_THAT(*fs->List("blocks"), IsEmpty());
}

TEST(Container, AnUnfinishedBlockLeavesNoFile) {
  auto fs = NewFileSystem();
  {
    auto writer = NewWriter(fs);
    EXPECT_TRUE(writer->AddSection(1, 0, 0, RandomBytes(0, 1 << 20)).ok());
    EXPECT_THAT(*fs->List("blocks"), ElementsAre("000007.varve.tmp"));
  }
  EXPECT_THAT(*fs->List("blocks"), IsEmpty());
}

TEST(Container, AFullDiskLeavesNoFile) {
  auto fs = NewFileSystem();
  for (const uint64_t capacity : {10u, 100u, 300'000u, 1'000'100u}) {
    fs->SetCapacity(capacity);
    auto writer = NewWriter(fs);
    Status status = writer->AddSection(1, 0, 0, RandomBytes(0, 1'000'000));
    if (status.ok()) status = writer->Finish(TestMeta()).status();
    EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
    writer.reset();
    EXPECT_THAT(*fs->List("blocks"), IsEmpty());
    EXPECT_EQ(fs->bytes_used(), 0u);
  }
}

TEST(Container, VerifiesPagesWhenTouched) {
  auto fs = NewFileSystem();
  WriteBlock(fs, 10 * kPageBytes);
  uint64_t offset = 0;
  {
    auto block = BlockReader::Open(*fs, kPath);
    offset = (*block)->Find(3)->offset;
  }
  ASSERT_TRUE(fs->FlipBit(kPath, (offset + 5 * kPageBytes + 17) * 8).ok());
  auto block = BlockReader::Open(*fs, kPath);
  ASSERT_TRUE(block.ok());
  const PagedSection* paged = *(*block)->Paged(3);
  EXPECT_TRUE(paged->Read(0, 5 * kPageBytes).ok());
  EXPECT_TRUE(paged->Read(6 * kPageBytes, 4 * kPageBytes).ok());
  for (int i = 0; i < 2; ++i) {
    const auto bad = paged->Read(5 * kPageBytes - 1, 2);
    EXPECT_EQ(bad.status().code(), StatusCode::kDataLoss);
    EXPECT_EQ(FilePlaceOf(bad.status())->file, kPath);
    EXPECT_EQ(FilePlaceOf(bad.status())->offset, offset + 5 * kPageBytes);
  }
  EXPECT_TRUE((*block)->Section(1).ok());
  const std::vector<Status> damage = (*block)->VerifyAll();
  ASSERT_THAT(damage, SizeIs(1));
  EXPECT_EQ(FilePlaceOf(damage[0])->offset, offset + 5 * kPageBytes);
}

// Reads all there is. Returns false if anything failed, with a kDataLoss that names the file.
bool ReadsAll(io::FileSystem& fs, std::map<SectionType, std::string>* out, BlockMeta* meta) {
  auto block = BlockReader::Open(fs, kPath);
  bool good = block.ok();
  Status status = block.status();
  if (good) {
    *meta = (*block)->meta();
    for (const SectionInfo& section : (*block)->sections()) {
      if (section.paged()) {
        auto paged = (*block)->Paged(section.type);
        if (paged.ok()) {
          auto bytes = (*paged)->Read(0, (*paged)->size());
          if (bytes.ok()) (*out)[section.type] = std::string(*bytes);
          status.Update(bytes.status());
        }
        status.Update(paged.status());
      } else {
        auto bytes = (*block)->Section(section.type);
        if (bytes.ok()) (*out)[section.type] = std::string(*bytes);
        status.Update(bytes.status());
      }
    }
    EXPECT_EQ(status.ok(), (*block)->VerifyAll().empty());
  }
  if (!status.ok()) {
    EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status;
    EXPECT_TRUE(FilePlaceOf(status).has_value()) << status;
    if (FilePlaceOf(status)) {
      EXPECT_EQ(FilePlaceOf(status)->file, kPath);
    }
  }
  return status.ok();
}

TEST(Container, EverySingleBitFlipIsFound) {
  auto fs = NewFileSystem();
  WriteBlock(fs, 777);
  std::map<SectionType, std::string> sections;
  BlockMeta meta;
  ASSERT_TRUE(ReadsAll(*fs, &sections, &meta));
  const uint64_t bits = *fs->FileSize(kPath) * 8;
  for (uint64_t bit = 0; bit < bits; ++bit) {
    ASSERT_TRUE(fs->FlipBit(kPath, bit).ok());
    std::map<SectionType, std::string> got;
    ASSERT_FALSE(ReadsAll(*fs, &got, &meta)) << "bit " << bit;
    for (const auto& [type, bytes] : got) ASSERT_EQ(bytes, sections.at(type)) << "bit " << bit;
    ASSERT_TRUE(fs->FlipBit(kPath, bit).ok());
  }
  RecordProperty("flips", static_cast<int>(bits));
}

TEST(Container, EveryTruncationIsFound) {
  auto fs = NewFileSystem();
  WriteBlock(fs, 777);
  const std::string whole = *fs->ReadFile(kPath, 1 << 20);
  for (size_t size = 0; size < whole.size(); ++size) {
    ASSERT_TRUE(fs->Put(kPath, whole.substr(0, size)).ok());
    EXPECT_EQ(BlockReader::Open(*fs, kPath).status().code(), StatusCode::kDataLoss) << size;
  }
  ASSERT_TRUE(fs->Put(kPath, whole + "x").ok());
  EXPECT_EQ(BlockReader::Open(*fs, kPath).status().code(), StatusCode::kDataLoss);
}

TEST(Container, HalvesOfTwoBlocksDoNotFit) {
  // The same block id written twice, for example by a seal that was repeated after a crash.
  auto fs = NewFileSystem();
  WriteBlock(fs, 777);
  const std::string one = *fs->ReadFile(kPath, 1 << 20);
  WriteBlock(fs, 777);
  const std::string two = *fs->ReadFile(kPath, 1 << 20);
  ASSERT_EQ(one.size(), two.size());
  for (const size_t cut : {size_t{64}, one.size() / 2, one.size() - 64}) {
    ASSERT_TRUE(fs->Put(kPath, one.substr(0, cut) + two.substr(cut)).ok());
    EXPECT_EQ(BlockReader::Open(*fs, kPath).status().code(), StatusCode::kDataLoss);
  }
}

TEST(Container, LaterVersionsAreRefused) {
  auto fs = NewFileSystem();
  WriteBlock(fs, 10);
  std::string bytes = *fs->ReadFile(kPath, 1 << 20);
  bytes[8] = 2;
  std::string checksum;
  PutFixed<uint64_t>(&checksum, Hash64(std::string_view(bytes).substr(0, 56)));
  bytes.replace(56, 8, checksum);
  ASSERT_TRUE(fs->Put(kPath, bytes).ok());
  EXPECT_EQ(BlockReader::Open(*fs, kPath).status().code(), StatusCode::kUnimplemented);
}

TEST(Container, ManyThreadsVerifyTheSamePages) {
  auto fs = NewFileSystem();
  WriteBlock(fs, 40 * kPageBytes);
  auto block = BlockReader::Open(*fs, kPath);
  ASSERT_TRUE(block.ok());
  const std::string bytes = RandomBytes(1, 40 * kPageBytes);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&block, &bytes, t] {
      std::mt19937_64 random(t);
      const PagedSection* paged = *(*block)->Paged(3);
      for (int i = 0; i < 300; ++i) {
        const uint64_t at = random() % (bytes.size() - 100);
        const auto got = paged->Read(at, 100);
        ASSERT_TRUE(got.ok());
        ASSERT_EQ(*got, std::string_view(bytes).substr(at, 100));
        ASSERT_TRUE((*block)->Section(4).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Container, CrashesLeaveTheWholeBlockOrNone) {
  const auto script = [](const std::shared_ptr<io::MemoryFileSystem>& fs) {
    auto writer = BlockWriter::Create(fs, "blocks", 7, Wing::kMetrics);
    if (!writer.ok()) return false;
    const std::string bytes = RandomBytes(5, 600'000);
    if (!(*writer)->AddSection(1, 0, 0, "x").ok()) return false;
    if (!(*writer)->BeginPagedSection(3, 0, 0).ok()) return false;
    if (!(*writer)->Append(bytes).ok()) return false;
    if (!(*writer)->EndPagedSection().ok()) return false;
    return (*writer)->Finish(TestMeta()).ok();
  };
  auto whole = NewFileSystem();
  const uint64_t begin = whole->operations();
  ASSERT_TRUE(script(whole));
  for (uint64_t stop = begin; stop <= whole->operations(); ++stop) {
    auto fs = NewFileSystem();
    fs->StopAfter(stop);
    const bool acknowledged = script(fs);
    for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
      for (uint64_t seed = 0; seed < 10; ++seed) {
        auto after = fs->Crash(policy, seed);
        if (*after->Exists(kPath)) {
          auto block = BlockReader::Open(*after, kPath);
          ASSERT_TRUE(block.ok()) << block.status();
          EXPECT_THAT((*block)->VerifyAll(), IsEmpty());
        } else {
          EXPECT_FALSE(acknowledged);
        }
      }
    }
  }
}

TEST(BlockMetaCodec, RoundTripAndGarbage) {
  std::string bytes;
  EncodeBlockMeta(TestMeta(), &bytes);
  EXPECT_EQ(*DecodeBlockMeta(bytes), TestMeta());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeBlockMeta(bytes.substr(0, size)).ok());
  }
  EXPECT_FALSE(DecodeBlockMeta(bytes + "x").ok());
}

TEST(BlockFileNames, RoundTrip) {
  for (const uint64_t id : {uint64_t{1}, uint64_t{42}, uint64_t{999999}, uint64_t{1000000}}) {
    EXPECT_EQ(BlockIdOfFile(BlockFileName(id)), id);
  }
  for (const char* name : {"", "000001", "1.varve", "000001.varve.tmp", "00000a.varve",
                           "0000001.varve", "000000.varve", "99999999999999999999999.varve"}) {
    EXPECT_EQ(BlockIdOfFile(name), 0u) << name;
  }
}

}  // namespace
}  // namespace varve::block
