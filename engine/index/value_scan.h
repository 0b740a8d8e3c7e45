#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace varve::index {

/// Bytes that must be readable behind the text that FindBytes searches.
inline constexpr size_t kScanPadding = 32;

/// Returns the first place at or after `at` where `needle` (not empty) lies inside text[0, end),
/// or `end`. Reads up to kScanPadding bytes past `end`. Compares the first and the last byte of
/// the needle at 16 places at a time, so that a rare pair is skipped at memory speed.
inline size_t FindBytes(const char* text, size_t at, size_t end, std::string_view needle) {
  if (end - at < needle.size() || at > end) return end;
  const size_t stop = end - needle.size() + 1;  // first place that is too late
#if defined(__SSE2__)
  const __m128i first = _mm_set1_epi8(needle.front());
  const __m128i last = _mm_set1_epi8(needle.back());
  const size_t back = needle.size() - 1;
  for (; at < stop; at += 16) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + at));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + at + back));
    auto hits = static_cast<uint32_t>(
        _mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(a, first), _mm_cmpeq_epi8(b, last))));
    for (; hits != 0; hits &= hits - 1) {
      const size_t place = at + static_cast<size_t>(__builtin_ctz(hits));
      if (place >= stop) return end;
      if (std::memcmp(text + place, needle.data(), needle.size()) == 0) return place;
    }
  }
  return end;
#else
  const void* hit = memmem(text + at, end - at, needle.data(), needle.size());
  return hit == nullptr ? end : static_cast<size_t>(static_cast<const char*>(hit) - text);
#endif
}

/// Calls `f(i)` for every string i that contains `needle`, ascending. String i is
/// text[at[i], at[i + 1]); the strings lie next to each other.
template <typename F>
void FindStringsWith(const char* text, std::span<const uint32_t> at, std::string_view needle,
                     F&& f) {
  if (at.size() < 2) return;
  const size_t end = at.back();
  size_t place = at.front();
  size_t i = 0;
  while ((place = FindBytes(text, place, end, needle)) < end) {
    while (at[i + 1] <= place) ++i;
    if (place + needle.size() <= at[i + 1]) {
      f(static_cast<uint32_t>(i));
      place = at[i + 1];
    } else {
      ++place;  // it lies across two strings
    }
  }
}

}  // namespace varve::index
