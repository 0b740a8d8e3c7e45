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
uint64_t ClassBase(uint32_t symbol) { return symbol == 0 ? 0 : uint64_t{1} << (symbol - 1); }

/// Appends bit fields, lowest bit first.
class BitWriter {
 public:
  explicit BitWriter(std::string* out) : out_(out) {}
  void Put(uint64_t value, uint32_t bits) {
    if (bits == 0) return;
    held_ |= value << used_;
    if (used_ + bits >= 64) {
      PutFixed(out_, held_);
      held_ = used_ == 0 ? 0 : value >> (64 - used_);
      used_ = used_ + bits - 64;
    } else {
      used_ += bits;
    }
  }
  void Flush() {
    for (; used_ != 0; used_ = used_ > 8 ? used_ - 8 : 0) {
      out_->push_back(static_cast<char>(held_));
      held_ >>= 8;
    }
    held_ = 0;
  }

 private:
  std::string* out_;
  uint64_t held_ = 0;
  uint32_t used_ = 0;
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
  std::array<int64_t, kDictionaryMax> dictionary;
  std::array<uint8_t, kClasses> lengths;
};

void IntStreamEncoder::Residuals(std::span<const int64_t> values, StreamOrder order) {
  coded_.clear();
  const size_t lead = LeadValues(order);
  for (size_t begin = 0; begin < values.size(); begin += kStreamBlockValues) {
    const size_t end = std::min<size_t>(values.size(), begin + kStreamBlockValues);
    const size_t at = coded_.size();
    coded_.resize(at + (end - begin > lead ? end - begin - lead : 0));
    int64_t* out = coded_.data() + at;
    const int64_t* v = values.data() + begin;
    const size_t n = end - begin;
    switch (order) {
      case StreamOrder::kPlain:
        std::copy(v, v + n, out);
        break;
      case StreamOrder::kDelta:
        for (size_t i = 1; i < n; ++i) out[i - 1] = WrapSub(v[i], v[i - 1]);
        break;
      case StreamOrder::kDelta2:
        for (size_t i = 2; i < n; ++i) {
          out[i - 2] = WrapSub(WrapSub(v[i], v[i - 1]), WrapSub(v[i - 1], v[i - 2]));
        }
        break;
    }
  }
}

