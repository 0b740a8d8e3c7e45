// The manifest: commits, recovery, salvage, crashes.

#include "engine/block/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <thread>

#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/block/manifest_codec.h"
#include "engine/io/memory_file_system.h"
#include "engine/io/record_log.h"

namespace varve::block {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr char kDir[] = "db";

struct Opened {
  Status status;
  std::unique_ptr<Manifest> manifest;
  ManifestReport report;
};

Opened OpenManifest(std::shared_ptr<io::FileSystem> fs, ManifestOptions options = {}) {
  Opened out;
  auto manifest = Manifest::Open(std::move(fs), kDir, options, &out.report);
  out.status = manifest.status();
  if (manifest.ok()) out.manifest = std::move(*manifest);
  return out;
}

std::shared_ptr<io::MemoryFileSystem> NewFileSystem() {
  auto fs = std::make_shared<io::MemoryFileSystem>();
  EXPECT_TRUE(fs->MakeDirs("db/blocks").ok());
  return fs;
}

BlockMeta Meta(uint64_t id, std::vector<uint64_t> sources = {}, uint64_t wal_floor = 0) {
  BlockMeta meta;
  meta.id = id;
  meta.wing = Wing::kMetrics;
  meta.level = static_cast<uint32_t>(id % 3);
  meta.min_time = static_cast<int64_t>(id) * 100;
  meta.max_time = static_cast<int64_t>(id) * 100 + 99;
  meta.rows = id * 10;
  meta.series = id;
  meta.sources = std::move(sources);
  meta.wal_floor = wal_floor;
  return meta;
}

/// Writes the file of a block and returns its meta.
BlockMeta WriteBlock(const std::shared_ptr<io::MemoryFileSystem>& fs, const BlockMeta& meta) {
  auto writer = BlockWriter::Create(fs, "db/blocks", meta.id, meta.wing);
  EXPECT_TRUE(writer.ok());
  EXPECT_TRUE((*writer)->AddSection(1, 0, 0, Concat("block ", meta.id)).ok());
  auto written = (*writer)->Finish(meta);
  EXPECT_TRUE(written.ok());
  return *written;
}

ManifestEdit Add(const BlockMeta& meta) {
  ManifestEdit edit;
  edit.add_blocks.push_back(meta);
  return edit;
}

std::vector<uint64_t> Ids(const ManifestState& state) {
  std::vector<uint64_t> ids;
  for (const auto& entry : state.blocks) ids.push_back(entry.first);
  return ids;
}

TEST(Manifest, ANewDatabaseIsEmpty) {
  auto fs = NewFileSystem();
  Opened db = OpenManifest(fs);
  ASSERT_TRUE(db.status.ok()) << db.status;
  EXPECT_TRUE(db.report.clean());
  EXPECT_EQ(db.manifest->state(), ManifestState());
  EXPECT_EQ(db.manifest->state().wal_floor(Wing::kLogs), 1u);
  EXPECT_EQ(db.manifest->current_file(), "MANIFEST-000001");
  EXPECT_FALSE(OpenManifest(std::make_shared<io::MemoryFileSystem>()).status.ok());
}

TEST(Manifest, CommitsSurviveReopening) {
  auto fs = NewFileSystem();
  ManifestState expected;
  {
    Opened db = OpenManifest(fs);
    ManifestEdit edit = Add(Meta(1));
    edit.add_blocks.push_back(Meta(2));
    edit.wal_floors[Wing::kMetrics] = 5;
    edit.add_tombstones.push_back({1, Wing::kMetrics, 2, "what"});
    edit.add_tombstones.push_back({1, Wing::kLogs, 2, ""});
    ASSERT_TRUE(db.manifest->Commit(edit).ok());
    ManifestEdit second = Add(Meta(3, {1, 2}));
    second.remove_blocks = {1, 2};
    second.remove_tombstones.emplace_back(Wing::kMetrics, 1);
    second.next_block_id = 10;
    ASSERT_TRUE(db.manifest->Commit(second).ok());
    expected = db.manifest->state();
    EXPECT_THAT(Ids(expected), ElementsAre(3));
    EXPECT_EQ(expected.next_block_id, 10u);
    EXPECT_EQ(expected.wal_floor(Wing::kMetrics), 5u);
    EXPECT_THAT(expected.tombstones, SizeIs(1));
  }
  for (int i = 0; i < 4; ++i) {
    Opened db = OpenManifest(fs);
    EXPECT_TRUE(db.report.clean());
    EXPECT_EQ(db.report.tail_bytes_cut, 0u);
    EXPECT_EQ(db.manifest->state(), expected);
    // One previous file is kept, older ones go.
    EXPECT_EQ(fs->List(kDir)->size(), 4u) << "CURRENT, two manifests, blocks";
  }
}

TEST(Manifest, RefusesEditsThatMakeNoSense) {
  auto fs = NewFileSystem();
  Opened db = OpenManifest(fs);
  ManifestEdit good = Add(Meta(1));
  good.wal_floors[Wing::kMetrics] = 5;
  good.next_block_id = 7;
  good.add_tombstones.push_back({1, Wing::kMetrics, 1, ""});
  ASSERT_TRUE(db.manifest->Commit(good).ok());
  const ManifestState before = db.manifest->state();
  std::vector<ManifestEdit> bad(9);
  bad[0] = Add(Meta(1));
  bad[1].remove_blocks = {2};
  bad[2].remove_blocks = {1, 1};
  bad[3].wal_floors[Wing::kMetrics] = 4;
  bad[4].next_block_id = 6;
  bad[5].add_tombstones.push_back({1, Wing::kMetrics, 1, ""});
  bad[6].remove_tombstones.emplace_back(Wing::kMetrics, 2);
  bad[7].add_blocks = {Meta(9), Meta(9)};
  bad[8] = Add(Meta(0));
  for (const ManifestEdit& edit : bad) {
    EXPECT_EQ(db.manifest->Commit(edit).code(), StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(db.manifest->state(), before);
  EXPECT_FALSE(db.manifest->failed());
  EXPECT_TRUE(db.manifest->Commit(Add(Meta(8))).ok());
}

TEST(Manifest, ReservedIdsAreNeverGivenTwice) {
  auto fs = NewFileSystem();
  Opened db = OpenManifest(fs);
  EXPECT_EQ(db.manifest->ReserveBlockIds(3), 1u);
  EXPECT_EQ(db.manifest->ReserveBlockIds(1), 4u);
  ASSERT_TRUE(db.manifest->Commit(Add(Meta(2))).ok());
  EXPECT_EQ(db.manifest->ReserveBlockIds(1), 5u);
  ASSERT_TRUE(db.manifest->Commit(Add(Meta(20))).ok());
  EXPECT_EQ(db.manifest->ReserveBlockIds(1), 21u);
  ASSERT_TRUE(db.manifest->Commit(Add(Meta(21))).ok());
  db.manifest.reset();
  db = OpenManifest(fs);
  EXPECT_EQ(db.manifest->ReserveBlockIds(1), 22u);
}

TEST(Manifest, RollsWhenLarge) {
  auto fs = NewFileSystem();
  ManifestOptions options;
  options.roll_bytes = 2000;
  Opened db = OpenManifest(fs, options);
  std::set<std::string> files;
  for (uint64_t id = 1; id <= 60; ++id) {
    ManifestEdit edit = Add(Meta(id));
    if (id > 2) edit.remove_blocks = {id - 2};
    ASSERT_TRUE(db.manifest->Commit(edit).ok());
    files.insert(db.manifest->current_file());
    EXPECT_LT(db.manifest->bytes(), 3000u);
  }
  EXPECT_GT(files.size(), 3u);
  const ManifestState expected = db.manifest->state();
  db.manifest.reset();
  db = OpenManifest(fs, options);
  EXPECT_EQ(db.manifest->state(), expected);
  EXPECT_TRUE(db.report.clean());
}

TEST(Manifest, ReadOnlyChangesNothing) {
  auto fs = NewFileSystem();
  {
    Opened db = OpenManifest(fs);
    ASSERT_TRUE(db.manifest->Commit(Add(Meta(1))).ok());
  }
  const uint64_t operations = fs->operations();
  ManifestOptions options;
  options.read_only = true;
  Opened db = OpenManifest(fs, options);
  EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(1));
  EXPECT_EQ(db.manifest->Commit(Add(Meta(2))).code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(fs->operations(), operations);
  ASSERT_TRUE(fs->FlipBit("db/CURRENT", 3).ok());
  Opened damaged = OpenManifest(fs, options);
  EXPECT_THAT(damaged.report.damage, testing::Not(IsEmpty()));
  EXPECT_EQ(fs->operations(), operations);
}

TEST(Manifest, AFullDiskRefusesAndResumes) {
  auto fs = NewFileSystem();
  Opened db = OpenManifest(fs);
  ASSERT_TRUE(db.manifest->Commit(Add(Meta(1))).ok());
  for (const uint64_t room : {0u, 50u, 150u, 250u}) {
    fs->SetCapacity(fs->bytes_used() + room);
    EXPECT_EQ(db.manifest->Commit(Add(Meta(2))).code(), StatusCode::kResourceExhausted);
    EXPECT_FALSE(db.manifest->failed());
    EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(1));
    // Nothing happened, whatever a crash now does, though a whole copy of the edit was written.
    for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        Opened after = OpenManifest(fs->Crash(policy, seed));
        EXPECT_THAT(Ids(after.manifest->state()), ElementsAre(1));
        EXPECT_TRUE(after.report.clean());
      }
    }
    fs->SetCapacity(io::kForever);
  }
  EXPECT_TRUE(db.manifest->Commit(Add(Meta(3))).ok());
  db.manifest.reset();
  EXPECT_THAT(Ids(OpenManifest(fs).manifest->state()), ElementsAre(1, 3));
}

