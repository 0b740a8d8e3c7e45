#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "varve/status.h"

namespace varve::ingest {

enum class BodyEncoding : uint8_t { kIdentity, kSnappyBlock, kGzip, kDeflate, kZstd };

/// Reads a Content-Encoding header value; empty means identity. Errors: kUnimplemented for one
/// that is not known, or for several at once.
Result<BodyEncoding> ParseContentEncoding(std::string_view value);

/// Decompresses `body` into `buffer`, replacing it, and returns a view of the result: of `buffer`,
/// or of `body` itself for identity. Nothing larger than `bytes_max` is ever allocated: a declared
/// length over it is refused at once, an undeclared one as soon as the output passes it. Zstd
/// frames whose window is larger than the limit are refused too. Errors: kResourceExhausted naming
/// the limit, kInvalidArgument for bytes that are not of that encoding.
Result<std::string_view> DecodeBody(BodyEncoding encoding, std::string_view body,
                                    uint64_t bytes_max, std::string* buffer);

}  // namespace varve::ingest
