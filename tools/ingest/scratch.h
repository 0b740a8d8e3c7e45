#pragma once

#include <string>
#include <vector>

#include "engine/base/arena.h"
#include "varve/labels.h"
#include "varve/write_batch.h"

namespace varve::ingest {

/// Buffers that one request needs and the next can use again: they keep their memory, so a steady
/// stream of requests allocates next to nothing.
struct Scratch {
  std::string decoded;  // the body after decompression
  WriteBatch batch;
  std::vector<SeriesKey> keys;
  std::vector<SeriesRef> refs;
  std::vector<LabelView> labels;

  /// What of this one request makes larger than usual is given back, not kept for ever.
  static constexpr size_t kKeptBytesMax = 8 << 20;
};

}  // namespace varve::ingest
