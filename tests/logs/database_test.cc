// Logs through the public API: order, duplicates, deletion, restart, and random operations
// against a model.

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <functional>
#include <random>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "tests/logs/logs_testing.h"

namespace varve::logs_testing {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

void AppendOne(Database& db, const Labels& labels, const Entry& entry) {
  LogBatch batch;
  batch.AddEntry(batch.AddStream(labels), entry.time_ns, entry.line, Views(entry));
  const auto result = db.AppendLogs(batch);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->entries, 1u);
}

class Stages : public testing::TestWithParam<int> {
 public:
  Stages() : options_(TestOptions(std::make_shared<io::MemoryFileSystem>())) {
    db_ = MustOpen(options_);
  }
  /// Moves everything to where the parameter says: head, replayed head, blocks, merged, reopened.
  void Settle() {
    if (GetParam() == 1 || GetParam() == 4) {
      if (GetParam() == 4) {
        ASSERT_TRUE(db_->Compact().ok());
      }
      ASSERT_TRUE(db_->Close().ok());
      db_ = MustOpen(options_);
      ASSERT_TRUE(db_->recovery().clean());
    }
    if (GetParam() == 2) {
      ASSERT_TRUE(db_->Flush().ok());
    }
    if (GetParam() == 3) {
      ASSERT_TRUE(db_->Compact().ok());
    }
  }
  /// A place for a flush in the middle of a test.
  void Halfway() {
    if (GetParam() >= 2) {
      ASSERT_TRUE(db_->Flush().ok());
    }
  }
  Options options_;
  std::unique_ptr<Database> db_;
};
INSTANTIATE_TEST_SUITE_P(All, Stages, testing::Range(0, 5));

TEST_P(Stages, LateEntriesTiesAndDuplicates) {
  const Labels s = Stream(1);
  const std::vector<Entry> sent = {
      {5 * kSecond, "e", {}},
      {1 * kSecond, "a", {}},
      {5 * kSecond, "d", {}},
      {5 * kSecond, "e", {}},
      {5 * kSecond, "e", {{"k", "v"}}},
      {3 * kSecond, std::string("\0\xff\n", 3), {}},
      {3 * kSecond, "", {}},
      {5 * kSecond, "e", {{"k", ""}}},
  };
  for (size_t i = 0; i < sent.size(); ++i) {
    AppendOne(*db_, s, sent[i]);
    if (i == 3) Halfway();
  }
  AppendOne(*db_, s, sent[1]);
  Settle();
  const std::vector<Entry> expected = {sent[1], sent[5], sent[6], sent[0],
                                       sent[2], sent[4], sent[7]};
  EXPECT_EQ(MustReadAll(*db_), (Contents{{ToString(LabelsView(s)), expected}}));
}

