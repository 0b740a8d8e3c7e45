#include "tools/ingest/importers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <snappy.h>
#include <unistd.h>
#include <zstd.h>

#include <filesystem>

#include "engine/base/coding.h"
#include "engine/base/strings.h"
#include "tests/ingest/fake_database.h"
#include "tests/ingest/shared_data.h"
#include "tools/ingest/crc32c.h"
#include "tools/ingest/prometheus_chunk.h"
#include "tools/ingest/prometheus_index.h"
#include "tools/ingest/prometheus_wal.h"

namespace varve::ingest {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (fs::temp_directory_path() / "varve-ingest-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TempFolder() { fs::remove_all(path_); }
  fs::path Write(const std::string& name, std::string_view bytes) const {
    const fs::path path = path_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string Zstd(std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), 0);
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 1));
  return out;
}

TEST(Crc32c, KnownAnswers) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, 0)), 0x8a9136aau);
}

TEST(SeriesFile, ReadsPlainAndCompressed) {
  const std::string text =
      "{\"metric\":{\"__name__\":\"a\",\"b\":\"c\\n\"},\"timestamps\":[1,2,3,4,5,6],"
      "\"values\":[1,-0.0,\"NaN\",\"+Inf\",\"-Inf\",\"StaleNaN\"]}\n"
      "\n"
      "{\"values\":[2,1,1.5e-7,9],\"extra\":{\"x\":[1]},\"timestamps\":[20,10,30,10],"
      "\"metric\":{\"__name__\":\"d\"}}\n"
      "{\"metric\":{\"__name__\":\"e\"},\"timestamps\":[],\"values\":[]}";
  TempFolder folder;
  for (const bool compressed : {false, true}) {
    const fs::path path = folder.Write("series", compressed ? Zstd(text) : text);
    FakeLoader loader;
    ImportSummary summary;
    const Status status = ImportSeriesFile(path.string(), {}, &loader, &summary);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(summary.series, 2u);
    EXPECT_EQ(summary.samples, 9u);
    EXPECT_EQ(summary.stale_markers, 1u);
    EXPECT_EQ(summary.min_time_ms, 1);
    EXPECT_EQ(summary.max_time_ms, 30);
    const auto& a = loader.samples.at("a{b=\"c\\n\"}");
    const uint64_t expected[] = {std::bit_cast<uint64_t>(1.0),
                                 std::bit_cast<uint64_t>(-0.0),
                                 kNormalNanBits,
                                 std::bit_cast<uint64_t>(std::numeric_limits<double>::infinity()),
                                 std::bit_cast<uint64_t>(-std::numeric_limits<double>::infinity()),
                                 kStaleNanBits};
    for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(a.at(i + 1), expected[i]) << i;
    const auto& d = loader.samples.at("d");
    EXPECT_EQ(d.size(), 3u);
    EXPECT_EQ(d.at(10), std::bit_cast<uint64_t>(1.0));  // of equal times the first stays
    EXPECT_EQ(d.at(30), std::bit_cast<uint64_t>(1.5e-7));
  }
}

