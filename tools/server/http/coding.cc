#include "tools/server/http/coding.h"

#include <lz4frame.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/server/http/crc32c.h"
#include "tools/server/http/message.h"

namespace varve::http {
namespace {

Status Malformed(std::string_view what) { return MakeStatus(StatusCode::kInvalidArgument, what); }

Status TooLarge(const DecodeLimits& limits) {
  return MakeStatus(StatusCode::kResourceExhausted,
                    Concat("decompressed body exceeds ", limits.output_bytes_max, " bytes"));
}

// Grows `out` for a decoder that does not know its output size: doubling, never past the limit
// plus one byte (that byte tells "exactly the limit" from "more").
void GrowForMore(const DecodeLimits& limits, std::string* out) {
  constexpr size_t kFirst = 16u << 10;
  const size_t doubled = out->size() < kFirst ? kFirst : out->size() * 2;
  out->resize(std::min(doubled, limits.output_bytes_max + 1));
}

// ---------- zlib

constexpr int kGzipWindow = 15 + 16;
constexpr int kZlibWindow = 15;
constexpr int kRawWindow = -15;

class Inflater {
 public:
  explicit Inflater(int window_bits) { ok_ = inflateInit2(&stream_, window_bits) == Z_OK; }
  ~Inflater() {
    if (ok_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  bool ok() const { return ok_; }
  z_stream* operator->() { return &stream_; }
  z_stream* get() { return &stream_; }

 private:
  z_stream stream_{};
  bool ok_ = false;
};

// Inflates one stream or, for gzip, a row of members. zlib counts in 32 bits, hence the slices.
Result<std::string> Inflate(std::string_view body, int window_bits, const DecodeLimits& limits) {
  Inflater zlib(window_bits);
  if (!zlib.ok()) return MakeStatus(StatusCode::kResourceExhausted, "no memory to inflate");
  std::string out;
  size_t in_used = 0;
  size_t out_used = 0;
  constexpr size_t kSlice = 1u << 30;
  while (true) {
    if (out_used == out.size()) {
      if (out_used > limits.output_bytes_max) return TooLarge(limits);
      GrowForMore(limits, &out);
    }
    const size_t in_slice = std::min(body.size() - in_used, kSlice);
    const size_t out_slice = std::min(out.size() - out_used, kSlice);
    zlib->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(body.data() + in_used));
    zlib->avail_in = static_cast<uInt>(in_slice);
    zlib->next_out = reinterpret_cast<Bytef*>(out.data() + out_used);
    zlib->avail_out = static_cast<uInt>(out_slice);
    const int code = inflate(zlib.get(), Z_NO_FLUSH);
    in_used += in_slice - zlib->avail_in;
    out_used += out_slice - zlib->avail_out;
    if (out_used > limits.output_bytes_max) return TooLarge(limits);
    if (code == Z_STREAM_END) {
      if (in_used == body.size()) break;
      if (window_bits != kGzipWindow) return Malformed("bytes after the end of a deflate body");
      if (inflateReset(zlib.get()) != Z_OK) return Malformed("malformed gzip body");
      continue;
    }
    if (code == Z_OK) continue;
    if (code == Z_BUF_ERROR) {
      if (in_used == body.size() && out_used < out.size()) {
        return Malformed("compressed body is cut short");
      }
      continue;
    }
    return Malformed(Concat("malformed compressed body",
                            zlib->msg != nullptr ? Concat(": ", zlib->msg) : std::string()));
  }
  out.resize(out_used);
  return out;
}

bool HasZlibHeader(std::string_view body) {
  if (body.size() < 2) return false;
  const auto first = static_cast<unsigned char>(body[0]);
  const auto second = static_cast<unsigned char>(body[1]);
  return (first & 0x0f) == 8 && (first >> 4) <= 7 && (first * 256 + second) % 31 == 0;
}

// ---------- zstd

struct FreeZstd {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

Result<std::string> DecodeZstd(std::string_view body, const DecodeLimits& limits) {
  const std::unique_ptr<ZSTD_DCtx, FreeZstd> zstd(ZSTD_createDCtx());
  if (zstd == nullptr) return MakeStatus(StatusCode::kResourceExhausted, "no memory for zstd");
  // What the first frame declares is refused at once if it is too much, and never trusted as a
  // size to allocate.
  const unsigned long long declared = ZSTD_getFrameContentSize(body.data(), body.size());
  if (declared == ZSTD_CONTENTSIZE_ERROR) return Malformed("malformed zstd body");
  if (declared != ZSTD_CONTENTSIZE_UNKNOWN && declared > limits.output_bytes_max) {
    return TooLarge(limits);
  }
  if (ZSTD_isError(ZSTD_DCtx_setParameter(zstd.get(), ZSTD_d_windowLogMax,
                                          limits.zstd_window_log_max)) != 0) {
    return MakeStatus(StatusCode::kInternal, "zstd refuses the window limit");
  }
  std::string out;
  size_t out_used = 0;
  ZSTD_inBuffer in{body.data(), body.size(), 0};
  while (true) {
    if (out_used == out.size()) {
      if (out_used > limits.output_bytes_max) return TooLarge(limits);
      GrowForMore(limits, &out);
    }
    ZSTD_outBuffer buffer{out.data(), out.size(), out_used};
    const size_t in_before = in.pos;
    const size_t out_before = buffer.pos;
    const size_t left = ZSTD_decompressStream(zstd.get(), &buffer, &in);
    out_used = buffer.pos;
    if (ZSTD_isError(left) != 0) {
      if (std::string_view(ZSTD_getErrorName(left)).find("memory") != std::string_view::npos) {
        return MakeStatus(StatusCode::kResourceExhausted,
                          Concat("zstd window exceeds 2^", limits.zstd_window_log_max, " bytes"));
      }
      return Malformed(Concat("malformed zstd body: ", ZSTD_getErrorName(left)));
    }
    if (out_used > limits.output_bytes_max) return TooLarge(limits);
    if (left == 0 && in.pos == in.size) break;
    const bool stuck = in.pos == in_before && out_used == out_before;
    if (in.pos == in.size && out_used < out.size() && stuck) {
      return Malformed("compressed body is cut short");
    }
  }
  out.resize(out_used);
  return out;
}

// ---------- lz4

struct FreeLz4 {
  void operator()(LZ4F_dctx* context) const { LZ4F_freeDecompressionContext(context); }
};

// A frame's blocks are at most 4 MiB, which bounds what the decoder keeps.
Result<std::string> DecodeLz4(std::string_view body, const DecodeLimits& limits) {
  LZ4F_dctx* made = nullptr;
  if (LZ4F_isError(LZ4F_createDecompressionContext(&made, LZ4F_VERSION)) != 0) {
    return MakeStatus(StatusCode::kResourceExhausted, "no memory for lz4");
  }
  const std::unique_ptr<LZ4F_dctx, FreeLz4> lz4(made);
  std::string out;
  size_t in_used = 0;
  size_t out_used = 0;
  while (true) {
    if (out_used == out.size()) {
      if (out_used > limits.output_bytes_max) return TooLarge(limits);
      GrowForMore(limits, &out);
    }
    size_t in_bytes = body.size() - in_used;
    size_t out_bytes = out.size() - out_used;
    const size_t left = LZ4F_decompress(lz4.get(), out.data() + out_used, &out_bytes,
                                        body.data() + in_used, &in_bytes, nullptr);
    if (LZ4F_isError(left) != 0) {
      return Malformed(Concat("malformed lz4 body: ", LZ4F_getErrorName(left)));
    }
    in_used += in_bytes;
    out_used += out_bytes;
    if (out_used > limits.output_bytes_max) return TooLarge(limits);
    // Frames may follow each other.
    if (left == 0 && in_used == body.size()) break;
    if (in_bytes == 0 && out_bytes == 0 && out_used < out.size()) {
      return Malformed("compressed body is cut short");
    }
  }
  out.resize(out_used);
  return out;
}

// ---------- snappy

// The densest snappy element turns three bytes into 64, so a declared length past that is a lie,
// known before anything is allocated.
constexpr size_t kSnappyRatioMax = 22;

Status CheckSnappyLength(std::string_view body, size_t budget, const DecodeLimits& limits,
                         size_t* length) {
  if (!snappy::GetUncompressedLength(body.data(), body.size(), length)) {
    return Malformed("malformed snappy body: no length");
  }
  if (*length > budget) return TooLarge(limits);
  if (*length / kSnappyRatioMax > body.size()) {
    return Malformed("malformed snappy body: declared length is impossible");
  }
  return absl::OkStatus();
}

Result<std::string> DecodeSnappyBlock(std::string_view body, const DecodeLimits& limits) {
  size_t length = 0;
  VARVE_RETURN_IF_ERROR(CheckSnappyLength(body, limits.output_bytes_max, limits, &length));
  std::string out(length, '\0');
  if (!snappy::RawUncompress(body.data(), body.size(), out.data())) {
    return Malformed("malformed snappy body");
  }
  return out;
}

// As the snappy framing format masks its checksums.
uint32_t MaskedCrc32c(std::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

// Spec: snappy's framing_format.txt.
Result<std::string> DecodeSnappyFramed(std::string_view body, const DecodeLimits& limits) {
  constexpr std::string_view kMagic = "sNaPpY";
  constexpr size_t kChunkBytesMax = 65536;
  std::string out;
  bool started = false;
  while (!body.empty()) {
    if (body.size() < 4) return Malformed("snappy frame is cut short");
    const auto byte = [&](size_t i) { return static_cast<unsigned char>(body[i]); };
    const unsigned type = byte(0);
    const size_t length = byte(1) | (byte(2) << 8) | (byte(3) << 16);
    body.remove_prefix(4);
    if (length > body.size()) return Malformed("snappy frame is cut short");
    std::string_view data = body.substr(0, length);
    body.remove_prefix(length);
    if (type == 0xff) {
      if (data != kMagic) return Malformed("snappy stream without its identifier");
      started = true;
      continue;
    }
    if (!started) return Malformed("snappy stream without its identifier");
    if (type >= 0x80) continue;  // padding and skippable chunks
    if (type > 0x01) return Malformed(Concat("unknown snappy chunk type ", type));
    if (data.size() < 4) return Malformed("snappy chunk without a checksum");
    uint32_t crc = 0;
    for (size_t i = 0; i < 4; ++i) {
      crc |= static_cast<uint32_t>(static_cast<unsigned char>(data[i])) << (8 * i);
    }
    data.remove_prefix(4);
    const size_t before = out.size();
    const size_t budget = limits.output_bytes_max - before;
    size_t plain = data.size();
    if (type == 0x00) {
      VARVE_RETURN_IF_ERROR(
          CheckSnappyLength(data, std::max(budget, kChunkBytesMax), limits, &plain));
    }
    if (plain > kChunkBytesMax) return Malformed("snappy chunk of more than 65536 bytes");
    if (plain > budget) return TooLarge(limits);
    out.resize(before + plain);
    if (type == 0x01) {
      std::copy(data.begin(), data.end(), out.begin() + static_cast<ptrdiff_t>(before));
    } else if (!snappy::RawUncompress(data.data(), data.size(), out.data() + before)) {
      return Malformed("malformed snappy chunk");
    }
    if (MaskedCrc32c(std::string_view(out).substr(before)) != crc) {
      return Malformed("snappy chunk with a wrong checksum");
    }
  }
  if (!started) return Malformed("empty snappy stream");
  return out;
}

// ---------- encoders

class ZlibEncoder final : public Encoder {
 public:
  explicit ZlibEncoder(int window_bits) {
    // Level 4: JSON of sample values shrinks within a few percent of level 6 at half the time.
    VARVE_CHECK(deflateInit2(&stream_, 4, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  }
  ~ZlibEncoder() override { deflateEnd(&stream_); }

  Status Write(std::string_view in, bool finish, std::string* out) override {
    do {
      constexpr size_t kSlice = 1u << 30;
      const std::string_view slice = in.substr(0, kSlice);
      in.remove_prefix(slice.size());
      const int flush = finish && in.empty() ? Z_FINISH : Z_NO_FLUSH;
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(slice.data()));
      stream_.avail_in = static_cast<uInt>(slice.size());
      do {
        char buffer[16384];
        stream_.next_out = reinterpret_cast<Bytef*>(buffer);
        stream_.avail_out = sizeof(buffer);
        if (deflate(&stream_, flush) == Z_STREAM_ERROR) {
          return MakeStatus(StatusCode::kInternal, "deflate failed");
        }
        out->append(buffer, sizeof(buffer) - stream_.avail_out);
      } while (stream_.avail_out == 0);
    } while (!in.empty());
    return absl::OkStatus();
  }

 private:
  z_stream stream_{};
};

class ZstdEncoder final : public Encoder {
 public:
  ZstdEncoder() : zstd_(ZSTD_createCCtx()) {
    VARVE_CHECK(zstd_ != nullptr);
    VARVE_CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_compressionLevel, 3)) == 0);
    // Keeps a connection's compressor near 1 MiB.
    VARVE_CHECK(ZSTD_isError(ZSTD_CCtx_setParameter(zstd_.get(), ZSTD_c_windowLog, 18)) == 0);
  }