TEST(Manifest, OpensOnAFullDisk) {
  auto fs = NewFileSystem();
  {
    Opened db = OpenManifest(fs);
    ASSERT_TRUE(db.manifest->Commit(Add(Meta(1))).ok());
  }
  for (const uint64_t room : {0u, 60u, 500u}) {
    fs->SetCapacity(fs->bytes_used() + room);
    Opened db = OpenManifest(fs);
    ASSERT_TRUE(db.status.ok()) << db.status;
    EXPECT_TRUE(db.report.clean());
    EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(1));
    if (room < 500) {
      EXPECT_EQ(db.manifest->Commit(Add(Meta(2))).code(), StatusCode::kResourceExhausted);
    }
    fs->SetCapacity(io::kForever);
    EXPECT_EQ(OpenManifest(fs->Crash(io::CrashPolicy::kKeepAll, 0)).report.damage.size(), 0u);
  }
  fs->SetCapacity(fs->bytes_used());
  Opened db = OpenManifest(fs);
  fs->SetCapacity(io::kForever);
  EXPECT_TRUE(db.manifest->Commit(Add(Meta(2))).ok());
  db.manifest.reset();
  EXPECT_THAT(Ids(OpenManifest(fs).manifest->state()), ElementsAre(1, 2));
}

TEST(Manifest, AFailedSyncIsForGood) {
  for (const uint32_t kind : {io::kOpSync, io::kOpWrite}) {
    auto fs = NewFileSystem();
    Opened db = OpenManifest(fs);
    ASSERT_TRUE(db.manifest->Commit(Add(Meta(1))).ok());
    fs->Inject({.kinds = kind});
    EXPECT_EQ(db.manifest->Commit(Add(Meta(2))).code(), StatusCode::kUnavailable);
    EXPECT_TRUE(db.manifest->failed());
    EXPECT_EQ(db.manifest->Commit(Add(Meta(3))).code(), StatusCode::kFailedPrecondition);
    EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(1));
    fs->ClearFaults();
    db.manifest.reset();
    Opened again = OpenManifest(fs);
    EXPECT_TRUE(again.manifest->Commit(Add(Meta(4))).ok());
  }
}

