#include "engine/codec/int_stream.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "engine/base/macros.h"
#include "engine/codec/bits.h"

namespace varve::codec {
namespace {

constexpr uint32_t kCodeBitsMax = 8;
constexpr uint32_t kClasses = 65;  // bit widths 0..64
constexpr uint32_t kDictionaryMax = 64;
constexpr uint8_t kNoSymbol = kDictionaryMax;
constexpr uint32_t kPackedPeekBitsMax = 57;
// The longest block: 128 codes of eight bits with 63 more.
constexpr size_t kBlockBytesMax = (kStreamBlockValues * (kCodeBitsMax + 63) + 7) / 8 + 1;

uint32_t LeadValues(StreamOrder order) {
  switch (order) {
    case StreamOrder::kPlain:
      return 0;
    case StreamOrder::kDelta2:
      return 2;
    default:
      return 1;
  }
}
uint32_t CodedValues(StreamOrder order, uint32_t values) {
  return values - std::min(values, LeadValues(order));
}
/// The codes of a block are in two halves, decoded side by side: each step of one waits for the
/// one before, but not for the other half.
constexpr uint32_t FirstHalf(uint32_t coded) { return (coded + 1) / 2; }
uint32_t VarintBytes(uint64_t value) { return (BitWidth(value | 1) + 6) / 7; }
uint32_t ClassExtra(uint32_t symbol) { return symbol == 0 ? 0 : symbol - 1; }
uint32_t WidthOf(const StreamRange& range) {
  return BitWidth(static_cast<uint64_t>(range.high) - static_cast<uint64_t>(range.low));
}
const StreamKernels& BestKernels() {
  static const StreamKernels& best = AllStreamKernels().back();
  return best;
}
uint64_t ClassBase(uint32_t symbol) { return symbol == 0 ? 0 : uint64_t{1} << (symbol - 1); }

/// Writes bit fields, lowest bit first, to memory with eight bytes of room behind the last one.
class BitWriter {
 public:
  static constexpr uint32_t kShortBits = 56;

  explicit BitWriter(char* at) : at_(at) {}
  /// Precondition: `value` has no more than `bits`, and these are at most kShortBits.
  void PutShort(uint64_t value, uint32_t bits) {
    held_ |= value << used_;
    Store64(at_, held_);
    used_ += bits;
    at_ += used_ / 8;
    held_ >>= used_ & ~7u;
    used_ &= 7;
  }
  void Put(uint64_t value, uint32_t bits) {
    if (bits <= kShortBits) return PutShort(value, bits);
    PutShort(value & MaskOf(32), 32);
    PutShort(value >> 32, bits - 32);
  }
  /// Fills up the last byte with zeros and returns the end.
  char* Flush() {
    if (used_ != 0) ++at_;
    held_ = 0;
    used_ = 0;
    return at_;
  }

 private:
  char* at_;
  uint64_t held_ = 0;  // fewer than eight bits between calls
  uint32_t used_ = 0;
};

/// Writes the distances of values from `minimum`, which need `width` bits each, and returns the
/// end. Several go at once where they are short, since each step waits for the one before.
char* Pack(std::span<const int64_t> values, uint64_t minimum, uint32_t width, char* out) {
  if (width == 0) return out;
  BitWriter writer(out);
  const auto distance = [&](size_t i) { return static_cast<uint64_t>(values[i]) - minimum; };
  size_t i = 0;
  if (width <= BitWriter::kShortBits / 4) {
    for (; i + 4 <= values.size(); i += 4) {
      const uint64_t low = distance(i) | distance(i + 1) << width;
      const uint64_t high = distance(i + 2) | distance(i + 3) << width;
      writer.PutShort(low | high << 2 * width, 4 * width);
    }
  } else if (width <= BitWriter::kShortBits / 2) {
    for (; i + 2 <= values.size(); i += 2) {
      writer.PutShort(distance(i) | distance(i + 1) << width, 2 * width);
    }
  }
  for (; i < values.size(); ++i) writer.Put(distance(i), width);
  return writer.Flush();
}

/// Returns a lower bound of log2(value), not more than 0.09 below it; value >= 1.
double Log2Bound(double value) {
  // The exponent, and between powers of two the chord: log2(1 + x) >= x.
  constexpr int64_t kOne = int64_t{0x3ff} << 52;
  return static_cast<double>(std::bit_cast<int64_t>(value) - kOne) * 0x1p-52;
}

/// Returns the median of some values, the larger one of two.
int64_t SampledMedian(std::span<const int64_t> values) {
  constexpr size_t kSamples = 63;
  std::array<int64_t, kSamples> sample;
  size_t size = std::min(values.size(), kSamples);
  if (size < kSamples) {
    std::copy(values.begin(), values.end(), sample.begin());
  } else {
    for (size_t i = 0; i < kSamples; ++i) sample[i] = values[i * values.size() / kSamples];
  }
  // Quickselect whose steps do not depend on the comparisons: the smaller ones go to the front of
  // the sample, the larger ones aside.
  std::array<int64_t, kSamples> aside;
  for (size_t wanted = size / 2;;) {
    const int64_t pivot = sample[size / 2];
    size_t smaller = 0;
    size_t larger = 0;
    for (size_t i = 0; i < size; ++i) {
      const int64_t value = sample[i];
      sample[smaller] = value;
      smaller += value < pivot ? 1 : 0;
      aside[larger] = value;
      larger += value > pivot ? 1 : 0;
    }
    if (wanted < smaller) {
      size = smaller;
    } else if (wanted < size - larger) {
      return pivot;
    } else {
      wanted -= size - larger;
      size = larger;
      std::copy_n(aside.begin(), size, sample.begin());
    }
  }
}

/// Where the values of a dictionary are found again: 256 slots, by the distance from the first
/// value where all distances are that short, else by a hash.
class DictionarySlots {
 public:
  static constexpr uint32_t kSlots = 256;

