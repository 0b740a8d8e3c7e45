#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "engine/base/arena.h"
#include "engine/base/hash.h"
#include "engine/base/scheduler.h"
#include "engine/base/strings.h"
#include "engine/base/utf8.h"
#include "varve/labels.h"
#include "varve/sample.h"
#include "varve/status.h"
#include "varve/write_batch.h"

namespace varve {
namespace {

TEST(Status, CarriesPlaces) {
  const Status file = DataLossError("wal/000001.wal", 77, "checksum differs");
  EXPECT_EQ(file.code(), StatusCode::kDataLoss);
  ASSERT_TRUE(FilePlaceOf(file).has_value());
  EXPECT_EQ(FilePlaceOf(file)->file, "wal/000001.wal");
  EXPECT_EQ(FilePlaceOf(file)->offset, 77u);
  EXPECT_FALSE(TextPlaceOf(file).has_value());

  const Status text = TextError({3, 14}, "expected )");
  EXPECT_EQ(text.code(), StatusCode::kInvalidArgument);
  ASSERT_TRUE(TextPlaceOf(text).has_value());
  EXPECT_EQ(TextPlaceOf(text)->line, 3u);
  EXPECT_EQ(TextPlaceOf(text)->column, 14u);
}

TEST(Labels, SortsAndDropsEmptyValues) {
  const Labels labels{{"job", "api"}, {"__name__", "up"}, {"empty", ""}};
  ASSERT_EQ(labels.size(), 2u);
  EXPECT_EQ(labels[0].name, "__name__");
  EXPECT_EQ(labels.Get("job"), "api");
  EXPECT_EQ(labels.Get("none"), "");
  EXPECT_TRUE(IsCanonical(labels));
}

TEST(Labels, MakeRefusesRepeatedAndEmptyNames) {
  EXPECT_EQ(Labels::Make({{"a", "1"}, {"a", "2"}}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Labels::Make({{"", "1"}}).status().code(), StatusCode::kInvalidArgument);
}

TEST(Labels, ViewsSurviveMovesOfShortAndLongSets) {
  const std::string big_value(200, 'v');
  for (const std::string& value : {std::string("v"), big_value}) {
    Labels from{{"a", value}};
    Labels to = std::move(from);
    from = Labels{{"z", "other"}};
    EXPECT_EQ(to.Get("a"), value);
    Labels again;
    again = std::move(to);
    EXPECT_EQ(again.Get("a"), value);
    const Labels copy = again;
    again = Labels();
    EXPECT_EQ(copy.Get("a"), value);
  }
}

TEST(Labels, OrderIsPrometheusOrder) {
  const Labels a{{"a", "1"}};
  const Labels ab{{"a", "1"}, {"b", "1"}};
  const Labels a2{{"a", "2"}};
  EXPECT_LT(a, ab);
  EXPECT_LT(ab, a2);
  EXPECT_EQ(a, (Labels{{"a", "1"}}));
}

TEST(Labels, KeysDoNotCollideByShiftingBytes) {
  const Labels one{{"a", "bc"}};
  const Labels two{{"ab", "c"}};
  const Labels three{{"a", "b\xff\x01"}};
  EXPECT_NE(one.key(), two.key());
  EXPECT_NE(one.key(), three.key());
  EXPECT_EQ(one.key(), (Labels{{"a", "bc"}}).key());
  const std::string huge(5000, 'x');
  EXPECT_EQ((Labels{{"a", huge}}).key(), (Labels{{"a", huge}}).key());
}

TEST(Labels, PrintsAsPrometheusDoes) {
  EXPECT_EQ(ToString(Labels{{"__name__", "up"}, {"job", "a\"b"}}), "up{job=\"a\\\"b\"}");
  EXPECT_EQ(ToString(Labels{{"__name__", "up"}}), "up");
  EXPECT_EQ(ToString(Labels{}), "{}");
  EXPECT_EQ(ToString(Labels{{"__name__", "my.metric"}, {"a.b", "x"}}),
            "{\"my.metric\", \"a.b\"=\"x\"}");
}

TEST(Strings, QuotesAsGoDoes) {
  EXPECT_EQ(GoQuote("a\n\t\"\\"), "\"a\\n\\t\\\"\\\\\"");
  EXPECT_EQ(GoQuote("\x01\xff"), "\"\\x01\\xff\"");
  EXPECT_EQ(GoQuote("gr\xc3\xbc\xc3\x9f"), "\"gr\xc3\xbc\xc3\x9f\"");
}

TEST(Utf8, EveryCharacterReadsBackAndNothingElseReads) {
  for (uint32_t rune = 0; rune < 0x111000; ++rune) {
    std::string bytes;
    AppendUtf8(rune, &bytes);
    const bool is_character = rune <= 0x10ffff && (rune < 0xd800 || rune > 0xdfff);
    uint32_t back = 0;
    ASSERT_EQ(GetUtf8(bytes + "x", &back), is_character ? bytes.size() : 0) << rune;
    if (!is_character) continue;
    ASSERT_EQ(back, rune);
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      ASSERT_EQ(Utf8Length(bytes.substr(0, cut)), 0u) << rune;
      ASSERT_EQ(Utf8Length(bytes.substr(cut)), 0u) << rune;
    }
  }
  // What is read is what is written for it: no overlong forms.
  for (uint32_t word = 0; word < 1u << 24; word += 7) {
    const std::string bytes = {static_cast<char>(word >> 16), static_cast<char>(word >> 8),
                               static_cast<char>(word)};
    uint32_t rune = 0;
    if (const size_t length = GetUtf8(bytes, &rune)) {
      std::string again;
      AppendUtf8(rune, &again);
      ASSERT_EQ(again, bytes.substr(0, length));
    }
  }
}

TEST(Strings, KnowsUtf8) {
  EXPECT_TRUE(IsValidUtf8("plain \xe2\x82\xac \xf0\x9f\x98\x80"));
  EXPECT_FALSE(IsValidUtf8("\xc0\x80"));          // overlong
  EXPECT_FALSE(IsValidUtf8("\xed\xa0\x80"));      // surrogate
  EXPECT_FALSE(IsValidUtf8("\xf4\x90\x80\x80"));  // past U+10FFFF
  EXPECT_FALSE(IsValidUtf8("\xe2\x82"));          // cut
}

TEST(Histogram, ValidationNamesTheRule) {
  Histogram h;
  h.count = 3;
  h.sum = 5;
  h.positive_spans = {{0, 2}};
  h.positive_deltas = {1, 1};
  EXPECT_TRUE(Validate(h).ok());
  h.count = 4;
  EXPECT_THAT(std::string(Validate(h).message()), testing::HasSubstr("Count field is 4"));
  h.count = 3;
  h.positive_deltas = {1, -2};
  EXPECT_FALSE(Validate(h).ok());
  h.positive_deltas = {3};
  EXPECT_FALSE(Validate(h).ok());
  h.schema = 9;
  EXPECT_FALSE(Validate(h).ok());
  Histogram overflow;
  overflow.positive_spans = {{0, 2}};
  overflow.positive_deltas = {std::numeric_limits<int64_t>::max(), 1};
  EXPECT_FALSE(Validate(overflow).ok());
}

TEST(Histogram, EqualityIsBitwise) {
  Histogram a;
  a.sum = 0.0;
  Histogram b = a;
  EXPECT_TRUE(BitEqual(a, b));
  b.sum = -0.0;
  EXPECT_FALSE(BitEqual(a, b));
  a.sum = b.sum = std::nan("");
  EXPECT_TRUE(BitEqual(a, b));
}

TEST(Arena, KeepsBytesInPlace) {
  Arena arena(64);
  std::vector<std::string_view> views;
  for (int i = 0; i < 1000; ++i) views.push_back(arena.Copy(std::to_string(i)));
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(views[i], std::to_string(i));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(arena.Allocate(8, 8)) % 8, 0u);
  const size_t before = arena.bytes_allocated();
  arena.Clear();
  EXPECT_LT(arena.bytes_allocated(), before);
  EXPECT_EQ(arena.Copy("again"), "again");
}

TEST(WriteBatch, CopiesLabelBytes) {
  WriteBatch batch;
  {
    std::string name = "job";
    std::string value = "api";
    const LabelView labels[] = {{name, value}};
    const uint32_t series = batch.AddSeries(labels);
    batch.AddSample(series, 1, 2.0);
    name = value = "gone";
  }
  EXPECT_EQ(batch.labels(batch.series()[0])[0].value, "api");
  EXPECT_FALSE(batch.empty());
  batch.Clear();
  EXPECT_TRUE(batch.empty());
}

TEST(Scheduler, InlineRunsOnlyWhenAsked) {
  InlineScheduler scheduler(7);
  int ran = 0;
  scheduler.Submit([&] {
    ++ran;
    scheduler.Submit([&] { ++ran; });
  });
  scheduler.Every(std::chrono::seconds(1), [&] { ran += 10; });
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(scheduler.RunSubmitted(), 2u);
  EXPECT_EQ(scheduler.RunPeriodic(), 1u);
  EXPECT_EQ(ran, 12);
  scheduler.Stop();
  EXPECT_EQ(scheduler.RunPeriodic(), 0u);
}

TEST(Scheduler, ThreadsRunAndStop) {
  auto scheduler = Scheduler::Threads(2);
  std::atomic<int> submitted = 0;
  std::atomic<int> periodic = 0;
  for (int i = 0; i < 100; ++i) scheduler->Submit([&] { ++submitted; });
  scheduler->Every(std::chrono::milliseconds(1), [&] { ++periodic; });
  for (int i = 0; i < 2000 && (submitted < 100 || periodic < 3); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  scheduler->Stop();
  EXPECT_EQ(submitted, 100);
  EXPECT_GE(periodic, 3);
}

}  // namespace
}  // namespace varve
