// The serialised label index read from damaged, truncated and made-up bytes, and its pinned form.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <ctime>
#include <random>

#include "engine/base/coding.h"
#include "engine/base/strings.h"
#include "engine/index/label_index.h"
#include "engine/index/label_index_format.h"
#include "engine/index/memory_index.h"
#include "tests/index/model.h"

namespace varve::index {
namespace {

using ::testing::ContainsRegex;
using std::string_literals::operator""s;

std::string FromHex(std::string_view text) {
  std::string out;
  int high = -1;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) continue;
    if (high < 0) {
      high = digit;
    } else {
      out += static_cast<char>(high * 16 + digit);
      high = -1;
    }
  }
  return out;
}

/// The example of engine/docs/format/label-index.md.
const std::vector<Labels>& GoldenSeries() {
  static const auto* const series = new std::vector<Labels>{
      Labels({{"__name__", "up"}, {"job", "api"}}),
      Labels({{"__name__", "up"}, {"job", "apm"}}),
      Labels({{"__name__", "up"}, {"job", "web"}, {"zone", "a"}}),
      Labels({{"__name__", "url"}}),
  };
  return *series;
}
constexpr std::string_view kGoldenHex =
    "56 4c 49 31  04 03 03 06"
    "00 18 18  08 5f 5f 6e 61 6d 65 5f 5f 02 04  03 6a 6f 62 03 03  04 7a 6f 6e 65 01 01"
    "00 09 09  02 00 00  03 00 00 00  01 00"
    "00 0c 0c  00 02 01 02  00 03 02 01 00 03  00 01"
    "00 0c 0c  75 70 72 6c  61 70 69 6d 77 65 62  61"
    "00 04 04  00 00 01 02"
    "00 08 08  00 00 00 02  00 02 02  00";

std::string Serialise(const std::vector<Labels>& sorted) {
  LabelIndexBuilder builder;
  for (const Labels& labels : sorted) EXPECT_TRUE(builder.Add(labels).ok());
  return builder.Finish();
}

/// Uses an index in every way; must not fault whatever bytes it was opened from.
void Exercise(const LabelIndexView& view) {
  std::vector<LabelView> labels;
  std::vector<LabelView> before;
  for (uint32_t i = 0; i < view.size(); ++i) {
    view.GetLabels(i, &labels);
    EXPECT_TRUE(IsCanonical(labels));
    EXPECT_TRUE(i == 0 || CompareLabels(before, labels) == std::strong_ordering::less);
    EXPECT_EQ(view.Find(labels), i);
    before = labels;
  }
  const auto matchers = CompileMatchers(std::vector<Matcher>{{MatchType::kRegex, "job", ".*a.*"},
                                                             {MatchType::kNotEqual, "zone", "b"}});
  const Postings found = view.Select(*matchers);
  for (const std::string_view name : view.LabelNames(nullptr, 0).values) {
    view.LabelValues(name, &found, 0);
    view.LabelValues(name, nullptr, 2);
  }
  view.CardinalityStats(3);
}

TEST(LabelIndexFormat, IsPinned) {
  const std::string golden = FromHex(kGoldenHex);
  std::string written = Serialise(GoldenSeries());
  std::string shown;
  for (const char c : written) {
    shown += Concat("0123456789abcdef"[static_cast<unsigned char>(c) >> 4],
                    "0123456789abcdef"[static_cast<unsigned char>(c) & 15], ' ');
  }
  EXPECT_EQ(written, golden) << shown;
  const auto view = LabelIndexView::Open(golden);
  ASSERT_TRUE(view.ok()) << view.status();
  ASSERT_EQ((*view)->size(), 4);
  std::vector<LabelView> labels;
  for (uint32_t i = 0; i < 4; ++i) {
    (*view)->GetLabels(i, &labels);
    EXPECT_EQ(ToString(labels), ToString(GoldenSeries()[i]));
  }
}