  DictionarySlots(int64_t low, int64_t high)
      : low_(static_cast<uint64_t>(low)),
        direct_(static_cast<uint64_t>(high) - static_cast<uint64_t>(low) < kSlots) {}
  /// Whether each value of the range has a slot of its own, in ascending order.
  bool direct() const { return direct_; }
  uint32_t First(int64_t value) const {
    return direct_
               ? static_cast<uint32_t>(static_cast<uint64_t>(value) - low_)
               : static_cast<uint32_t>((static_cast<uint64_t>(value) * 0x9E3779B97F4A7C15u) >> 56);
  }
  static uint32_t Next(uint32_t slot) { return (slot + 1) & (kSlots - 1); }

 private:
  uint64_t low_;
  bool direct_;
};

/// Finds lengths of at most eight bits for an optimal or nearly optimal prefix code over the
/// symbols with a count; the others get length 0. At least two symbols have a count.
void CodeLengths(std::span<const uint32_t> counts, std::span<uint8_t> lengths) {
  struct Node {
    uint64_t weight;
    uint32_t left, right;
  };
  std::array<Node, 2 * kClasses> nodes;
  std::array<uint32_t, kClasses> symbols;
  uint32_t leaves = 0;
  for (uint32_t s = 0; s < counts.size(); ++s) {
    lengths[s] = 0;
    if (counts[s] != 0) symbols[leaves++] = s;
  }
  std::sort(symbols.begin(), symbols.begin() + leaves, [&](uint32_t a, uint32_t b) {
    return counts[a] != counts[b] ? counts[a] < counts[b] : a < b;
  });
  VARVE_CHECK(leaves >= 2);
  // Two queues, both ascending: the leaves, and the inner nodes in the order they are made.
  for (uint32_t i = 0; i < leaves; ++i) nodes[i] = {counts[symbols[i]], 0, 0};
  uint32_t leaf = 0;
  uint32_t inner = leaves;
  uint32_t size = leaves;
  const auto take = [&] {
    if (leaf < leaves && (inner >= size || nodes[leaf].weight <= nodes[inner].weight))
      return leaf++;
    return inner++;
  };
  while (size < 2 * leaves - 1) {
    const uint32_t a = take();
    const uint32_t b = take();
    nodes[size] = {nodes[a].weight + nodes[b].weight, a, b};
    ++size;
  }
  std::array<uint8_t, 2 * kClasses> depth;
  depth[size - 1] = 0;
  for (uint32_t i = size; i-- > leaves;) {
    depth[nodes[i].left] = depth[nodes[i].right] = static_cast<uint8_t>(depth[i] + 1);
  }
  // Cutting long codes short oversubscribes the code space; lengthen the rarest others until it
  // fits, then give what is left to the most frequent.
  uint32_t space = 0;  // used, in units of 2^-8
  for (uint32_t i = 0; i < leaves; ++i) {
    depth[i] = std::min<uint8_t>(depth[i], kCodeBitsMax);
    space += 1u << (kCodeBitsMax - depth[i]);
  }
  constexpr uint32_t kFull = 1u << kCodeBitsMax;
  for (uint32_t i = 0; space > kFull; i = i + 1 < leaves ? i + 1 : 0) {
    while (depth[i] < kCodeBitsMax && space > kFull) {
      ++depth[i];
      space -= 1u << (kCodeBitsMax - depth[i]);
    }
  }
  for (uint32_t i = leaves; i-- > 0;) {
    while (depth[i] > 1 && space + (1u << (kCodeBitsMax - depth[i])) <= kFull) {
      space += 1u << (kCodeBitsMax - depth[i]);
      --depth[i];
    }
  }
  VARVE_CHECK(space == kFull);
  for (uint32_t i = 0; i < leaves; ++i) lengths[symbols[i]] = depth[i];
}

/// Reverses the bits of a byte.
constexpr std::array<uint8_t, 256> kReversed = [] {
  std::array<uint8_t, 256> out{};
  for (uint32_t i = 0; i < 256; ++i) {
    for (uint32_t b = 0; b < 8; ++b) out[i] |= (i >> b & 1) << (7 - b);
  }
  return out;
}();

/// Gives codes of the lengths, by length and then symbol, lowest bit first.
void AssignCodes(std::span<const uint8_t> lengths, std::span<uint8_t> codes) {
  std::array<uint32_t, kCodeBitsMax + 2> next{};
  for (const uint8_t bits : lengths) ++next[bits + 1];
  next[1] = 0;
  for (uint32_t bits = 1; bits <= kCodeBitsMax; ++bits) {
    // The first code of a length follows the last one of the length before.
    next[bits] = bits == 1 ? 0 : (next[bits - 1] + next[bits]) << 1;
  }
  for (uint32_t s = 0; s < lengths.size(); ++s) {
    if (lengths[s] != 0) codes[s] = kReversed[next[lengths[s]]++ << (8 - lengths[s]) & 0xff];
  }
}

}  // namespace

struct IntStreamEncoder::Plan {
  uint64_t bytes = std::numeric_limits<uint64_t>::max();  // what counts: a little more than the
                                                          // size where decoding is slow
  StreamOrder order = StreamOrder::kPlain;
  StreamCoder coder = StreamCoder::kPacked;
  uint64_t minimum = 0;
  uint32_t width = 0;
  uint32_t dictionary_size = 0;
  std::array<int64_t, kDictionaryMax> dictionary;  // sorted
  std::array<uint8_t, kClasses> lengths;
};

std::span<const int64_t> IntStreamEncoder::Coded(std::span<const int64_t> values,
                                                 StreamOrder order) const {
  if (order == StreamOrder::kPlain) return values;
  const Rest& rest = rests_[static_cast<size_t>(order)];
  return std::span(rest.values).first(rest.count);
}

void IntStreamEncoder::TakeRest(std::span<const int64_t> values, StreamOrder order) {
  const StreamKernels& kernels = BestKernels();
  Rest& rest = rests_[static_cast<size_t>(order)];
  rest.ranges.clear();
  // Never made smaller: what grows is filled with zeros first.
  if (order != StreamOrder::kPlain && rest.values.size() < values.size()) {
    rest.values.resize(values.size());
  }
  int64_t* out = rest.values.data();
  for (size_t begin = 0; begin < values.size(); begin += kStreamBlockValues) {
    const auto count =
        static_cast<uint32_t>(std::min<size_t>(values.size() - begin, kStreamBlockValues));
    const uint32_t coded = CodedValues(order, count);
    if (coded == 0) break;  // the last block
    const int64_t* block = values.data() + begin;
    switch (order) {
      case StreamOrder::kPlain:
        rest.ranges.push_back(kernels.range(block, count));
        break;
      case StreamOrder::kDelta:
        rest.ranges.push_back(kernels.delta(block, count, out));
        break;
      case StreamOrder::kDelta2:
        rest.ranges.push_back(kernels.delta2(block, count, out));
        break;
    }
    out += coded;
  }
  rest.count = static_cast<size_t>(out - rest.values.data());
}

void IntStreamEncoder::PlanOrder(std::span<const int64_t> values, StreamOrder order, uint64_t bits,
                                 Plan* best) {
  TakeRest(values, order);
  const std::span<const int64_t> coded = Coded(values, order);
  const std::vector<StreamRange>& ranges = rests_[static_cast<size_t>(order)].ranges;
  // What every coder pays: the mode byte and the leading values of the blocks.
  uint64_t heads = 1;
  if (order != StreamOrder::kPlain) {
    int64_t base = 0;
    int64_t delta = 0;
    for (size_t begin = 0; begin < values.size(); begin += kStreamBlockValues) {
      heads += VarintBytes(ZigZag(WrapSub(values[begin], base)));
      base = values[begin];
      if (order == StreamOrder::kDelta2 && begin + 1 < values.size()) {
        const int64_t first = WrapSub(values[begin + 1], values[begin]);
        heads += VarintBytes(ZigZag(WrapSub(first, delta)));
        delta = first;
      }
    }
  }
  const auto consider = [&](uint64_t bytes, StreamCoder coder) {
    if (bytes >= best->bytes) return false;
    best->bytes = bytes;
    best->order = order;
    best->coder = coder;
    return true;
  };
  const size_t count = coded.size();
  // A block's share of `coded` is shorter than the block by the leading values.
  const size_t step = kStreamBlockValues - LeadValues(order);
  StreamRange all;
  if (!ranges.empty()) all = ranges[0];
  uint64_t blocks_bytes = heads;
  int64_t minimum = 0;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const StreamRange& range = ranges[i];
    const uint32_t width = WidthOf(range);
    blocks_bytes += 1 + VarintBytes(ZigZag(WrapSub(range.low, minimum))) +
                    (std::min(count - i * step, step) * width + 7) / 8;
    minimum = range.low;
    all.low = std::min(all.low, range.low);
    all.high = std::max(all.high, range.high);
  }
  const uint32_t width = WidthOf(all);
  const uint64_t packed_bytes = heads + 1 + VarintBytes(ZigZag(all.low)) +
                                count / step * ((step * width + 7) / 8) +
                                (count % step * width + 7) / 8;
  if (consider(packed_bytes, StreamCoder::kPacked)) {
    best->minimum = static_cast<uint64_t>(all.low);
    best->width = width;
  }
  consider(blocks_bytes, StreamCoder::kPackedBlocks);
  const uint64_t fixed_bytes = std::min(packed_bytes, blocks_bytes);
  if (width < 2 || count < 8) return;
  // Codes decode several times slower than packed bits, so they must earn it.
  const auto coded_bytes = [&](uint64_t bytes) { return bytes + bytes / 4 + 16; };
  // Each block's codes have a length in front and are padded to a byte.
  const uint64_t code_heads = heads + 3 * ranges.size();
  const auto worth = [&](uint64_t table_bytes, uint64_t bits) {
    return coded_bytes(code_heads + table_bytes + bits / 8) < std::min(best->bytes, fixed_bytes);
  };
  // No table has less than four bytes, no code less than a bit.
  if (!worth(4, count)) return;

