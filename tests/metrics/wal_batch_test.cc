#include "engine/metrics/wal_batch.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/base/strings.h"

namespace varve::metrics {
namespace {

std::string Join(std::span<const std::string_view> pieces) {
  std::string out;
  for (const std::string_view piece : pieces) out.append(piece);
  return out;
}

/// Prints rows with exact bits, so that two streams compare as text.
class Printer final : public WalBatchSink {
 public:
  Status OnSeries(uint32_t series, LabelsView labels) override {
    text += Concat("series ", series, " ", ToString(labels), "\n");
    return absl::OkStatus();
  }
  Status OnSample(uint32_t series, int64_t time, double value, int64_t start) override {
    text +=
        Concat("sample ", series, " ", time, " ", std::bit_cast<uint64_t>(value), " ", start, "\n");
    return absl::OkStatus();
  }
  Status OnHistogram(uint32_t series, int64_t time, int64_t start, Histogram h) override {
    text += Concat("histogram ", series, " ", time, " ", start, "\n");
    histograms.push_back(std::move(h));
    return absl::OkStatus();
  }
  Status OnExemplar(uint32_t series, Exemplar e) override {
    text += Concat("exemplar ", series, " ", ToString(e.labels), " ", e.time_ms, " ",
                   std::bit_cast<uint64_t>(e.value), " ", int{e.has_time}, "\n");
    return absl::OkStatus();
  }
  Status OnMetadata(std::string_view family, Metadata m) override {
    text += Concat("metadata ", family, " ", ToString(m.type), " ", m.help, " ", m.unit, "\n");
    return absl::OkStatus();
  }
  std::string text;
  std::vector<Histogram> histograms;
};

Histogram SomeHistogram(bool is_float) {
  Histogram h;
  h.is_float = is_float;
  h.schema = is_float ? kCustomBucketsSchema : 3;
  h.sum = StaleNan();
  h.reset_hint = CounterResetHint::kGauge;
  h.positive_spans = {{-3, 2}, {5, 1}};
  if (is_float) {
    h.float_count = 7.5;
    h.positive_counts = {1.5, -0.0, 6};
    h.custom_values = {1, 2.5};
  } else {
    h.count = 9;
    h.zero_count = 2;
    h.zero_threshold = 0.001;
    h.positive_deltas = {1, 2, -1};
    h.negative_spans = {{0, 1}};
    h.negative_deltas = {INT64_MAX};
  }
  return h;
}

std::string FullBatch(Printer* expected, uint64_t seed) {
  std::mt19937_64 random(seed);
  WalBatchEncoder encoder;
  const Labels labels{{"__name__", "up"}, {"job", "\xff\x00 odd"}};
  encoder.AddSeries(4000000000u, labels);
  EXPECT_TRUE(expected->OnSeries(4000000000u, labels).ok());
  for (int i = 0; i < 200; ++i) {
    const auto series = static_cast<uint32_t>(random());
    const auto time = static_cast<int64_t>(random() >> (random() % 64));
    const double value = std::bit_cast<double>(random());
    const int64_t start = i > 100 && i % 3 == 0 ? static_cast<int64_t>(random() >> 20) : 0;
    encoder.AddSample(series, time, value, start);
    EXPECT_TRUE(expected->OnSample(series, time, value, start).ok());
  }
  for (const bool is_float : {false, true}) {
    encoder.AddHistogram(7, -5, 3, SomeHistogram(is_float));
    EXPECT_TRUE(expected->OnHistogram(7, -5, 3, SomeHistogram(is_float)).ok());
  }
  const Exemplar exemplar{Labels{{"trace_id", "abc"}}, 0.25, 17, false};
  encoder.AddExemplar(9, exemplar);
  EXPECT_TRUE(expected->OnExemplar(9, exemplar).ok());
  const Metadata metadata{MetricType::kStateSet, "help \n text", "seconds"};
  encoder.AddMetadata("up", metadata);
  EXPECT_TRUE(expected->OnMetadata("up", metadata).ok());
  return Join(encoder.Finish());
}

TEST(WalBatch, RoundTripsEveryBit) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Printer expected;
    Printer got;
    ASSERT_TRUE(DecodeWalBatch(FullBatch(&expected, seed), &got).ok()) << "seed " << seed;
    EXPECT_EQ(got.text, expected.text) << "seed " << seed;
    ASSERT_EQ(got.histograms.size(), expected.histograms.size());
    for (size_t i = 0; i < got.histograms.size(); ++i) {
      EXPECT_TRUE(BitEqual(got.histograms[i], expected.histograms[i]));
    }
  }
}

TEST(WalBatch, TheFormatPagesExample) {
  WalBatchEncoder encoder;
  encoder.AddSeries(0, Labels{{"__name__", "up"}});
  encoder.AddSample(0, 1000, 1, kNoStartTime);
  const std::string expected(
      "\x00"
      "\x01\x01\x00\x00\x00"
      "\x00\x01\x08__name__\x02up"
      "\x00\xd0\x0f\x00\x00\x00\x00\x00\x00\xf0\x3f",
      31);
  EXPECT_EQ(Join(encoder.Finish()), expected);
}

TEST(WalBatch, ReusedEncoderStartsClean) {
  WalBatchEncoder encoder;
  encoder.AddSample(5, 100, 1, 50);
  encoder.Finish();
  encoder.Clear();
  EXPECT_TRUE(encoder.empty());
  encoder.AddSample(1, 2, 3, 0);
  Printer got;
  ASSERT_TRUE(DecodeWalBatch(Join(encoder.Finish()), &got).ok());
  Printer expected;
  ASSERT_TRUE(expected.OnSample(1, 2, 3, 0).ok());
  EXPECT_EQ(got.text, expected.text);
}

TEST(WalBatch, EveryTruncationIsAnError) {
  Printer unused;
  const std::string whole = FullBatch(&unused, 1);
  for (size_t size = 0; size < whole.size(); ++size) {
    Printer got;
    EXPECT_EQ(DecodeWalBatch(std::string_view(whole).substr(0, size), &got).code(),
              StatusCode::kDataLoss)
        << size;
  }
  Printer got;
  EXPECT_FALSE(DecodeWalBatch(whole + "x", &got).ok());
}

TEST(WalBatch, HugeCountsAllocateNothing) {
  std::string bytes(1, '\0');
  for (int i = 0; i < 5; ++i) bytes += "\xff\xff\xff\xff\xff\xff\xff\x7f";
  Printer got;
  EXPECT_EQ(DecodeWalBatch(bytes, &got).code(), StatusCode::kDataLoss);
}

TEST(WalBatch, RandomBytesNeverCrash) {
  std::mt19937_64 random(3);
  Printer unused;
  const std::string whole = FullBatch(&unused, 2);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = whole;
    for (int flips = 0; flips < 3; ++flips) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    Printer got;
    DecodeWalBatch(bytes, &got).IgnoreError();
  }
}

}  // namespace
}  // namespace varve::metrics