TEST_P(Stages, FiltersAndColumns) {
  const Labels s = Stream(1);
  for (int i = 0; i < 100; ++i) {
    AppendOne(*db_, s,
              {i * kSecond,
               Concat("line ", i, i % 10 == 0 ? " error" : " fine"),
               {{"trace", Concat("t", i % 7)}}});
    if (i == 50) Halfway();
  }
  Settle();
  const std::string key = ToString(LabelsView(s));
  LogScanSpec spec;
  spec.line_filters = {{LineFilter::Op::kContains, {"error"}}};
  EXPECT_EQ(MustReadAll(*db_, spec)[key].size(), 10u);
  spec.line_filters.push_back({LineFilter::Op::kNotMatches, {"line [1-4]0"}});
  EXPECT_EQ(MustReadAll(*db_, spec)[key].size(), 6u);
  spec.range = {50 * kSecond, 70 * kSecond};
  EXPECT_EQ(MustReadAll(*db_, spec)[key].size(), 3u);
  spec.lines = LogScanSpec::Lines::kLengths;
  spec.with_metadata = false;
  const std::vector<Entry> lengths = MustReadAll(*db_, spec)[key];
  ASSERT_EQ(lengths.size(), 3u);
  EXPECT_EQ(lengths[0], (Entry{50 * kSecond, "13", {}}));
  LogScanSpec by_trace;
  by_trace.metadata = {{MatchType::kEqual, "trace", "t3"}};
  EXPECT_EQ(MustReadAll(*db_, by_trace)[key].size(), 14u);
  by_trace.metadata = {{MatchType::kNotEqual, "trace", "t3"}, {MatchType::kEqual, "no", ""}};
  EXPECT_EQ(MustReadAll(*db_, by_trace)[key].size(), 86u);
  LogScanSpec either;
  either.line_filters = {{LineFilter::Op::kContains, {"line 11 ", "line 12 ", "absent"}}};
  EXPECT_EQ(MustReadAll(*db_, either)[key].size(), 2u);
  either.line_filters = {{LineFilter::Op::kNotContains, {"1", "2"}}};
  EXPECT_EQ(MustReadAll(*db_, either)[key].size(), 64u);
  auto snapshot = *db_->TakeLogSnapshot();
  EXPECT_EQ(snapshot->MetadataNames({}, {}, {})->values, std::vector<std::string>{"trace"});
  EXPECT_EQ(snapshot->LabelNames({}, {}, {})->values, (std::vector<std::string>{"app", "i"}));
  EXPECT_EQ(snapshot->time_range(), (NsRange{0, 99 * kSecond}));
  const LogVolume volume = *snapshot->Volume({}, {});
  EXPECT_EQ(volume.streams, 1u);
  EXPECT_EQ(volume.entries, 100u);
}

/// Eight bytes of XXH3's secret: in the middle of 32 bytes they take the eight that follow out of
/// Hash64's sum.
constexpr std::string_view kOutOfTheSum = "\xde\xd4m\xe9\x83\x90\x97\xdb";

// Hash64 has no seed, so whoever writes lines can make words of one hash: nothing may take the
// second for the first.
TEST_P(Stages, WordsOfOneHashAreBothFound) {
  const std::vector<std::pair<std::string, std::string>> collisions = {
      {"klhtvitvvvkijinr", "rsuqvmlqsprvoqjm"},
      // Their keys differ: those do not regard case.
      {"Pnrrhgpgpkpmnrg0", "Lgrrjlnshvogghg0"},
      {Concat("sixteen_letters_", kOutOfTheSum, "_of_one_"),
       Concat("sixteen_letters_", kOutOfTheSum, "_of_two_")}};
  const Labels s = Stream(1);
  int64_t time_ns = 0;
  // Enough for pages of a head to be closed.
  const auto fill = [&] {
    LogBatch batch;
    const uint32_t stream = batch.AddStream(s);
    for (int i = 0; i < 2000; ++i) batch.AddEntry(stream, time_ns += kSecond, std::string(50, 'z'));
    ASSERT_TRUE(db_->AppendLogs(batch).ok());
  };
  for (const auto& [first, second] : collisions) {
    ASSERT_EQ(Hash64(first), Hash64(second)) << first;
    AppendOne(*db_, s, {time_ns += kSecond, first, {}});
    AppendOne(*db_, s, {time_ns += kSecond, second, {}});
  }
  fill();
  Halfway();
  for (const auto& [first, second] : collisions) {
    AppendOne(*db_, s, {time_ns += kSecond, Concat("say ", first, " here"), {}});
    AppendOne(*db_, s, {time_ns += kSecond, Concat("say ", second, " here"), {}});
  }
  for (int i = 0; i < 6; ++i) fill();
  Settle();
  for (const auto& [first, second] : collisions) {
    for (const std::string& word : {first, second}) {
      const size_t bytes = word.size();
      for (const std::string& needle :
           {word, word.substr(1, bytes - 2), word.substr(2), word.substr(bytes - 8, 7)}) {
        // The second time a head page has a filter.
        for (int time = 0; time < 2; ++time) {
          LogScanSpec spec;
          spec.line_filters = {{LineFilter::Op::kContains, {needle}}};
          EXPECT_EQ(MustReadAll(*db_, spec)[ToString(LabelsView(s))].size(), 2u)
              << word << ": " << needle;
        }
      }
    }
    LogScanSpec spec;
    spec.line_filters = {{LineFilter::Op::kContains, {Concat("say ", second, " here")}}};
    EXPECT_EQ(MustReadAll(*db_, spec)[ToString(LabelsView(s))].size(), 1u) << second;
  }
}