  std::array<int64_t, kDictionaryMax> dictionary;
  const auto try_codes = [&](std::span<const uint32_t> counts, uint64_t table_bytes, bool classes,
                             uint64_t offset) {
    // The size by the entropy; a bound of that is cheaper, and mostly enough.
    const auto bits_by = [&](auto&& log2) {
      double bits = 0;
      for (const uint32_t n : counts) {
        if (n == 0) continue;
        const auto c = static_cast<double>(n);
        bits += c * std::max(1.0, log2(static_cast<double>(count) / c));
      }
      return bits;
    };
    uint64_t extra = 0;
    uint32_t used = 0;
    for (uint32_t s = 0; s < counts.size(); ++s) {
      if (counts[s] == 0) continue;
      ++used;
      if (classes) extra += uint64_t{counts[s]} * ClassExtra(s);
    }
    const auto may_be_worth = [&](double bits) {
      return worth(table_bytes, static_cast<uint64_t>(bits + static_cast<double>(extra)));
    };
    if (used < 2 || !may_be_worth(bits_by(Log2Bound) * (1 - 1e-9)) ||
        !may_be_worth(bits_by([](double value) { return std::log2(value); }))) {
      return;
    }
    std::array<uint8_t, kClasses> lengths;
    CodeLengths(counts, std::span(lengths).first(counts.size()));
    uint64_t exact = extra;
    for (uint32_t s = 0; s < counts.size(); ++s) exact += uint64_t{counts[s]} * lengths[s];
    const uint64_t bytes = code_heads + table_bytes + exact / 8;
    if (!consider(coded_bytes(bytes), classes ? StreamCoder::kClasses : StreamCoder::kDictionary)) {
      return;
    }
    best->lengths = lengths;
    best->minimum = offset;
    if (!classes) {
      best->dictionary_size = static_cast<uint32_t>(counts.size());
      std::copy_n(dictionary.begin(), counts.size(), best->dictionary.begin());
    }
  };

