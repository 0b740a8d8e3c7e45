#include "tools/ingest/compression.h"

#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>

#include "engine/base/strings.h"

namespace varve::ingest {
namespace {

Status TooLarge(std::string_view what, uint64_t bytes, uint64_t bytes_max) {
  return MakeStatus(StatusCode::kResourceExhausted,
                    Concat(what, " of ", bytes, " bytes exceeds the limit of ", bytes_max));
}
Status Malformed(std::string_view encoding, std::string_view detail) {
  return MakeStatus(StatusCode::kInvalidArgument, Concat(encoding, ": ", detail));
}

/// Makes room for at least one more byte, at most up to one past the limit, so that output that
/// goes beyond it is noticed without much of it being kept.
bool Grow(std::string* buffer, uint64_t bytes_max) {
  const uint64_t ceiling = bytes_max + 1;
  if (buffer->size() >= ceiling) return false;
  buffer->resize(std::min<uint64_t>(std::max<uint64_t>(buffer->size() * 2, 64 * 1024), ceiling));
  return true;
}

Status DecodeSnappy(std::string_view body, uint64_t bytes_max, std::string* buffer) {
  size_t size = 0;
  if (!snappy::GetUncompressedLength(body.data(), body.size(), &size)) {
    return Malformed("snappy", "the declared length is malformed");
  }
  if (size > bytes_max) return TooLarge("snappy: declared length", size, bytes_max);
  // Snappy expands at most 64 bytes out of 3, so a larger claim is a lie told to make us allocate.
  if (size > 64 + body.size() * 22) {
    return Malformed("snappy", Concat("declared length of ", size,
                                      " bytes cannot come from a body of ", body.size()));
  }
  if (buffer->size() < size) buffer->resize(size);
  if (!snappy::RawUncompress(body.data(), body.size(), buffer->data())) {
    return Malformed("snappy", "corrupt or truncated block");
  }
  buffer->resize(size);
  return absl::OkStatus();
}

Status DecodeZlib(std::string_view name, int window_bits, std::string_view body, uint64_t bytes_max,
                  std::string* buffer) {
  if (body.size() > std::numeric_limits<uInt>::max()) {
    return TooLarge(Concat(name, ": body"), body.size(), std::numeric_limits<uInt>::max());
  }
  z_stream stream{};
  if (inflateInit2(&stream, window_bits) != Z_OK) {
    return MakeStatus(StatusCode::kResourceExhausted, "zlib: out of memory");
  }
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data()));
  stream.avail_in = static_cast<uInt>(body.size());
  buffer->clear();
  size_t written = 0;
  for (;;) {
    if (written == buffer->size() && !Grow(buffer, bytes_max)) {
      return TooLarge(Concat(name, ": decompressed body"), written, bytes_max);
    }
    stream.next_out = reinterpret_cast<Bytef*>(buffer->data() + written);
    stream.avail_out = static_cast<uInt>(
        std::min<size_t>(buffer->size() - written, std::numeric_limits<uInt>::max()));
    const uInt room = stream.avail_out;
    const int code = inflate(&stream, Z_NO_FLUSH);
    written += room - stream.avail_out;
    if (code == Z_STREAM_END) {
      if (stream.avail_in == 0) break;
      // Gzip members may follow one another.
      if (inflateReset(&stream) != Z_OK) return Malformed(name, "corrupt stream");
      continue;
    }
    if (code != Z_OK && code != Z_BUF_ERROR) {
      return Malformed(name, stream.msg != nullptr ? stream.msg : "corrupt stream");
    }
    if (stream.avail_in == 0 && stream.avail_out != 0) return Malformed(name, "truncated stream");
  }
  if (written > bytes_max) {
    return TooLarge(Concat(name, ": decompressed body"), written, bytes_max);
  }
  buffer->resize(written);
  return absl::OkStatus();
}

Status DecodeZstd(std::string_view body, uint64_t bytes_max, std::string* buffer) {
  const unsigned long long declared = ZSTD_getFrameContentSize(body.data(), body.size());
  if (declared == ZSTD_CONTENTSIZE_ERROR) return Malformed("zstd", "not a zstd frame");
  if (declared != ZSTD_CONTENTSIZE_UNKNOWN && declared > bytes_max) {
    return TooLarge("zstd: declared length", declared, bytes_max);
  }
  const std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream(ZSTD_createDStream(),
                                                                        ZSTD_freeDStream);
  if (!stream) return MakeStatus(StatusCode::kResourceExhausted, "zstd: out of memory");
  const int window_log = std::clamp<int>(std::bit_width(bytes_max), 10, 27);
  ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, window_log);
  ZSTD_inBuffer in{body.data(), body.size(), 0};
  buffer->clear();
  ZSTD_outBuffer out{buffer->data(), 0, 0};
  size_t hint = 1;
  while (in.pos < in.size || hint != 0) {
    if (out.pos == buffer->size() && !Grow(buffer, bytes_max)) {
      return TooLarge("zstd: decompressed body", out.pos, bytes_max);
    }
    out.dst = buffer->data();
    out.size = buffer->size();
    const size_t before_in = in.pos;
    const size_t before_out = out.pos;
    hint = ZSTD_decompressStream(stream.get(), &out, &in);
    if (ZSTD_isError(hint)) return Malformed("zstd", ZSTD_getErrorName(hint));
    if (in.pos == before_in && out.pos == before_out && out.pos < out.size) {
      return Malformed("zstd", "truncated frame");
    }
  }
  if (out.pos > bytes_max) return TooLarge("zstd: decompressed body", out.pos, bytes_max);
  buffer->resize(out.pos);
  return absl::OkStatus();
}

bool EqualsIgnoreCase(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return (x >= 'A' && x <= 'Z' ? x + 32 : x) == y; });
}

}  // namespace

Result<BodyEncoding> ParseContentEncoding(std::string_view value) {
  while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  while (!value.empty() && value.back() == ' ') value.remove_suffix(1);
  if (value.empty() || EqualsIgnoreCase(value, "identity")) return BodyEncoding::kIdentity;
  if (EqualsIgnoreCase(value, "snappy")) return BodyEncoding::kSnappyBlock;
  if (EqualsIgnoreCase(value, "gzip") || EqualsIgnoreCase(value, "x-gzip")) {
    return BodyEncoding::kGzip;
  }
  if (EqualsIgnoreCase(value, "deflate")) return BodyEncoding::kDeflate;
  if (EqualsIgnoreCase(value, "zstd")) return BodyEncoding::kZstd;
  return MakeStatus(
      StatusCode::kUnimplemented,
      Concat(GoQuote(value), " encoding (compression) is not accepted by this server"));
}

Result<std::string_view> DecodeBody(BodyEncoding encoding, std::string_view body,
                                    uint64_t bytes_max, std::string* buffer) {
  Status status;
  switch (encoding) {
    case BodyEncoding::kIdentity:
      if (body.size() > bytes_max) return TooLarge("body", body.size(), bytes_max);
      return body;
    case BodyEncoding::kSnappyBlock:
      status = DecodeSnappy(body, bytes_max, buffer);
      break;
    case BodyEncoding::kGzip:
      status = DecodeZlib("gzip", 15 + 16, body, bytes_max, buffer);
      break;
    case BodyEncoding::kDeflate:
      status = DecodeZlib("deflate", 15, body, bytes_max, buffer);
      break;
    case BodyEncoding::kZstd:
      status = DecodeZstd(body, bytes_max, buffer);
      break;
  }
  if (!status.ok()) return status;
  return std::string_view(*buffer);
}

}  // namespace varve::ingest
