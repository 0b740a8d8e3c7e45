#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "engine/base/strings.h"
#include "query/functions/go_format.h"
#include "query/logs/template_arguments.h"

namespace varve::query::templates {

std::string Sprint(Arguments arguments, bool line) {
  std::string out;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool gap =
        i > 0 &&
        (line || (arguments[i].kind != Kind::kString && arguments[i - 1].kind != Kind::kString));
    if (gap) out.push_back(' ');
    if (arguments[i].kind == Kind::kNil) {
      out += "<nil>";
    } else {
      AppendValue(arguments[i], &out);
    }
  }
  if (line) out.push_back('\n');
  return out;
}

namespace {

struct FormatFlags {
  bool minus = false;
  bool plus = false;
  bool sharp = false;
  bool space = false;
  bool zero = false;
  int width = -1;
  int precision = -1;
};

/// Pads with spaces, or zeros behind the sign.
void AppendPadded(std::string_view text, const FormatFlags& flags, bool numeric, std::string* out) {
  const int64_t runes = CountRunes(text);
  const size_t pad = flags.width > runes ? static_cast<size_t>(flags.width - runes) : 0;
  if (flags.minus) {
    *out += text;
    out->append(pad, ' ');
  } else if (flags.zero && numeric) {
    size_t sign = 0;
    if (!text.empty() && (text[0] == '-' || text[0] == '+' || text[0] == ' ')) sign = 1;
    *out += text.substr(0, sign);
    out->append(pad, '0');
    *out += text.substr(sign);
  } else {
    out->append(pad, flags.zero ? '0' : ' ');
    *out += text;
  }
}

std::string FormatInteger(int64_t value, int base, bool upper, const FormatFlags& flags) {
  char buffer[80];
  const uint64_t magnitude =
      value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  auto [end, error] = std::to_chars(buffer, buffer + sizeof buffer, magnitude, base);
  std::string digits(buffer, end);
  if (upper) {
    for (char& c : digits) {
      if (c >= 'a') c = static_cast<char>(c - 32);
    }
  }
  if (flags.precision >= 0 && static_cast<int>(digits.size()) < flags.precision) {
    digits.insert(0, static_cast<size_t>(flags.precision) - digits.size(), '0');
  }
  if (flags.sharp)
    digits = Concat(base == 16  ? (upper ? "0X" : "0x")
                    : base == 8 ? "0"
                    : base == 2 ? "0b"
                                : "",
                    digits);
  return Concat(value < 0 ? "-" : flags.plus ? "+" : flags.space ? " " : "", digits);
}

std::string FormatFloat(double value, char verb, const FormatFlags& flags) {
  std::string out;
  if (std::isnan(value)) {
    out = "NaN";
  } else if (std::isinf(value)) {
    out = value > 0 ? "+Inf" : "-Inf";
    if (value > 0 && !flags.plus) return out;
    return out;
  } else if (verb == 'f' || verb == 'F' || verb == 'e' || verb == 'E' || flags.precision >= 0) {
    char format[8] = {'%', '.', '*', verb == 'F' ? 'f' : verb == 'v' ? 'g' : verb, 0};
    char buffer[512];
    const int precision = std::clamp(flags.precision >= 0 ? flags.precision : 6, 0, 100);
    const int size = std::snprintf(buffer, sizeof buffer, format, precision, value);
    out.assign(buffer, std::min<size_t>(static_cast<size_t>(size), sizeof buffer - 1));
  } else {
    out = GoFormatG(value);
    if (verb == 'G') {
      std::replace(out.begin(), out.end(), 'e', 'E');
    }
  }
  if (flags.plus && out[0] != '-') out.insert(0, "+");
  if (flags.space && !flags.plus && out[0] != '-') out.insert(0, " ");
  return out;
}

std::string GoKindOf(const Value& value) { return std::string(TypeName(value)); }

Result<std::string> Sprintf(const Context& context, std::string_view format, Arguments arguments) {
  std::string out;
  size_t next = 0;
  for (size_t at = 0; at < format.size();) {
    if (out.size() > context.bytes_left) return Fail("exceeded the limit of template output");
    if (format[at] != '%') {
      const size_t end = std::min(format.find('%', at), format.size());
      out += format.substr(at, end - at);
      at = end;
      continue;
    }
    ++at;
    FormatFlags flags;
    for (bool more = true; more && at < format.size();) {
      switch (format[at]) {
        case '-':
          flags.minus = true;
          flags.zero = false;
          break;
        case '+':
          flags.plus = true;
          break;
        case '#':
          flags.sharp = true;
          break;
        case ' ':
          flags.space = true;
          break;
        case '0':
          flags.zero = !flags.minus;
          break;
        default:
          more = false;
          continue;
      }
      ++at;
    }
    const auto number = [&]() -> int {
      if (at < format.size() && format[at] == '*') {
        ++at;
        if (next >= arguments.size() || arguments[next].kind != Kind::kInt) {
          ++next;
          out += "%!(BADWIDTH)";
          return -1;
        }
        return static_cast<int>(
            std::clamp<int64_t>(arguments[next++].integer, -1'000'000, 1'000'000));
      }
      int value = -1;
      while (at < format.size() && format[at] >= '0' && format[at] <= '9') {
        value = std::min(std::max(value, 0) * 10 + (format[at] - '0'), 1'000'000);
        ++at;
      }
      return value;
    };
    flags.width = number();
    if (flags.width < -1) {
      flags.minus = true;
      flags.zero = false;
      flags.width = -flags.width;
    }
    if (at < format.size() && format[at] == '.') {
      ++at;
      flags.precision = std::max(number(), 0);
    }
    if (static_cast<uint64_t>(std::max(flags.width, 0)) > context.bytes_left ||
        static_cast<uint64_t>(std::max(flags.precision, 0)) > context.bytes_left) {
      return Fail("exceeded the limit of template output");
    }
    if (at >= format.size()) {
      out += "%!(NOVERB)";
      break;
    }
    const size_t verb_length = RuneLength(format, at);
    const std::string_view verb_text = format.substr(at, verb_length);
    const char verb = verb_text[0];
    at += verb_length;
    if (verb == '%') {
      out.push_back('%');
      continue;
    }
    if (next >= arguments.size()) {
      out += Concat("%!", verb_text, "(MISSING)");
      continue;
    }
    const Value& value = arguments[next++];
    const auto bad = [&] {
      out += Concat("%!", verb_text, "(", GoKindOf(value), "=");
      AppendValue(value, &out);
      out.push_back(')');
    };
    if (value.kind == Kind::kNil) {
      out += verb == 'v' ? "<nil>" : verb == 'T' ? "<nil>" : Concat("%!", verb_text, "(<nil>)");
      continue;
    }
    if (verb == 'T') {
      AppendPadded(GoKindOf(value), flags, false, &out);
      continue;
    }
    switch (value.kind) {
      case Kind::kInt:
        switch (verb) {
          case 'v':
          case 'd':
            AppendPadded(FormatInteger(value.integer, 10, false, flags), flags, true, &out);
            break;
          case 'b':
            AppendPadded(FormatInteger(value.integer, 2, false, flags), flags, true, &out);
            break;
          case 'o':
          case 'O':
            AppendPadded(FormatInteger(value.integer, 8, false, flags), flags, true, &out);
            break;
          case 'x':
          case 'X':
            AppendPadded(FormatInteger(value.integer, 16, verb == 'X', flags), flags, true, &out);
            break;
          case 'c':
          case 'q':
          case 'U': {
            const auto code = static_cast<uint32_t>(value.integer);
            if (verb == 'U') {
              char buffer[16];
              std::snprintf(buffer, sizeof buffer, "U+%04X", code);
              AppendPadded(buffer, flags, false, &out);
              break;
            }
            std::string rune;
            if (code < 0x80) {
              rune.push_back(static_cast<char>(code));
            } else if (code < 0x800) {
              rune = {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
            } else if (code < 0x10000) {
              rune = {static_cast<char>(0xe0 | code >> 12),
                      static_cast<char>(0x80 | (code >> 6 & 0x3f)),
                      static_cast<char>(0x80 | (code & 0x3f))};
            } else {
              rune = "\xef\xbf\xbd";
            }
            AppendPadded(verb == 'q' ? Concat("'", rune, "'") : rune, flags, false, &out);
            break;
          }
          default:
            bad();
        }
        break;
      case Kind::kFloat:
        if (std::string_view("vgGfFeE").find(verb) == std::string_view::npos) {
          bad();
        } else {
          FormatFlags padding = flags;
          if (!std::isfinite(value.number)) padding.zero = false;
          AppendPadded(FormatFloat(value.number, verb, flags), padding, true, &out);
        }
        break;
      case Kind::kBool:
        if (verb == 'v' || verb == 't') {
          AppendPadded(value.integer ? "true" : "false", flags, false, &out);
        } else {
          bad();
        }
        break;
      case Kind::kString: {
        std::string_view text = value.text;
        if (flags.precision >= 0 && verb != 'x' && verb != 'X')
          text = text.substr(0, RuneOffset(text, flags.precision));
        if (verb == 's' || verb == 'v') {
          AppendPadded(text, flags, false, &out);
        } else if (verb == 'q') {
          AppendPadded(flags.sharp && text.find('`') == std::string_view::npos
                           ? Concat("`", text, "`")
                           : GoQuote(text),
                       flags, false, &out);
        } else if (verb == 'x' || verb == 'X') {
          const char* hex = verb == 'x' ? "0123456789abcdef" : "0123456789ABCDEF";
          std::string digits;
          for (const char c : text) {
            digits.push_back(hex[static_cast<unsigned char>(c) >> 4]);
            digits.push_back(hex[static_cast<unsigned char>(c) & 15]);
          }
          AppendPadded(digits, flags, false, &out);
        } else {
          bad();
        }
        break;
      }
      default: {
        std::string text;
        AppendValue(value, &text);
        AppendPadded(text, flags, false, &out);
      }
    }
  }
  if (next < arguments.size()) {
    out += "%!(EXTRA ";
    for (size_t i = next; i < arguments.size(); ++i) {
      if (i > next) out += ", ";
      if (arguments[i].kind == Kind::kNil) {
        out += "<nil>";
        continue;
      }
      out += Concat(GoKindOf(arguments[i]), "=");
      AppendValue(arguments[i], &out);
    }
    out.push_back(')');
  }
  return out;
}

}  // namespace

FunctionList PrintFunctions() {
  return {
      {"printf", 1, -1,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto format, Text(a[0]));
         VARVE_ASSIGN_OR_RETURN(const auto out, Sprintf(c, format, a.subspan(1)));
         return c.Keep(out);
       },
       true},
      {"print", 0, -1, [](const Context& c, Arguments a) { return c.Keep(Sprint(a, false)); },
       true},
      {"println", 0, -1, [](const Context& c, Arguments a) { return c.Keep(Sprint(a, true)); },
       true},
  };
}

}  // namespace varve::query::templates
