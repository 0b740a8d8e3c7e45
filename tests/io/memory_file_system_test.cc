// What the file system in memory says about crashes and faults.

#include "engine/io/memory_file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "engine/base/strings.h"

namespace varve::io {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;

std::string Read(MemoryFileSystem& fs, const std::string& path) {
  auto bytes = fs.ReadFile(path, 1 << 24);
  return bytes.ok() ? *bytes : "<" + std::string(bytes.status().message()) + ">";
}

std::unique_ptr<WritableFile> MustCreate(FileSystem& fs, const std::string& path) {
  auto file = fs.Create(path);
  EXPECT_TRUE(file.ok()) << file.status();
  return std::move(*file);
}

TEST(MemoryFileSystem, PowerLossKeepsWhatWasSynced) {
  MemoryFileSystem fs;
  ASSERT_TRUE(fs.MakeDirs("d").ok());
  auto file = MustCreate(fs, "d/a");
  ASSERT_TRUE(file->Append("synced").ok());
  ASSERT_TRUE(file->Sync().ok());
  ASSERT_TRUE(fs.SyncDir("d").ok());
  ASSERT_TRUE(file->Append(" lost").ok());
  EXPECT_EQ(Read(fs, "d/a"), "synced lost");
  EXPECT_EQ(Read(*fs.Crash(CrashPolicy::kDropUnsynced, 1), "d/a"), "synced");
  EXPECT_EQ(Read(*fs.Crash(CrashPolicy::kKeepAll, 1), "d/a"), "synced lost");
  for (uint64_t seed = 0; seed < 50; ++seed) {
    for (const CrashPolicy policy : kAllCrashPolicies) {
      EXPECT_EQ(Read(*fs.Crash(policy, seed), "d/a").substr(0, 6), "synced");
    }
  }
}

TEST(MemoryFileSystem, ANameNeedsItsDirectorySynced) {
  MemoryFileSystem fs;
  ASSERT_TRUE(fs.MakeDirs("d").ok());
  auto file = MustCreate(fs, "d/a");
  ASSERT_TRUE(file->Append("x").ok());
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_FALSE(*fs.Crash(CrashPolicy::kDropUnsynced, 1)->Exists("d/a"));
  std::set<bool> seen;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto after = fs.Crash(CrashPolicy::kReorder, seed);
    const bool exists = *after->Exists("d/a");
    seen.insert(exists);
    // The bytes were synced: when the name is there, so are they.
    if (exists) {
      EXPECT_EQ(Read(*after, "d/a"), "x");
    }
  }
  EXPECT_EQ(seen.size(), 2u);
  ASSERT_TRUE(fs.SyncDir("d").ok());
  EXPECT_EQ(Read(*fs.Crash(CrashPolicy::kDropUnsynced, 1), "d/a"), "x");
}

TEST(MemoryFileSystem, ARenameMayBeLostAndIsNeverHalf) {
  MemoryFileSystem fs;
  ASSERT_TRUE(fs.Put("d/a", "old").ok());
  ASSERT_TRUE(fs.Put("d/b", "new").ok());
  ASSERT_TRUE(fs.Rename("d/b", "d/a").ok());
  EXPECT_EQ(Read(fs, "d/a"), "new");
  std::set<std::string> seen;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto after = fs.Crash(CrashPolicy::kReorder, seed);
    const std::string a = Read(*after, "d/a");
    seen.insert(a);
    EXPECT_EQ(*after->Exists("d/b"), a == "old");
  }
  EXPECT_THAT(seen, ElementsAre("new", "old"));
  ASSERT_TRUE(fs.SyncDir("d").ok());
  EXPECT_EQ(Read(*fs.Crash(CrashPolicy::kDropUnsynced, 1), "d/a"), "new");
}

TEST(MemoryFileSystem, ARenamedFileMayBeEmptyIfItWasNotSynced) {
  MemoryFileSystem fs;
  ASSERT_TRUE(fs.Put("d/a", "old").ok());
  auto file = MustCreate(fs, "d/b");
  ASSERT_TRUE(file->Append("new").ok());
  ASSERT_TRUE(fs.Rename("d/b", "d/a").ok());
  ASSERT_TRUE(fs.SyncDir("d").ok());
  EXPECT_EQ(Read(*fs.Crash(CrashPolicy::kDropUnsynced, 1), "d/a"), "");
}

