#include "tools/loki/json_kernels.h"

#include <bit>
#include <cstring>

#include "engine/base/avx2.h"
#include "engine/base/utf8.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace varve::loki {
namespace {

// The value of each hex digit; 0xff for all other bytes.
constexpr std::array<uint8_t, 256> kHexDigits = [] {
  std::array<uint8_t, 256> out{};
  out.fill(0xff);
  for (uint8_t i = 0; i < 10; ++i) out['0' + i] = i;
  for (uint8_t i = 0; i < 6; ++i) out['a' + i] = out['A' + i] = static_cast<uint8_t>(10 + i);
  return out;
}();

// What the byte after a backslash stands for; 0 where the two are no escape.
constexpr std::array<char, 256> kEscapes = [] {
  std::array<char, 256> out{};
  out['"'] = '"';
  out['\\'] = '\\';
  out['/'] = '/';
  out['b'] = '\b';
  out['f'] = '\f';
  out['n'] = '\n';
  out['r'] = '\r';
  out['t'] = '\t';
  return out;
}();

constexpr uint32_t kReplacement = 0xfffd;

// Reads four bytes as hex digits; above 0xffff if they are none.
inline uint32_t Hex4(const char* at) {
  const auto digit = [at](int i) -> uint32_t { return kHexDigits[static_cast<uint8_t>(at[i])]; };
  const uint32_t digits[] = {digit(0), digit(1), digit(2), digit(3)};
  const uint32_t value = digits[0] << 12 | digits[1] << 8 | digits[2] << 4 | digits[3];
  return (digits[0] | digits[1] | digits[2] | digits[3]) > 0xf ? UINT32_MAX : value;
}

// Undoes the escape whose backslash is at `at`. Returns how many bytes it has, 0 if it is none.
inline size_t TakeEscape(const char* at, const char* end, char** write) {
  if (end - at < 2) return 0;
  const char plain = kEscapes[static_cast<uint8_t>(at[1])];
  if (plain != 0) {
    *(*write)++ = plain;
    return 2;
  }
  const int32_t unit = at[1] == 'u' ? ReadHex4(at + 2, end) : -1;
  if (unit < 0) return 0;
  auto rune = static_cast<uint32_t>(unit);
  size_t bytes = 6;
  if (rune >= 0xd800 && rune < 0xe000) {
    // Half a pair alone is no character; Go reads it as U+FFFD, too.
    const bool pair = rune < 0xdc00 && end - at >= 12 && at[6] == '\\' && at[7] == 'u';
    const int32_t low = pair ? ReadHex4(at + 8, end) : -1;
    if (low >= 0xdc00 && low < 0xe000) {
      rune = 0x10000 + ((rune - 0xd800) << 10) + (static_cast<uint32_t>(low) - 0xdc00);
      bytes = 12;
    } else {
      rune = kReplacement;
    }
  }
  *write = PutUtf8(rune, *write);
  return bytes;
}

// --- Baseline ---

#ifdef __SSE2__
// A bit for each byte that is a quote, a backslash or a control character.
inline int SpecialBytes(__m128i v) {
  const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
  return _mm_movemask_epi8(_mm_or_si128(low, _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                                          _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')))));
}
#endif

char* FindSpecial(char* at, char* end) {
#ifdef __SSE2__
  for (; end - at >= 16; at += 16) {
    const int special = SpecialBytes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
    if (special != 0) return at + std::countr_zero(static_cast<unsigned>(special));
  }
#endif
  for (; at != end; ++at) {
    if (*at == '"' || *at == '\\' || static_cast<unsigned char>(*at) < 0x20) break;
  }
  return at;
}

#ifdef __SSE2__
// Stores the first `bytes` of 16, and nothing behind them.
inline void StoreFirst(__m128i v, size_t bytes, char* to) {
  alignas(16) char all[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(all), v);
  if (bytes >= 8) {
    std::memcpy(to, all, 8);
    std::memcpy(to + bytes - 8, all + bytes - 8, 8);
  } else if (bytes >= 4) {
    std::memcpy(to, all, 4);
    std::memcpy(to + bytes - 4, all + bytes - 4, 4);
  } else {
    for (size_t i = 0; i < bytes; ++i) to[i] = all[i];
  }
}
#endif

// Moves the text from *in to the next special byte, or to the end, down to *write <= *in.
inline void MoveRun(char** write, char** in, char* end) {
#ifdef __SSE2__
  while (end - *in >= 16) {
    const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(*in));
    const int special = SpecialBytes(v);
    const size_t bytes =
        special != 0 ? static_cast<size_t>(std::countr_zero(static_cast<unsigned>(special))) : 16;
    if (*in - *write >= 16) {
      // The gap is as wide as the step: nothing that is still to be read is written over.
      _mm_storeu_si128(reinterpret_cast<__m128i*>(*write), v);
    } else {
      StoreFirst(v, bytes, *write);
    }
    *in += bytes;
    *write += bytes;
    if (special != 0) return;
  }
#endif
  char* const next = FindSpecial(*in, end);
  const auto run = static_cast<size_t>(next - *in);
  if (run > 0) std::memmove(*write, *in, run);
  *write += run;
  *in = next;
}

void Unescape(char** in, char** write, char* end) {
  while (true) {
    MoveRun(write, in, end);
    if (*in == end || **in != '\\') return;
    const size_t escape = TakeEscape(*in, end, write);
    if (escape == 0) return;
    *in += escape;
  }
}

// --- AVX2 ---

#ifdef VARVE_AVX2
// For each set of bytes of eight that are left out: which bytes stay, in order.
constexpr std::array<uint64_t, 256> kKeptBytes = [] {
  std::array<uint64_t, 256> out{};
  for (size_t removed = 0; removed < 256; ++removed) {
    int to = 0;
    for (uint64_t from = 0; from < 8; ++from) {
      if ((removed >> from & 1) == 0) out[removed] |= from << 8 * to++;
    }
  }
  return out;
}();

constexpr ptrdiff_t kBlockBytes = 64;

/// The bytes of a block.
struct Block {
  __m256i low;
  __m256i high;
};

VARVE_AVX2 inline Block LoadBlock(const char* at) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at + 32))};
}