  // No value needs fewer bits than the one next to zero, nor all of them fewer than `bits` without
  // what the leading values need; the first of all has none in front of it.
  uint64_t bits_min = count * (all.low > 0    ? BitWidth(ZigZag(all.low))
                               : all.high < 0 ? BitWidth(ZigZag(all.high))
                                              : 1);
  const uint64_t lead_bits = 64 * (ranges.size() * LeadValues(order) - 1);
  if (order != StreamOrder::kPlain && bits > lead_bits) {
    bits_min = std::max(bits_min, bits - lead_bits);
  }
  // Widths of the distance from zero, and from a value in the middle.
  const int64_t middle = SampledMedian(coded);
  const std::array<int64_t, 2> offsets = {0, middle};
  for (const int64_t offset : std::span(offsets).first(middle == 0 ? 1 : 2)) {
    if (offset == 0 && !worth(4, bits_min)) continue;
    std::array<uint32_t, kClasses> counts;
    BestKernels().count_widths(coded, offset, &counts);
    uint32_t first = 0;
    uint32_t last = kClasses - 1;
    while (first < last && counts[first] == 0) ++first;
    while (last > first && counts[last] == 0) --last;
    try_codes(counts, VarintBytes(ZigZag(offset)) + 2 + (last - first + 2) / 2, true,
              static_cast<uint64_t>(offset));
  }

  // Few distinct values: collected in a small table, given up at the first too many.
  const DictionarySlots slots(all.low, all.high);
  std::array<int64_t, DictionarySlots::kSlots> held;
  std::array<uint32_t, DictionarySlots::kSlots> hits{};
  uint32_t distinct = 0;
  for (const int64_t v : coded) {
    uint32_t slot = slots.First(v);
    while (hits[slot] != 0 && held[slot] != v) slot = DictionarySlots::Next(slot);
    if (hits[slot] == 0) {
      // Each but the first takes a byte and a half of the table at least.
      ++distinct;
      if (distinct > kDictionaryMax || !worth(1 + (distinct + 1) / 2 + distinct, count)) return;
      held[slot] = v;
    }
    ++hits[slot];
  }
  if (distinct < 2) return;
  std::array<std::pair<int64_t, uint32_t>, kDictionaryMax> found;
  uint32_t filled = 0;
  for (uint32_t slot = 0; slot < hits.size(); ++slot) {
    if (hits[slot] != 0) found[filled++] = {held[slot], hits[slot]};
  }
  if (!slots.direct()) std::sort(found.begin(), found.begin() + distinct);
  std::array<uint32_t, kDictionaryMax> counts;
  uint64_t table_bytes = 1 + VarintBytes(ZigZag(found[0].first)) + (distinct + 1) / 2;
  for (uint32_t i = 0; i < distinct; ++i) {
    dictionary[i] = found[i].first;
    counts[i] = std::min<uint32_t>(found[i].second, std::numeric_limits<uint16_t>::max());
    if (i > 0) {
      table_bytes += VarintBytes(static_cast<uint64_t>(found[i].first) -
                                 static_cast<uint64_t>(found[i - 1].first));
    }
  }
  try_codes(std::span(counts).first(distinct), table_bytes, false, 0);
}