  Status Write(std::string_view in, bool finish, std::string* out) override {
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    while (true) {
      char buffer[16384];
      ZSTD_outBuffer output{buffer, sizeof(buffer), 0};
      const size_t left =
          ZSTD_compressStream2(zstd_.get(), &output, &input, finish ? ZSTD_e_end : ZSTD_e_continue);
      if (ZSTD_isError(left) != 0) {
        return MakeStatus(StatusCode::kInternal, Concat("zstd: ", ZSTD_getErrorName(left)));
      }
      out->append(buffer, output.pos);
      if (finish ? left == 0 : input.pos == input.size) return absl::OkStatus();
    }
  }

 private:
  std::unique_ptr<ZSTD_CCtx, FreeZstd> zstd_;
};

// Calls `visit(item)` for each comma-separated item, at most `items_max` of them.
template <typename Visit>
void ForEachItem(std::string_view list, size_t items_max, Visit visit) {
  for (size_t i = 0; i < items_max && !list.empty(); ++i) {
    const size_t comma = list.find(',');
    visit(Trim(list.substr(0, comma)));
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
}

// Parses "q=0.5"-like weights; anything else leaves 1, and what is out of range is clamped.
double ParseQuality(std::string_view text) {
  double q = 1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), q);
  if (error != std::errc() || !(q >= 0)) return 0;
  return std::min(q, 1.0);
}

// Splits "token;name=value;..." and calls `visit(name, value)` for each parameter.
template <typename Visit>
std::string_view SplitParameters(std::string_view item, Visit visit) {
  size_t semicolon = item.find(';');
  const std::string_view token = Trim(item.substr(0, semicolon));
  while (semicolon != std::string_view::npos) {
    item.remove_prefix(semicolon + 1);
    semicolon = item.find(';');
    const std::string_view parameter = item.substr(0, semicolon);
    const size_t equals = parameter.find('=');
    if (equals == std::string_view::npos) continue;
    std::string_view value = Trim(parameter.substr(equals + 1));
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
      value = value.substr(1, value.size() - 2);
    }
    visit(Trim(parameter.substr(0, equals)), value);
  }
  return token;
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
      table[i] = crc;
    }
    return table;
  }();
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc = kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
  }
  return ~crc;
}