void IntStreamEncoder::PlanOrder(std::span<const int64_t> values, StreamOrder order, Plan* best) {
  Residuals(values, order);
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
  const size_t count = coded_.size();
  // A block's share of coded_ is shorter than the block by the leading values.
  const size_t step = kStreamBlockValues - LeadValues(order);
  int64_t low_all = std::numeric_limits<int64_t>::max();
  int64_t high_all = std::numeric_limits<int64_t>::min();
  uint64_t blocks_bytes = heads;
  uint64_t aligned_bits = 0;
  int64_t minimum = 0;
  for (size_t begin = 0; begin < count; begin += step) {
    const size_t end = std::min(count, begin + step);
    int64_t low = coded_[begin];
    int64_t high = coded_[begin];
    for (size_t i = begin + 1; i < end; ++i) {
      low = std::min(low, coded_[i]);
      high = std::max(high, coded_[i]);
    }
    const uint32_t width = BitWidth(static_cast<uint64_t>(high) - static_cast<uint64_t>(low));
    blocks_bytes +=
        1 + VarintBytes(ZigZag(WrapSub(low, minimum))) + ((end - begin) * width + 7) / 8;
    minimum = low;
    low_all = std::min(low_all, low);
    high_all = std::max(high_all, high);
    ++aligned_bits;
  }
  if (count == 0) low_all = high_all = 0;
  const uint32_t width = BitWidth(static_cast<uint64_t>(high_all) - static_cast<uint64_t>(low_all));
  uint64_t packed_bytes = heads + 1 + VarintBytes(ZigZag(low_all));
  for (size_t begin = 0; begin < count; begin += step) {
    packed_bytes += ((std::min(count, begin + step) - begin) * width + 7) / 8;
  }
  if (consider(packed_bytes, StreamCoder::kPacked)) {
    best->minimum = static_cast<uint64_t>(low_all);
    best->width = width;
  }
  consider(blocks_bytes, StreamCoder::kPackedBlocks);
  const uint64_t fixed_bytes = std::min(packed_bytes, blocks_bytes);
  if (width < 2 || count < 8) return;
  // Codes decode several times slower than packed bits, so they must earn it.
  const auto coded_bytes = [&](uint64_t bytes) { return bytes + bytes / 4 + 16; };
  // Each block's codes have a length in front and are padded to a byte.
  const uint64_t code_heads = heads + 3 * aligned_bits;

  const auto try_codes = [&](std::span<const uint32_t> counts, uint64_t table_bytes, bool classes,
                             uint64_t offset) {
    double bits = 0;
    uint64_t extra = 0;
    uint32_t used = 0;
    for (uint32_t s = 0; s < counts.size(); ++s) {
      if (counts[s] == 0) continue;
      ++used;
      const auto c = static_cast<double>(counts[s]);
      bits += c * std::max(1.0, std::log2(static_cast<double>(count) / c));
      if (classes) extra += uint64_t{counts[s]} * ClassExtra(s);
    }
    const auto estimate = code_heads + table_bytes + static_cast<uint64_t>(bits + extra) / 8;
    if (used < 2 || coded_bytes(estimate) >= std::min(best->bytes, fixed_bytes)) return;
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
      best->dictionary = dictionary_;
    }
  };

  // Widths of the distance from zero, and from a value in the middle.
  std::array<int64_t, 63> sample;
  const size_t samples = std::min(count, sample.size());
  for (size_t i = 0; i < samples; ++i) sample[i] = coded_[i * count / samples];
  std::nth_element(sample.begin(), sample.begin() + samples / 2, sample.begin() + samples);
  const int64_t middle = sample[samples / 2];
  for (const int64_t offset : {int64_t{0}, middle}) {
    std::array<uint32_t, kClasses> counts{};
    for (const int64_t v : coded_) ++counts[BitWidth(ZigZag(WrapSub(v, offset)))];
    uint32_t first = 0;
    uint32_t last = kClasses - 1;
    while (first < last && counts[first] == 0) ++first;
    while (last > first && counts[last] == 0) --last;
    try_codes(counts, VarintBytes(ZigZag(offset)) + 2 + (last - first + 2) / 2, true,
              static_cast<uint64_t>(offset));
    if (middle == 0) break;
  }

  // Few distinct values: collected in a small table, given up at the first too many.
  std::array<int64_t, 256> slots;
  std::array<uint16_t, 256> hits{};
  uint32_t distinct = 0;
  for (const int64_t v : coded_) {
    uint32_t slot = static_cast<uint32_t>((static_cast<uint64_t>(v) * 0x9E3779B97F4A7C15u) >> 56);
    while (hits[slot] != 0 && slots[slot] != v) slot = (slot + 1) & 255;
    if (hits[slot] == 0) {
      if (++distinct > kDictionaryMax) return;
      slots[slot] = v;
    }
    if (hits[slot] != std::numeric_limits<uint16_t>::max()) ++hits[slot];
  }
  if (distinct < 2) return;
  std::array<std::pair<int64_t, uint32_t>, kDictionaryMax> found;
  uint32_t filled = 0;
  for (uint32_t slot = 0; slot < slots.size(); ++slot) {
    if (hits[slot] != 0) found[filled++] = {slots[slot], hits[slot]};
  }
  std::sort(found.begin(), found.begin() + distinct);
  std::array<uint32_t, kDictionaryMax> counts;
  uint64_t table_bytes = 1 + VarintBytes(ZigZag(found[0].first)) + (distinct + 1) / 2;
  for (uint32_t i = 0; i < distinct; ++i) {
    dictionary_[i] = found[i].first;
    counts[i] = found[i].second;
    if (i > 0) {
      table_bytes += VarintBytes(static_cast<uint64_t>(found[i].first) -
                                 static_cast<uint64_t>(found[i - 1].first));
    }
  }
  try_codes(std::span(counts).first(distinct), table_bytes, false, 0);
}