void IntStreamEncoder::Encode(std::span<const int64_t> values, std::string* out) {
  // The bits of what each order leaves say which orders are worth a closer look.
  const StreamWidths bits = BestKernels().widths(values);
  Plan plan;
  if (bits.plain == 0) {
    // One value, whose shortest form is known.
    plan.minimum = static_cast<uint64_t>(values[0]);
    return Emit(values, plan, out);
  }
  const uint64_t limit = std::min({bits.plain, bits.delta, bits.delta2}) * 5 / 4 + 256;
  if (bits.plain <= limit) PlanOrder(values, StreamOrder::kPlain, bits.plain, &plan);
  if (bits.delta <= limit && values.size() > 1) {
    PlanOrder(values, StreamOrder::kDelta, bits.delta, &plan);
  }
  if (bits.delta2 <= limit && values.size() > 2) {
    PlanOrder(values, StreamOrder::kDelta2, bits.delta2, &plan);
  }
  Emit(values, plan, out);
}

void IntStreamEncoder::Emit(std::span<const int64_t> values, const Plan& plan, std::string* out) {
  out->push_back(
      static_cast<char>(static_cast<uint8_t>(plan.order) | static_cast<uint8_t>(plan.coder) << 2));
  std::array<uint8_t, kClasses> codes{};
  DictionarySlots slots(0, 0);
  std::array<uint8_t, DictionarySlots::kSlots> symbols;
  switch (plan.coder) {
    case StreamCoder::kPacked:
      out->push_back(static_cast<char>(plan.width));
      PutSigned(out, static_cast<int64_t>(plan.minimum));
      break;
    case StreamCoder::kPackedBlocks:
      break;
    case StreamCoder::kClasses:
    case StreamCoder::kDictionary: {
      uint32_t first = 0;
      uint32_t last = kClasses - 1;
      if (plan.coder == StreamCoder::kClasses) {
        while (plan.lengths[first] == 0) ++first;
        while (plan.lengths[last] == 0) --last;
        PutSigned(out, static_cast<int64_t>(plan.minimum));
        out->push_back(static_cast<char>(first));
        out->push_back(static_cast<char>(last));
      } else {
        last = plan.dictionary_size - 1;
        out->push_back(static_cast<char>(plan.dictionary_size));
        PutSigned(out, plan.dictionary[0]);
        for (uint32_t i = 1; i <= last; ++i) {
          PutVarint(out, static_cast<uint64_t>(plan.dictionary[i]) -
                             static_cast<uint64_t>(plan.dictionary[i - 1]));
        }
        slots = DictionarySlots(plan.dictionary[0], plan.dictionary[last]);
        symbols.fill(kNoSymbol);
        for (uint32_t i = 0; i <= last; ++i) {
          uint32_t slot = slots.First(plan.dictionary[i]);
          while (symbols[slot] != kNoSymbol) slot = DictionarySlots::Next(slot);
          symbols[slot] = static_cast<uint8_t>(i);
        }
      }
      for (uint32_t s = first; s <= last; s += 2) {
        const uint32_t high = s + 1 <= last ? plan.lengths[s + 1] : 0;
        out->push_back(static_cast<char>(plan.lengths[s] | high << 4));
      }
      AssignCodes(std::span(plan.lengths).first(last + 1), codes);
      break;
    }
  }
  const auto put_class = [&](int64_t value, BitWriter* writer) {
    const uint64_t v = ZigZag(WrapSub(value, static_cast<int64_t>(plan.minimum)));
    const uint32_t symbol = BitWidth(v);
    const uint64_t below = v - ClassBase(symbol);
    const uint32_t length = plan.lengths[symbol];
    if (length + ClassExtra(symbol) <= BitWriter::kShortBits) [[likely]] {
      writer->PutShort(codes[symbol] | below << length, length + ClassExtra(symbol));
    } else {
      writer->PutShort(codes[symbol], length);
      writer->Put(below, ClassExtra(symbol));
    }
  };
  const auto put_entry = [&](int64_t value, BitWriter* writer) {
    uint32_t slot = slots.First(value);
    while (plan.dictionary[symbols[slot]] != value) slot = DictionarySlots::Next(slot);
    writer->PutShort(codes[symbols[slot]], plan.lengths[symbols[slot]]);
  };
  // Writes the codes of both halves of a block, behind their lengths.
  const auto put_codes = [&](std::span<const int64_t> block, auto&& put) {
    char bits[kBlockBytesMax + sizeof(uint64_t)];
    char* end = bits;
    const uint32_t half = FirstHalf(static_cast<uint32_t>(block.size()));
    for (const auto part : {block.first(half), block.subspan(half)}) {
      BitWriter writer(end);
      for (const int64_t value : part) put(value, &writer);
      end = writer.Flush();
      PutVarint(out, static_cast<uint64_t>(end - bits));
    }
    out->append(bits, static_cast<size_t>(end - bits));
  };
  const auto put_packed = [&](std::span<const int64_t> block, uint64_t minimum, uint32_t width) {
    char bits[kStreamBlockValues * sizeof(uint64_t) + sizeof(uint64_t)];
    out->append(bits, static_cast<size_t>(Pack(block, minimum, width, bits) - bits));
  };

  int64_t base = 0;
  int64_t delta = 0;
  int64_t minimum = 0;
  std::span<const int64_t> coded = Coded(values, plan.order);
  for (size_t begin = 0; begin < values.size(); begin += kStreamBlockValues) {
    const auto count =
        static_cast<uint32_t>(std::min<size_t>(values.size() - begin, kStreamBlockValues));
    if (plan.order != StreamOrder::kPlain) {
      PutSigned(out, WrapSub(values[begin], base));
      base = values[begin];
      if (plan.order == StreamOrder::kDelta2 && count > 1) {
        const int64_t first = WrapSub(values[begin + 1], values[begin]);
        PutSigned(out, WrapSub(first, delta));
        delta = first;
      }
    }
    const std::span<const int64_t> block = coded.first(CodedValues(plan.order, count));
    coded = coded.subspan(block.size());
    if (block.empty()) continue;
    switch (plan.coder) {
      case StreamCoder::kPacked:
        put_packed(block, plan.minimum, plan.width);
        break;
      case StreamCoder::kPackedBlocks: {
        const StreamRange range =
            rests_[static_cast<size_t>(plan.order)].ranges[begin / kStreamBlockValues];
        out->push_back(static_cast<char>(WidthOf(range)));
        PutSigned(out, WrapSub(range.low, minimum));
        minimum = range.low;
        put_packed(block, static_cast<uint64_t>(minimum), WidthOf(range));
        break;
      }
      case StreamCoder::kClasses:
        put_codes(block, put_class);
        break;
      case StreamCoder::kDictionary:
        put_codes(block, put_entry);
        break;
    }
  }
}

