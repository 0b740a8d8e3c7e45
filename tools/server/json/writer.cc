#include "tools/server/json/writer.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "engine/base/utf8.h"
#include "tools/server/json/shortest.h"

namespace varve::json {
namespace {

constexpr uint64_t kTenTo8 = 100'000'000;
constexpr uint64_t kZeros = 0x3030303030303030;  // '0' eight times

/// Returns the eight decimal digits of a number below 10^8, the first in the lowest byte. They are
/// split off in halves, all of one size at once: fours, twos, ones.
constexpr uint64_t EightDigits(uint32_t value) {
  uint64_t fours = value / 10'000 | uint64_t{value % 10'000} << 32;
  // x / 100 for x < 10^4 in each half of the word, x / 10 for x < 100 in each quarter.
  const uint64_t hundreds = (fours * 5243 >> 19) & 0x0000'007f'0000'007f;
  const uint64_t twos = hundreds | (fours - hundreds * 100) << 16;
  const uint64_t tens = (twos * 103 >> 10) & 0x000f'000f'000f'000f;
  return tens | (twos - tens * 10) << 8;
}

void Store(uint64_t bytes, char* out) {
  if constexpr (std::endian::native == std::endian::big) bytes = __builtin_bswap64(bytes);
  std::memcpy(out, &bytes, sizeof(bytes));
}

/// Prints a number below 10^8. May write 8 bytes.
char* PrintSmall(uint32_t value, char* out) {
  const uint64_t digits = EightDigits(value);
  const auto zeros = static_cast<unsigned>(std::countr_zero(digits | uint64_t{1} << 56)) / 8;
  Store((digits | kZeros) >> (8 * zeros), out);
  return out + 8 - zeros;
}

/// Writes up to 20 bytes, and never less than 8.
char* PrintUint(uint64_t value, char* out) {
  if (value < kTenTo8) return PrintSmall(static_cast<uint32_t>(value), out);
  out = PrintUint(value / kTenTo8, out);
  Store(EightDigits(static_cast<uint32_t>(value % kTenTo8)) | kZeros, out);
  return out + 8;
}

void AppendUint(uint64_t value, std::string* out) {
  char text[kNumberBytesMax];
  out->append(text, PrintUint(value, text));
}

constexpr std::array<bool, 256> kNeedsEscape = [] {
  std::array<bool, 256> out{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    out[byte] = byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\' || byte == '<' ||
                byte == '>' || byte == '&';
  }
  return out;
}();
bool NeedsEscape(char c) { return kNeedsEscape[static_cast<unsigned char>(c)]; }

/// Prints whole numbers and those with up to four decimals, which most samples are, without the
/// search for the shortest digits. Returns null for all others. Below 1e15 every decimal of up to
/// 15 digits stands for a double of its own, so digits that give the value back are the shortest.
char* PrintPlain(double magnitude, char* out) {
  const auto whole = static_cast<uint64_t>(magnitude);
  if (static_cast<double>(whole) == magnitude) return PrintUint(whole, out);
  if (magnitude >= 1e11) return nullptr;
  const auto scaled = static_cast<uint64_t>(magnitude * 1e4 + 0.5);
  if (static_cast<double>(scaled) / 1e4 != magnitude) return nullptr;
  out = PrintUint(scaled / 10'000, out);
  *out++ = '.';
  // Not zero: the number is not whole.
  const uint64_t digits = EightDigits(static_cast<uint32_t>(scaled % 10'000)) >> 32;
  Store(digits | kZeros, out);
  return out + (std::bit_width(digits) + 7) / 8;
}

/// Prints a decimal from 1e-6 to below 1e15 that has digits behind the point. Writes up to 48
/// bytes.
char* PrintFixed(const Decimal& decimal, char* out) {
  char digits[40] = {};
  const auto count = static_cast<int>(PrintUint(decimal.digits, digits) - digits);
  const int point = count + decimal.exponent;
  if (point <= 0) {
    std::memcpy(out, "0.000000", 8);
    std::memcpy(out + 2 - point, digits, 20);
    return out + 2 - point + count;
  }
  // Copies of one size need no call.
  std::memcpy(out, digits, 16);
  out[point] = '.';
  std::memcpy(out + point + 1, digits + point, 20);
  return out + count + 1;
}

char* Print(std::string_view text, char* out) { return out + text.copy(out, text.size()); }

}  // namespace

char* PrintFloat(double value, char* out) {
  if (std::isnan(value)) return Print("NaN", out);
  if (std::isinf(value)) return Print(value > 0 ? "+Inf" : "-Inf", out);
  const double magnitude = std::fabs(value);
  if (std::signbit(value)) *out++ = '-';
  char* const end = out + kNumberBytesMax - 1;
  if (magnitude < 1e15) {
    if (char* const done = PrintPlain(magnitude, out); done != nullptr) return done;
    if (magnitude >= 1e-6) return PrintFixed(ShortestDecimal(magnitude), out);
    return std::to_chars(out, end, magnitude, std::chars_format::scientific).ptr;
  }
  if (magnitude >= 1e21)
    return std::to_chars(out, end, magnitude, std::chars_format::scientific).ptr;
  // to_chars would print the exact integer here; Go prints the shortest digits and then zeros.
  char text[40];
  const auto printed =
      std::to_chars(text, text + sizeof(text), magnitude, std::chars_format::scientific);
  const std::string_view scientific(text, static_cast<size_t>(printed.ptr - text));
  const size_t e = scientific.find('e');
  const auto exponent =
      static_cast<size_t>((scientific[e + 2] - '0') * 10 + (scientific[e + 3] - '0'));
  *out++ = scientific[0];
  const std::string_view digits = e > 2 ? scientific.substr(2, e - 2) : std::string_view();
  out = Print(digits.substr(0, exponent), out);
  if (digits.size() < exponent) {
    std::memset(out, '0', exponent - digits.size());
    return out + (exponent - digits.size());
  }
  if (digits.size() > exponent) {
    *out++ = '.';
    out = Print(digits.substr(exponent), out);
  }
  return out;
}

char* PrintTimeMs(int64_t time_ms, char* out) {
  uint64_t magnitude = static_cast<uint64_t>(time_ms);
  if (time_ms < 0) {
    *out++ = '-';
    magnitude = 0 - magnitude;
  }
  out = PrintUint(magnitude / 1000, out);
  const auto fraction = static_cast<unsigned>(magnitude % 1000);
  if (fraction == 0) return out;
  *out++ = '.';
  *out++ = static_cast<char>('0' + fraction / 100);
  *out++ = static_cast<char>('0' + fraction / 10 % 10);
  *out++ = static_cast<char>('0' + fraction % 10);
  return out;
}

void AppendFloat(double value, std::string* out) {
  char text[kNumberBytesMax];
  out->append(text, PrintFloat(value, text));
}

void AppendTimeMs(int64_t time_ms, std::string* out) {
  char text[kNumberBytesMax];
  out->append(text, PrintTimeMs(time_ms, text));
}

namespace {

/// Digits of many values, made one after another without a question for whole numbers below 10^8,
/// which most samples are.
class WholeTexts {
 public:
  static constexpr size_t kCount = 64;

  void Make(std::span<const double> values) {
    if (!IsWhole(values.front()) && !IsWhole(values.back())) {
      bytes_.fill(0);  // likely no column of whole numbers
      return;
    }
    size_t i = 0;
#if defined(__SSE2__)
    for (; i + 2 <= values.size(); i += 2) MakeTwo(&values[i], i);
#endif
    for (; i < values.size(); ++i) MakeOne(values[i], i);
  }
  /// Prints value `i`, unless it is none of them. May write 8 bytes.
  bool Print(size_t i, char** out) const {
    const size_t bytes = bytes_[i];
    if (bytes == 0) return false;
    std::memcpy(*out, &digits_[i * 8] + (8 - bytes), 8);
    *out += bytes;
    return true;
  }

 private:
  /// By bits: a negative zero is none.
  static bool IsWhole(double value) {
    const double whole = std::floor(value);
    return value < kTenTo8 && std::bit_cast<int64_t>(value) >= 0 && whole == value;
  }
  void MakeOne(double value, size_t i) {
    bytes_[i] = 0;
    if (!IsWhole(value)) return;
    const uint64_t digits = EightDigits(static_cast<uint32_t>(value));
    Store(digits | kZeros, &digits_[i * 8]);
    bytes_[i] = static_cast<uint8_t>(8 - std::countr_zero(digits | uint64_t{1} << 56) / 8);
  }

#if defined(__SSE2__)
  /// Does what MakeOne does, for two values at once.
  void MakeTwo(const double* values, size_t i) {
    const __m128d value = _mm_loadu_pd(values);
    const __m128d in_range = _mm_and_pd(_mm_cmpge_pd(value, _mm_setzero_pd()),
                                        _mm_cmplt_pd(value, _mm_set1_pd(kTenTo8)));
    const __m128i whole = _mm_cvttpd_epi32(_mm_and_pd(value, in_range));
    const int equal = _mm_movemask_pd(_mm_cmpeq_pd(_mm_cvtepi32_pd(whole), value));
    const int is_whole = equal & ~_mm_movemask_pd(value);
    // As in EightDigits, with a value in each half of a register.
    const __m128i x = _mm_unpacklo_epi32(whole, _mm_setzero_si128());
    const __m128i high = _mm_srli_epi64(_mm_mul_epu32(x, _mm_set1_epi64x(0xd1b71759)), 45);
    const __m128i low = _mm_sub_epi32(x, _mm_mul_epu32(high, _mm_set1_epi64x(10'000)));
    const __m128i fours = _mm_or_si128(high, _mm_slli_epi64(low, 32));
    const __m128i hundreds = _mm_srli_epi16(_mm_mulhi_epu16(fours, _mm_set1_epi32(5243)), 3);
    const __m128i twos = _mm_or_si128(
        hundreds,
        _mm_slli_epi32(_mm_sub_epi16(fours, _mm_mullo_epi16(hundreds, _mm_set1_epi32(100))), 16));
    const __m128i tens = _mm_srli_epi16(_mm_mullo_epi16(twos, _mm_set1_epi16(103)), 10);
    const __m128i ones = _mm_sub_epi16(twos, _mm_mullo_epi16(tens, _mm_set1_epi16(10)));
    const __m128i digits = _mm_or_si128(tens, _mm_slli_epi16(ones, 8));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(&digits_[i * 8]),
                     _mm_or_si128(digits, _mm_set1_epi8('0')));
    const auto zeros =
        static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(digits, _mm_setzero_si128())));
    // The last digit counts, whatever it is.
    const uint32_t counted = ~zeros | 0x8080;
    const auto bytes = [&](uint32_t mask) {
      return static_cast<uint8_t>(8 - std::countr_zero(mask));
    };
    bytes_[i] = (is_whole & 1) != 0 ? bytes(counted) : uint8_t{0};
    bytes_[i + 1] = (is_whole & 2) != 0 ? bytes(counted >> 8) : uint8_t{0};
  }
#endif

  std::array<char, kCount * 8 + 8> digits_;  // eight of each value, with leading zeros
  std::array<uint8_t, kCount> bytes_;        // how many of them are printed; 0: not such a value
};

}  // namespace

void PointsWriter::Place(std::span<const int64_t> times_ms, size_t from, uint32_t* places) {
  size_t k = from;
  for (size_t i = 0; i < times_ms.size();) {
    const Time* const known = times_.data();
    const size_t same_max = std::min(times_ms.size() - i, times_.size() - k);
    size_t same = 0;
    while (same < same_max && known[k + same].time_ms == times_ms[i + same]) {
      places[i + same] = static_cast<uint32_t>(k + same);
      ++same;
    }
    i += same;
    k += same;
    if (i == times_ms.size()) return;
    while (k < times_.size() && times_[k].time_ms < times_ms[i]) ++k;
    if (k < times_.size() && times_[k].time_ms == times_ms[i]) continue;
    // Another grid, or a gap in the series before: start over from here.
    times_.resize(k);
    Time made{times_ms[i], 0, {}};
    char* text = made.text;
    *text++ = ',';
    *text++ = '[';
    text = PrintTimeMs(made.time_ms, text);
    *text++ = ',';
    *text++ = '"';
    made.bytes = static_cast<uint32_t>(text - made.text);
    times_.push_back(made);
  }
}

void PointsWriter::Append(std::span<const int64_t> times_ms, std::span<const double> values,
                          std::string* out) {
  // Series of one query have their times from one grid: what came before each value then is the
  // same text again.
  char block[WholeTexts::kCount * (kTimeBytesMax + kNumberBytesMax + 2) + kTimeBytesMax];
  WholeTexts wholes;
  uint32_t places[WholeTexts::kCount];
  size_t next = 0;
  for (size_t i = 0; i < times_ms.size(); i += WholeTexts::kCount) {
    const size_t count = std::min(WholeTexts::kCount, times_ms.size() - i);
    if (next >= kTimesMax) {
      times_.clear();
      next = 0;
    }
    wholes.Make(values.subspan(i, count));
    Place(times_ms.subspan(i, count), next, places);
    next = places[count - 1] + 1;
    char* at = block;
    for (size_t j = 0; j < count; ++j) {
      const Time& time = times_[places[j]];
      std::memcpy(at, time.text, sizeof(time.text));  // of one size: no call
      at += time.bytes;
      if (!wholes.Print(j, &at)) at = PrintFloat(values[i + j], at);
      std::memcpy(at, "\"]", 2);
      at += 2;
    }
    // No comma before the first.
    out->append(i == 0 ? block + 1 : block, at);
  }
}

namespace {

/// Appends a quoted string that is short and needs no escapes, and `after`, in one piece. Returns
/// false, with nothing appended, for others.
bool AppendShort(std::string_view text, std::string_view after, std::string* out) {
  char block[256];
  if (text.size() + after.size() + 2 > sizeof(block)) return false;
  char* at = block;
  *at++ = '"';
  bool plain = true;
  for (const char c : text) {
    plain &= !NeedsEscape(c);
    *at++ = c;
  }
  if (!plain) return false;
  *at++ = '"';
  out->append(block, Print(after, at));
  return true;
}

}  // namespace

void AppendString(std::string_view text, std::string* out) {
  if (AppendShort(text, "", out)) return;
  static constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  while (!text.empty()) {
    size_t plain = 0;
    while (plain < text.size() && !NeedsEscape(text[plain])) ++plain;
    out->append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (text.empty()) break;
    const char c = text.front();
    const auto byte = static_cast<unsigned char>(c);
    size_t used = 1;
    if (byte >= 0x80) {
      used = Utf8Length(text);
      // The two line separators end a string in JavaScript.
      if (used == 0) {
        out->append("\xef\xbf\xbd");
        used = 1;
      } else if (text.starts_with("\xe2\x80\xa8") || text.starts_with("\xe2\x80\xa9")) {
        out->append(text[2] == '\xa8' ? "\\u2028" : "\\u2029");
      } else {
        out->append(text.substr(0, used));
      }
    } else if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '\r') {
      out->append("\\r");
    } else if (c == '\t') {
      out->append("\\t");
    } else {
      out->append("\\u00");
      out->push_back(kHex[byte >> 4]);
      out->push_back(kHex[byte & 15]);
    }
    text.remove_prefix(used);
  }
  out->push_back('"');
}

Writer& Writer::Key(std::string_view key) {
  Comma();
  fresh_ = true;
  if (AppendShort(key, ":", out_)) return *this;
  AppendString(key, out_);
  out_->push_back(':');
  return *this;
}

Writer& Writer::String(std::string_view value) {
  Comma();
  AppendString(value, out_);
  return *this;
}

Writer& Writer::Int(int64_t value) {
  Comma();
  if (value < 0) out_->push_back('-');
  AppendUint(value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value), out_);
  return *this;
}

Writer& Writer::Uint(uint64_t value) {
  Comma();
  AppendUint(value, out_);
  return *this;
}

Writer& Writer::Bool(bool value) { return Raw(value ? "true" : "false"); }

Writer& Writer::Null() { return Raw("null"); }

Writer& Writer::Number(double value) {
  if (!std::isfinite(value)) return Null();
  Comma();
  AppendFloat(value, out_);
  return *this;
}

Writer& Writer::FloatString(double value) {
  Comma();
  char text[kNumberBytesMax + 2];
  char* end = text;
  *end++ = '"';
  end = PrintFloat(value, end);
  *end++ = '"';
  out_->append(text, end);
  return *this;
}

Writer& Writer::TimeMs(int64_t time_ms) {
  Comma();
  AppendTimeMs(time_ms, out_);
  return *this;
}

Writer& Writer::Raw(std::string_view json) {
  Comma();
  out_->append(json);
  return *this;
}

}  // namespace varve::json