TEST(Manifest, EveryCallThatFailsOnceLosesNothing) {
  for (uint64_t n = 0; n < 40; ++n) {
    for (const StatusCode code : {StatusCode::kUnavailable, StatusCode::kResourceExhausted}) {
      SCOPED_TRACE(Concat("call ", n, " code ", static_cast<int>(code)));
      auto fs = NewFileSystem();
      {
        EXPECT_TRUE(OpenManifest(fs).status.ok());
      }
      fs->Inject({.skip = n, .code = code});
      std::set<uint64_t> acked, refused;
      ManifestOptions options;
      options.roll_bytes = 900;
      Opened db = OpenManifest(fs, options);
      if (db.status.ok()) {
        for (uint64_t id = 1; id <= 8; ++id) {
          const Status status = db.manifest->Commit(Add(Meta(id)));
          if (status.ok()) acked.insert(id);
          if (status.code() == StatusCode::kResourceExhausted ||
              status.code() == StatusCode::kFailedPrecondition) {
            refused.insert(id);
          }
        }
        db.manifest.reset();
      }
      fs->ClearFaults();
      for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
        Opened after = OpenManifest(fs->Crash(policy, n));
        ASSERT_TRUE(after.status.ok()) << after.status;
        EXPECT_TRUE(after.report.clean());
        for (const uint64_t id : acked) ASSERT_TRUE(after.manifest->state().blocks.contains(id));
        for (const uint64_t id : refused) ASSERT_FALSE(after.manifest->state().blocks.contains(id));
      }
    }
  }
}