TEST(LabelIndexFormat, EveryFlippedBitAndEveryCutIsRefusedOrHarmless) {
  Draw draw(3);
  std::vector<Labels> random;
  for (int i = 0; i < 80; ++i) random.push_back(draw.LabelSet());
  std::sort(random.begin(), random.end());
  random.erase(std::unique(random.begin(), random.end()), random.end());
  size_t refused = 0;
  size_t accepted = 0;
  for (const std::string& bytes : {FromHex(kGoldenHex), Serialise(random)}) {
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::string damaged = bytes;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
      const auto view = LabelIndexView::Open(damaged, "block", 1000);
      if (view.ok()) {
        ++accepted;
        Exercise(**view);
        continue;
      }
      ++refused;
      ASSERT_EQ(view.status().code(), StatusCode::kDataLoss);
      const auto place = FilePlaceOf(view.status());
      ASSERT_TRUE(place.has_value());
      EXPECT_EQ(place->file, "block");
      EXPECT_GE(place->offset, 1000);
      EXPECT_LE(place->offset, 1000 + bytes.size());
    }
    for (size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_FALSE(LabelIndexView::Open(std::string_view(bytes).substr(0, size)).ok());
    }
    ASSERT_FALSE(LabelIndexView::Open(bytes + "x").ok());
  }
  EXPECT_GT(refused, accepted);
}

/// The parts of an index, to be put together wrongly. The defaults are the golden example.
struct Parts {
  uint64_t series = 4;
  uint64_t names = 3;
  uint64_t shapes = 3;
  uint64_t values = 6;
  std::array<std::string, kStreamCount> streams;

  Parts() {
    const std::string golden = FromHex(kGoldenHex);
    ByteReader in(golden);
    in.Bytes(8);
    for (std::string& stream : streams) {
      in.Bytes(1);
      const uint64_t size = in.Varint();
      in.Varint();
      stream = std::string(in.Bytes(size));
    }
    EXPECT_TRUE(in.ok());
  }
  std::string Join() const {
    std::string out;
    PutFixed<uint32_t>(&out, kLabelIndexMagic);
    for (const uint64_t count : {series, names, shapes, values}) PutVarint(&out, count);
    for (const std::string& stream : streams) {
      out.push_back(0);
      PutVarint(&out, stream.size());
      PutVarint(&out, stream.size());
      out += stream;
    }
    return out;
  }
};