// Entries of one time are looked through for equal ones: neither lines that are all the same nor
// lines that were made to have one Hash64 may make that a compare of each with each. The same goes
// for their words, which are listed for searches.
TEST_P(Stages, ManyEntriesOfOneTime) {
  constexpr int kEntries = 20'000;
  const auto seconds = [&](int i, const std::function<Entry(int)>& entry) {
    const Labels s = Stream(i);
    for (int half = 0; half < 2; ++half) {
      LogBatch batch;
      const uint32_t stream = batch.AddStream(s);
      std::vector<Entry> entries;
      for (int k = half; k < kEntries; k += 2) entries.push_back(entry(k));
      for (const Entry& one : entries) {
        batch.AddEntry(stream, one.time_ns, batch.Copy(one.line), Views(one));
      }
      EXPECT_TRUE(db_->AppendLogs(batch).ok());
      if (half == 0) Halfway();
    }
    const clock_t begin = std::clock();
    Settle();
    EXPECT_EQ(MustReadAll(*db_, {},
                          {{MatchType::kEqual, "i", std::to_string(i)}})[ToString(LabelsView(s))]
                  .size(),
              kEntries);
    LogScanSpec spec;
    spec.line_filters = {{LineFilter::Op::kContains, {"nowhere"}}};
    EXPECT_TRUE(MustReadAll(*db_, spec).empty());
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  const auto padded = [](int k) { return std::to_string(10'000'000 + k); };
  const double plain = seconds(1, [&](int k) {
    return Entry{kSecond, Concat("sixteen_letters_12345678", padded(k)), {{"k", padded(k)}}};
  });
  const double same = seconds(2, [&](int k) {
    return Entry{kSecond, "sixteen_letters_12345678same_one", {{"k", padded(k)}}};
  });
  const double colliding = seconds(3, [&](int k) {
    return Entry{kSecond, Concat("sixteen_letters_", kOutOfTheSum, padded(k)), {{"k", padded(k)}}};
  });
  EXPECT_LT(same, 10 * plain + 0.1);
  EXPECT_LT(colliding, 10 * plain + 0.1);
}

TEST_P(Stages, DeletionTakesEffectAtOnce) {
  const Labels s = Stream(1);
  for (int i = 0; i < 20; ++i) {
    AppendOne(*db_, s, {i * kSecond, i % 2 == 0 ? "even" : "odd", {}});
    AppendOne(*db_, Stream(2), {i * kSecond, "other", {}});
  }
  Settle();
  const std::vector<Matcher> one{{MatchType::kEqual, "i", "1"}};
  ASSERT_TRUE(db_->DeleteLogs(one, {5 * kSecond, 10 * kSecond},
                              std::vector<LineFilter>{{LineFilter::Op::kContains, {"even"}}}, {})
                  .ok());
  EXPECT_EQ(MustReadAll(*db_)[ToString(LabelsView(s))].size(), 17u);
  ASSERT_TRUE(
      db_->DeleteLogs(std::vector<Matcher>{{MatchType::kEqual, "i", "2"}}, {}, {}, {}).ok());
  EXPECT_EQ(MustReadAll(*db_).size(), 1u);
  auto names = (*db_->TakeLogSnapshot())->LabelValues("i", {}, {}, {});
  EXPECT_EQ(names->values, std::vector<std::string>{"1"});
  AppendOne(*db_, s, {6 * kSecond, "even", {}});
  EXPECT_EQ(MustReadAll(*db_)[ToString(LabelsView(s))].size(), 18u);
  ASSERT_TRUE(db_->Compact().ok());
  EXPECT_EQ(MustReadAll(*db_)[ToString(LabelsView(s))].size(), 18u);
  EXPECT_EQ(db_->Stats().tombstones, 0u);
}

TEST(Append, ReferencesAndRejections) {
  Options options = TestOptions(std::make_shared<io::MemoryFileSystem>());
  options.limits.line_bytes_max = 100;
  options.limits.head_streams_max = 3;
  auto db = MustOpen(options);
  LogBatch batch;
  const uint32_t a = batch.AddStream(Stream(1));
  batch.AddEntry(a, 1, "x");
  auto result = db->AppendLogs(batch);
  ASSERT_TRUE(result.ok());
  const StreamRef ref = result->refs[0];
  ASSERT_NE(ref, 0u);
  batch.Clear();
  batch.AddEntry(batch.AddStream(ref), 2, "y");
  ASSERT_TRUE(db->AppendLogs(batch).ok());
  ASSERT_TRUE(db->Flush().ok());
  result = db->AppendLogs(batch);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->stale_refs);
  EXPECT_EQ(result->refs[0], 0u);

  batch.Clear();
  const std::string long_line(101, 'x');
  const uint32_t b = batch.AddStream(Stream(2));
  batch.AddEntry(b, 1, long_line);
  batch.AddEntry(b, 2, "good");
  const std::vector<LabelView> unsorted{{"b", "1"}, {"a", "2"}};
  batch.AddEntry(b, 3, "bad", unsorted);
  batch.AddEntry(batch.AddStream(LabelsView(unsorted)), 4, "bad");
  EXPECT_EQ(db->AppendLogs(batch).status().code(), StatusCode::kInvalidArgument);
  WriteOptions partial;
  partial.partial = true;
  result = db->AppendLogs(batch, partial);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->entries, 1u);
  EXPECT_EQ(result->rejected, 3u);
  ASSERT_EQ(result->rejections.size(), 3u);
  EXPECT_EQ(result->rejections[0].reason, LogRejectReason::kLineTooLong);
  EXPECT_EQ(result->rejections[1].reason, LogRejectReason::kInvalidMetadata);
  EXPECT_EQ(result->rejections[2].reason, LogRejectReason::kInvalidLabels);
  batch.Clear();
  for (int i = 10; i < 15; ++i) batch.AddEntry(batch.AddStream(Stream(i)), 1, "s");
  EXPECT_EQ(db->AppendLogs(batch).status().code(), StatusCode::kResourceExhausted);
  result = db->AppendLogs(batch, partial);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->entries, 2u);
  EXPECT_EQ(result->rejected, 3u);
  EXPECT_EQ(MustReadAll(*db).size(), 4u);
}