TEST(MemoryFileSystem, RenamesBetweenDirectoriesAreOneChange) {
  MemoryFileSystem fs;
  ASSERT_TRUE(fs.MakeDirs("from").ok());
  ASSERT_TRUE(fs.MakeDirs("to").ok());
  ASSERT_TRUE(fs.Put("from/a", "x").ok());
  ASSERT_TRUE(fs.Rename("from/a", "to/a").ok());
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto after = fs.Crash(CrashPolicy::kReorder, seed);
    EXPECT_EQ(*after->Exists("from/a") + *after->Exists("to/a"), 1);
  }
  ASSERT_TRUE(fs.SyncDir("to").ok());
  auto after = fs.Crash(CrashPolicy::kDropUnsynced, 0);
  EXPECT_FALSE(*after->Exists("from/a"));
  EXPECT_EQ(Read(*after, "to/a"), "x");
}

TEST(MemoryFileSystem, PrefixTearsAtSectors) {
  MemoryFileSystem fs;
  auto file = MustCreate(fs, "a");
  ASSERT_TRUE(fs.SyncDir("").ok());
  const std::string first(1000, 'a');
  const std::string second(9000, 'b');
  ASSERT_TRUE(file->Append(first).ok());
  ASSERT_TRUE(file->Append(second).ok());
  std::set<size_t> lengths;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    const std::string got = Read(*fs.Crash(CrashPolicy::kPrefix, seed), "a");
    EXPECT_EQ(got, (first + second).substr(0, got.size()));
    EXPECT_TRUE(got.size() == 1000 || got.size() == 10000 || got.size() % 512 == 0) << got.size();
    lengths.insert(got.size());
  }
  EXPECT_GT(lengths.size(), 5u);
}

TEST(MemoryFileSystem, ReorderKeepsAnySectors) {
  MemoryFileSystem fs;
  auto file = MustCreate(fs, "a");
  ASSERT_TRUE(file->Append(std::string(4096, '.')).ok());
  ASSERT_TRUE(file->Sync().ok());
  ASSERT_TRUE(fs.SyncDir("").ok());
  ASSERT_TRUE(file->WriteAt(0, std::string(4096, 'x')).ok());
  bool hole = false;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const std::string got = Read(*fs.Crash(CrashPolicy::kReorder, seed), "a");
    ASSERT_EQ(got.size(), 4096u);
    for (size_t at = 0; at < got.size(); at += 512) {
      EXPECT_THAT(got.substr(at, 512), AnyOf(std::string(512, '.'), std::string(512, 'x')));
    }
    hole |= got.find(".x") != std::string::npos;
  }
  EXPECT_TRUE(hole);
}

TEST(MemoryFileSystem, TailsMayBeGarbageOrZero) {
  MemoryFileSystem fs;
  auto file = MustCreate(fs, "a");
  ASSERT_TRUE(file->Append("good").ok());
  ASSERT_TRUE(file->Sync().ok());
  ASSERT_TRUE(file->Append("12345678").ok());
  EXPECT_EQ(Read(*fs.Crash(CrashPolicy::kZeroTail, 1), "a"), "good" + std::string(8, '\0'));
  const std::string garbage = Read(*fs.Crash(CrashPolicy::kGarbageTail, 1), "a");
  EXPECT_EQ(garbage.size(), 12u);
  EXPECT_EQ(garbage.substr(0, 4), "good");
  EXPECT_NE(garbage, "good12345678");
}

TEST(MemoryFileSystem, TheSameSeedGivesTheSameState) {
  MemoryFileSystem fs;
  auto file = MustCreate(fs, "a");
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(file->Append(std::string(700, 'a' + i)).ok());
  for (const CrashPolicy policy : kAllCrashPolicies) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      EXPECT_EQ(Read(*fs.Crash(policy, seed), "a"), Read(*fs.Crash(policy, seed), "a"));
    }
  }
}

TEST(MemoryFileSystem, LinksAreOneFileAfterACrashToo) {
  MemoryFileSystem fs;
  ASSERT_TRUE(fs.Put("a", "x").ok());
  ASSERT_TRUE(fs.HardLink("a", "b").ok());
  ASSERT_TRUE(fs.SyncDir("").ok());
  auto after = fs.Crash(CrashPolicy::kDropUnsynced, 0);
  auto file = after->OpenForWrite("a");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Append("y").ok());
  EXPECT_EQ(Read(*after, "b"), "xy");
  EXPECT_EQ(after->bytes_used(), 2u);
}

