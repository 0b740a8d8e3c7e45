#include "varve/database.h"

#include <gtest/gtest.h>

#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"
#include "tests/traces/span_model.h"

namespace varve::traces {
namespace {

Options TestOptions(std::shared_ptr<io::FileSystem> fs) {
  Options options;
  options.dir = "db";
  options.background_threads = 0;
  options.file_system = std::move(fs);
  return options;
}

void CheckModel(const Database& db, const SpanModel& model, std::mt19937_64* random) {
  const auto snapshot = db.TakeTraceSnapshot();
  ASSERT_TRUE(snapshot.ok()) << snapshot.status().ToString();
  model.Check(**snapshot, random);
}

TEST(TracesDatabase, SpansSurviveReopening) {
  std::mt19937_64 random(1);
  auto fs = std::make_shared<io::MemoryFileSystem>();
  SpanModel model;
  for (int round = 0; round < 3; ++round) {
    auto db = Database::Open(TestOptions(fs));
    ASSERT_TRUE(db.ok()) << db.status().ToString();
    EXPECT_TRUE((*db)->recovery().clean());
    EXPECT_EQ((*db)->recovery().wal_spans, model.spans());
    CheckModel(**db, model, &random);
    SpanBatch batch;
    AddRandomSpans(&random, 300, {}, &batch);
    const auto result = (*db)->AppendSpans(batch);
    ASSERT_TRUE(result.ok()) << result.status().ToString();
    model.Add(batch);
    CheckModel(**db, model, &random);
    EXPECT_EQ((*db)->Stats().head_spans, model.spans());
    const auto damage = (*db)->Verify();
    ASSERT_TRUE(damage.ok());
    EXPECT_TRUE(damage->empty());
  }
}

}  // namespace
}  // namespace varve::traces