void IntStreamEncoder::Encode(std::span<const int64_t> values, std::string* out) {
  // The bits of what each order leaves say which orders are worth a closer look.
  uint64_t plain = 0;
  uint64_t delta = 0;
  uint64_t delta2 = 0;
  int64_t before = values[0];
  int64_t difference_before = 0;
  for (const int64_t value : values) {
    const int64_t difference = WrapSub(value, before);
    plain += BitWidth(ZigZag(WrapSub(value, values[0])));
    delta += BitWidth(ZigZag(difference));
    delta2 += BitWidth(ZigZag(WrapSub(difference, difference_before)));
    before = value;
    difference_before = difference;
  }
  Plan plan;
  if (plain == 0) {
    // One value, whose shortest form is known.
    plan.minimum = static_cast<uint64_t>(values[0]);
    return Emit(values, plan, out);
  }
  const uint64_t limit = std::min({plain, delta, delta2}) * 5 / 4 + 256;
  if (plain <= limit) PlanOrder(values, StreamOrder::kPlain, &plan);
  if (delta <= limit && values.size() > 1) PlanOrder(values, StreamOrder::kDelta, &plan);
  if (delta2 <= limit && values.size() > 2) PlanOrder(values, StreamOrder::kDelta2, &plan);
  Emit(values, plan, out);
}

void IntStreamEncoder::Emit(std::span<const int64_t> values, const Plan& plan, std::string* out) {
  Residuals(values, plan.order);
  out->push_back(
      static_cast<char>(static_cast<uint8_t>(plan.order) | static_cast<uint8_t>(plan.coder) << 2));
  std::array<uint8_t, kClasses> codes{};
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
      }
      for (uint32_t s = first; s <= last; s += 2) {
        const uint32_t high = s + 1 <= last ? plan.lengths[s + 1] : 0;
        out->push_back(static_cast<char>(plan.lengths[s] | high << 4));
      }
      AssignCodes(std::span(plan.lengths).first(last + 1), codes);
      break;
    }
  }
  int64_t base = 0;
  int64_t delta = 0;
  int64_t minimum = 0;
  const int64_t* coded = coded_.data();
  std::string bits;
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
    const uint32_t n = CodedValues(plan.order, count);
    if (n == 0) continue;
    BitWriter writer(plan.coder == StreamCoder::kPacked || plan.coder == StreamCoder::kPackedBlocks
                         ? out
                         : &bits);
    switch (plan.coder) {
      case StreamCoder::kPacked:
        for (uint32_t i = 0; i < n; ++i) {
          writer.Put(static_cast<uint64_t>(coded[i]) - plan.minimum, plan.width);
        }
        writer.Flush();
        break;
      case StreamCoder::kPackedBlocks: {
        const auto [low, high] = std::minmax_element(coded, coded + n);
        const uint32_t width = BitWidth(static_cast<uint64_t>(*high) - static_cast<uint64_t>(*low));
        out->push_back(static_cast<char>(width));
        PutSigned(out, WrapSub(*low, minimum));
        minimum = *low;
        for (uint32_t i = 0; i < n; ++i) {
          writer.Put(static_cast<uint64_t>(coded[i]) - static_cast<uint64_t>(minimum), width);
        }
        writer.Flush();
        break;
      }
      case StreamCoder::kClasses:
      case StreamCoder::kDictionary:
        bits.clear();
        for (uint32_t i = 0; i < n; ++i) {
          if (i == FirstHalf(n)) {
            writer.Flush();
            PutVarint(out, bits.size());
          }
          if (plan.coder == StreamCoder::kClasses) {
            const uint64_t v = ZigZag(WrapSub(coded[i], static_cast<int64_t>(plan.minimum)));
            const uint32_t symbol = BitWidth(v);
            writer.Put(codes[symbol], plan.lengths[symbol]);
            writer.Put(v - ClassBase(symbol), ClassExtra(symbol));
          } else {
            const int64_t* end = plan.dictionary.data() + plan.dictionary_size;
            const auto symbol =
                std::lower_bound(plan.dictionary.data(), end, coded[i]) - plan.dictionary.data();
            writer.Put(codes[symbol], plan.lengths[symbol]);
          }
        }
        writer.Flush();
        if (n == 1) PutVarint(out, bits.size());
        PutVarint(out, bits.size());
        out->append(bits);
        break;
    }
    coded += n;
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
