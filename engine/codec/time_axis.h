#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/codec/int_stream.h"

namespace varve::codec {

/// Encodes the timestamps of one chunk: the first, the usual interval, and how far each is off
/// that grid, which is zero, noise of a few milliseconds, or a sequence of its own. Exact for any
/// ascending int64 times. Holds scratch memory; not thread-safe. Format:
/// engine/docs/format/metrics-block.md, "Time axes".
class TimeAxisEncoder {
 public:
  /// Appends the axis of `times`, which are at least one and strictly ascending. Cost: about 20 ns
  /// a time.
  void Encode(std::span<const int64_t> times, std::string* out);

 private:
  IntStreamEncoder streams_;
  std::vector<int64_t> scratch_;
};

/// Decodes all `out.size()` >= 1 times out of bytes that may be anything. Returns false if they
/// are malformed or the times do not ascend. Cost: 1 to 5 ns a time.
[[nodiscard]] bool DecodeTimeAxis(std::string_view bytes, std::span<int64_t> out);

}  // namespace varve::codec
