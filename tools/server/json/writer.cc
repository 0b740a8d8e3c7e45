#include "tools/server/json/writer.h"

#include <charconv>
#include <cmath>

namespace varve::json {
namespace {

// Returns the length of the well-formed UTF-8 sequence at the start of `text`, or 0.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto tail = [&](size_t i, unsigned low, unsigned high) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return tail(1, 0x80, 0xbf) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const unsigned low = first == 0xe0 ? 0xa0 : 0x80;
    const unsigned high = first == 0xed ? 0x9f : 0xbf;
    return tail(1, low, high) && tail(2, 0x80, 0xbf) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned low = first == 0xf0 ? 0x90 : 0x80;
    const unsigned high = first == 0xf4 ? 0x8f : 0xbf;
    return tail(1, low, high) && tail(2, 0x80, 0xbf) && tail(3, 0x80, 0xbf) ? 4 : 0;
  }
  return 0;
}

void AppendUint(uint64_t value, std::string* out) {
  char text[24];
  const auto [end, error] = std::to_chars(text, text + sizeof(text), value);
  out->append(text, end);
}

bool NeedsEscape(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&';
}

}  // namespace

void AppendFloat(double value, std::string* out) {
  if (std::isnan(value)) {
    out->append("NaN");
    return;
  }
  if (std::isinf(value)) {
    out->append(value > 0 ? "+Inf" : "-Inf");
    return;
  }
  const double magnitude = std::fabs(value);
  char text[64];
  if (magnitude >= 1e15 && magnitude < 1e21) {
    // to_chars would print the exact integer here; Go prints the shortest digits and then zeros.
    const auto [end, error] =
        std::to_chars(text, text + sizeof(text), magnitude, std::chars_format::scientific);
    const std::string_view scientific(text, static_cast<size_t>(end - text));
    const size_t e = scientific.find('e');
    const auto exponent =
        static_cast<size_t>((scientific[e + 2] - '0') * 10 + (scientific[e + 3] - '0'));
    if (value < 0) out->push_back('-');
    out->push_back(scientific[0]);
    const std::string_view digits = e > 2 ? scientific.substr(2, e - 2) : std::string_view();
    out->append(digits.substr(0, exponent));
    if (digits.size() < exponent) {
      out->append(exponent - digits.size(), '0');
    } else if (digits.size() > exponent) {
      out->push_back('.');
      out->append(digits.substr(exponent));
    }
    return;
  }
  const bool scientific = magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21);
  const auto [end, error] =
      std::to_chars(text, text + sizeof(text), value,
                    scientific ? std::chars_format::scientific : std::chars_format::fixed);
  out->append(text, end);
}

void AppendTimeMs(int64_t time_ms, std::string* out) {
  uint64_t magnitude = static_cast<uint64_t>(time_ms);
  if (time_ms < 0) {
    out->push_back('-');
    magnitude = 0 - magnitude;
  }
  AppendUint(magnitude / 1000, out);
  const auto fraction = static_cast<unsigned>(magnitude % 1000);
  if (fraction == 0) return;
  out->push_back('.');
  out->push_back(static_cast<char>('0' + fraction / 100));
  out->push_back(static_cast<char>('0' + fraction / 10 % 10));
  out->push_back(static_cast<char>('0' + fraction % 10));
}

void AppendString(std::string_view text, std::string* out) {
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
  AppendString(key, out_);
  out_->push_back(':');
  fresh_ = true;
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
  out_->push_back('"');
  AppendFloat(value, out_);
  out_->push_back('"');
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