TEST(MemoryFileSystem, StopsTheWorld) {
  MemoryFileSystem fs;
  auto file = MustCreate(fs, "a");      // 1
  ASSERT_TRUE(file->Append("1").ok());  // 2
  fs.StopAfter(3);
  EXPECT_TRUE(file->Append("2").ok());  // 3
  EXPECT_FALSE(fs.stopped());
  EXPECT_EQ(file->Append("3").code(), StatusCode::kUnavailable);
  EXPECT_TRUE(fs.stopped());
  EXPECT_FALSE(file->Sync().ok());
  EXPECT_FALSE(fs.Rename("a", "b").ok());
  EXPECT_FALSE(fs.MakeDirs("x").ok());
  EXPECT_EQ(Read(fs, "a"), "12");
  EXPECT_FALSE(*fs.Exists("b"));
}

TEST(MemoryFileSystem, FaultsHitTheChosenCalls) {
  MemoryFileSystem fs;
  auto file = MustCreate(fs, "a.wal");
  auto other = MustCreate(fs, "b");
  fs.Inject({.kinds = kOpWrite,
             .path_contains = ".wal",
             .skip = 1,
             .times = 2,
             .code = StatusCode::kResourceExhausted});
  EXPECT_TRUE(file->Append("0123456789").ok());
  EXPECT_TRUE(other->Append("0123456789").ok());
  EXPECT_EQ(file->Append("0123456789").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(file->size(), 10u);
  EXPECT_EQ(file->Append("abcdefghij").code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(file->Append("ABCDEFGHIJ").ok());
  EXPECT_EQ(Read(fs, "a.wal"), "0123456789ABCDEFGHIJ");
}

TEST(MemoryFileSystem, AFailedSyncLosesData) {
  MemoryFileSystem fs;
  auto file = MustCreate(fs, "a");
  ASSERT_TRUE(fs.SyncDir("").ok());
  ASSERT_TRUE(file->Append("lost").ok());
  fs.Inject({.kinds = kOpSync});
  EXPECT_FALSE(file->Sync().ok());
  EXPECT_EQ(Read(fs, "a"), "lost");
  EXPECT_TRUE(file->Sync().ok());
  EXPECT_EQ(Read(*fs.Crash(CrashPolicy::kDropUnsynced, 0), "a"), "");
  EXPECT_EQ(Read(*fs.Crash(CrashPolicy::kKeepAll, 0), "a"), "lost");
}

TEST(MemoryFileSystem, CapacityIsShared) {
  MemoryFileSystem fs;
  fs.SetCapacity(10);
  auto a = MustCreate(fs, "a");
  auto b = MustCreate(fs, "b");
  EXPECT_TRUE(a->Append("123456").ok());
  EXPECT_EQ(b->Append("123456").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(b->size(), 0u);
  EXPECT_EQ(Read(fs, "b"), "1234");
  EXPECT_EQ(a->Preallocate(20).code(), StatusCode::kResourceExhausted);
  EXPECT_TRUE(a->WriteAt(0, "abcdef").ok());
  EXPECT_EQ(*fs.FreeBytes(""), 0u);
  fs.SetCapacity(12);
  EXPECT_TRUE(b->Append("123456").ok());
  EXPECT_EQ(Read(fs, "b"), "123456");
  ASSERT_TRUE(fs.Remove("a").ok());
  EXPECT_EQ(fs.bytes_used(), 6u);
  ASSERT_TRUE(b->Truncate(1).ok());
  EXPECT_EQ(fs.bytes_used(), 1u);
}

TEST(MemoryFileSystem, BitRotReachesBothCopies) {
  MemoryFileSystem fs;
  ASSERT_TRUE(fs.Put("a", std::string("\x01\x02", 2)).ok());
  ASSERT_TRUE(fs.FlipBit("a", 9).ok());
  EXPECT_EQ(Read(fs, "a"), std::string("\x01\x00", 2));
  EXPECT_EQ(Read(*fs.Crash(CrashPolicy::kDropUnsynced, 0), "a"), std::string("\x01\x00", 2));
  EXPECT_FALSE(fs.FlipBit("a", 16).ok());
}

TEST(MemoryFileSystem, ManyThreads) {
  MemoryFileSystem fs;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&fs, t] {
      const std::string dir = Concat("d", t);
      EXPECT_TRUE(fs.MakeDirs(dir).ok());
      for (int i = 0; i < 50; ++i) {
        auto file = fs.Create(JoinPath(dir, Concat(i)));
        ASSERT_TRUE(file.ok());
        EXPECT_TRUE((*file)->Append("x").ok());
        EXPECT_TRUE((*file)->Sync().ok());
        if (i % 10 == 0) {
          EXPECT_NE(fs.Crash(CrashPolicy::kReorder, i), nullptr);
        }
      }
      EXPECT_TRUE(fs.SyncDir(dir).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(fs.Crash(CrashPolicy::kDropUnsynced, 0)->AllFiles().size(), 400u);
}

}  // namespace
}  // namespace varve::io