namespace {

/// Unpacks groups of eight fields of W bits; reads up to eight bytes past the last group.
template <uint32_t W>
void UnpackGroups(const char* in, uint32_t groups, uint64_t minimum, uint64_t* out) {
  if constexpr (W == 0) {
    std::fill(out, out + size_t{groups} * 8, minimum);
  } else {
    constexpr uint64_t kMask = MaskOf(W);
    for (uint32_t g = 0; g < groups; ++g, in += W, out += 8) {
      out[0] = (Load64(in) & kMask) + minimum;
      out[1] = (Load64(in + W / 8) >> (W % 8) & kMask) + minimum;
      out[2] = (Load64(in + 2 * W / 8) >> (2 * W % 8) & kMask) + minimum;
      out[3] = (Load64(in + 3 * W / 8) >> (3 * W % 8) & kMask) + minimum;
      out[4] = (Load64(in + 4 * W / 8) >> (4 * W % 8) & kMask) + minimum;
      out[5] = (Load64(in + 5 * W / 8) >> (5 * W % 8) & kMask) + minimum;
      out[6] = (Load64(in + 6 * W / 8) >> (6 * W % 8) & kMask) + minimum;
      out[7] = (Load64(in + 7 * W / 8) >> (7 * W % 8) & kMask) + minimum;
    }
  }
}
using UnpackFunction = void (*)(const char*, uint32_t, uint64_t, uint64_t*);
template <size_t... W>
constexpr std::array<UnpackFunction, sizeof...(W)> UnpackTable(std::index_sequence<W...>) {
  return {&UnpackGroups<W>...};
}
constexpr auto kUnpack = UnpackTable(std::make_index_sequence<kPackedPeekBitsMax + 1>());

}  // namespace

bool IntStreamReader::ReadCode(ByteReader* in) {
  uint32_t first = 0;
  uint32_t last;
  std::array<uint8_t, kClasses> lengths{};
  if (coder_ == StreamCoder::kClasses) {
    minimum_ = static_cast<uint64_t>(in->Signed());
    first = in->Fixed<uint8_t>();
    last = in->Fixed<uint8_t>();
    if (first > last || last >= kClasses) return false;
    for (uint32_t s = first; s <= last; ++s) bases_[s] = ClassBase(s);
  } else {
    const uint32_t size = in->Fixed<uint8_t>();
    if (size < 2 || size > kDictionaryMax) return false;
    last = size - 1;
    bases_[0] = static_cast<uint64_t>(in->Signed());
    for (uint32_t s = 1; s <= last; ++s) bases_[s] = bases_[s - 1] + in->Varint();
  }
  for (uint32_t s = first; s <= last; s += 2) {
    const auto pair = in->Fixed<uint8_t>();
    lengths[s] = pair & 15;
    if (s + 1 <= last) {
      lengths[s + 1] = pair >> 4;
    } else if (pair >> 4 != 0) {
      return false;
    }
  }
  if (!in->ok()) return false;
  // A complete code gives every pattern of bits a meaning, so the table has no holes.
  uint32_t space = 0;
  uint32_t longest = 0;
  for (uint32_t s = first; s <= last; ++s) {
    if (lengths[s] > kCodeBitsMax) return false;
    if (lengths[s] != 0) space += 1u << (kCodeBitsMax - lengths[s]);
    longest = std::max<uint32_t>(longest, lengths[s]);
  }
  if (space != 1u << kCodeBitsMax) return false;
  table_mask_ = (1u << longest) - 1;
  std::array<uint8_t, kClasses> codes;
  AssignCodes(std::span(lengths).first(last + 1), codes);
  for (uint32_t s = first; s <= last; ++s) {
    if (lengths[s] == 0) continue;
    const uint32_t extra = coder_ == StreamCoder::kClasses ? ClassExtra(s) : 0;
    const uint32_t entry = lengths[s] | extra << 8 | (lengths[s] + extra) << 16 | s << 24;
    for (uint32_t at = codes[s]; at <= table_mask_; at += 1u << lengths[s]) table_[at] = entry;
  }
  return true;
}