// A batch may name a stream twice; that makes one stream, also close to the limit.
TEST(Append, AStreamNamedTwiceCountsOnce) {
  Options options = TestOptions(std::make_shared<io::MemoryFileSystem>());
  options.limits.head_streams_max = 3;
  auto db = MustOpen(options);
  LogBatch batch;
  for (const int stream : {1, 2, 1, 2, 3}) {
    batch.AddEntry(batch.AddStream(Stream(stream)), static_cast<int64_t>(batch.entries().size()),
                   "x");
  }
  auto result = db->AppendLogs(batch);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->entries, 5u);
  EXPECT_EQ(result->refs[0], result->refs[2]);
  EXPECT_NE(result->refs[0], result->refs[1]);
  EXPECT_EQ(MustReadAll(*db).size(), 3u);

  // What finds no room is refused each time that it is named; what has room never.
  ASSERT_TRUE(db->Flush().ok());
  batch.Clear();
  for (const int stream : {4, 5, 4, 6, 7, 6, 7, 4}) {
    batch.AddEntry(batch.AddStream(Stream(stream)), static_cast<int64_t>(batch.entries().size()),
                   "y");
  }
  EXPECT_EQ(db->AppendLogs(batch).status().code(), StatusCode::kResourceExhausted);
  WriteOptions partial;
  partial.partial = true;
  result = db->AppendLogs(batch, partial);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->entries, 6u);
  ASSERT_EQ(result->rejections.size(), 2u);
  EXPECT_EQ(result->rejections[0].entry, 4u);
  EXPECT_EQ(result->rejections[1].entry, 6u);
  EXPECT_EQ(result->rejections[0].reason, LogRejectReason::kStreamLimit);
}

