#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/arena.h"
#include "varve/labels.h"
#include "varve/write_batch.h"

namespace varve::ingest {

/// The columns of a remote-write request between its two passes.
struct RemoteWriteBuffers {
  /// One TimeSeries, once it has been split from the body.
  struct Slice {
    std::string_view message;  // all of it
    std::string_view labels;   // version 1.0: its label fields, tags included, in one run
    uint32_t refs_begin = 0;   // version 2.0: into label_refs
    uint32_t refs_count = 0;
  };
  std::vector<Slice> slices;
  std::vector<std::string_view> metadata;  // version 1.0
  std::vector<std::string_view> symbols;   // version 2.0, with their hashes
  std::vector<SeriesKey> symbol_keys;
  std::vector<uint32_t> label_refs;
  std::vector<uint32_t> slice_of;  // of each series of the batch

  void Clear() {
    slices.clear();
    metadata.clear();
    symbols.clear();
    symbol_keys.clear();
    label_refs.clear();
    slice_of.clear();
  }
};

/// Buffers that one request needs and the next can use again: they keep their memory, so a steady
/// stream of requests allocates next to nothing.
struct Scratch {
  std::string decoded;  // the body after decompression
  WriteBatch batch;
  std::vector<SeriesKey> keys;
  std::vector<SeriesRef> refs;
  std::vector<LabelView> labels;
  RemoteWriteBuffers remote_write;

  /// What of this one request makes larger than usual is given back, not kept for ever.
  static constexpr size_t kKeptBytesMax = 8 << 20;
};

}  // namespace varve::ingest
