#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace varve::api {

/// Encodes float samples as a Prometheus XOR chunk (encoding 1), for remote read clients:
/// big-endian count, then Gorilla bits. Times ascend; 1 to 65,535 samples. (Prometheus,
/// tsdb/chunkenc/xor.go; Pelkonen et al., "Gorilla", VLDB 2015, section 4.1.)
std::string EncodeXorChunk(std::span<const int64_t> times_ms, std::span<const double> values);

}  // namespace varve::api