// What the query API prints, with more of what the export adds from line to line.
TEST(SeriesFile, ReadsHistograms) {
  const std::string text =
      R"({"metric":{"__name__":"a"},"timestamps":[20,10,20],"histograms":[)"
      R"({"count":"6","sum":"1.5","buckets":[[1,"-2","-1","1"],[3,"-0.5","0.5","2"],[0,"1","2","3"]]},)"
      R"({"count":0,"sum":"StaleNaN"},{"count":1,"sum":1,"buckets":[[1,2,1]]}]})"
      "\n"
      R"({"metric":{"__name__":"b"},"timestamps":[1],"histograms":[{"count":2.5,"sum":-0.0,)"
      R"("buckets":[[1,1.4142135623730951,0],[1.4142135623730951,2,2.5]],"schema":1,)"
      R"("zero_threshold":0.25,"custom_values":[],"reset_hint":"gauge"}]})"
      "\n"
      R"({"metric":{"__name__":"c"},"timestamps":[1],"histograms":[{"count":3,"sum":7,)"
      R"("buckets":[["-Inf",0.5,1],[2,"+Inf",2]],"schema":-53,"custom_values":[0.5,1,2]}]})";
  FakeLoader loader;
  ImportSummary summary;
  const Status status = ImportSeriesText(text, &loader, &summary);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(summary.series, 3u);
  EXPECT_EQ(summary.samples, 4u);
  EXPECT_EQ(summary.stale_markers, 1u);
  Histogram a;
  a.count = 6;
  a.sum = 1.5;
  a.zero_threshold = 0.5;
  a.zero_count = 2;
  a.positive_spans = a.negative_spans = {{1, 1}};
  a.positive_deltas = {3};
  a.negative_deltas = {1};
  EXPECT_TRUE(BitEqual(loader.histograms.at("a").at(20), a));
  EXPECT_TRUE(loader.histograms.at("a").at(10).is_stale());
  Histogram b;
  b.is_float = true;
  b.reset_hint = CounterResetHint::kGauge;
  b.schema = 1;
  b.float_count = 2.5;
  b.sum = -0.0;
  b.zero_threshold = 0.25;
  b.positive_spans = {{1, 2}};
  b.positive_counts = {0, 2.5};
  EXPECT_TRUE(BitEqual(loader.histograms.at("b").at(1), b));
  Histogram c;
  c.schema = kCustomBucketsSchema;
  c.count = 3;
  c.sum = 7;
  c.custom_values = {0.5, 1, 2};
  c.positive_spans = {{0, 1}, {2, 1}};
  c.positive_deltas = {1, 1};
  EXPECT_TRUE(BitEqual(loader.histograms.at("c").at(1), c));
}

TEST(SeriesFile, FaultsNameFileLineAndByte) {
  const std::string good = "{\"metric\":{\"__name__\":\"a\"},\"timestamps\":[1],\"values\":[1]}\n";
  struct Case {
    std::string line, text;
  };
  const Case cases[] = {
      {"{\"metric\":{\"__name__\":\"a\"},\"timestamps\":[1,2],\"values\":[1]}",
       "2 timestamps but 1 values"},
      {"{\"metric\":{\"__name__\":\"a\"},\"timestamps\":[1.5],\"values\":[1]}", "timestamps[0]"},
      {"{\"metric\":{\"__name__\":\"a\"},\"timestamps\":[1],\"values\":[\"x\"]}", "values[0]"},
      {"{\"metric\":{\"__name__\":\"a\"},\"timestamps\":[1],\"values\":[null]}", "values[0]"},
      {R"({"metric":{"a":"1"},"timestamps":[1],"values":[1],"histograms":[{"count":0,"sum":1}]})",
       "values and histograms"},
      {R"({"metric":{"a":"1"},"timestamps":[1,2],"histograms":[{"count":0,"sum":1}]})",
       "2 timestamps but 1 histograms"},
      {R"({"metric":{"a":"1"},"timestamps":[1],"histograms":[{"count":0,"sum":1},{"sum":1}]})",
       "histograms[1]: a histogram needs"},
      {R"({"metric":{"a":"1"},"timestamps":[1],"histograms":[{"count":"1x","sum":1}]})",
       "histograms[0]: count: \"1x\""},
      {R"({"metric":{"a":"1"},"timestamps":[1],"histograms":[{"count":1,"sum":1,"buckets":[[1,2]]}]})",
       "lower, upper and count"},
      {R"({"metric":{"a":"1"},"timestamps":[1],"histograms":[{"count":1,"sum":1,"buckets":[[3,1,1]]}]})",
       "of no histogram"},
      {R"({"metric":{"a":"1"},"timestamps":[1],"histograms":[{"count":1,"sum":1,"buckets":[[1,3,1]],"schema":0}]})",
       "of schema 0"},
      {R"({"metric":{"a":"1"},"timestamps":[1],"histograms":[{"count":1,"sum":1,"buckets":[[1,2,3]]}]})",
       "histograms[0]"},
      {R"({"metric":{"a":"1"},"timestamps":[1],"histograms":[{"count":1,"sum":1,"reset_hint":"no"}]})",
       "not a reset hint"},
      {"{\"metric\":{\"a\":\"1\",\"a\":\"2\"},\"timestamps\":[1],\"values\":[1]}", "a"},
      {"{\"metric\":{},\"timestamps\":[1],\"values\":[1]}", "without labels"},
      {"{\"timestamps\":[1],\"values\":[1]}", "no \"metric\""},
      {"[1]", "line"},
      {"{\"metric\":{\"__name__\":\"a\"", ""},
      {"nonsense", "line"},
      {"{\"metric\":{\"__name__\":\"a\"},\"timestamps\":[1],\"values\":[1]} {}", "more than one"},
  };
  TempFolder folder;
  for (const Case& c : cases) {
    const fs::path path = folder.Write("series", good + c.line + "\n");
    FakeLoader loader;
    ImportSummary summary;
    const Status status = ImportSeriesFile(path.string(), {}, &loader, &summary);
    EXPECT_FALSE(status.ok()) << c.line;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr(Concat(path.string(), ": line 2 (byte ", good.size(), ")")));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.text));
  }
  FakeLoader loader;
  ImportSummary summary;
  EXPECT_EQ(ImportSeriesFile((folder.path() / "none").string(), {}, &loader, &summary).code(),
            StatusCode::kNotFound);
  std::string cut = Zstd(good);
  cut.resize(cut.size() - 5);
  const fs::path path = folder.Write("cut.zst", cut);
  EXPECT_EQ(ImportSeriesFile(path.string(), {}, &loader, &summary).code(), StatusCode::kDataLoss);
  ImportOptions options;
  options.line_bytes_max = 20;
  EXPECT_EQ(ImportSeriesFile(folder.Write("long", std::string(3 << 20, ' ')).string(), options,
                             &loader, &summary)
                .code(),
            StatusCode::kResourceExhausted);
}

