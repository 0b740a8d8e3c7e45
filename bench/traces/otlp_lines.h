#pragma once

#include <string>
#include <vector>

#include "varve/span_batch.h"

namespace varve::bench {

/// Reads a file of OTLP/JSON trace requests, one a line (`.zst` is decompressed), into one batch a
/// line; only what TrainTicket's file has: string attributes of resources, no events, no links.
/// Stops the program on anything else.
std::vector<SpanBatch> LoadOtlpLines(const std::string& path);

}  // namespace varve::bench