bool IntStreamReader::Open(ByteReader* in, std::string_view bytes, uint32_t count) {
  const auto mode = in->Fixed<uint8_t>();
  if (!in->ok() || mode >> 4 != 0 || (mode & 3) == 3 || count == 0) return false;
  count_ = count;
  order_ = static_cast<StreamOrder>(mode & 3);
  coder_ = static_cast<StreamCoder>(mode >> 2 & 3);
  width_ = 0;
  minimum_ = 0;
  if (coder_ == StreamCoder::kPacked) {
    width_ = in->Fixed<uint8_t>();
    minimum_ = static_cast<uint64_t>(in->Signed());
    if (width_ > 64) return false;
  } else if (coder_ != StreamCoder::kPackedBlocks && !ReadCode(in)) {
    return false;
  }
  if (!in->ok()) return false;
  const size_t begin = in->position();
  if (coder_ == StreamCoder::kPacked && order_ == StreamOrder::kPlain) {
    // No block has a header: the length follows from the count.
    const uint64_t whole = count / kStreamBlockValues;
    const uint64_t rest = count % kStreamBlockValues;
    in->Bytes(whole * (kStreamBlockValues * width_ / 8) + (rest * width_ + 7) / 8);
  } else {
    BlockHead head;
    for (uint32_t at = 0; at < count; at += kStreamBlockValues) {
      if (!NextBlock(in, std::min(kStreamBlockValues, count - at), &head)) return false;
    }
  }
  if (!in->ok()) return false;
  // Blocks are read with eight-byte loads as long as those stay inside the bytes given, which may
  // go on behind this stream.
  blocks_ = bytes.substr(begin);
  return true;
}

bool IntStreamReader::NextBlock(ByteReader* in, uint32_t values, BlockHead* head) const {
  if (order_ != StreamOrder::kPlain) {
    head->base += static_cast<uint64_t>(in->Signed());
    if (order_ == StreamOrder::kDelta2 && values > 1) {
      head->delta += static_cast<uint64_t>(in->Signed());
    }
  }
  head->coded = CodedValues(order_, values);
  if (head->coded == 0) {
    head->bits = {};
    return in->ok();
  }
  switch (coder_) {
    case StreamCoder::kPacked:
      head->width = width_;
      head->minimum = minimum_;
      break;
    case StreamCoder::kPackedBlocks:
      head->width = in->Fixed<uint8_t>();
      if (head->width > 64) return false;
      head->minimum += static_cast<uint64_t>(in->Signed());
      break;
    default: {
      head->half_bytes = in->Varint();
      const uint64_t bytes = in->Varint();
      if (bytes > kBlockBytesMax || head->half_bytes > bytes) return false;
      head->bits = in->Bytes(bytes);
      return in->ok();
    }
  }
  head->bits = in->Bytes((uint64_t{head->coded} * head->width + 7) / 8);
  return in->ok();
}

namespace {

/// Walks the codes of half a block. Holds at least 56 bits after Refill.
struct CodeCursor {
  explicit CodeCursor(const char* begin) : at(begin) {}
  void Refill() {
    held |= Load64(at) << count;
    at += (63 - count) >> 3;
    count |= 56;
  }
  void Drop(uint32_t bits) {
    held >>= bits;
    count -= bits;
  }
  /// Reads up to 63 bits that may be more than are held.
  uint64_t ReadLong(uint32_t bits) {
    uint64_t value = held & MaskOf(32);
    Drop(32);
    Refill();
    value |= (held & MaskOf(bits - 32)) << 32;
    Drop(bits - 32);
    return value;
  }
  /// Returns the whole bytes used so far.
  size_t BytesFrom(const char* begin) const {
    return static_cast<size_t>((at - begin) * 8 - count + 7) / 8;
  }

  const char* at;
  uint64_t held = 0;
  uint32_t count = 0;
};

}  // namespace

bool IntStreamReader::DecodeCodes(const BlockHead& head, uint64_t* out) const {
  // Whatever the bits say, this many bytes are the most that are looked at.
  char copy[kBlockBytesMax + 32];
  const char* in = head.bits.data();
  if (blocks_.data() + blocks_.size() - in < static_cast<ptrdiff_t>(sizeof(copy))) {
    std::memcpy(copy, in, head.bits.size());
    std::memset(copy + head.bits.size(), 0, sizeof(copy) - head.bits.size());
    in = copy;
  }
  const uint32_t half = FirstHalf(head.coded);
  const uint32_t pairs = head.coded - half;
  CodeCursor a(in);
  CodeCursor b(in + head.half_bytes);
  const uint32_t mask = table_mask_;
  const auto step = [&](CodeCursor& cursor) {
    cursor.Refill();
    const uint32_t entry = table_[cursor.held & mask];
    const uint32_t code_bits = entry & 0xff;
    const uint32_t extra = entry >> 8 & 0xff;
    const uint32_t total = entry >> 16 & 0xff;
    uint64_t value = bases_[entry >> 24];
    if (total <= 56) [[likely]] {
      value += cursor.held >> code_bits & MaskOf(extra);
      cursor.Drop(total);
    } else {
      cursor.Drop(code_bits);
      value += cursor.ReadLong(extra);
    }
    return value;
  };
  if (coder_ == StreamCoder::kClasses) {
    for (uint32_t i = 0; i < pairs; ++i) {
      out[i] = step(a);
      out[half + i] = step(b);
    }
    if (pairs < half) out[pairs] = step(a);
    for (uint32_t i = 0; i < head.coded; ++i) {
      out[i] = static_cast<uint64_t>(UnZigZag(out[i])) + minimum_;
    }
  } else {
    const auto step_fixed = [&](CodeCursor& cursor) {
      const uint32_t entry = table_[cursor.held & mask];
      cursor.Drop(entry & 0xff);
      return bases_[entry >> 24];
    };
    // Codes are eight bits at most, so one filling serves four of them.
    uint32_t i = 0;
    for (; i + 4 <= pairs; i += 4) {
      a.Refill();
      b.Refill();
      for (uint32_t k = 0; k < 4; ++k) {
        out[i + k] = step_fixed(a);
        out[half + i + k] = step_fixed(b);
      }
    }
    for (; i < half; ++i) {
      a.Refill();
      out[i] = step_fixed(a);
      if (i >= pairs) break;
      b.Refill();
      out[half + i] = step_fixed(b);
    }
  }
  return a.BytesFrom(in) == head.half_bytes &&
         b.BytesFrom(in + head.half_bytes) + head.half_bytes == head.bits.size();
}