// Random edits against a map, with reopening in between.
TEST(Manifest, BehavesLikeItsModel) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(Concat("seed ", seed));
    std::mt19937_64 random(seed);
    auto fs = NewFileSystem();
    ManifestOptions options;
    options.roll_bytes = 1500;
    Opened db = OpenManifest(fs, options);
    ManifestState model;
    for (int step = 0; step < 120; ++step) {
      ManifestEdit edit;
      for (uint64_t n = random() % 3; n > 0; --n) {
        BlockMeta meta = Meta(db.manifest->ReserveBlockIds(1));
        meta.opaque = std::string(random() % 50, 'o');
        edit.add_blocks.push_back(meta);
        model.blocks[meta.id] = meta;
      }
      if (!model.blocks.empty() && random() % 2 == 0) {
        auto victim = model.blocks.begin();
        std::advance(victim, random() % model.blocks.size());
        const bool just_added = std::any_of(edit.add_blocks.begin(), edit.add_blocks.end(),
                                            [&](const auto& m) { return m.id == victim->first; });
        if (!just_added) {
          edit.remove_blocks.push_back(victim->first);
          model.blocks.erase(victim);
        }
      }
      if (random() % 3 == 0) {
        const auto wing = static_cast<Wing>(1 + random() % 3);
        edit.wal_floors[wing] = model.wal_floor(wing) + random() % 3;
        model.wal_floors[wing] = edit.wal_floors[wing];
      }
      if (random() % 4 == 0) {
        const Tombstone tombstone{static_cast<uint64_t>(step), Wing::kLogs, random() % 9, "t"};
        edit.add_tombstones.push_back(tombstone);
        model.tombstones[{tombstone.wing, tombstone.id}] = tombstone;
      } else if (!model.tombstones.empty() && random() % 4 == 0) {
        edit.remove_tombstones.push_back(model.tombstones.begin()->first);
        model.tombstones.erase(model.tombstones.begin());
      }
      ASSERT_TRUE(db.manifest->Commit(edit).ok());
      if (random() % 10 == 0) {
        db.manifest.reset();
        fs = fs->Crash(io::kAllCrashPolicies[random() % 6], random());
        db = OpenManifest(fs, options);
        ASSERT_TRUE(db.report.clean());
      }
      ManifestState got = db.manifest->state();
      model.next_block_id = got.next_block_id;
      ASSERT_EQ(got, model);
    }
  }
}

