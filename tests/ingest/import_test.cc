#include "tools/ingest/import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include "engine/base/clock.h"
#include "engine/base/strings.h"
#include "tests/ingest/fake_database.h"
#include "tools/ingest/compression.h"

namespace varve::ingest {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

constexpr int64_t kNow = 1'795'000'000'000;

std::string Gzip(std::string_view bytes) {
  std::string out(compressBound(bytes.size()) + 64, 0);
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}
std::string Zstd(std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), 0);
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1));
  return out;
}
std::string Snappy(std::string_view bytes) {
  std::string out;
  snappy::Compress(bytes.data(), bytes.size(), &out);
  return out;
}

TEST(Compression, RoundTripsAndLimits) {
  const std::string text(100'000, 'x');
  const std::pair<BodyEncoding, std::string> cases[] = {
      {BodyEncoding::kIdentity, text},
      {BodyEncoding::kSnappyBlock, Snappy(text)},
      {BodyEncoding::kGzip, Gzip(text)},
      {BodyEncoding::kGzip, Gzip(text.substr(50'000)) + Gzip(text.substr(50'000))},
      {BodyEncoding::kZstd, Zstd(text)},
  };
  for (const auto& [encoding, body] : cases) {
    std::string buffer;
    const auto exact = DecodeBody(encoding, body, text.size(), &buffer);
    ASSERT_TRUE(exact.ok()) << exact.status();
    EXPECT_EQ(*exact, text);
    const auto over = DecodeBody(encoding, body, text.size() - 1, &buffer);
    EXPECT_EQ(over.status().code(), StatusCode::kResourceExhausted);
    EXPECT_THAT(std::string(over.status().message()), HasSubstr("limit of 99999"));
    if (encoding == BodyEncoding::kIdentity) continue;
    for (size_t size = 0; size < body.size(); size += 1 + body.size() / 300) {
      EXPECT_FALSE(
          DecodeBody(encoding, std::string_view(body).substr(0, size), 1 << 20, &buffer).ok() &&
          size != body.size() / 2)
          << size;
    }
  }
}

TEST(Compression, BombsStopAtTheLimit) {
  const std::string zeros(64 << 20, 0);
  for (const auto& [encoding, body] :
       {std::pair(BodyEncoding::kGzip, Gzip(zeros)), std::pair(BodyEncoding::kZstd, Zstd(zeros))}) {
    std::string buffer;
    EXPECT_EQ(DecodeBody(encoding, body, 1 << 20, &buffer).status().code(),
              StatusCode::kResourceExhausted);
    EXPECT_LE(buffer.capacity(), size_t{3} << 20);
  }
}

class Import : public ::testing::Test {
 protected:
  Import() : context_(database_, {}, std::make_shared<ManualClock>(kNow)) {}
  HttpOutcome Post(std::string_view body, std::string_view type = "",
                   std::vector<std::pair<std::string, std::string>> query = {},
                   std::string_view encoding = "") {
    ImportRequest request;
    request.content_type = type;
    request.content_encoding = encoding;
    request.body = body;
    request.query = std::move(query);
    return HandleImportPrometheus(context_, request);
  }
  static constexpr std::string_view kOpenMetrics = "application/openmetrics-text; version=1.0.0";

  FakeDatabase database_;
  IngestContext context_;
};

TEST_F(Import, TextWithDefaultsAndParameters) {
  EXPECT_EQ(Post("# HELP a Help.\n# TYPE a gauge\na 1\na{b=\"c\"} 2 1794999999000\n").status, 204);
  EXPECT_EQ(database_.series.at("a").samples.at(kNow).value, 1);
  EXPECT_EQ(database_.series.at("a{b=\"c\"}").samples.at(1'794'999'999'000).value, 2);
  EXPECT_EQ(database_.metadata.at("a"), (Metadata{MetricType::kGauge, "Help.", ""}));
  EXPECT_EQ(Post("a{b=\"c\"} 3\n", "",
                 {{"timestamp", "1794999999500"}, {"extra_label", "b=x=y"}, {"extra_label", "z=1"}})
                .status,
            204);
  EXPECT_EQ(database_.series.at("a{b=\"x=y\", z=\"1\"}").samples.at(1'794'999'999'500).value, 3);
  EXPECT_EQ(Post("a 1\n", "", {{"timestamp", "now"}}).status, 400);
  EXPECT_EQ(Post("a 1\n", "", {{"extra_label", "=1"}}).status, 400);
  EXPECT_EQ(Post("a 1\n", "application/json").status, 415);
  EXPECT_EQ(Post("a 1\n", "", {}, "br").status, 415);
}

TEST_F(Import, CompressedBodies) {
  int64_t value = 0;
  for (const auto& [encoding, body] :
       {std::pair("gzip", Gzip("a 1 1\n")), std::pair("zstd", Zstd("a 1 2\n")),
        std::pair("snappy", Snappy("a 1 3\n")), std::pair("identity", std::string("a 1 4\n"))}) {
    EXPECT_EQ(Post(body, "", {}, encoding).status, 204);
    EXPECT_TRUE(database_.series.at("a").samples.contains(++value));
  }
  EXPECT_EQ(Post("not gzip", "", {}, "gzip").status, 400);
  EXPECT_EQ(Post(Gzip(std::string(40 << 20, ' ')), "", {}, "gzip").status, 413);
}

TEST_F(Import, ParseErrorsStoreNothing) {
  const HttpOutcome outcome = Post("a 1\nb{ 2\n");
  EXPECT_EQ(outcome.status, 400);
  EXPECT_THAT(outcome.body, HasSubstr("line 2, column 4"));
  EXPECT_EQ(database_.sample_count(), 0u);
}

TEST_F(Import, RejectedRowsDoNotKeepOthersOut) {
  ASSERT_EQ(Post("a 1\n").status, 204);
  const HttpOutcome outcome = Post("b 1\na 2\nc 1 9999999999999\n");
  EXPECT_EQ(outcome.status, 400);
  EXPECT_THAT(outcome.body, HasSubstr("line 2: duplicate sample for timestamp"));
  EXPECT_THAT(outcome.body, HasSubstr("line 3: out of bounds"));
  EXPECT_EQ(database_.sample_count(), 2u);
}

TEST_F(Import, OpenMetricsCreatedBecomesStartTime) {
  const std::string body =
      "# TYPE a counter\n"
      "a_total{x=\"1\"} 5 1794999999\na_created{x=\"1\"} 1794990000.5\n"
      "a_total{x=\"2\"} 6 1794999999\n"
      "# TYPE s summary\ns_created 1794980000\ns_count 1 1794999999\ns{quantile=\"0.5\"} 2 "
      "1794999999\n"
      "# TYPE g gauge\ng 1\n# EOF\n";
  EXPECT_EQ(Post(body, kOpenMetrics).status, 204);
  const int64_t t = 1'794'999'999'000;
  EXPECT_EQ(database_.series.at("a_total{x=\"1\"}").samples.at(t).start_ms, 1'794'990'000'500);
  EXPECT_EQ(database_.series.at("a_total{x=\"2\"}").samples.at(t).start_ms, kNoStartTime);
  EXPECT_EQ(database_.series.at("s_count").samples.at(t).start_ms, 1'794'980'000'000);
  EXPECT_EQ(database_.series.at("s{quantile=\"0.5\"}").samples.at(t).start_ms, 1'794'980'000'000);
  EXPECT_EQ(database_.series.at("a_created{x=\"1\"}").samples.size(), 1u);
}

TEST_F(Import, StaleReferencesAreResent) {
  EXPECT_EQ(Post("a 1 1\nb 1 1\n").status, 204);
  EXPECT_EQ(Post("a 1 2\nb 1 2\n").status, 204);
  EXPECT_EQ(database_.by_ref, 2u);
  database_.DropRefs();
  EXPECT_EQ(Post("a 1 3\nb 1 3\n").status, 204);
  EXPECT_EQ(database_.series.at("b").samples.size(), 3u);
}

class Scrape : public Import {
 protected:
  Scrape() : target_(context_, Labels{{"job", "j"}, {"instance", "i"}}) {}
  double Value(const std::string& name, int64_t time) {
    const auto at = database_.series.find(name);
    if (at == database_.series.end() || !at->second.samples.contains(time)) return -1;
    return at->second.samples.at(time).value;
  }
  bool Stale(const std::string& name, int64_t time) {
    return IsStaleNan(database_.series.at(name).samples.at(time).value);
  }
  ScrapeTarget target_;
};

TEST_F(Scrape, LabelsAutomaticSeriesAndStaleness) {
  const std::string a = "a{instance=\"i\", job=\"j\"}";
  const std::string b = "b{exported_job=\"own\", instance=\"i\", job=\"j\"}";
  const auto automatic = [](std::string_view name) {
    return Concat(name, "{instance=\"i\", job=\"j\"}");
  };
  ASSERT_TRUE(target_.Append(1000, milliseconds(20), "", "a 1\nb{job=\"own\"} 2\nc 3 500\n").ok());
  EXPECT_EQ(Value(a, 1000), 1);
  EXPECT_EQ(Value(b, 1000), 2);
  EXPECT_EQ(Value("c{instance=\"i\", job=\"j\"}", 500), 3);
  EXPECT_EQ(Value(automatic("up"), 1000), 1);
  EXPECT_EQ(Value(automatic("scrape_duration_seconds"), 1000), 0.02);
  EXPECT_EQ(Value(automatic("scrape_samples_scraped"), 1000), 3);
  EXPECT_EQ(Value(automatic("scrape_samples_post_metric_relabeling"), 1000), 3);
  EXPECT_EQ(Value(automatic("scrape_series_added"), 1000), 2);

  // b vanishes; c has timestamps of its own and is left alone.
  ASSERT_TRUE(target_.Append(2000, milliseconds(20), "", "a 2\n").ok());
  EXPECT_TRUE(Stale(b, 2000));
  EXPECT_EQ(Value(automatic("scrape_series_added"), 2000), 0);
  EXPECT_EQ(database_.series.at("c{instance=\"i\", job=\"j\"}").samples.size(), 1u);

  // A body that does not parse: nothing of it is stored, everything ends, up is 0.
  EXPECT_FALSE(target_.Append(3000, milliseconds(20), "", "a 3\nd 1\nb{\n").ok());
  EXPECT_TRUE(Stale(a, 3000));
  EXPECT_EQ(Value(automatic("up"), 3000), 0);
  EXPECT_FALSE(database_.series.contains("d{instance=\"i\", job=\"j\"}"));

  ASSERT_TRUE(target_.Append(4000, milliseconds(20), "", "a 4\n").ok());
  EXPECT_EQ(Value(a, 4000), 4);
  ASSERT_TRUE(target_.AppendFailure(5000, milliseconds(20)).ok());
  EXPECT_TRUE(Stale(a, 5000));
  EXPECT_EQ(Value(automatic("up"), 5000), 0);
  ASSERT_TRUE(target_.AppendEnd(6000).ok());
  EXPECT_TRUE(Stale(automatic("up"), 6000));
}

}  // namespace
}  // namespace varve::ingest