TEST(LabelIndexFormat, NamesWhatIsWrong) {
  struct Case {
    const char* what;
    void (*damage)(Parts*);
    const char* message;
  };
  const std::vector<Case> cases = {
      {"more series than the limit", [](Parts* p) { p->series = kSeriesMax + 1; }, "impossible"},
      {"more series than bytes", [](Parts* p) { p->series = 1000; }, "exceed the streams"},
      {"more values than bytes", [](Parts* p) { p->values = 1000; }, "exceed the streams"},
      {"more shapes than series", [](Parts* p) { p->shapes = 5; }, "impossible"},
      {"names out of order", [](Parts* p) { p->streams[kStreamNames].replace(12, 3, "AAA"); },
       "names do not ascend"},
      {"an empty name",
       [](Parts* p) {
         p->streams[kStreamNames] = "\x00\x02\x04"s + p->streams[kStreamNames].substr(11);
       },
       "names do not ascend"},
      {"a name without values", [](Parts* p) { p->streams[kStreamNames][9] = 0; },
       "number of values"},
      {"a column longer than all", [](Parts* p) { p->streams[kStreamNames][10] = 0x7f; },
       "size of a column"},
      {"values out of order", [](Parts* p) { p->streams[kStreamValueBytes].replace(0, 2, "zz"); },
       "values do not ascend"},
      {"a value twice",
       [](Parts* p) {
         p->streams[kStreamValueLengths] = "\x00\x02\x00\x02\x00\x03\x02\x01\x00\x03\x00\x01"s;
         p->streams[kStreamValueBytes] = "upupapimweba";
       },
       "values do not ascend"},
      {"a shared length beyond the value before",
       [](Parts* p) { p->streams[kStreamValueLengths][2] = 9; }, "shared length"},
      {"a shared length for the first value",
       [](Parts* p) { p->streams[kStreamValueLengths][0] = 1; }, "shared length"},
      {"an enormous shared length",
       [](Parts* p) { p->streams[kStreamValueLengths].replace(2, 1, "\xff\xff\xff\xff\x0f"); },
       "too long"},
      {"a shape with an unknown name", [](Parts* p) { p->streams[kStreamShapes][2] = 7; },
       "unknown label"},
      {"a shape that nobody has", [](Parts* p) { p->streams[kStreamSeriesShapes][3] = 0; },
       "left over|too long"},
      {"shapes out of order", [](Parts* p) { p->streams[kStreamSeriesShapes][0] = 1; },
       "unknown shape"},
      {"a value rank that does not exist", [](Parts* p) { p->streams[kStreamColumns][0] = 8; },
       "out of range"},
      {"a negative rank", [](Parts* p) { p->streams[kStreamColumns][0] = 1; }, "out of range"},
      {"series out of order",
       [](Parts* p) {
         p->streams[kStreamColumns][4] = 2;
         p->streams[kStreamColumns][5] = 1;
         p->streams[kStreamColumns][6] = 4;
       },
       "do not ascend"},
      {"the same series twice",
       [](Parts* p) {
         p->streams[kStreamColumns][5] = 0;
         p->streams[kStreamColumns][6] = 4;
       },
       "do not ascend"},
      {"a value without series", [](Parts* p) { p->streams[kStreamColumns][3] = 0; },
       "do not ascend|no series"},
      {"bytes after the values", [](Parts* p) { p->streams[kStreamValueBytes] += 'x'; }, "after"},
      {"bytes after the shapes", [](Parts* p) { p->streams[kStreamShapes] += '\0'; }, "after"},
      {"bytes after the columns", [](Parts* p) { p->streams[kStreamColumns] += '\0'; },
       "do not cover"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    Parts parts;
    ASSERT_TRUE(LabelIndexView::Open(parts.Join()).ok());
    c.damage(&parts);
    const auto view = LabelIndexView::Open(parts.Join());
    ASSERT_FALSE(view.ok());
    EXPECT_EQ(view.status().code(), StatusCode::kDataLoss);
    EXPECT_THAT(std::string(view.status().message()), ContainsRegex(c.message));
  }
}

TEST(LabelIndexFormat, RepetitiveIndexesStayWithinWhatReadersExpand) {
  // 80 values of 1 MB that differ in their last bytes: shared prefixes would hide 80 MB.
  const std::string long_part(1 << 20, 'x');
  LabelIndexBuilder builder;
  for (int i = 0; i < 80; ++i) {
    const std::string value = Concat(long_part, 1000 + i);
    const std::vector<LabelView> labels = {{"a", value}};
    ASSERT_TRUE(builder.Add(labels).ok());
  }
  const std::string bytes = builder.Finish();
  const auto view = LabelIndexView::Open(bytes);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ((*view)->GetLabel(79, "a"), Concat(long_part, 1079));
}

// Values that were made to have one Hash64 are as quick to find as others.
TEST(HostileMemoryIndex, ValuesOfOneHash) {
  // Eight bytes of XXH3's secret: in the middle of 32 bytes they take the eight that follow out of
  // the sum.
  const auto seconds = [](std::string_view middle) {
    MemoryIndex index;
    const clock_t begin = std::clock();
    for (int i = 0; i < 20'000; ++i) {
      const std::string value = Concat("sixteen_letters_", middle, 10'000'000 + i);
      index.Add(Labels{{"app", value}});
    }
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  const double plain = seconds("12345678");
  EXPECT_LT(seconds("\xde\xd4m\xe9\x83\x90\x97\xdb"), 10 * plain + 0.1);
}

}  // namespace
}  // namespace varve::index