TEST(Manifest, CommitsFromManyThreads) {
  auto fs = NewFileSystem();
  Opened db = OpenManifest(fs);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&db] {
      for (int i = 0; i < 25; ++i) {
        const uint64_t id = db.manifest->ReserveBlockIds(1);
        ASSERT_TRUE(db.manifest->Commit(Add(Meta(id))).ok());
        ASSERT_TRUE(db.manifest->state().blocks.contains(id));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(db.manifest->state().blocks, SizeIs(100));
}

/// Commits a row of edits; returns how many were acknowledged.
size_t RunScript(const std::shared_ptr<io::MemoryFileSystem>& fs,
                 std::vector<ManifestState>* states) {
  states->assign(1, ManifestState());
  size_t acked = 0;
  ManifestOptions options;
  options.roll_bytes = 1200;
  for (int session = 0; session < 2; ++session) {
    Opened db = OpenManifest(fs, options);
    if (!db.status.ok()) return acked;
    for (int i = 0; i < 6; ++i) {
      ManifestEdit edit = Add(Meta(static_cast<uint64_t>(session * 10 + i + 1)));
      if (i > 2) edit.remove_blocks = {static_cast<uint64_t>(session * 10 + i - 1)};
      edit.wal_floors[Wing::kMetrics] = static_cast<uint64_t>(session * 10 + i + 1);
      ManifestState next = states->back();
      ManifestEdit full = edit;
      full.next_block_id = edit.add_blocks[0].id + 1;
      EXPECT_TRUE(ApplyEdit(full, &next).ok());
      states->push_back(next);
      if (!db.manifest->Commit(edit).ok()) return acked;
      acked = states->size() - 1;
    }
  }
  return acked;
}

TEST(ManifestCrash, AtEveryOperation) {
  std::vector<ManifestState> states;
  auto whole = NewFileSystem();
  const uint64_t begin = whole->operations();
  ASSERT_EQ(RunScript(whole, &states), 12u);
  uint64_t checks = 0;
  for (uint64_t stop = begin; stop <= whole->operations(); ++stop) {
    auto fs = NewFileSystem();
    fs->StopAfter(stop);
    const size_t acked = RunScript(fs, &states);
    for (const io::CrashPolicy policy : io::kAllCrashPolicies) {
      for (uint64_t seed = 0; seed < 8; ++seed) {
        SCOPED_TRACE(Concat("stop ", stop, ", ", io::ToString(policy), ", seed ", seed));
        auto after = fs->Crash(policy, seed);
        // And once more in the middle of recovery.
        after->StopAfter(seed * 2);
        OpenManifest(after);
        after = after->Crash(policy, seed);
        Opened db = OpenManifest(after);
        ASSERT_TRUE(db.status.ok()) << db.status;
        for (const Status& damage : db.report.damage) ADD_FAILURE() << damage;
        const ManifestState got = db.manifest->state();
        // What was acknowledged, or one edit more: the one under way.
        ASSERT_TRUE(got == states[acked] ||
                    (acked + 1 < states.size() && got == states[acked + 1]));
        ASSERT_TRUE(db.manifest->Commit(Add(Meta(99))).ok());
        ++checks;
      }
    }
  }
  RecordProperty("states", static_cast<int>(checks));
  EXPECT_GT(checks, 2000u);
}

TEST(ManifestDamage, EverySingleBitFlipIsRepairedOrReported) {
  auto fs = NewFileSystem();
  ManifestState expected;
  {
    Opened db = OpenManifest(fs);
    for (uint64_t id = 1; id <= 4; ++id) {
      ManifestEdit edit = Add(WriteBlock(fs, Meta(id)));
      edit.wal_floors[Wing::kMetrics] = id;
      edit.add_tombstones.push_back({id, Wing::kMetrics, id, "tombstone"});
      ASSERT_TRUE(db.manifest->Commit(edit).ok());
    }
    expected = db.manifest->state();
  }
  uint64_t flips = 0;
  for (const std::string path : {"db/MANIFEST-000001", "db/CURRENT"}) {
    const uint64_t bits = *fs->FileSize(path) * 8;
    for (uint64_t bit = 0; bit < bits; ++bit) {
      SCOPED_TRACE(Concat(path, " bit ", bit));
      auto rotten = fs->Crash(io::CrashPolicy::kKeepAll, 0);
      ASSERT_TRUE(rotten->FlipBit(path, bit).ok());
      Opened db = OpenManifest(rotten);
      ASSERT_TRUE(db.status.ok()) << db.status;
      // Everything is stored twice, so one bit never costs an edit.
      ASSERT_EQ(db.manifest->state(), expected);
      ASSERT_TRUE(!db.report.clean() || db.report.copies_repaired > 0);
      ++flips;
    }
  }
  RecordProperty("flips", static_cast<int>(flips));
}

TEST(ManifestDamage, ATornLastEditIsCut) {
  auto fs = NewFileSystem();
  {
    Opened db = OpenManifest(fs);
    ASSERT_TRUE(db.manifest->Commit(Add(Meta(1))).ok());
    ASSERT_TRUE(db.manifest->Commit(Add(Meta(2))).ok());
  }
  const std::string whole = *fs->ReadFile("db/MANIFEST-000001", 1 << 20);
  // Where the second edit begins: each edit is two records of one length.
  std::string payload;
  ManifestEdit edit = Add(Meta(2));
  edit.next_block_id = 3;
  EncodeEdit(edit, false, &payload);
  const size_t record = io::RecordBytes(payload.size());
  for (size_t size = whole.size() - 2 * record; size < whole.size(); ++size) {
    auto torn = fs->Crash(io::CrashPolicy::kKeepAll, 0);
    ASSERT_TRUE(torn->Put("db/MANIFEST-000001", whole.substr(0, size)).ok());
    Opened db = OpenManifest(torn);
    EXPECT_TRUE(db.report.clean()) << size;
    const bool first_copy = size >= whole.size() - record;
    EXPECT_EQ(db.manifest->state().blocks.size(), first_copy ? 2u : 1u) << size;
  }
}

TEST(ManifestDamage, ALostEditIsSalvagedFromBlocks) {
  auto fs = NewFileSystem();
  std::string damaged_range;
  uint64_t begin = 0, end = 0;
  {
    Opened db = OpenManifest(fs);
    ASSERT_TRUE(db.manifest->Commit(Add(WriteBlock(fs, Meta(1)))).ok());
    ASSERT_TRUE(db.manifest->Commit(Add(WriteBlock(fs, Meta(2)))).ok());
    begin = db.manifest->bytes();
    ManifestEdit merge = Add(WriteBlock(fs, Meta(3, {1, 2}, 6)));
    merge.remove_blocks = {1, 2};
    merge.wal_floors[Wing::kMetrics] = 6;
    ASSERT_TRUE(db.manifest->Commit(merge).ok());
    end = db.manifest->bytes();
    ASSERT_TRUE(db.manifest->Commit(Add(WriteBlock(fs, Meta(4)))).ok());
  }
  // Both copies of the third edit, as a bad sector would take them.
  ASSERT_TRUE(fs->Corrupt("db/MANIFEST-000001", begin, std::string(end - begin, 'x')).ok());
  const std::string damaged = *fs->ReadFile("db/MANIFEST-000001", 1 << 20);
  Opened db = OpenManifest(fs);
  ASSERT_TRUE(db.status.ok());
  EXPECT_TRUE(db.report.salvaged);
  EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(3, 4));
  EXPECT_THAT(db.report.blocks_found, ElementsAre(3));
  EXPECT_EQ(db.manifest->state().wal_floor(Wing::kMetrics), 6u);
  ASSERT_THAT(db.report.damage, SizeIs(1));
  EXPECT_EQ(FilePlaceOf(db.report.damage[0])->file, "db/MANIFEST-000001");
  EXPECT_THAT(db.report.quarantined, ElementsAre("db/quarantine/MANIFEST-000001"));
  EXPECT_EQ(*fs->ReadFile("db/quarantine/MANIFEST-000001", 1 << 20), damaged);
  // Nothing is deleted, and the next open is clean.
  EXPECT_TRUE(*fs->Exists("db/blocks/000001.varve"));
  db.manifest.reset();
  db = OpenManifest(fs);
  EXPECT_TRUE(db.report.clean());
  EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(3, 4));
  EXPECT_THAT(*ListLeftoverBlocks(*fs, kDir, db.manifest->state()),
              ElementsAre("000001.varve", "000002.varve"));
}

