// Remote read against a fake store: requests encoded by hand, answers decoded by a reader of the
// wire format that shares no code with the writer.

#include "tools/server/api/remote_read.h"

#include <snappy.h>

#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/server/fakes.h"
#include "tools/server/api/xor_chunk.h"
#include "tools/server/http/crc32c.h"

namespace varve::api {
namespace {

struct Sample {
  int64_t time_ms;
  uint64_t bits;
  friend bool operator==(const Sample&, const Sample&) = default;
};

class Bits {
 public:
  explicit Bits(std::string_view bytes) : bytes_(bytes) {}
  uint64_t Take(unsigned count) {
    uint64_t out = 0;
    for (; count > 0; --count, ++at_) {
      EXPECT_LT(at_ / 8, bytes_.size());
      if (at_ / 8 >= bytes_.size()) return 0;
      const auto byte = static_cast<unsigned char>(bytes_[at_ / 8]);
      out = out << 1 | ((byte >> (7 - at_ % 8)) & 1);
    }
    return out;
  }
  uint64_t Uvarint() {
    uint64_t out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const uint64_t byte = Take(8);
      out |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return out;
  }

 private:
  const std::string_view bytes_;
  size_t at_ = 0;
};

std::vector<Sample> DecodeXor(std::string_view chunk) {
  Bits bits(chunk);
  std::vector<Sample> out(bits.Take(16));
  uint64_t delta = 0;
  uint64_t leading = 0;
  uint64_t width = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (i == 0) {
      const uint64_t zigzag = bits.Uvarint();
      out[0] = {static_cast<int64_t>(zigzag >> 1) ^ -static_cast<int64_t>(zigzag & 1),
                bits.Take(64)};
      continue;
    }
    if (i == 1) {
      delta = bits.Uvarint();
    } else {
      unsigned size = 0;
      if (bits.Take(1) == 1)
        size = bits.Take(1) == 0 ? 14 : bits.Take(1) == 0 ? 17 : bits.Take(1) == 0 ? 20 : 64;
      if (size > 0) {
        uint64_t change = bits.Take(size);
        if (size < 64 && change > (uint64_t{1} << (size - 1))) change -= uint64_t{1} << size;
        delta += change;
      }
    }
    out[i].time_ms = out[i - 1].time_ms + static_cast<int64_t>(delta);
    out[i].bits = out[i - 1].bits;
    if (bits.Take(1) == 1) {
      if (bits.Take(1) == 1) {
        leading = bits.Take(5);
        width = bits.Take(6);
        if (width == 0) width = 64;
      }
      out[i].bits ^= bits.Take(static_cast<unsigned>(width)) << (64 - leading - width);
    }
  }
  return out;
}

TEST(XorChunkTest, RoundTripsAnyBits) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 500; ++round) {
    const size_t count = 1 + random() % 130;
    std::vector<int64_t> times(count);
    std::vector<double> values(count);
    std::vector<Sample> want(count);
    int64_t time = round % 3 == 0 ? -5'000'000 : 1'700'000'000'000;
    uint64_t bits = random();
    for (size_t i = 0; i < count; ++i) {
      static constexpr int64_t kJitter[] = {0,     1,      8191,    8192,
                                            65536, 524288, 600'000, 1'000'000'000};
      time += 15'000 + kJitter[random() % (round % 8 + 1)] * (random() % 2);
      if (random() % 3 == 0) bits ^= random() >> (random() % 64);
      if (random() % 40 == 0) bits = random() % 2 == 0 ? kStaleNanBits : ~uint64_t{0};
      if (random() % 40 == 0) bits = 0;
      times[i] = time;
      values[i] = std::bit_cast<double>(bits);
      want[i] = {time, bits};
    }
    ASSERT_EQ(DecodeXor(EncodeXorChunk(times, values)), want) << "round " << round;
  }
}