std::optional<Coding> ParseCoding(std::string_view token) {
  token = Trim(token);
  if (token.empty() || EqualsIgnoreCase(token, "identity")) return Coding::kIdentity;
  if (EqualsIgnoreCase(token, "gzip") || EqualsIgnoreCase(token, "x-gzip")) return Coding::kGzip;
  // The Collector's exporters call the zlib wrapper by its own name too.
  if (EqualsIgnoreCase(token, "deflate") || EqualsIgnoreCase(token, "zlib")) {
    return Coding::kDeflate;
  }
  if (EqualsIgnoreCase(token, "zstd")) return Coding::kZstd;
  if (EqualsIgnoreCase(token, "lz4")) return Coding::kLz4;
  if (EqualsIgnoreCase(token, "snappy")) return Coding::kSnappyBlock;
  if (EqualsIgnoreCase(token, "x-snappy-framed")) return Coding::kSnappyFramed;
  return std::nullopt;
}

Result<std::string> Decode(Coding coding, std::string_view body, const DecodeLimits& limits) {
  switch (coding) {
    case Coding::kIdentity:
      if (body.size() > limits.output_bytes_max) return TooLarge(limits);
      return std::string(body);
    case Coding::kGzip:
      return Inflate(body, kGzipWindow, limits);
    case Coding::kDeflate:
      return Inflate(body, HasZlibHeader(body) ? kZlibWindow : kRawWindow, limits);
    case Coding::kZstd:
      return DecodeZstd(body, limits);
    case Coding::kSnappyBlock:
      return DecodeSnappyBlock(body, limits);
    case Coding::kSnappyFramed:
      return DecodeSnappyFramed(body, limits);
    case Coding::kLz4:
      return DecodeLz4(body, limits);
  }
  return MakeStatus(StatusCode::kInternal, "unknown coding");
}