TEST(Blocks, ManyStreamsShareRowGroups) {
  Options options = TestOptions(std::make_shared<io::MemoryFileSystem>());
  auto db = MustOpen(options);
  LogBatch batch;
  for (int i = 0; i < 5000; ++i) {
    const uint32_t stream = batch.AddStream(Stream(i));
    batch.AddEntry(stream, 2, batch.Copy(Concat("second of ", i)));
    batch.AddEntry(stream, 1, batch.Copy(Concat("first of ", i)));
  }
  ASSERT_TRUE(db->AppendLogs(batch).ok());
  const Contents before = MustReadAll(*db);
  ASSERT_EQ(before.size(), 5000u);
  ASSERT_TRUE(db->Flush().ok());
  EXPECT_EQ(MustReadAll(*db), before);
  LogScanStats stats;
  LogScanSpec spec;
  spec.line_filters = {{LineFilter::Op::kContains, {"first of 77"}}};
  const Contents found = MustReadAll(*db, spec, {}, &stats);
  EXPECT_EQ(found.size(), 11u);
  EXPECT_EQ(stats.groups_read, 1u);  // decoded once for all streams
}

TEST(Retention, BySelectorAndPriority) {
  Options options = TestOptions(std::make_shared<io::MemoryFileSystem>());
  auto clock = std::make_shared<ManualClock>(1'000'000'000);
  options.clock = clock;
  options.block_range = std::chrono::hours(1000);
  options.log_retention_time = std::chrono::hours(10);
  options.log_retention_rules = {
      {{{MatchType::kEqual, "i", "1"}}, std::chrono::hours(1), 1},
      {{{MatchType::kRegex, "i", "[12]"}}, std::chrono::hours(100), 0},
  };
  auto db = MustOpen(options);
  const int64_t now = 1'000'000'000 * int64_t{1'000'000};
  constexpr int64_t kHour = 3600 * kSecond;
  for (int i = 1; i <= 3; ++i) {
    for (int h = 50; h >= 0; --h) AppendOne(*db, Stream(i), {now - h * kHour, "line", {}});
    ASSERT_TRUE(db->Flush().ok());
  }
  // One block for all: rows go by rewriting, row group by row group.
  ASSERT_TRUE(db->Compact().ok());
  EXPECT_EQ(MustReadAll(*db).size(), 3u);
  clock->Advance(std::chrono::hours(20));
  AppendOne(*db, Stream(9), {now + 20 * kHour, "newest", {}});
  ASSERT_TRUE(db->Maintain().ok());
  const Contents left = MustReadAll(*db);
  EXPECT_EQ(left.count(ToString(LabelsView(Stream(1)))), 0u);  // after 1 h, by priority
  EXPECT_EQ(left.count(ToString(LabelsView(Stream(2)))), 1u);  // after 100 h
  EXPECT_EQ(left.count(ToString(LabelsView(Stream(3)))), 0u);  // after 10 h
  EXPECT_EQ(left.count(ToString(LabelsView(Stream(9)))), 1u);
  EXPECT_TRUE(db->Verify()->empty());
  clock->Advance(std::chrono::hours(200));
  AppendOne(*db, Stream(9), {now + 220 * kHour, "newer", {}});
  ASSERT_TRUE(db->Maintain().ok());
  EXPECT_EQ(MustReadAll(*db).size(), 1u);
  options.dir = "other";
  options.log_retention_rules[0].matchers[0] = {MatchType::kRegex, "i", "("};
  EXPECT_EQ(Database::Open(options).status().code(), StatusCode::kInvalidArgument);
}

TEST(Blocks, FiltersSkipWithoutReading) {
  auto db = MustOpen(TestOptions(std::make_shared<io::MemoryFileSystem>()));
  LogBatch batch;
  const uint32_t stream = batch.AddStream(Stream(1));
  for (int i = 0; i < 20000; ++i) {
    batch.AddEntry(stream, i,
                   batch.Copy(Concat("GET /item/", i, " trace=", 1000000 + i, "abcdef012345",
                                     i == 15000 ? " needle" : "", " done in ", i % 77, " ms, ",
                                     std::string(100, 'x'))));
  }
  ASSERT_TRUE(db->AppendLogs(batch).ok());
  ASSERT_TRUE(db->Flush().ok());
  const auto ask = [&](LineFilter::Op op, const char* text) {
    LogScanSpec spec;
    spec.line_filters = {{op, {text}}};
    LogScanStats stats;
    size_t found = 0;
    for (const auto& [labels, entries] : MustReadAll(*db, spec, {}, &stats)) {
      found += entries.size();
    }
    return std::pair(found, stats.groups_read);
  };
  using Op = LineFilter::Op;
  EXPECT_EQ(ask(Op::kContains, "quizzacious"), (std::pair<size_t, uint64_t>(0, 0)));
  EXPECT_EQ(ask(Op::kContains, "7c9e6679a425401d"), (std::pair<size_t, uint64_t>(0, 0)));
  EXPECT_EQ(ask(Op::kContains, "eedl"), (std::pair<size_t, uint64_t>(1, 1)));
  EXPECT_EQ(ask(Op::kMatches, "1015000abcdef012345 n[a-z]+"), (std::pair<size_t, uint64_t>(1, 1)));
  EXPECT_EQ(ask(Op::kNotContains, "needle").first, 19999u);
  EXPECT_EQ(ask(Op::kNotMatches, "needle|done").first, 0u);
}

void RunModel(uint64_t seed) {
  SCOPED_TRACE(Concat("seed ", seed));
  std::mt19937_64 random(seed);
  auto fs = std::make_shared<io::MemoryFileSystem>();
  Options options = TestOptions(fs);
  options.block_range = std::chrono::milliseconds(100'000 + random() % 1'000'000);
  auto db = MustOpen(options);
  Contents model;
  struct Pinned {
    std::shared_ptr<const LogSnapshot> snapshot;
    Contents contents;
  };
  std::vector<Pinned> pinned;
  int64_t now = 1'000'000'000'000;
  const auto add = [&](const std::string& key, const Entry& entry) {
    std::vector<Entry>& entries = model[key];
    const auto low =
        std::lower_bound(entries.begin(), entries.end(), entry.time_ns,
                         [](const Entry& a, int64_t time) { return a.time_ns < time; });
    auto at = low;
    for (; at != entries.end() && at->time_ns == entry.time_ns; ++at) {
      if (*at == entry) return;
    }
    entries.insert(at, entry);
  };
  for (int step = 0; step < 200; ++step) {
    switch (random() % 24) {
      case 0:
        ASSERT_TRUE(db->Flush().ok());
        break;
      case 1:
        ASSERT_TRUE(db->Compact().ok());
        break;
      case 2:
        ASSERT_TRUE(db->Maintain().ok());
        break;
      case 3:
        pinned.clear();
        ASSERT_TRUE(db->Close().ok());
        db = MustOpen(options);
        ASSERT_TRUE(db->recovery().clean());
        break;
      case 4: {
        const std::vector<Matcher> matchers{
            {random() % 2 == 0 ? MatchType::kEqual : MatchType::kNotEqual, "i",
             std::to_string(random() % 6)}};
        const int64_t begin = now - static_cast<int64_t>(random() % 800) * kSecond;
        const NsRange range{begin, begin + static_cast<int64_t>(random() % 300) * kSecond};
        std::vector<LineFilter> filters;
        if (random() % 2 == 0) filters.push_back({LineFilter::Op::kContains, {"7"}});
        ASSERT_TRUE(db->DeleteLogs(matchers, range, filters, {}).ok());
        for (int i = 0; i < 6; ++i) {
          const bool equal = std::to_string(i) == matchers[0].value;
          if (equal != (matchers[0].type == MatchType::kEqual)) continue;
          const auto stream = model.find(ToString(LabelsView(Stream(i))));
          if (stream == model.end()) continue;
          std::erase_if(stream->second, [&](const Entry& entry) {
            return range.Contains(entry.time_ns) &&
                   (filters.empty() || entry.line.find('7') != std::string::npos);
          });
          if (stream->second.empty()) model.erase(stream);
        }
        break;
      }
      case 5:
        pinned.push_back({*db->TakeLogSnapshot(), model});
        break;
      case 6:
        if (!pinned.empty()) pinned.erase(pinned.begin() + random() % pinned.size());
        break;
      default: {
        LogBatch batch;
        const bool large = random() % 6 == 0;
        const bool single = random() % 3 == 0;
        for (size_t n = 0; n < 1 + random() % (large ? 300 : 20); ++n) {
          const int i = single ? 3 : static_cast<int>(random() % 6);
          now += static_cast<int64_t>(random() % 5) * kSecond;
          Entry entry;
          entry.time_ns =
              random() % 5 == 0 ? now - static_cast<int64_t>(random() % 600) * kSecond : now;
          entry.line = Concat("value ", random() % 50, large ? std::string(600, 'x') : "");
          if (random() % 3 == 0) entry.metadata.emplace_back("id", Concat(random() % 4));
          std::vector<LabelView> metadata;
          for (const auto& [name, value] : entry.metadata) {
            metadata.push_back({batch.Copy(name), batch.Copy(value)});
          }
          batch.AddEntry(batch.AddStream(Stream(i)), entry.time_ns, batch.Copy(entry.line),
                         metadata);
          add(ToString(LabelsView(Stream(i))), entry);
        }
        const auto result = db->AppendLogs(batch);
        ASSERT_TRUE(result.ok()) << result.status();
      }
    }
    if (step % 10 == 9) {
      ASSERT_EQ(MustReadAll(*db), model) << "step " << step;
      for (const Pinned& pin : pinned) {
        auto contents = ReadAll(*pin.snapshot);
        ASSERT_TRUE(contents.ok());
        ASSERT_EQ(*contents, pin.contents) << "step " << step;
      }
      const int64_t begin = now - static_cast<int64_t>(random() % 900) * kSecond;
      LogScanSpec spec;
      spec.range = {begin, begin + static_cast<int64_t>(random() % 400) * kSecond};
      spec.line_filters = {{LineFilter::Op::kContains, {Concat("value ", random() % 50)}}};
      Contents expected;
      for (const auto& [labels, entries] : model) {
        for (const Entry& entry : entries) {
          if (spec.range.Contains(entry.time_ns) &&
              entry.line.find(spec.line_filters[0].texts[0]) != std::string::npos) {
            expected[labels].push_back(entry);
          }
        }
      }
      ASSERT_EQ(MustReadAll(*db, spec), expected) << "step " << step;
    }
  }
  EXPECT_TRUE(db->Verify()->empty());
}

TEST(Model, RandomOperationsEqualAMap) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    RunModel(seed);
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace varve::logs_testing
