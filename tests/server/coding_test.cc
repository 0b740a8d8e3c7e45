#include "tools/server/http/coding.h"

#include <lz4frame.h>
#include <snappy.h>
#include <sys/resource.h>
#include <zlib.h>
#include <zstd.h>

#include <random>
#include <string>

#include "gtest/gtest.h"

namespace varve::http {
namespace {

std::string Encode(Coding coding, std::string_view text) {
  std::string out;
  if (coding == Coding::kIdentity) return std::string(text);
  if (coding == Coding::kSnappyBlock) {
    snappy::Compress(text.data(), text.size(), &out);
    return out;
  }
  if (coding == Coding::kLz4) {
    out.resize(LZ4F_compressFrameBound(text.size(), nullptr));
    out.resize(LZ4F_compressFrame(out.data(), out.size(), text.data(), text.size(), nullptr));
    return out;
  }
  const std::unique_ptr<Encoder> encoder = Encoder::Make(coding);
  // In two pieces, as a stream does.
  EXPECT_TRUE(encoder->Write(text.substr(0, text.size() / 3), false, &out).ok());
  EXPECT_TRUE(encoder->Write(text.substr(text.size() / 3), true, &out).ok());
  return out;
}

std::string Sample(size_t bytes) {
  std::mt19937 random(11);
  std::string out;
  while (out.size() < bytes) out += "value_" + std::to_string(random() % 1000) + ",";
  out.resize(bytes);
  return out;
}

size_t PeakRssBytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

TEST(CodingTest, RoundTripsAtAndAroundTheLimit) {
  for (const Coding coding : {Coding::kIdentity, Coding::kGzip, Coding::kDeflate, Coding::kZstd,
                              Coding::kSnappyBlock, Coding::kLz4}) {
    for (const size_t bytes : {0u, 1u, 1000u, 16384u, 100'000u, 1'000'000u}) {
      const std::string text = Sample(bytes);
      const std::string coded = Encode(coding, text);
      DecodeLimits limits;
      limits.output_bytes_max = bytes;
      const Result<std::string> exact = Decode(coding, coded, limits);
      ASSERT_TRUE(exact.ok()) << TokenOf(coding) << " " << bytes << " " << exact.status();
      EXPECT_EQ(*exact, text);
      if (bytes == 0) continue;
      limits.output_bytes_max = bytes - 1;
      EXPECT_EQ(Decode(coding, coded, limits).status().code(), StatusCode::kResourceExhausted)
          << TokenOf(coding) << " " << bytes;
    }
  }
}

TEST(CodingTest, EveryCutIsNoticed) {
  const std::string text = Sample(3000);
  for (const Coding coding :
       {Coding::kGzip, Coding::kDeflate, Coding::kZstd, Coding::kSnappyBlock, Coding::kLz4}) {
    const std::string coded = Encode(coding, text);
    for (size_t cut = 0; cut < coded.size(); ++cut) {
      const Result<std::string> got = Decode(coding, coded.substr(0, cut), DecodeLimits());
      EXPECT_EQ(got.status().code(), StatusCode::kInvalidArgument) << TokenOf(coding) << " " << cut;
    }
  }
}

TEST(CodingTest, BombsAreRefusedBeforeTheyCostMemory) {
  const std::string zeros(64u << 20, '\0');
  const std::string gzip = Encode(Coding::kGzip, zeros);
  const std::string zstd = Encode(Coding::kZstd, zeros);
  const std::string snappy = Encode(Coding::kSnappyBlock, zeros);
  DecodeLimits limits;
  limits.output_bytes_max = 256u << 10;
  const size_t before = PeakRssBytes();
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Decode(Coding::kGzip, gzip, limits).status().code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(Decode(Coding::kZstd, zstd, limits).status().code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(Decode(Coding::kSnappyBlock, snappy, limits).status().code(),
              StatusCode::kResourceExhausted);
  }
  // A varint of 4 GiB - 1 and nothing behind it.
  EXPECT_EQ(Decode(Coding::kSnappyBlock, "\xff\xff\xff\xff\x0f", limits).status().code(),
            StatusCode::kResourceExhausted);
  // Within the limit, but more than such a body can hold.
  EXPECT_EQ(
      Decode(Coding::kSnappyBlock, std::string("\x80\x80\x04\x00", 4), limits).status().code(),
      StatusCode::kInvalidArgument);
  // A zstd frame that wants a 2 GiB window (descriptor 0xA8: 2^31), content size unknown.
  const std::string window("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", 9);
  EXPECT_EQ(Decode(Coding::kZstd, window, limits).status().code(), StatusCode::kResourceExhausted);
  // A zstd frame that declares 4 GiB - 1 of content in a single segment.
  const std::string declared("\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff\x01\x00\x00", 12);
  EXPECT_EQ(Decode(Coding::kZstd, declared, limits).status().code(),
            StatusCode::kResourceExhausted);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Sanitizers keep freed memory for a while.
  EXPECT_LE(PeakRssBytes() - before, 4u << 20);
#else
  (void)before;
#endif
}

TEST(CodingTest, GzipMembersFollowEachOther) {
  const std::string two = Encode(Coding::kGzip, "abc") + Encode(Coding::kGzip, "def");
  EXPECT_EQ(Decode(Coding::kGzip, two, DecodeLimits()).value(), "abcdef");
  EXPECT_FALSE(Decode(Coding::kGzip, two + "x", DecodeLimits()).ok());
  EXPECT_FALSE(
      Decode(Coding::kDeflate, Encode(Coding::kDeflate, "abc") + "x", DecodeLimits()).ok());
}

TEST(CodingTest, BareDeflateIsUnderstood) {
  const std::string wrapped = Encode(Coding::kDeflate, "hello hello hello");
  const std::string bare = wrapped.substr(2, wrapped.size() - 6);
  EXPECT_EQ(Decode(Coding::kDeflate, bare, DecodeLimits()).value(), "hello hello hello");
}

TEST(CodingTest, SnappyFrames) {
  const std::string magic("\xff\x06\x00\x00sNaPpY", 10);
  // "Wikipedia"-free: an uncompressed chunk of "123456789", whose CRC-32C is 0xe3069283; masked:
  // ((crc >> 15) | (crc << 17)) + 0xa282ead8.
  const uint32_t crc = 0xe3069283u;
  const uint32_t masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  std::string sum;
  for (int i = 0; i < 4; ++i) sum.push_back(static_cast<char>((masked >> (8 * i)) & 0xff));
  const std::string plain = std::string("\x01\x0d\x00\x00", 4) + sum + "123456789";
  std::string block;
  snappy::Compress("123456789", 9, &block);
  std::string packed("\x00\x00\x00\x00", 4);
  packed[1] = static_cast<char>(4 + block.size());
  packed += sum + block;
  const std::string padding("\xfe\x02\x00\x00xx", 6);

  const DecodeLimits limits;
  EXPECT_EQ(Decode(Coding::kSnappyFramed, magic + plain + padding + packed, limits).value(),
            "123456789123456789");
  EXPECT_EQ(Decode(Coding::kSnappyFramed, magic, limits).value(), "");
  std::string wrong = plain;
  wrong.back() ^= 1;
  EXPECT_FALSE(Decode(Coding::kSnappyFramed, magic + wrong, limits).ok());
  EXPECT_FALSE(Decode(Coding::kSnappyFramed, plain, limits).ok());
  EXPECT_FALSE(Decode(Coding::kSnappyFramed, "", limits).ok());
  EXPECT_FALSE(
      Decode(Coding::kSnappyFramed, magic + std::string("\x02\x00\x00\x00", 4), limits).ok());
  DecodeLimits tight;
  tight.output_bytes_max = 17;
  EXPECT_EQ(Decode(Coding::kSnappyFramed, magic + plain + packed, tight).status().code(),
            StatusCode::kResourceExhausted);
}

TEST(CodingTest, ContentEncodingHeaders) {
  const DecodeLimits limits;
  const std::string twice = Encode(Coding::kZstd, Encode(Coding::kGzip, "payload"));
  EXPECT_EQ(DecodeBody("gzip, zstd", twice, limits).value(), "payload");
  EXPECT_EQ(DecodeBody("", "x", limits).value(), "x");
  EXPECT_EQ(DecodeBody("identity", "x", limits).value(), "x");
  EXPECT_EQ(DecodeBody("br", "x", limits).status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(DecodeBody("gzip,gzip,gzip", "x", limits).status().code(), StatusCode::kUnimplemented);
}

TEST(CodingTest, Negotiation) {
  const struct {
    std::string_view accept;
    Coding want;
  } kCases[] = {
      {"", Coding::kIdentity},
      {"gzip", Coding::kGzip},
      {"gzip, deflate, br, zstd", Coding::kZstd},
      {"gzip;q=1.0, zstd;q=0.5", Coding::kGzip},
      {"gzip;q=0", Coding::kIdentity},
      {"*", Coding::kZstd},
      {"*;q=0.1, zstd;q=0", Coding::kGzip},
      {"identity", Coding::kIdentity},
      {"GZIP", Coding::kGzip},
      {"br;q=1.0, *;q=0", Coding::kIdentity},
      {"gzip;q=nonsense", Coding::kIdentity},
      {";;;,,,;q=", Coding::kIdentity},
  };
  for (const auto& [accept, want] : kCases) EXPECT_EQ(NegotiateCoding(accept), want) << accept;
}

TEST(CodingTest, Accept) {
  const auto ranges = ParseAccept(
      "application/openmetrics-text;version=1.0.0;q=0.75, "
      "text/plain;version=\"0.0.4\";q=0.5,*/*;q=0.1,x");
  ASSERT_EQ(ranges.size(), 3u);
  EXPECT_EQ(ranges[0].type, "application/openmetrics-text");
  EXPECT_EQ(ranges[0].version, "1.0.0");
  EXPECT_EQ(ranges[0].q, 0.75);
  EXPECT_EQ(ranges[1].version, "0.0.4");
  EXPECT_EQ(ranges[2].type, "*/*");
}

}  // namespace
}  // namespace varve::http
