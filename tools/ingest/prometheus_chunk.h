#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "varve/sample.h"
#include "varve/status.h"

namespace varve::ingest {

/// How Prometheus encodes the samples of one chunk (tsdb/chunkenc).
enum class PrometheusEncoding : uint8_t {
  kXor = 1,
  kHistogram = 2,
  kFloatHistogram = 3,
  kXor2 = 4,
};

/// The samples of one chunk: `values` or `histograms`, as many as `times_ms`.
struct PrometheusChunk {
  std::vector<int64_t> times_ms;
  std::vector<double> values;
  std::vector<Histogram> histograms;
  bool is_histogram = false;
};

/// Decodes the payload of a chunk, replacing `out`. `encoding` is the byte before the payload.
/// Start timestamps of XOR2 chunks are read past. Errors: kDataLoss for bits that do not decode,
/// kUnimplemented for an encoding that is not known.
Status DecodePrometheusChunk(uint8_t encoding, std::string_view payload, PrometheusChunk* out);

}  // namespace varve::ingest