TEST(ManifestDamage, BlocksAloneAreEnough) {
  auto fs = NewFileSystem();
  {
    Opened db = OpenManifest(fs);
    for (const BlockMeta& meta : {Meta(1), Meta(2), Meta(3), Meta(5, {1, 2}, 4), Meta(6)}) {
      WriteBlock(fs, meta);
    }
  }
  for (const char* name : {"db/CURRENT", "db/MANIFEST-000001"}) {
    ASSERT_TRUE(fs->Remove(name).ok());
  }
  ASSERT_TRUE(fs->Put("db/blocks/000008.varve", "no block").ok());
  ASSERT_TRUE(fs->Put("db/blocks/notes", "no block").ok());
  Opened db = OpenManifest(fs);
  ASSERT_TRUE(db.status.ok()) << db.status;
  EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(3, 5, 6));
  EXPECT_EQ(db.manifest->state().wal_floor(Wing::kMetrics), 4u);
  EXPECT_EQ(db.manifest->state().wal_floor(Wing::kLogs), 0u) << "not known";
  EXPECT_EQ(db.manifest->state().next_block_id, 9u);
  EXPECT_TRUE(db.report.salvaged);
  EXPECT_THAT(db.report.damage, SizeIs(2)) << "CURRENT, and the file that is no block";
}

