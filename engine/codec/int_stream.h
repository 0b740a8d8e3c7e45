#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/coding.h"
#include "engine/codec/stream_kernels.h"

namespace varve::codec {

/// Values per block of a stream: each block decodes by itself.
inline constexpr uint32_t kStreamBlockValues = 128;

/// How a stream predicts each value; the first `order` values of a block stand in its header.
/// On disk: add, never renumber.
enum class StreamOrder : uint8_t {
  kPlain = 0,   // nothing is predicted
  kDelta = 1,   // the value before
  kDelta2 = 2,  // the value before and the difference before
};
/// How what remains is written. On disk: add, never renumber.
enum class StreamCoder : uint8_t {
  kPacked = 0,        // frame of reference, one minimum and width for the stream
  kPackedBlocks = 1,  // a minimum and width for each block
  kClasses = 2,       // prefix code of the bit width, then the bits below the leading one
  kDictionary = 3,    // prefix code of up to 64 values
};

/// Encodes sequences of any int64 values as the smallest of the above. Holds scratch memory for
/// reuse; not thread-safe. Format: engine/docs/format/metrics-block.md, "Integer streams".
class IntStreamEncoder {
 public:
  /// Appends the stream of `values`, which are at least one. Cost: 5 to 20 ns a value.
  void Encode(std::span<const int64_t> values, std::string* out);

 private:
  struct Plan;
  /// `bits`: what the differences of the order need, those of the leading values among them.
  void PlanOrder(std::span<const int64_t> values, StreamOrder order, uint64_t bits, Plan* best);
  void Emit(std::span<const int64_t> values, const Plan& plan, std::string* out);
  /// Sets rests_[order].
  void TakeRest(std::span<const int64_t> values, StreamOrder order);
  /// Returns what the order leaves: `values` themselves, or those of rests_[order].
  std::span<const int64_t> Coded(std::span<const int64_t> values, StreamOrder order) const;

  /// What an order leaves to be coded.
  struct Rest {
    std::vector<int64_t> values;      // all blocks in a row; empty under kPlain
    size_t count = 0;                 // of the values, in use
    std::vector<StreamRange> ranges;  // of each block with such values
  };
  std::array<Rest, 3> rests_;  // by order
};

/// Reads one stream out of bytes that may be anything. Refers to the bytes; does not own them.
class IntStreamReader {
 public:
  /// Parses the head of a stream of `count` >= 1 values at the position of `in` and moves `in`
  /// behind the stream. Returns false, or `in` not ok(), if it is malformed. Cost: one step a
  /// block.
  [[nodiscard]] bool Open(ByteReader* in, std::string_view bytes, uint32_t count);

  /// Decodes values [begin, end) into `out`. Returns false on damaged bytes. Cost: one step for
  /// each block before, 1 to 6 ns a value in those that are touched. Precondition: opened,
  /// begin <= end <= count.
  [[nodiscard]] bool Decode(uint32_t begin, uint32_t end, int64_t* out) const;

  /// Decodes the values at `places`, ascending and below count, into out[place]; what `out` has
  /// elsewhere is undefined. `out` has room for count() values. Blocks without a place are stepped
  /// over, not decoded. Returns false on damaged bytes.
  [[nodiscard]] bool DecodeAt(std::span<const uint32_t> places, int64_t* out) const;

  uint32_t count() const { return count_; }
  StreamOrder order() const { return order_; }
  StreamCoder coder() const { return coder_; }
  /// Returns the bits of each value under kPacked.
  uint32_t packed_width() const { return width_; }

 private:
  struct BlockHead {
    uint64_t base = 0;
    uint64_t delta = 0;
    uint64_t minimum = 0;
    uint32_t width = 0;
    uint32_t coded = 0;       // values in bits
    uint64_t half_bytes = 0;  // of the first half of the codes
    std::string_view bits;
  };
  bool ReadCode(ByteReader* in);
  bool NextBlock(ByteReader* in, uint32_t values, BlockHead* head) const;
  bool DecodeBlock(const BlockHead& head, uint32_t values, uint64_t* out) const;
  bool DecodeCodes(const BlockHead& head, uint64_t* out) const;

  uint32_t count_ = 0;
  StreamOrder order_ = StreamOrder::kPlain;
  StreamCoder coder_ = StreamCoder::kPacked;
  uint32_t width_ = 0;
  uint64_t minimum_ = 0;  // or the offset of classes
  std::string_view blocks_;
  // By the next bits: code length | extra bits << 8 | their sum << 16 | symbol << 24.
  uint32_t table_mask_ = 0;
  std::array<uint32_t, 256> table_;
  std::array<uint64_t, 65> bases_;  // by symbol
};

}  // namespace varve::codec