Result<std::string> DecodeBody(std::string_view content_encoding, std::string body,
                               const DecodeLimits& limits) {
  constexpr size_t kCodingsMax = 2;
  std::vector<Coding> codings;
  Status status;
  ForEachItem(content_encoding, 8, [&](std::string_view token) {
    const std::optional<Coding> coding = ParseCoding(token);
    if (!coding.has_value()) {
      status = MakeStatus(StatusCode::kUnimplemented,
                          Concat("unsupported Content-Encoding ", GoQuote(token)));
    } else if (*coding != Coding::kIdentity) {
      codings.push_back(*coding);
    }
  });
  VARVE_RETURN_IF_ERROR(status);
  if (codings.size() > kCodingsMax) {
    return MakeStatus(StatusCode::kUnimplemented, "more than two content codings");
  }
  if (codings.empty()) {
    if (body.size() > limits.output_bytes_max) return TooLarge(limits);
    return body;
  }
  for (auto coding = codings.rbegin(); coding != codings.rend(); ++coding) {
    VARVE_ASSIGN_OR_RETURN(body, Decode(*coding, body, limits));
  }
  return body;
}

std::unique_ptr<Encoder> Encoder::Make(Coding coding) {
  switch (coding) {
    case Coding::kGzip:
      return std::make_unique<ZlibEncoder>(kGzipWindow);
    case Coding::kDeflate:
      return std::make_unique<ZlibEncoder>(kZlibWindow);
    case Coding::kZstd:
      return std::make_unique<ZstdEncoder>();
    default:
      return nullptr;
  }
}