/// Fields of one protobuf message: number, and varint value or bytes.
struct Field {
  uint32_t number;
  uint64_t value = 0;
  std::string_view bytes;
};
std::vector<Field> Fields(std::string_view message) {
  std::vector<Field> out;
  size_t at = 0;
  const auto varint = [&] {
    uint64_t value = 0;
    for (unsigned shift = 0; at < message.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(message[at++]);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return value;
  };
  while (at < message.size()) {
    const uint64_t tag = varint();
    Field field{static_cast<uint32_t>(tag >> 3)};
    if ((tag & 7) == 0) {
      field.value = varint();
    } else if ((tag & 7) == 1) {
      std::memcpy(&field.value, message.data() + at, 8);
      at += 8;
    } else {
      const uint64_t size = varint();
      field.bytes = message.substr(at, size);
      at += size;
    }
    out.push_back(field);
  }
  return out;
}

std::string Bytes(char field, std::string_view bytes) {
  return std::string(1, static_cast<char>(field << 3 | 2)) + static_cast<char>(bytes.size()) +
         std::string(bytes);
}

class RemoteReadTest : public ::testing::Test {
 protected:
  RemoteReadTest() {
    WriteBatch batch;
    const uint32_t a = batch.AddSeries(Labels{{"__name__", "m"}, {"i", "a"}}.view());
    const uint32_t b = batch.AddSeries(Labels{{"__name__", "m"}, {"i", "b"}}.view());
    for (int i = 0; i < 300; ++i) {
      batch.AddSample(a, i, i * 0.5);
      batch.AddSample(b, i, i == 299 ? StaleNan() : 0.0);
    }
    const uint32_t h = batch.AddSeries(Labels{{"__name__", "h"}}.view());
    Histogram histogram;
    histogram.count = 3;
    histogram.sum = 2.5;
    histogram.positive_spans = {{1, 2}};
    histogram.positive_deltas = {1, 1};
    batch.AddHistogram(h, 20, histogram);
    EXPECT_TRUE(database_.Append(batch, WriteOptions()).ok());
    context_.database = &database_;
    AddRemoteReadRoute(&context_, &router_);
  }
  // Asks for 10 <= t <= 289 where __name__ is `name`.
  http::Response Ask(std::string_view name, std::string_view accepted) {
    const std::string matcher = Bytes(2, "__name__") + Bytes(3, name);
    const std::string query = std::string("\x08\x0a\x10\xa1\x02", 5) + Bytes(3, matcher);
    return Send(Bytes(1, query) + std::string(accepted));
  }
  http::Response Send(const std::string& message) {
    http::Request request;
    snappy::Compress(message.data(), message.size(), &request.body);
    return Send(std::move(request));
  }
  http::Response Send(http::Request request) {
    const auto match = router_.Find(http::Method::kPost, {"api", "v1", "read"});
    http::Response response = match.route->handler(request);
    while (response.source != nullptr) {
      const Result<bool> more = response.source->Next(100, &response.body);
      EXPECT_TRUE(more.ok());
      if (!more.ok() || !*more) break;
    }
    return response;
  }

  testing::FakeDatabase database_;
  Context context_;
  http::Router router_;
};

TEST_F(RemoteReadTest, Samples) {
  for (const std::string_view accepted : {std::string_view(), std::string_view("\x10\x00", 2)}) {
    const http::Response response = Ask("m", accepted);
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.headers.Get("Content-Type"), "application/x-protobuf");
    EXPECT_EQ(response.headers.Get("Content-Encoding"), "snappy");
    std::string message;
    ASSERT_TRUE(snappy::Uncompress(response.body.data(), response.body.size(), &message));
    const auto results = Fields(message);
    ASSERT_EQ(results.size(), 1u);
    const auto series = Fields(results[0].bytes);
    ASSERT_EQ(series.size(), 2u);
    const auto fields = Fields(series[0].bytes);
    ASSERT_EQ(fields.size(), 2 + 280u);
    EXPECT_EQ(Fields(fields[1].bytes)[1].bytes, "a");
    const auto first = Fields(fields[2].bytes);
    EXPECT_EQ(std::bit_cast<double>(first[0].value), 5.0);
    EXPECT_EQ(first[1].value, 10u);
  }
}