TEST(ManifestDamage, AMissingManifestFallsBackToTheOneBefore) {
  auto fs = NewFileSystem();
  {
    Opened db = OpenManifest(fs);
    ManifestEdit edit = Add(WriteBlock(fs, Meta(1)));
    edit.add_tombstones.push_back({1, Wing::kMetrics, 1, "kept"});
    ASSERT_TRUE(db.manifest->Commit(edit).ok());
  }
  {
    Opened db = OpenManifest(fs);
    ASSERT_TRUE(db.manifest->Commit(Add(WriteBlock(fs, Meta(2)))).ok());
  }
  {
    auto gone = fs->Crash(io::CrashPolicy::kKeepAll, 0);
    ASSERT_TRUE(gone->Remove("db/MANIFEST-000002").ok());
    Opened db = OpenManifest(gone);
    EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(1, 2));
    EXPECT_THAT(db.manifest->state().tombstones, SizeIs(1));
    EXPECT_THAT(db.report.blocks_found, ElementsAre(2));
  }
  {
    // The first edit of the current file is gone, a later one is good.
    auto no_base = fs->Crash(io::CrashPolicy::kKeepAll, 0);
    ASSERT_TRUE(no_base->Corrupt("db/MANIFEST-000002", 96, std::string(300, 'x')).ok());
    Opened db = OpenManifest(no_base);
    EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(1, 2));
    EXPECT_THAT(db.manifest->state().tombstones, SizeIs(1));
  }
  {
    auto garbled = fs->Crash(io::CrashPolicy::kKeepAll, 0);
    ASSERT_TRUE(garbled->Put("db/CURRENT", "MANIFEST-000001\n").ok());
    Opened db = OpenManifest(garbled);
    EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(1, 2));
    EXPECT_THAT(db.report.quarantined, ElementsAre("db/quarantine/CURRENT"));
    EXPECT_THAT(db.report.blocks_found, IsEmpty());
  }
}

TEST(ManifestDamage, BlocksThatAreGoneAreReportedOnlyWhenSalvaging) {
  auto fs = NewFileSystem();
  {
    Opened db = OpenManifest(fs);
    ASSERT_TRUE(db.manifest->Commit(Add(WriteBlock(fs, Meta(1)))).ok());
    ASSERT_TRUE(db.manifest->Commit(Add(WriteBlock(fs, Meta(2)))).ok());
  }
  ASSERT_TRUE(fs->Remove("db/blocks/000001.varve").ok());
  EXPECT_THAT(Ids(OpenManifest(fs->Crash(io::CrashPolicy::kKeepAll, 0)).manifest->state()),
              ElementsAre(1, 2));
  ASSERT_TRUE(fs->Remove("db/CURRENT").ok());
  Opened db = OpenManifest(fs);
  EXPECT_THAT(Ids(db.manifest->state()), ElementsAre(2));
  EXPECT_THAT(db.report.blocks_lost, ElementsAre(1));
}