bool IntStreamReader::DecodeBlock(const BlockHead& head, uint32_t values, uint64_t* out) const {
  const uint32_t lead = values - head.coded;
  uint64_t* coded = out + lead;
  if (head.coded == 0) {
  } else if (coder_ == StreamCoder::kClasses || coder_ == StreamCoder::kDictionary) {
    if (!DecodeCodes(head, coded)) return false;
  } else if (head.width <= kPackedPeekBitsMax) {
    const uint32_t groups = (head.coded + 7) / 8;
    const size_t reads = size_t{groups} * head.width + 8;
    const char* in = head.bits.data();
    char copy[kStreamBlockValues / 8 * kPackedPeekBitsMax + 8];
    if (head.width != 0 && static_cast<size_t>(blocks_.data() + blocks_.size() - in) < reads) {
      std::memcpy(copy, in, head.bits.size());
      std::memset(copy + head.bits.size(), 0, reads - head.bits.size());
      in = copy;
    }
    kUnpack[head.width](in, groups, head.minimum, coded);
  } else {
    BitReader bits(head.bits);
    for (uint32_t i = 0; i < head.coded; ++i) coded[i] = bits.Read(head.width) + head.minimum;
  }
  switch (order_) {
    case StreamOrder::kPlain:
      break;
    case StreamOrder::kDelta: {
      uint64_t value = head.base;
      out[0] = value;
      for (uint32_t i = 1; i < values; ++i) out[i] = value += out[i];
      break;
    }
    case StreamOrder::kDelta2: {
      uint64_t value = head.base;
      uint64_t delta = head.delta;
      out[0] = value;
      if (values > 1) out[1] = value += delta;
      for (uint32_t i = 2; i < values; ++i) out[i] = value += delta += out[i];
      break;
    }
  }
  return true;
}

bool IntStreamReader::Decode(uint32_t begin, uint32_t end, int64_t* out) const {
  if (begin == end) return true;  // `out` may be null
  // Groups of eight may write past a block's values.
  uint64_t block[kStreamBlockValues + 16];
  ByteReader in(blocks_);
  BlockHead head;
  uint32_t at = 0;
  if (coder_ == StreamCoder::kPacked && order_ == StreamOrder::kPlain) {
    at = begin / kStreamBlockValues * kStreamBlockValues;
    in.Bytes(uint64_t{at} / 8 * width_);
  }
  for (; at < end; at += kStreamBlockValues) {
    const uint32_t values = std::min(kStreamBlockValues, count_ - at);
    if (!NextBlock(&in, values, &head)) return false;
    if (at + values <= begin) continue;
    if (at >= begin && at + kStreamBlockValues + 8 <= end) {
      // What the block writes past its values, the next one overwrites.
      if (!DecodeBlock(head, values, reinterpret_cast<uint64_t*>(out))) return false;
      out += values;
      continue;
    }
    if (!DecodeBlock(head, values, block)) return false;
    const uint32_t from = begin > at ? begin - at : 0;
    const uint32_t to = std::min(values, end - at);
    std::memcpy(out, block + from, size_t{to - from} * 8);
    out += to - from;
  }
  return true;
}

bool IntStreamReader::DecodeAt(std::span<const uint32_t> places, int64_t* out) const {
  uint64_t block[kStreamBlockValues + 16];
  ByteReader in(blocks_);
  BlockHead head;
  const bool plain = coder_ == StreamCoder::kPacked && order_ == StreamOrder::kPlain;
  size_t next = 0;
  for (uint32_t at = 0; at < count_ && next < places.size(); at += kStreamBlockValues) {
    const uint32_t values = std::min(kStreamBlockValues, count_ - at);
    if (plain && places[next] >= at + values) {
      in.Bytes(uint64_t{kStreamBlockValues} / 8 * width_);
      continue;
    }
    if (!NextBlock(&in, values, &head)) return false;
    if (places[next] >= at + values) continue;
    if (!DecodeBlock(head, values, block)) return false;
    for (; next < places.size() && places[next] < at + values; ++next) {
      out[places[next]] = static_cast<int64_t>(block[places[next] - at]);
    }
  }
  return true;
}

}  // namespace varve::codec
