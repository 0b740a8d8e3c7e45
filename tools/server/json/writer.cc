#include "tools/server/json/writer.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "engine/base/utf8.h"

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

char* Print(std::string_view text, char* out) {
  std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

}  // namespace

char* PrintFloat(double value, char* out) {
  if (std::isnan(value)) return Print("NaN", out);
  if (std::isinf(value)) return Print(value > 0 ? "+Inf" : "-Inf", out);
  const double magnitude = std::fabs(value);
  if (std::signbit(value)) *out++ = '-';
  char* const end = out + kNumberBytesMax - 1;
  if (magnitude < 1e15) {
    if (char* const done = PrintPlain(magnitude, out); done != nullptr) return done;
    return std::to_chars(
               out, end, magnitude,
               magnitude < 1e-6 ? std::chars_format::scientific : std::chars_format::fixed)
        .ptr;
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

void PointsWriter::Append(std::span<const int64_t> times_ms, std::span<const double> values,
                          std::string* out) {
  // Series of one query have their times from one grid: what came before each value then is the
  // same text again.
  char block[4096];
  char* at = block;
  size_t k = 0;
  for (size_t i = 0; i < times_ms.size(); ++i) {
    if (static_cast<size_t>(block + sizeof(block) - at) < kTimeBytesMax + kNumberBytesMax + 8) {
      out->append(block, at);
      at = block;
    }
    while (k < times_.size() && times_[k].time_ms < times_ms[i]) ++k;
    if (k == times_.size()) {
      Time made{times_ms[i], 0, {}};
      char* text = made.text;
      *text++ = ',';
      *text++ = '[';
      text = PrintTimeMs(times_ms[i], text);
      *text++ = ',';
      *text++ = '"';
      made.bytes = static_cast<uint32_t>(text - made.text);
      if (times_.size() == kTimesMax) times_.clear();
      k = times_.size();
      times_.push_back(made);
    } else if (times_[k].time_ms != times_ms[i]) {
      // Another grid, or a gap in the first series: start over from here.
      times_.resize(k);
      --i;
      continue;
    }
    const Time& time = times_[k];
    std::memcpy(at, time.text, sizeof(time.text));  // of one size: no call
    const size_t comma = i == 0 ? 1 : 0;
    if (comma != 0) std::memmove(at, at + 1, time.bytes - 1);
    at += time.bytes - comma;
    at = PrintFloat(values[i], at);
    *at++ = '"';
    *at++ = ']';
  }
  out->append(block, at);
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