// --- A Prometheus block, written here so that every byte of it can be broken ---

void PutBig(std::string* out, uint64_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) out->push_back(static_cast<char>(value >> (8 * i)));
}
std::string Section(std::string_view body) {
  std::string out;
  PutBig(&out, body.size(), 4);
  out += body;
  PutBig(&out, Crc32c(body), 4);
  return out;
}

class BitWriter {
 public:
  void Bits(uint64_t value, int count) {
    for (int i = count - 1; i >= 0; --i) {
      if (used_ % 8 == 0) bytes_.push_back(0);
      bytes_.back() = static_cast<char>(bytes_.back() | ((value >> i & 1) << (7 - used_ % 8)));
      ++used_;
    }
  }
  void Byte(std::string_view bytes) {
    for (const char c : bytes) Bits(static_cast<unsigned char>(c), 8);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  size_t used_ = 0;
};

/// Encodes two samples as an XOR chunk.
std::string XorChunk(int64_t t0, double v0, int64_t t1, double v1) {
  std::string head;
  PutBig(&head, 2, 2);
  std::string first;
  PutSigned(&first, t0);
  PutBig(&first, std::bit_cast<uint64_t>(v0), 8);
  PutVarint(&first, static_cast<uint64_t>(t1 - t0));
  BitWriter bits;
  bits.Byte(first);
  const uint64_t x = std::bit_cast<uint64_t>(v0) ^ std::bit_cast<uint64_t>(v1);
  if (x == 0) {
    bits.Bits(0, 1);
  } else {
    const int leading = std::min(std::countl_zero(x), 31);
    const int trailing = std::countr_zero(x);
    const int size = 64 - leading - trailing;
    bits.Bits(3, 2);
    bits.Bits(static_cast<uint64_t>(leading), 5);
    bits.Bits(static_cast<uint64_t>(size & 63), 6);
    bits.Bits(x >> trailing, size);
  }
  return head + bits.bytes();
}

struct Block {
  std::string index, chunks, tombstones;
  std::string meta =
      "{\"ulid\":\"X\",\"minTime\":0,\"maxTime\":10,\"version\":1,"
      "\"stats\":{\"numSamples\":4,\"numSeries\":2}}";