TEST(ManifestDamage, LaterVersionsAndFieldsAreRefused) {
  auto fs = NewFileSystem();
  std::string unknown;
  EncodeEdit(Add(Meta(1)), true, &unknown);
  std::string skippable = unknown;
  // Field 99, without and with the skippable bit, of two bytes.
  unknown += std::string("\x63\x00\x00\x00\x02\x00\x00\x00hi", 10);
  skippable += std::string("\x63\x80\x00\x00\x02\x00\x00\x00hi", 10);
  EXPECT_EQ(DecodeEdit(unknown).status().code(), StatusCode::kUnimplemented);
  ASSERT_TRUE(DecodeEdit(skippable).ok());
  EXPECT_EQ(DecodeEdit(skippable)->edit.add_blocks.size(), 1u);
  ASSERT_TRUE(fs->Put("db/MANIFEST-000001",
                      io::EncodeLogHeader(kManifestMagic, {kManifestVersion + 1, 1, 5, 1}))
                  .ok());
  ASSERT_TRUE(fs->Put("db/CURRENT", EncodeCurrent(1)).ok());
  EXPECT_EQ(OpenManifest(fs).status.code(), StatusCode::kUnimplemented);
}

TEST(ManifestCodec, RoundTripAndGarbage) {
  ManifestEdit edit = Add(Meta(5, {1, 2, 3}, 9));
  edit.remove_blocks = {1, 2};
  edit.wal_floors = {{Wing::kMetrics, 3}, {Wing::kTraces, 4}};
  edit.next_block_id = 77;
  edit.add_tombstones = {{1, Wing::kLogs, 2, "payload"}};
  edit.remove_tombstones = {{Wing::kMetrics, 5}};
  std::string bytes;
  EncodeEdit(edit, true, &bytes);
  const auto decoded = DecodeEdit(bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_TRUE(decoded->snapshot);
  std::string again;
  EncodeEdit(decoded->edit, true, &again);
  EXPECT_EQ(again, bytes);
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string garbage = bytes;
    for (uint64_t n = random() % 4 + 1; n > 0; --n) {
      garbage[random() % garbage.size()] = static_cast<char>(random());
    }
    garbage.resize(random() % (garbage.size() + 1));
    DecodeEdit(garbage).status().IgnoreError();
  }
}

TEST(ManifestCodec, Current) {
  EXPECT_EQ(DecodeCurrent(EncodeCurrent(7)), 7u);
  EXPECT_EQ(DecodeCurrent(EncodeCurrent(12345678)), 12345678u);
  for (const char* bad : {"", "MANIFEST-000007\n", "MANIFEST-000007 0000000000000000\n", " \n"}) {
    EXPECT_EQ(DecodeCurrent(bad), 0u);
  }
  EXPECT_EQ(DecodeCurrent(EncodeCurrent(7) + "\n"), 0u);
}

TEST(Manifest, SnapshotsForBackups) {
  auto fs = NewFileSystem();
  Opened db = OpenManifest(fs);
  ManifestEdit edit = Add(WriteBlock(fs, Meta(1)));
  edit.wal_floors[Wing::kMetrics] = 4;
  ASSERT_TRUE(db.manifest->Commit(edit).ok());
  auto target = NewFileSystem();
  ASSERT_TRUE(WriteManifestSnapshot(*target, kDir, db.manifest->state()).ok());
  Opened copy = OpenManifest(target->Crash(io::CrashPolicy::kDropUnsynced, 0));
  EXPECT_TRUE(copy.report.clean());
  EXPECT_EQ(copy.manifest->state(), db.manifest->state());
}

TEST(Manifest, ListsLeftovers) {
  auto fs = NewFileSystem();
  Opened db = OpenManifest(fs);
  ASSERT_TRUE(db.manifest->Commit(Add(WriteBlock(fs, Meta(1)))).ok());
  WriteBlock(fs, Meta(2));
  ASSERT_TRUE(fs->Put("db/blocks/000003.varve.tmp", "half").ok());
  EXPECT_THAT(*ListLeftoverBlocks(*fs, kDir, db.manifest->state()),
              UnorderedElementsAre("000002.varve", "000003.varve.tmp"));
  EXPECT_THAT(*ListLeftoverBlocks(*fs, "elsewhere", db.manifest->state()), IsEmpty());
}

}  // namespace
}  // namespace varve::block