// A bit for each byte of a block that is `c`.
VARVE_AVX2 inline uint64_t Equal(const Block& block, char c) {
  const __m256i all = _mm256_set1_epi8(c);
  const auto low = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(block.low, all)));
  const auto high = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(block.high, all)));
  return uint64_t{high} << 32 | low;
}

// A bit for each control character.
VARVE_AVX2 inline uint64_t Controls(const Block& block) {
  const __m256i most = _mm256_set1_epi8(0x1f);
  return Equal({_mm256_subs_epu8(block.low, most), _mm256_subs_epu8(block.high, most)}, 0);
}

VARVE_AVX2 char* FindSpecialAvx2(char* at, char* end) {
  for (; end - at >= 32; at += 32) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at));
    const __m256i quotes = _mm256_or_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('"')),
                                           _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\')));
    const __m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
    const auto special = static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_or_si256(low, quotes)));
    if (special != 0) return at + std::countr_zero(special);
  }
  return FindSpecial(at, end);
}

// Of the backslashes of a block, those that begin an escape: in each run of them the first, the
// third and so on. Adding a run's first bit to the run makes it all zeros, which tells the runs
// that begin at an even place from the others (Langdale, Lemire: Parsing Gigabytes of JSON per
// Second, 3.1.1). The byte before the block is no such backslash.
inline uint64_t EscapesOf(uint64_t backslashes) {
  constexpr uint64_t kEven = 0x5555'5555'5555'5555;
  const uint64_t begins = backslashes & ~(backslashes << 1);
  if (begins == backslashes) return backslashes;
  const uint64_t even_runs = backslashes & ~(backslashes + (begins & kEven));
  return (even_runs & kEven) | (backslashes & ~even_runs & ~kEven);
}

// Returns eight bytes without those of `removed`; what is behind the rest is of no meaning.
VARVE_AVX2 inline uint64_t WithoutBytes(const char* at, size_t removed) {
  const __m128i text = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
  const __m128i kept = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&kKeptBytes[removed]));
  return static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_shuffle_epi8(text, kept)));
}