  void WriteTo(const TempFolder& folder, const std::string& name) const {
    folder.Write(name + "/index", index);
    folder.Write(name + "/chunks/000001", chunks);
    folder.Write(name + "/tombstones", tombstones);
    folder.Write(name + "/meta.json", meta);
  }
};

Block MakeBlock(bool with_tombstone) {
  Block block;
  PutBig(&block.chunks, 0x85bd40dd, 4);
  block.chunks += std::string("\x01\0\0\0", 4);
  std::vector<uint64_t> refs;
  for (const std::string& payload :
       {XorChunk(1000, 1.5, 2000, 2.5), XorChunk(1000, 7, 2500, StaleNan())}) {
    refs.push_back(block.chunks.size());
    PutVarint(&block.chunks, payload.size());
    const std::string checked = '\x01' + payload;
    block.chunks += checked;
    PutBig(&block.chunks, Crc32c(checked), 4);
  }
  std::string& index = block.index;
  PutBig(&index, 0xbaaad700, 4);
  index.push_back(2);
  const uint64_t symbols_at = index.size();
  std::string symbols;
  PutBig(&symbols, 4, 4);
  for (const std::string_view symbol : {"", "__name__", "a", "b"}) PutString(&symbols, symbol);
  index += Section(symbols);
  std::vector<uint64_t> series;
  const uint64_t series_at = index.size();
  for (uint64_t i = 0; i < 2; ++i) {
    while (index.size() % 16 != 0) index.push_back(0);
    series.push_back(index.size() / 16);
    std::string body;
    PutVarint(&body, 1);
    PutVarint(&body, 1);
    PutVarint(&body, 2 + i);
    PutVarint(&body, 1);
    PutSigned(&body, 1000);
    PutVarint(&body, 1500);
    PutVarint(&body, refs[i]);
    PutVarint(&index, body.size());
    index += body;
    PutBig(&index, Crc32c(body), 4);
  }
  const uint64_t postings_at = index.size();
  std::string postings;
  PutBig(&postings, 2, 4);
  for (const uint64_t ref : series) PutBig(&postings, ref, 4);
  index += Section(postings);
  const uint64_t table_at = index.size();
  std::string table;
  PutBig(&table, 1, 4);
  PutVarint(&table, 2);
  PutString(&table, "");
  PutString(&table, "");
  PutVarint(&table, postings_at);
  index += Section(table);
  std::string toc;
  for (const uint64_t at :
       {symbols_at, series_at, uint64_t{0}, uint64_t{0}, postings_at, table_at}) {
    PutBig(&toc, at, 8);
  }
  index += toc;
  PutBig(&index, Crc32c(toc), 4);
  std::string stones;
  if (with_tombstone) {
    PutVarint(&stones, series[0]);
    PutSigned(&stones, 1500);
    PutSigned(&stones, 9000);
  }
  PutBig(&block.tombstones, 0x0130ba30, 4);
  block.tombstones.push_back(1);
  block.tombstones += stones;
  PutBig(&block.tombstones, Crc32c(stones), 4);
  return block;
}

TEST(PrometheusBlock, ImportsSamplesAndHonoursTombstones) {
  for (const bool deleted : {false, true}) {
    TempFolder folder;
    MakeBlock(deleted).WriteTo(folder, "01ABC");
    for (const fs::path& path : {folder.path(), folder.path() / "01ABC"}) {
      FakeLoader loader;
      ImportSummary summary;
      const Status status = ImportPrometheus(path.string(), {}, &loader, &summary);
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_THAT(summary.warnings, ::testing::IsEmpty());
      EXPECT_EQ(summary.samples, deleted ? 3u : 4u);
      EXPECT_EQ(summary.samples_deleted, deleted ? 1u : 0u);
      EXPECT_EQ(summary.stale_markers, 1u);
      EXPECT_EQ(loader.samples.at("a").at(1000), std::bit_cast<uint64_t>(1.5));
      EXPECT_EQ(loader.samples.at("a").contains(2000), !deleted);
      EXPECT_EQ(loader.samples.at("b").at(2500), kStaleNanBits);
    }
  }
}

TEST(PrometheusBlock, EveryBitFlipIsNoticedOrHarmless) {
  const Block block = MakeBlock(true);
  TempFolder folder;
  block.WriteTo(folder, "b");
  const auto import = [&](FakeLoader* loader) {
    ImportSummary summary;
    return ImportPrometheus((folder.path() / "b").string(), {}, loader, &summary);
  };
  FakeLoader reference;
  ASSERT_TRUE(import(&reference).ok());
  const std::pair<std::string, std::string> files[] = {
      {"index", block.index}, {"chunks/000001", block.chunks}, {"tombstones", block.tombstones}};
  for (const auto& [name, bytes] : files) {
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
      folder.Write("b/" + name, flipped);
      FakeLoader loader;
      const Status status = import(&loader);
      if (status.ok()) {
        EXPECT_EQ(loader.samples, reference.samples) << name << " bit " << bit;
      } else {
        EXPECT_THAT(std::string(status.message()), HasSubstr((folder.path() / "b").string()));
      }
    }
    for (size_t size = 0; size < bytes.size(); ++size) {
      folder.Write("b/" + name, bytes.substr(0, size));
      FakeLoader loader;
      EXPECT_FALSE(import(&loader).ok()) << name << " cut at " << size;
    }
    folder.Write("b/" + name, bytes);
  }
}

