#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "varve/status.h"

/// Content codings of request and response bodies.
namespace varve::http {

enum class Coding : uint8_t {
  kIdentity,
  kGzip,
  kDeflate,  // zlib wrapper; the bare stream that some clients send is understood too
  kZstd,
  kSnappyBlock,   // what remote write calls "snappy"
  kSnappyFramed,  // the streaming format, "x-snappy-framed"
  kLz4,           // frames; of requests only
};

/// Returns the coding that one Content-Encoding token names; nullopt if we do not know it.
/// An empty token is identity. "snappy" is the block format.
std::optional<Coding> ParseCoding(std::string_view token);

struct DecodeLimits {
  size_t output_bytes_max = 32u << 20;
  /// zstd frames that need a larger window are refused before it is allocated: 2^23 is 8 MiB, what
  /// RFC 8878 recommends to support.
  int zstd_window_log_max = 23;
};

/// Undoes one coding. Every declared length is checked against `limits` before memory is taken,
/// and memory grows with the output that really comes, so a body costs at most
/// `output_bytes_max` plus one window.
/// Errors: kInvalidArgument for a malformed or cut body, kResourceExhausted for one that is larger
/// than the limits.
Result<std::string> Decode(Coding coding, std::string_view body, const DecodeLimits& limits);

/// Undoes a whole Content-Encoding header, the last coding first. Errors: as Decode;
/// kUnimplemented for a coding that we do not know (HTTP 415) or for more than two.
Result<std::string> DecodeBody(std::string_view content_encoding, std::string body,
                               const DecodeLimits& limits);

/// Compresses a stream piece by piece. Not thread-safe.
class Encoder {
 public:
  virtual ~Encoder() = default;
  /// Compresses `in` and appends whatever is ready to `out`; with `finish` the stream ends here.
  virtual Status Write(std::string_view in, bool finish, std::string* out) = 0;
  /// Makes one for kGzip, kDeflate or kZstd.
  static std::unique_ptr<Encoder> Make(Coding coding);
};

/// Picks the coding for a response from an Accept-Encoding header: the highest q, at equal q zstd,
/// then gzip. kIdentity when neither is accepted or the header is empty.
Coding NegotiateCoding(std::string_view accept_encoding);
/// The Content-Encoding token of a coding.
std::string_view TokenOf(Coding coding);

/// One media range of an Accept header.
struct MediaRange {
  std::string type;     // lower case, for example "text/plain" or "*/*"
  std::string version;  // the version parameter, if any
  double q = 1;
};
/// Parses at most 32 ranges; malformed ones are skipped.
std::vector<MediaRange> ParseAccept(std::string_view accept);

}  // namespace varve::http
