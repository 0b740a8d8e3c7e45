#include "engine/logs/text_kernels.h"

#include <array>
#include <initializer_list>
#include <iterator>

#include "engine/base/avx2.h"
#include "engine/logs/char_class.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace varve::logs {
namespace {

// --- Everywhere ---

#if defined(__SSE2__)
// Compares are signed: bytes from 0x80 on are below all others.
inline __m128i Within(__m128i v, char low, char high) {
  return _mm_and_si128(_mm_cmpgt_epi8(v, _mm_set1_epi8(static_cast<char>(low - 1))),
                       _mm_cmplt_epi8(v, _mm_set1_epi8(static_cast<char>(high + 1))));
}
inline __m128i Is(__m128i v, char c) { return _mm_cmpeq_epi8(v, _mm_set1_epi8(c)); }
inline __m128i Or(__m128i a, __m128i b) { return _mm_or_si128(a, b); }
inline __m128i Lower(__m128i v) { return Or(v, _mm_set1_epi8(0x20)); }
// The highest bit of each of 16 bytes, as bits from 16 * i on.
inline uint64_t Bits(__m128i v, size_t i) {
  return static_cast<uint64_t>(static_cast<uint32_t>(_mm_movemask_epi8(v))) << 16 * i;
}
inline __m128i Load16(const char* text, size_t i) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(text) + i);
}
#endif

WordBytes WordBytesOf(const char* text) {
  WordBytes out{};
#if defined(__SSE2__)
  for (size_t i = 0; i < 4; ++i) {
    const __m128i v = Load16(text, i);
    const __m128i digits = Within(v, '0', '9');
    // Bytes from 0x80 on have the bit that Bits takes already.
    const __m128i other = Or(v, Is(v, '_'));
    out.digits |= Bits(digits, i);
    out.upper |= Bits(Or(Within(v, 'A', 'Z'), Is(v, '_')), i);
    out.beyond_hex |= Bits(Or(other, Within(Lower(v), 'g', 'z')), i);
    out.words |= Bits(Or(Or(digits, other), Within(Lower(v), 'a', 'z')), i);
  }
#else
  for (size_t i = 0; i < 64; ++i) {
    const uint8_t bits = kWordBits[static_cast<uint8_t>(text[i])];
    out.words |= uint64_t{bits != 0} << i;
    out.digits |= uint64_t{(bits & kWordDigit) != 0} << i;
    out.upper |= uint64_t{(bits & kWordUpper) != 0 || text[i] == '_'} << i;
    out.beyond_hex |= uint64_t{(bits & kWordBeyondHex) != 0} << i;
  }
#endif
  return out;
}

// --- AVX2 ---

#ifdef VARVE_AVX2
/// A set of ASCII bytes, told by two lookups, of the low and the high half of a byte: those bits of
/// both that are left say which part of the set the byte is in. Each part takes all bytes of some
/// high halves and some low halves. Source: Langdale, Lemire, "Parsing Gigabytes of JSON per
/// Second" (2019), 3.1.2.
struct NibbleSet {
  std::array<uint8_t, 16> low{}, high{};

  /// Adds a part: all bytes of one of these high and one of these low halves.
  constexpr void Add(int bit, std::initializer_list<int> highs, std::initializer_list<int> lows) {
    for (const int h : highs) high[static_cast<size_t>(h)] |= static_cast<uint8_t>(1 << bit);
    for (const int l : lows) low[static_cast<size_t>(l)] |= static_cast<uint8_t>(1 << bit);
  }
};

// Digits are 1, letters that hexadecimal has 2, those beyond are more.
constexpr NibbleSet kWordSet = [] {
  NibbleSet out;
  out.Add(0, {3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  out.Add(1, {4, 6}, {1, 2, 3, 4, 5, 6});
  out.Add(2, {4, 6}, {7, 8, 9, 10, 11, 12, 13, 14, 15});
  out.Add(3, {5, 7}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  out.Add(4, {5}, {15});
  return out;
}();

VARVE_AVX2 inline __m256i Load32(const char* text) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(text));
}
VARVE_AVX2 inline __m256i Table(const std::array<uint8_t, 16>& table) {
  return _mm256_broadcastsi128_si256(
      _mm_loadu_si128(reinterpret_cast<const __m128i*>(table.data())));
}
VARVE_AVX2 inline uint64_t Bits(__m256i v) {
  return static_cast<uint32_t>(_mm256_movemask_epi8(v));
}
// Of bytes that are not ASCII nothing is left.
VARVE_AVX2 inline __m256i PartOf(__m256i low, __m256i high, __m256i v) {
  const __m256i halves = _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
  return _mm256_and_si256(_mm256_shuffle_epi8(low, v), _mm256_shuffle_epi8(high, halves));
}
VARVE_AVX2 inline __m256i IsZero(__m256i v) { return _mm256_cmpeq_epi8(v, _mm256_setzero_si256()); }

VARVE_AVX2 WordBytes WordBytesAvx2(const char* text) {
  const __m256i low = Table(kWordSet.low);
  const __m256i high = Table(kWordSet.high);
  WordBytes out{};
  for (int shift = 0; shift < 64; shift += 32, text += 32) {
    const __m256i v = Load32(text);
    const __m256i part = PartOf(low, high, v);
    const uint64_t words = (Bits(IsZero(part)) ^ 0xffffffff) | Bits(v);
    const uint64_t digits = Bits(_mm256_slli_epi16(part, 7));
    const __m256i beyond = _mm256_or_si256(v, _mm256_cmpgt_epi8(part, _mm256_set1_epi8(3)));
    // Capitals lack a bit that small letters have.
    const uint64_t small = Bits(_mm256_slli_epi16(v, 2)) | Bits(v);
    out.words |= words << shift;
    out.digits |= digits << shift;
    out.beyond_hex |= Bits(beyond) << shift;
    out.upper |= (words & ~digits & ~small) << shift;
  }
  return out;
}
#endif

}  // namespace

std::span<const TextKernel> AllTextKernels() {
  static constexpr TextKernel kAll[] = {
      {"baseline", WordBytesOf},
#ifdef VARVE_AVX2
      {"avx2", WordBytesAvx2},
#endif
  };
  return std::span(kAll).first(HasAvx2() ? std::size(kAll) : 1);
}

const TextKernel& BestTextKernel() {
  static const TextKernel& best = AllTextKernels().back();
  return best;
}

}  // namespace varve::logs