TEST(PrometheusChunk, GarbageNeverCrashes) {
  uint64_t state = 12345;
  PrometheusChunk chunk;
  for (int round = 0; round < 20000; ++round) {
    std::string payload;
    const size_t size = round % 70;
    for (size_t i = 0; i < size; ++i) {
      state = state * 6364136223846793005 + 1442695040888963407;
      payload.push_back(static_cast<char>(state >> 56));
    }
    for (uint8_t encoding = 0; encoding < 7; ++encoding) {
      static_cast<void>(DecodePrometheusChunk(encoding, payload, &chunk));
    }
  }
}

TEST(PrometheusChunk, Xor2FromItsDescription) {
  // Four samples of step 1000: 5, the same, a stale marker, and 6 after 1013 ms.
  BitWriter bits;
  std::string first;
  PutSigned(&first, 100'000);
  PutBig(&first, std::bit_cast<uint64_t>(5.0), 8);
  PutVarint(&first, 1000);
  bits.Byte(first);
  bits.Bits(0, 1);        // sample 1: value unchanged
  bits.Bits(0b11111, 5);  // sample 2: same step, stale
  bits.Bits(0b110, 3);    // sample 3: step changes by 13 ms
  bits.Bits(13, 13);
  bits.Bits(0b110, 3);  // new window against 5, not against the marker
  const uint64_t x = std::bit_cast<uint64_t>(5.0) ^ std::bit_cast<uint64_t>(6.0);
  const int leading = std::countl_zero(x);
  const int size = 64 - leading - std::countr_zero(x);
  bits.Bits(static_cast<uint64_t>(leading), 5);
  bits.Bits(static_cast<uint64_t>(size), 6);
  bits.Bits(x >> std::countr_zero(x), size);
  bits.Bits(0, 1);  // sample 4: step and value unchanged
  const std::string payload = std::string("\0\x05\0", 3) + bits.bytes();
  PrometheusChunk chunk;
  ASSERT_TRUE(DecodePrometheusChunk(4, payload, &chunk).ok());
  EXPECT_EQ(chunk.times_ms, (std::vector<int64_t>{100'000, 101'000, 102'000, 103'013, 104'026}));
  EXPECT_EQ(chunk.values[0], 5);
  EXPECT_EQ(chunk.values[1], 5);
  EXPECT_TRUE(IsStaleNan(chunk.values[2]));
  EXPECT_EQ(chunk.values[3], 6);
  EXPECT_EQ(chunk.values[4], 6);
}

// --- Write-ahead log ---

std::string SeriesRecord(uint64_t ref, std::string_view name) {
  std::string out("\x01", 1);
  PutBig(&out, ref, 8);
  PutVarint(&out, 1);
  PutString(&out, "__name__");
  PutString(&out, name);
  return out;
}
std::string SamplesRecord(const std::vector<std::tuple<uint64_t, int64_t, double>>& rows) {
  std::string out("\x02", 1);
  PutBig(&out, std::get<0>(rows[0]), 8);
  PutBig(&out, static_cast<uint64_t>(std::get<1>(rows[0])), 8);
  for (const auto& [ref, time, value] : rows) {
    PutSigned(&out, static_cast<int64_t>(ref - std::get<0>(rows[0])));
    PutSigned(&out, time - std::get<1>(rows[0]));
    PutBig(&out, std::bit_cast<uint64_t>(value), 8);
  }
  return out;
}
std::string Fragment(uint8_t type, std::string_view data) {
  std::string out(1, static_cast<char>(type));
  PutBig(&out, data.size(), 2);
  PutBig(&out, Crc32c(data), 4);
  out += data;
  return out;
}

TEST(PrometheusWalTest, ReadsFragmentsCompressionAndTombstones) {
  std::string packed;
  const std::string plain = SamplesRecord({{7, 5000, 3}, {8, 4000, 4}, {99, 1, 1}});
  snappy::Compress(plain.data(), plain.size(), &packed);
  std::string segment = Fragment(1, SeriesRecord(7, "a") + SeriesRecord(8, "b").substr(1)) +
                        Fragment(1, SamplesRecord({{7, 1000, 1}, {7, 2000, 2}}));
  segment += Fragment(1 | 8, packed);
  std::string stones("\x03", 1);
  PutBig(&stones, 7, 8);
  PutSigned(&stones, 1500);
  PutSigned(&stones, 2500);
  segment += Fragment(2, stones.substr(0, 4)) + Fragment(3, stones.substr(4, 2)) +
             Fragment(4, stones.substr(6));
  segment += Fragment(1, SeriesRecord(9, "a"));  // a restart gives a series a new number
  segment += Fragment(1, SamplesRecord({{9, 6000, 9}}));
  segment += Fragment(1, "\x42");
  segment.resize(32 * 1024);  // the rest of the page is empty
  segment += Fragment(1, SamplesRecord({{8, 7000, 5}}));
  PrometheusWal wal;
  ASSERT_TRUE(wal.ReadSegment(segment, "w").ok());
  ASSERT_EQ(wal.series().size(), 2u);
  using Samples = std::vector<std::pair<int64_t, double>>;
  EXPECT_EQ(wal.series()[0].samples, (Samples{{1000, 1}, {5000, 3}, {6000, 9}}));
  EXPECT_EQ(wal.series()[1].samples, (Samples{{4000, 4}, {7000, 5}}));
  EXPECT_EQ(wal.orphans(), 1u);
  EXPECT_EQ(wal.unknown_records(), 1u);

  for (size_t size = 0; size < 400; ++size) {
    PrometheusWal part;
    const Status status = part.ReadSegment(std::string_view(segment).substr(0, size), "w");
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kDataLoss) << status;
  }
  for (size_t bit = 0; bit < 400 * 8; ++bit) {
    std::string flipped = segment.substr(0, 400);
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    PrometheusWal part;
    static_cast<void>(part.ReadSegment(flipped, "w"));
  }
}

TEST(PrometheusDataDirectory, TornTailOfTheLogIsReported) {
  TempFolder folder;
  const std::string whole =
      Fragment(1, SeriesRecord(1, "a")) + Fragment(1, SamplesRecord({{1, 1000, 1}}));
  folder.Write("wal/00000000", whole + Fragment(1, SamplesRecord({{1, 2000, 2}})).substr(0, 15));
  FakeLoader loader;
  ImportSummary summary;
  const Status status = ImportPrometheus(folder.path().string(), {}, &loader, &summary);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(summary.samples, 1u);
  ASSERT_EQ(summary.warnings.size(), 1u);
  EXPECT_THAT(summary.warnings[0], HasSubstr(Concat("00000000:", whole.size())));
}

TEST(PrometheusDataDirectory, WrongPathsSayWhatIsWanted) {
  TempFolder folder;
  FakeLoader loader;
  ImportSummary summary;
  const Status empty = ImportPrometheus(folder.path().string(), {}, &loader, &summary);
  EXPECT_EQ(empty.code(), StatusCode::kNotFound);
  EXPECT_THAT(std::string(empty.message()), HasSubstr("neither a Prometheus block"));
  const Status file = ImportPrometheus(folder.Write("x.tar", "x").string(), {}, &loader, &summary);
  EXPECT_THAT(std::string(file.message()), HasSubstr("not a directory"));
}

// --- Native histograms, as Prometheus wrote them (data/README.md) ---

/// Computes what the target of the fixtures answered at scrape `n`.
Histogram ExpectedHistogram(const std::string& name, int64_t n, bool resets) {
  const int64_t r = resets && n >= 8 ? n - 8 : n;
  std::vector<int64_t> positive{1 + 2 * r, 3 + r * r, 5};
  if (n >= 5 && (!resets || n < 8)) positive.push_back(7 * (r + 1));
  const std::vector<int64_t> negative{2 + r, 1};
  const int64_t zero = 4 + r;
  int64_t count = zero;
  for (const int64_t bucket : positive) count += bucket;
  for (const int64_t bucket : negative) count += bucket;
  Histogram h;
  h.schema = 2;
  h.is_float = name == "h_float";
  h.zero_threshold = h.is_float ? 0.0013 : 0x1p-128;
  h.sum = static_cast<double>(count) * 1.25 - static_cast<double>(n);
  h.negative_spans = {{-1, 2}};
  h.positive_spans = {{0, 2}, {3, static_cast<uint32_t>(positive.size() - 2)}};
  if (h.is_float) {
    h.float_count = static_cast<double>(count) / 2;
    h.float_zero_count = static_cast<double>(zero) / 2;
    for (const int64_t b : positive) h.positive_counts.push_back(static_cast<double>(b) / 2);
    for (const int64_t b : negative) h.negative_counts.push_back(static_cast<double>(b) / 2);
  } else {
    h.count = static_cast<uint64_t>(count);
    h.zero_count = static_cast<uint64_t>(zero);
    int64_t before = 0;
    for (const int64_t b : positive) {
      h.positive_deltas.push_back(b - before);
      before = b;
    }
    before = 0;
    for (const int64_t b : negative) {
      h.negative_deltas.push_back(b - before);
      before = b;
    }
  }
  return h;
}

/// Removes buckets without observations: Prometheus adds such to earlier samples of a chunk when
/// later ones need them.
Histogram WithoutTrailingZeros(Histogram h) {
  const auto total = [&](size_t size) {
    int64_t bucket = 0;
    for (size_t i = 0; i < size; ++i) bucket += h.positive_deltas[i];
    return bucket;
  };
  while (h.is_float ? !h.positive_counts.empty() && h.positive_counts.back() == 0
                    : !h.positive_deltas.empty() && total(h.positive_deltas.size()) == 0) {
    if (h.is_float) {
      h.positive_counts.pop_back();
    } else {
      h.positive_deltas.pop_back();
    }
    if (--h.positive_spans.back().length == 0) h.positive_spans.pop_back();
  }
  return h;
}

void CheckHistograms(const FakeLoader& loader, bool resets, size_t samples_min) {
  const std::string labels = "{instance=\"127.0.0.1:19777\", job=\"nh\"}";
  std::map<int64_t, int64_t> number_at;
  for (const auto& [time, bits] : loader.samples.at("scrape_number" + labels)) {
    if (bits != kStaleNanBits) {
      number_at[time] = static_cast<int64_t>(std::bit_cast<double>(bits));
    }
  }
  for (const std::string name : {"h_int", "h_float", "h_gauge"}) {
    size_t checked = 0;
    for (const auto& [time, got] : loader.histograms.at(name + labels)) {
      if (got.is_stale()) continue;
      ASSERT_TRUE(number_at.contains(time));
      Histogram expected = ExpectedHistogram(name, number_at.at(time), resets);
      EXPECT_TRUE(Validate(got).ok()) << Validate(got);
      Histogram trimmed = WithoutTrailingZeros(got);
      expected.reset_hint = trimmed.reset_hint;
      EXPECT_TRUE(BitEqual(trimmed, expected)) << name << " at scrape " << number_at.at(time);
      ++checked;
    }
    EXPECT_GE(checked, samples_min) << name;
  }
}

TEST(NativeHistograms, FromChunksOfABlock) {
  const char* const source = std::getenv("VARVE_SOURCE");
  if (source == nullptr) GTEST_SKIP() << "run by ctest";
  FakeLoader loader;
  ImportSummary summary;
  const Status status = ImportPrometheus(
      (fs::path(source) / "tests/ingest/data/histogram_block").string(), {}, &loader, &summary);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(summary.warnings, ::testing::IsEmpty());
  EXPECT_EQ(summary.samples + summary.histograms, 90u);
  CheckHistograms(loader, false, 10);
}

TEST(NativeHistograms, FromTheWriteAheadLog) {
  const char* const source = std::getenv("VARVE_SOURCE");
  if (source == nullptr) GTEST_SKIP() << "run by ctest";
  FakeLoader loader;
  ImportSummary summary;
  const Status status = ImportPrometheus(
      (fs::path(source) / "tests/ingest/data/histogram_wal").string(), {}, &loader, &summary);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(summary.warnings, ::testing::IsEmpty());
  CheckHistograms(loader, true, 10);
}

// --- Real data ---

TEST(RealData, BlockAndSeriesFileAgreeBitForBit) {
  const auto shared = SharedData("the Prometheus block and series file");
  if (!shared) return;
  TempFolder folder;
  {
    std::string tar;
    ReadZstd(*shared / "data" / "metrics" / "prometheus-tsdb-block.tar.zst",
             [&](std::string_view piece) { tar += piece; });
    ReadTar(tar,
            [&](const std::string& name, std::string_view bytes) { folder.Write(name, bytes); });
  }
  FakeLoader block;
  ImportSummary block_summary;
  const Status from_block = ImportPrometheus(folder.path().string(), {}, &block, &block_summary);
  ASSERT_TRUE(from_block.ok()) << from_block;
  FakeLoader series;
  ImportSummary series_summary;
  const Status from_series = ImportSeriesFile(
      (*shared / "data" / "metrics" / "prometheus-tsdb-series.ndjson.zst").string(), {}, &series,
      &series_summary);
  ASSERT_TRUE(from_series.ok()) << from_series;
  EXPECT_THAT(block_summary.warnings, ::testing::IsEmpty());
  EXPECT_EQ(block_summary.series, 11'485u);
  EXPECT_EQ(block_summary.samples, 12'179'291u);
  EXPECT_EQ(block_summary.stale_markers, 169'395u);
  EXPECT_EQ(series_summary.samples, block_summary.samples);
  EXPECT_TRUE(block.samples == series.samples);
}

TEST(RealData, OldIndexVersions) {
  const auto shared = SharedData("blocks with index version 1");
  if (!shared) return;
  const fs::path testdata =
      *shared / "data" / "metrics" / "exposition" / "prometheus" / "tsdb" / "testdata";
  FakeLoader loader;
  ImportSummary summary;
  const Status status =
      ImportPrometheus((testdata / "index_format_v1").string(), {}, &loader, &summary);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_THAT(summary.warnings, ::testing::IsEmpty());
  EXPECT_EQ(summary.series, 102u);
  EXPECT_EQ(summary.samples, 102u);
}

}  // namespace
}  // namespace varve::ingest