// Undoes \uXXXX, and what lies between, for as long as these come close to each other: text of
// other scripts, and bytes that were no text. Leaves pairs, all other escapes, quotes and the end.
VARVE_AVX2 inline void UnescapeDense(char** in, char** write, char* end) {
  constexpr ptrdiff_t kStep = 16;
  char* from = *in;
  char* to = *write;
  while (end - from >= kStep + 8) {
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    const int special = SpecialBytes(text);
    if (special == 0) break;
    const int plain = std::countr_zero(static_cast<unsigned>(special));
    const char* const escape = from + plain;
    if (escape[0] != '\\' || escape[1] != 'u') break;
    const uint32_t rune = Hex4(escape + 2);
    if (rune > 0xffff || (rune & 0xf800) == 0xd800) break;
    // A whole step is written, but over nothing that is still to be read.
    if (from - to >= kStep) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), text);
    } else if (plain > 0) {
      break;
    }
    to += plain;
    to = PutUtf8(rune, to);
    from += plain + 6;
  }
  *in = from;
  *write = to;
}

// Most escapes of logs are \" and \\ : to undo them is to leave out a byte, which needs no branch.
// After any other the next block begins: to go on in the same one is no faster.
VARVE_AVX2 void UnescapeAvx2(char** in, char** write, char* end) {
  char* from = *in;
  char* to = *write;
  while (end - from >= kBlockBytes) {
    const Block block = LoadBlock(from);
    const uint64_t backslashes = Equal(block, '\\');
    const uint64_t quotes = Equal(block, '"');
    const uint64_t escapes = EscapesOf(backslashes);
    const uint64_t easy = (backslashes | quotes | Equal(block, '/')) >> 1;
    const uint64_t stops = (escapes & ~easy) | (quotes & ~(escapes << 1)) | Controls(block);
    if ((stops | escapes) == 0) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), block.low);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32), block.high);
      from += kBlockBytes;
      to += kBlockBytes;
      continue;
    }
    // A step reads its bytes before it writes, at most as far: in place is no problem.
    uint64_t removed = escapes;
    int left = std::countr_zero(stops);
    for (; left >= 8; left -= 8, from += 8, removed >>= 8) {
      const uint64_t kept = WithoutBytes(from, removed & 0xff);
      std::memcpy(to, &kept, 8);
      to += 8 - std::popcount(removed & 0xff);
    }
    if (stops == 0) continue;
    if (left > 0) {
      // What follows is still to be read, and stays.
      const uint64_t among = removed & ((1u << left) - 1);
      const int made = left - std::popcount(among);
      const uint64_t mask = (uint64_t{1} << 8 * made) - 1;
      uint64_t text = 0;
      std::memcpy(&text, to, 8);
      text = (text & ~mask) | (WithoutBytes(from, among) & mask);
      std::memcpy(to, &text, 8);
      to += made;
      from += left;
    }
    const char* const stopped = from;
    UnescapeDense(&from, &to, end);
    while (from != end && *from == '\\') {
      const size_t escape = TakeEscape(from, end, &to);
      if (escape == 0) break;
      from += escape;
    }
    if (from == stopped) {
      *in = from;
      *write = to;
      return;
    }
  }
  *in = from;
  *write = to;
  Unescape(in, write, end);
}
#endif

}  // namespace

int32_t ReadHex4(const char* at, const char* end) {
  return end - at < 4 ? -1 : static_cast<int32_t>(Hex4(at));
}

std::span<const JsonKernels> AllJsonKernels() {
  static constexpr JsonKernels kAll[] = {
      {"baseline", FindSpecial, Unescape},
#ifdef VARVE_AVX2
      {"avx2", FindSpecialAvx2, UnescapeAvx2},
#endif
  };
  return std::span(kAll).first(HasAvx2() ? std::size(kAll) : 1);
}

const JsonKernels& BestJsonKernels() { return AllJsonKernels().back(); }

}  // namespace varve::loki