Coding NegotiateCoding(std::string_view accept_encoding) {
  double gzip = -1;
  double zstd = -1;
  double any = -1;
  ForEachItem(accept_encoding, 32, [&](std::string_view item) {
    double q = 1;
    const std::string_view token =
        SplitParameters(item, [&](std::string_view name, std::string_view value) {
          if (EqualsIgnoreCase(name, "q")) q = ParseQuality(value);
        });
    if (EqualsIgnoreCase(token, "gzip")) gzip = q;
    if (EqualsIgnoreCase(token, "zstd")) zstd = q;
    if (token == "*") any = q;
  });
  if (gzip < 0) gzip = any;
  if (zstd < 0) zstd = any;
  if (zstd > 0 && zstd >= gzip) return Coding::kZstd;
  if (gzip > 0) return Coding::kGzip;
  return Coding::kIdentity;
}

std::string_view TokenOf(Coding coding) {
  switch (coding) {
    case Coding::kIdentity:
      return "identity";
    case Coding::kGzip:
      return "gzip";
    case Coding::kDeflate:
      return "deflate";
    case Coding::kZstd:
      return "zstd";
    case Coding::kSnappyBlock:
      return "snappy";
    case Coding::kSnappyFramed:
      return "x-snappy-framed";
    case Coding::kLz4:
      return "lz4";
  }
  return "identity";
}

std::vector<MediaRange> ParseAccept(std::string_view accept) {
  std::vector<MediaRange> out;
  ForEachItem(accept, 32, [&](std::string_view item) {
    MediaRange range;
    range.type = SplitParameters(item, [&](std::string_view name, std::string_view value) {
      if (EqualsIgnoreCase(name, "q")) range.q = ParseQuality(value);
      if (EqualsIgnoreCase(name, "version")) range.version = value;
    });
    if (range.type.find('/') == std::string::npos) return;
    std::transform(range.type.begin(), range.type.end(), range.type.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    out.push_back(std::move(range));
  });
  return out;
}

}  // namespace varve::http