TEST_F(RemoteReadTest, StreamedChunks) {
  // Packed and unpacked lists of response types.
  for (const std::string_view accepted :
       {std::string_view("\x10\x01\x10\x00", 4), std::string_view("\x12\x02\x01\x00", 4)}) {
    const http::Response response = Ask("m", accepted);
    ASSERT_EQ(response.status, 200) << response.body;
    EXPECT_EQ(response.headers.Get("Content-Type"),
              "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse");
    std::string_view rest = response.body;
    std::vector<std::vector<Sample>> series;
    while (!rest.empty()) {
      Bits head(rest);
      const uint64_t size = head.Uvarint();
      const auto crc = static_cast<uint32_t>(head.Take(32));
      rest.remove_prefix((size < 128 ? 1 : size < 16384 ? 2 : 3) + 4);
      ASSERT_LE(size, rest.size());
      const std::string_view message = rest.substr(0, size);
      rest.remove_prefix(size);
      EXPECT_EQ(http::Crc32c(message), crc);
      std::vector<Sample>& samples = series.emplace_back();
      for (const Field& field : Fields(Fields(message)[0].bytes)) {
        if (field.number != 2) continue;
        const auto chunk = Fields(field.bytes);
        const std::vector<Sample> decoded = DecodeXor(chunk.back().bytes);
        EXPECT_EQ(chunk[0].value, static_cast<uint64_t>(decoded.front().time_ms));
        EXPECT_EQ(chunk[1].value, static_cast<uint64_t>(decoded.back().time_ms));
        EXPECT_LE(decoded.size(), 120u);
        samples.insert(samples.end(), decoded.begin(), decoded.end());
      }
    }
    ASSERT_EQ(series.size(), 2u);
    ASSERT_EQ(series[0].size(), 280u);
    for (int i = 0; i < 280; ++i) {
      EXPECT_EQ(series[0][static_cast<size_t>(i)],
                (Sample{i + 10, std::bit_cast<uint64_t>((i + 10) * 0.5)}));
    }
  }
}

TEST_F(RemoteReadTest, HistogramsTravelAsSamples) {
  const http::Response response = Ask("h", std::string_view("\x10\x01\x10\x00", 4));
  ASSERT_EQ(response.status, 200) << response.body;
  std::string message;
  ASSERT_TRUE(snappy::Uncompress(response.body.data(), response.body.size(), &message));
  const auto series = Fields(Fields(message)[0].bytes);
  ASSERT_EQ(series.size(), 1u);
  const auto fields = Fields(series[0].bytes);
  ASSERT_EQ(fields.back().number, 4u);
  const auto histogram = Fields(fields.back().bytes);
  EXPECT_EQ(histogram[0].number, 1u);
  EXPECT_EQ(histogram[0].value, 3u);
  EXPECT_EQ(histogram.back().number, 15u);
  EXPECT_EQ(histogram.back().value, 20u);
  EXPECT_EQ(Ask("h", std::string_view("\x10\x01", 2)).status, 400);
}

TEST_F(RemoteReadTest, BadRequests) {
  EXPECT_EQ(Send(std::string("\x0a\x05x", 3)).status, 400);
  EXPECT_EQ(Send(Bytes(1, Bytes(3, std::string("\x08\x09", 2)))).status, 400);  // matcher type 9
  http::Request raw;
  raw.body = "not snappy";
  EXPECT_EQ(Send(std::move(raw)).status, 400);
  http::Request bomb;
  bomb.body = "\xff\xff\xff\xff\x0f";
  EXPECT_EQ(Send(std::move(bomb)).status, 413);
  http::Request other;
  other.headers.Add("Content-Encoding", "br");
  EXPECT_EQ(Send(std::move(other)).status, 415);
  EXPECT_EQ(Send(std::string()).status, 200);  // no queries, no results
}

TEST(Crc32cTest, KnownAnswer) { EXPECT_EQ(http::Crc32c("123456789"), 0xe3069283u); }

}  // namespace
}  // namespace varve::api
