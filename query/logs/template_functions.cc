#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/functions/go_format.h"
#include "query/functions/log_values.h"
#include "query/logs/go_time.h"
#include "query/logs/json.h"
#include "query/logs/template_value.h"

namespace varve::query {
namespace {

using Value = TemplateValue;
using Kind = TemplateValue::Kind;
using Context = TemplateCallContext;
using Arguments = TemplateArguments;

Status Fail(std::string_view what) { return MakeStatus(StatusCode::kInvalidArgument, what); }

// --- Conversion of arguments ---

Result<std::string_view> Text(const Value& value) {
  if (value.kind == Kind::kString) return value.text;
  return Fail(Concat("wrong type for value; expected string; got ", TypeName(value)));
}
Result<int64_t> Integer(const Value& value) {
  if (value.kind == Kind::kInt) return value.integer;
  return Fail(Concat("wrong type for value; expected int; got ", TypeName(value)));
}
Result<int64_t> Time(const Value& value) {
  if (value.kind == Kind::kTime) return value.integer;
  return Fail(Concat("wrong type for value; expected time.Time; got ", TypeName(value)));
}

/// Converts as spf13/cast does: text that is no number is 0.
double ToFloat(const Value& value) {
  switch (value.kind) {
    case Kind::kFloat:
      return value.number;
    case Kind::kInt:
    case Kind::kBool:
      return static_cast<double>(value.integer);
    case Kind::kString:
      return ParseGoFloat(value.text).value_or(0);
    default:
      return 0;
  }
}
int64_t ClampToInt(double value) {
  if (std::isnan(value)) return INT64_MIN;
  if (value >= 9223372036854775808.0 || value < -9223372036854775808.0) return INT64_MIN;
  return static_cast<int64_t>(value);
}
int64_t ToInt(const Value& value) {
  switch (value.kind) {
    case Kind::kFloat:
      return ClampToInt(value.number);
    case Kind::kInt:
    case Kind::kBool:
      return value.integer;
    case Kind::kString: {
      std::string_view text = value.text;
      // A zero fraction does not spoil an integer.
      if (const size_t point = text.find('.');
          point != std::string_view::npos &&
          text.find_first_not_of('0', point + 1) == std::string_view::npos) {
        text = text.substr(0, point);
      }
      if (text.starts_with('+')) text.remove_prefix(1);
      int64_t out = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
      return error == std::errc() && end == text.data() + text.size() ? out : 0;
    }
    default:
      return 0;
  }
}

// --- Runes ---

size_t RuneLength(std::string_view text, size_t at) {
  const auto c = static_cast<unsigned char>(text[at]);
  const size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  for (size_t i = 1; i < length; ++i) {
    if (at + i >= text.size() || (static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80)
      return 1;
  }
  return c >= 0x80 && c < 0xc0 ? 1 : length;
}
int64_t CountRunes(std::string_view text) {
  int64_t runes = 0;
  for (size_t at = 0; at < text.size(); at += RuneLength(text, at)) ++runes;
  return runes;
}
/// Gives the byte at which rune `index` starts, or the end.
size_t RuneOffset(std::string_view text, int64_t index) {
  size_t at = 0;
  while (index-- > 0 && at < text.size()) at += RuneLength(text, at);
  return at;
}
bool IsUnicodeSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string MapAscii(std::string_view text, bool upper) {
  std::string out(text);
  for (size_t i = 0; i < out.size(); ++i) {
    char& c = out[i];
    if (upper && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    if (!upper && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    // Two-byte letters whose cases are 32 apart or neighbours: Latin-1, Greek, Cyrillic.
    if (i + 1 >= out.size()) continue;
    const auto a = static_cast<unsigned char>(out[i]);
    const auto b = static_cast<unsigned char>(out[i + 1]);
    if ((a & 0xe0) != 0xc0 || (b & 0xc0) != 0x80) continue;
    uint32_t code = (a & 0x1fu) << 6 | (b & 0x3fu);
    if (upper) {
      if (code >= 0xe0 && code <= 0xfe && code != 0xf7)
        code -= 32;
      else if (code == 0xff)
        code = 0x178;
      else if (code >= 0x3b1 && code <= 0x3c9 && code != 0x3c2)
        code -= 32;
      else if (code >= 0x430 && code <= 0x44f)
        code -= 32;
      else if (code >= 0x450 && code <= 0x45f)
        code -= 80;
      else if (code >= 0x100 && code <= 0x137 && (code & 1))
        --code;
    } else {
      if (code >= 0xc0 && code <= 0xde && code != 0xd7)
        code += 32;
      else if (code >= 0x391 && code <= 0x3a9 && code != 0x3a2)
        code += 32;
      else if (code >= 0x410 && code <= 0x42f)
        code += 32;
      else if (code >= 0x400 && code <= 0x40f)
        code += 80;
      else if (code >= 0x100 && code <= 0x137 && !(code & 1))
        ++code;
    }
    out[i] = static_cast<char>(0xc0 | code >> 6);
    out[i + 1] = static_cast<char>(0x80 | (code & 0x3f));
    ++i;
  }
  return out;
}

std::string ReplaceText(std::string_view text, std::string_view from, std::string_view to,
                        int64_t limit) {
  std::string out;
  if (from.empty()) {
    // Go puts the replacement before each rune and at the end.
    size_t at = 0;
    while (limit != 0) {
      out += to;
      --limit;
      if (at >= text.size()) return out;
      const size_t length = RuneLength(text, at);
      out += text.substr(at, length);
      at += length;
    }
    return out + std::string(text.substr(at));
  }
  size_t at = 0;
  while (limit != 0) {
    const size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    out += text.substr(at, found - at);
    out += to;
    at = found + from.size();
    --limit;
  }
  return out + std::string(text.substr(at));
}

/// Trims runes that are in a set.
std::string_view TrimSet(std::string_view text, std::string_view set, bool left, bool right) {
  const auto in_set = [&](std::string_view rune) {
    return set.find(rune) != std::string_view::npos;
  };
  while (left && !text.empty()) {
    const size_t length = RuneLength(text, 0);
    if (!in_set(text.substr(0, length))) break;
    text.remove_prefix(length);
  }
  while (right && !text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && text.size() - begin < 4 &&
           (static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80)
      --begin;
    if (begin + RuneLength(text, begin) != text.size()) begin = text.size() - 1;
    if (!in_set(text.substr(begin))) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}
std::string_view TrimSpace(std::string_view text) {
  while (!text.empty() && IsUnicodeSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsUnicodeSpace(text.back())) text.remove_suffix(1);
  return text;
}

// --- Expressions ---

/// Keeps the expressions that templates used last, for the process. Thread-safe.
class RegexCache {
 public:
  Result<std::shared_ptr<const re2::RE2>> Find(std::string_view text) {
    {
      absl::MutexLock lock(&mutex_);
      const auto found = by_text_.find(text);
      if (found != by_text_.end()) return found->second;
    }
    re2::RE2::Options options(re2::RE2::Quiet);
    options.set_max_mem(1 << 20);
    auto compiled =
        std::make_shared<const re2::RE2>(re2::StringPiece(text.data(), text.size()), options);
    if (!compiled->ok()) return Fail(Concat("error parsing regexp: ", GoRegexError(*compiled)));
    absl::MutexLock lock(&mutex_);
    // Expressions may come from the lines themselves: what grows past all bounds starts anew.
    if (by_text_.size() >= 256) by_text_.clear();
    by_text_.emplace(text, compiled);
    return compiled;
  }

 private:
  absl::Mutex mutex_;
  StringMap<std::shared_ptr<const re2::RE2>> by_text_ ABSL_GUARDED_BY(mutex_);
};
RegexCache& Regexes() {
  static auto* const cache = new RegexCache();
  return *cache;
}

/// Calls `visit(captures)` for the matches of an expression, none overlapping, as Go finds them.
template <typename Visit>
void ForEachMatch(const re2::RE2& expression, std::string_view text, Visit&& visit) {
  std::vector<re2::StringPiece> captures(static_cast<size_t>(expression.NumberOfCapturingGroups()) +
                                         1);
  const re2::StringPiece whole(text.data(), text.size());
  size_t at = 0;
  size_t last_end = std::string_view::npos;
  while (at <= text.size()) {
    if (!expression.Match(whole, at, text.size(), re2::RE2::UNANCHORED, captures.data(),
                          static_cast<int>(captures.size()))) {
      return;
    }
    const size_t begin = static_cast<size_t>(captures[0].data() - text.data());
    const size_t end = begin + captures[0].size();
    // An empty match right behind the last one does not count.
    if (begin != end || begin != last_end) {
      visit(begin, end, captures);
      last_end = end;
    }
    at = end > begin ? end : end + (end < text.size() ? RuneLength(text, end) : 1);
  }
}

/// Appends a replacement with Go's $1, ${1}, $name, ${name}, $$.
void Expand(std::string_view replacement, const re2::RE2& expression,
            const std::vector<re2::StringPiece>& captures, std::string* out) {
  while (!replacement.empty()) {
    const size_t dollar = replacement.find('$');
    *out += replacement.substr(0, dollar);
    if (dollar == std::string_view::npos) return;
    replacement.remove_prefix(dollar + 1);
    if (replacement.starts_with('$')) {
      *out += '$';
      replacement.remove_prefix(1);
      continue;
    }
    const bool braces = replacement.starts_with('{');
    size_t end = braces ? 1 : 0;
    const size_t begin = end;
    while (end < replacement.size() && IsLabelByte(replacement[end])) ++end;
    const std::string_view name = replacement.substr(begin, end - begin);
    if (name.empty() || (braces && (end >= replacement.size() || replacement[end] != '}'))) {
      *out += '$';
      continue;
    }
    replacement.remove_prefix(end + (braces ? 1 : 0));
    int index = -1;
    const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    if (error != std::errc() || stop != name.data() + name.size()) {
      const auto& names = expression.NamedCapturingGroups();
      const auto found = names.find(std::string(name));
      index = found == names.end() ? -1 : found->second;
    }
    if (index >= 0 && static_cast<size_t>(index) < captures.size() &&
        captures[static_cast<size_t>(index)].data() != nullptr) {
      out->append(captures[static_cast<size_t>(index)].data(),
                  captures[static_cast<size_t>(index)].size());
    }
  }
}

Result<Value> RegexReplace(const Context& context, Arguments arguments, bool literal) {
  VARVE_ASSIGN_OR_RETURN(const std::string_view pattern, Text(arguments[0]));
  VARVE_ASSIGN_OR_RETURN(const std::string_view text, Text(arguments[1]));
  VARVE_ASSIGN_OR_RETURN(const std::string_view replacement, Text(arguments[2]));
  VARVE_ASSIGN_OR_RETURN(const auto expression, Regexes().Find(pattern));
  std::string out;
  size_t at = 0;
  bool too_long = false;
  ForEachMatch(*expression, text, [&](size_t begin, size_t end, const auto& captures) {
    if (out.size() > context.bytes_left) {
      too_long = true;
      return;
    }
    out += text.substr(at, begin - at);
    if (literal) {
      out += replacement;
    } else {
      Expand(replacement, *expression, captures, &out);
    }
    at = end;
  });
  if (too_long) return Fail("exceeded the limit of template output");
  out += text.substr(at);
  return context.Keep(out);
}

// --- Escaping ---

constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string Base64Encode(std::string_view text) {
  std::string out;
  out.reserve((text.size() + 2) / 3 * 4);
  for (size_t at = 0; at < text.size(); at += 3) {
    uint32_t group = 0;
    for (size_t i = 0; i < 3; ++i) {
      group = group << 8 | (at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0);
    }
    for (size_t i = 0; i < 4; ++i) {
      out.push_back(at + i <= text.size() ? kBase64[group >> (18 - 6 * i) & 0x3f] : '=');
    }
  }
  return out;
}
/// Decodes padded base64; false with the offset of what is wrong.
bool Base64Decode(std::string_view text, std::string* out, size_t* wrong) {
  std::string clean;
  std::vector<size_t> places;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' || text[i] == '\r') continue;
    clean.push_back(text[i]);
    places.push_back(i);
  }
  for (size_t at = 0; at < clean.size(); at += 4) {
    uint32_t group = 0;
    size_t digits = 0;
    for (; digits < 4 && at + digits < clean.size(); ++digits) {
      const char c = clean[at + digits];
      const char* found = c == 0 ? nullptr : std::strchr(kBase64, c);
      if (found == nullptr) break;
      group = group << 6 | static_cast<uint32_t>(found - kBase64);
    }
    if (digits == 4) {
      out->push_back(static_cast<char>(group >> 16));
      out->push_back(static_cast<char>(group >> 8));
      out->push_back(static_cast<char>(group));
      continue;
    }
    const bool last = at + 4 == clean.size();
    const bool padded =
        last && digits >= 2 && clean.substr(at + digits) == std::string(4 - digits, '=');
    if (!padded) {
      *wrong = at + digits < places.size() ? places[at + digits] : text.size();
      return false;
    }
    group <<= 6 * (4 - digits);
    out->push_back(static_cast<char>(group >> 16));
    if (digits == 3) out->push_back(static_cast<char>(group >> 8));
  }
  return true;
}

std::string QueryEscape(std::string_view text) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (IsLabelByte(c) || c == '-' || c == '.' || c == '~') {
      out.push_back(c);
    } else if (c == ' ') {
      out.push_back('+');
    } else {
      out.push_back('%');
      out.push_back(kHex[static_cast<unsigned char>(c) >> 4]);
      out.push_back(kHex[static_cast<unsigned char>(c) & 15]);
    }
  }
  return out;
}
int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void AppendHtml(std::string_view text, std::string* out) {
  for (const char c : text) {
    switch (c) {
      case '&':
        *out += "&amp;";
        break;
      case '<':
        *out += "&lt;";
        break;
      case '>':
        *out += "&gt;";
        break;
      case '"':
        *out += "&#34;";
        break;
      case '\'':
        *out += "&#39;";
        break;
      case 0:
        *out += "\xef\xbf\xbd";
        break;
      default:
        out->push_back(c);
    }
  }
}
void AppendJs(std::string_view text, std::string* out) {
  constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    switch (c) {
      case '\\':
        *out += "\\\\";
        break;
      case '\'':
        *out += "\\'";
        break;
      case '"':
        *out += "\\\"";
        break;
      case '<':
        *out += "\\u003C";
        break;
      case '>':
        *out += "\\u003E";
        break;
      case '&':
        *out += "\\u0026";
        break;
      case '=':
        *out += "\\u003D";
        break;
      default:
        if (static_cast<unsigned char>(c) < ' ') {
          *out += "\\u00";
          out->push_back(kHex[static_cast<unsigned char>(c) >> 4]);
          out->push_back(kHex[static_cast<unsigned char>(c) & 15]);
        } else {
          out->push_back(c);
        }
    }
  }
}

// --- print and printf ---

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

// --- JSON ---

Result<Value> FromJson(const Context& context, const JsonValue& json, size_t depth) {
  if (context.steps_left == 0) return Fail("exceeded the limit of template steps");
  --context.steps_left;
  if (depth > 64) return Value();
  switch (json.type) {
    case JsonType::kNull:
      return Value();
    case JsonType::kBoolean:
      return Value::Bool(json.text == "true");
    case JsonType::kNumber: {
      const auto number = ParseGoFloat(json.text);
      if (!number) return Fail("bad number");
      return Value::Float(*number);
    }
    case JsonType::kString: {
      std::string_view text;
      if (!UnescapeJson(json.text, context.arena, &text)) return Fail("bad escape");
      return Value::String(text);
    }
    case JsonType::kArray: {
      TemplateList list;
      JsonArrayReader reader(json.text);
      JsonValue item;
      if (!reader.Open()) return Fail("bad array");
      while (reader.Next(&item)) {
        VARVE_ASSIGN_OR_RETURN(Value value, FromJson(context, item, depth + 1));
        list.push_back(value);
      }
      if (reader.fault() != JsonFault::kNone) return Fail("bad array");
      context.lists.push_back(std::move(list));
      Value out;
      out.kind = Kind::kList;
      out.list = &context.lists.back();
      return out;
    }
    case JsonType::kObject: {
      TemplateMap map;
      JsonObjectReader reader(json.text);
      std::string_view key;
      JsonValue item;
      if (!reader.Open()) return Fail("bad object");
      while (reader.Next(&key, &item)) {
        std::string_view name;
        if (!UnescapeJson(key, context.arena, &name)) return Fail("bad escape");
        VARVE_ASSIGN_OR_RETURN(Value value, FromJson(context, item, depth + 1));
        map.emplace_back(name, value);
      }
      if (reader.fault() != JsonFault::kNone) return Fail("bad object");
      // The last of equal keys counts.
      std::stable_sort(map.begin(), map.end(),
                       [](const auto& a, const auto& b) { return a.first < b.first; });
      TemplateMap unique;
      for (auto& item_ref : map) {
        if (!unique.empty() && unique.back().first == item_ref.first) unique.pop_back();
        unique.push_back(item_ref);
      }
      context.maps.push_back(std::move(unique));
      Value out;
      out.kind = Kind::kMap;
      out.map = &context.maps.back();
      return out;
    }
  }
  return Value();
}

// --- Comparison ---

Result<int> Order(const Value& a, const Value& b) {
  if (a.kind != b.kind) return Fail("incompatible types for comparison");
  switch (a.kind) {
    case Kind::kInt:
      return a.integer < b.integer ? -1 : a.integer > b.integer;
    case Kind::kFloat:
      return a.number < b.number ? -1 : a.number > b.number;
    case Kind::kString:
      return a.text < b.text ? -1 : a.text > b.text;
    default:
      return Fail("invalid type for comparison");
  }
}

template <typename Test>
Result<Value> Ordered(Arguments arguments, Test test) {
  VARVE_ASSIGN_OR_RETURN(const int order, Order(arguments[0], arguments[1]));
  return Value::Bool(test(order));
}

// --- Shapes shared by many functions ---

/// Folds integers.
template <typename F>
Result<Value> FoldInts(Arguments arguments, F f) {
  int64_t out = ToInt(arguments[0]);
  for (const Value& value : arguments.subspan(1)) out = f(out, ToInt(value));
  return Value::Int(out);
}
template <typename F>
Result<Value> FoldFloats(Arguments arguments, F f) {
  double out = ToFloat(arguments[0]);
  for (const Value& value : arguments.subspan(1)) out = f(out, ToFloat(value));
  return Value::Float(out);
}
int64_t Wrap(uint64_t value) { return static_cast<int64_t>(value); }

template <typename F>
Result<Value> OnText(Arguments arguments, F f) {
  VARVE_ASSIGN_OR_RETURN(const std::string_view text, Text(arguments.back()));
  return f(text);
}
template <typename F>
Result<Value> OnTwoTexts(Arguments arguments, F f) {
  VARVE_ASSIGN_OR_RETURN(const std::string_view a, Text(arguments[0]));
  VARVE_ASSIGN_OR_RETURN(const std::string_view b, Text(arguments[1]));
  return f(a, b);
}

Result<Value> Replace4(const Context& context, std::string_view text, std::string_view from,
                       std::string_view to, int64_t limit) {
  const uint64_t places = from.empty() ? text.size() + 1 : text.size() / from.size() + 1;
  if (to.size() > 0 && places > context.bytes_left &&
      to.size() > context.bytes_left / places + context.bytes_left) {
    return Fail("exceeded the limit of template output");
  }
  // Counts first: the product of two long strings must not be built to be refused.
  uint64_t found = 0;
  if (!from.empty()) {
    for (size_t at = text.find(from); at != std::string_view::npos;
         at = text.find(from, at + from.size()))
      ++found;
  } else {
    found = text.size() + 1;
  }
  if (to.size() > 0 && found > (context.bytes_left + text.size()) / to.size() + 1) {
    return Fail("exceeded the limit of template output");
  }
  return context.Keep(ReplaceText(text, from, to, limit));
}

Result<Value> Indent(const Context& context, Arguments arguments, std::string_view start) {
  VARVE_ASSIGN_OR_RETURN(const int64_t count, Integer(arguments[0]));
  VARVE_ASSIGN_OR_RETURN(const std::string_view text, Text(arguments[1]));
  if (count < 0) return Fail("strings: negative Repeat count");
  const auto lines = static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  if (static_cast<uint64_t>(count) > context.bytes_left / lines)
    return Fail("exceeded the limit of template output");
  const std::string pad(static_cast<size_t>(count), ' ');
  return context.Keep(Concat(start, pad, ReplaceText(text, "\n", Concat("\n", pad), -1)));
}

Result<Value> Align(const Context& context, Arguments arguments, bool left) {
  VARVE_ASSIGN_OR_RETURN(const int64_t count, Integer(arguments[0]));
  VARVE_ASSIGN_OR_RETURN(const std::string_view text, Text(arguments[1]));
  const int64_t runes = CountRunes(text);
  if (count < 0 || count == runes) return arguments[1];
  if (count > runes) {
    if (static_cast<uint64_t>(count) > context.bytes_left)
      return Fail("exceeded the limit of template output");
    const std::string pad(static_cast<size_t>(count - runes), ' ');
    return context.Keep(left ? Concat(text, pad) : Concat(pad, text));
  }
  return Value::String(left ? text.substr(0, RuneOffset(text, count))
                            : text.substr(RuneOffset(text, runes - count)));
}

Result<Value> Index(Arguments arguments) {
  Value value = arguments[0];
  for (const Value& key : arguments.subspan(1)) {
    switch (value.kind) {
      case Kind::kNil:
        return Fail("index of untyped nil");
      case Kind::kList:
      case Kind::kString: {
        if (key.kind != Kind::kInt)
          return Fail(Concat("cannot index slice/array with type ", TypeName(key)));
        const size_t size = value.kind == Kind::kList ? value.list->size() : value.text.size();
        if (key.integer < 0 || static_cast<uint64_t>(key.integer) >= size) {
          return Fail(Concat("index out of range: ", key.integer));
        }
        const auto at = static_cast<size_t>(key.integer);
        value = value.kind == Kind::kList ? (*value.list)[at]
                                          : Value::Int(static_cast<unsigned char>(value.text[at]));
        break;
      }
      case Kind::kMap: {
        if (key.kind != Kind::kString) {
          return Fail(Concat("value has type ", TypeName(key), "; should be string"));
        }
        const auto found = std::find_if(value.map->begin(), value.map->end(),
                                        [&](const auto& item) { return item.first == key.text; });
        value = found == value.map->end() ? Value() : found->second;
        break;
      }
      default:
        return Fail(Concat("can't index item of type ", TypeName(value)));
    }
  }
  return value;
}

Result<Value> Slice(const Context& context, Arguments arguments) {
  const Value& value = arguments[0];
  if (value.kind == Kind::kNil) return Fail("slice of untyped nil");
  if (value.kind != Kind::kString && value.kind != Kind::kList) {
    return Fail(Concat("can't slice item of type ", TypeName(value)));
  }
  if (value.kind == Kind::kString && arguments.size() == 4)
    return Fail("cannot 3-index slice a string");
  const auto size =
      static_cast<int64_t>(value.kind == Kind::kString ? value.text.size() : value.list->size());
  int64_t bounds[2] = {0, size};
  for (size_t i = 1; i < arguments.size() && i < 3; ++i) {
    if (arguments[i].kind != Kind::kInt) {
      return Fail(Concat("cannot index slice/array with type ", TypeName(arguments[i])));
    }
    if (arguments[i].integer < 0 || arguments[i].integer > size) {
      return Fail(Concat("index out of range: ", arguments[i].integer));
    }
    bounds[i - 1] = arguments[i].integer;
  }
  if (bounds[0] > bounds[1])
    return Fail(Concat("invalid slice index: ", bounds[0], " > ", bounds[1]));
  if (value.kind == Kind::kString) {
    return Value::String(value.text.substr(static_cast<size_t>(bounds[0]),
                                           static_cast<size_t>(bounds[1] - bounds[0])));
  }
  context.lists.emplace_back(value.list->begin() + bounds[0], value.list->begin() + bounds[1]);
  Value out;
  out.kind = Kind::kList;
  out.list = &context.lists.back();
  return out;
}

Result<Value> UnixToTime(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Fail(Concat("unable to parse time '", text, "': strconv.ParseInt: parsing ",
                       GoQuote(text), ": invalid syntax"));
  }
  int64_t scale = 0;
  switch (text.size()) {
    case 5:
      scale = 86'400'000'000'000;
      break;
    case 10:
      scale = 1'000'000'000;
      break;
    case 13:
      scale = 1'000'000;
      break;
    case 16:
      scale = 1'000;
      break;
    case 19:
      scale = 1;
      break;
    default:
      return Fail(Concat("unable to parse time '", text, "': unsupported unix timestamp length"));
  }
  return Value::Time(Wrap(static_cast<uint64_t>(number) * static_cast<uint64_t>(scale)));
}

double RoundTo(double value, int64_t digits) {
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = value * scale;
  const double fraction = std::modf(scaled, &value);
  return (fraction >= 0.5 ? std::ceil(scaled) : std::floor(scaled)) / scale;
}

int64_t FloorSeconds(int64_t ns, int64_t unit) {
  const int64_t whole = ns / unit;
  return ns % unit < 0 ? whole - 1 : whole;
}

const std::vector<TemplateFunction>& Table() {
  static const auto* const table = new std::vector<TemplateFunction>{
      // Context.
      {"__line__", 0, 0, [](const Context& c, Arguments) -> Result<Value> { return Value::String(c.input.line); }},
      {"__timestamp__", 0, 0, [](const Context& c, Arguments) -> Result<Value> { return Value::Time(c.input.time_ns); }},
      {"now", 0, 0,
       [](const Context&, Arguments) -> Result<Value> {
         return Value::Time(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                std::chrono::system_clock::now().time_since_epoch())
                                .count());
       }},
      // Go's order: the text first.
      {"ToLower", 1, 1, [](const Context& c, Arguments a) { return OnText(a, [&](auto s) { return c.Keep(MapAscii(s, false)); }); }},
      {"ToUpper", 1, 1, [](const Context& c, Arguments a) { return OnText(a, [&](auto s) { return c.Keep(MapAscii(s, true)); }); }},
      {"Replace", 4, 4,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto text, Text(a[0]));
         VARVE_ASSIGN_OR_RETURN(const auto from, Text(a[1]));
         VARVE_ASSIGN_OR_RETURN(const auto to, Text(a[2]));
         VARVE_ASSIGN_OR_RETURN(const auto limit, Integer(a[3]));
         return Replace4(c, text, from, to, limit);
       }},
      {"Trim", 2, 2, [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto s, auto set) -> Result<Value> { return Value::String(TrimSet(s, set, true, true)); }); }},
      {"TrimLeft", 2, 2, [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto s, auto set) -> Result<Value> { return Value::String(TrimSet(s, set, true, false)); }); }},
      {"TrimRight", 2, 2, [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto s, auto set) -> Result<Value> { return Value::String(TrimSet(s, set, false, true)); }); }},
      {"TrimPrefix", 2, 2,
       [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto s, auto part) -> Result<Value> { return Value::String(s.starts_with(part) ? s.substr(part.size()) : s); }); }},
      {"TrimSuffix", 2, 2,
       [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto s, auto part) -> Result<Value> { return Value::String(s.ends_with(part) ? s.substr(0, s.size() - part.size()) : s); }); }},
      {"TrimSpace", 1, 1, [](const Context&, Arguments a) { return OnText(a, [](auto s) -> Result<Value> { return Value::String(TrimSpace(s)); }); }},
      // Expressions.
      {"regexReplaceAll", 3, 3, [](const Context& c, Arguments a) { return RegexReplace(c, a, false); }},
      {"regexReplaceAllLiteral", 3, 3, [](const Context& c, Arguments a) { return RegexReplace(c, a, true); }},
      {"count", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto pattern, auto text) -> Result<Value> {
           VARVE_ASSIGN_OR_RETURN(const auto expression, Regexes().Find(pattern));
           int64_t matches = 0;
           ForEachMatch(*expression, text, [&](size_t, size_t, const auto&) { ++matches; });
           return Value::Int(matches);
         });
       }},
      // Encoding.
      {"urlencode", 1, 1, [](const Context& c, Arguments a) { return OnText(a, [&](auto s) { return c.Keep(QueryEscape(s)); }); }},
      {"urldecode", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) -> Result<Value> {
           std::string out;
           for (size_t i = 0; i < s.size(); ++i) {
             if (s[i] != '%') {
               out.push_back(s[i] == '+' ? ' ' : s[i]);
               continue;
             }
             if (i + 2 >= s.size() || HexDigit(s[i + 1]) < 0 || HexDigit(s[i + 2]) < 0) {
               return Fail(Concat("invalid URL escape ", GoQuote(s.substr(i, 3))));
             }
             out.push_back(static_cast<char>(HexDigit(s[i + 1]) << 4 | HexDigit(s[i + 2])));
             i += 2;
           }
           return c.Keep(out);
         });
       }},
      {"b64enc", 1, 1, [](const Context& c, Arguments a) { return OnText(a, [&](auto s) { return c.Keep(Base64Encode(s)); }); }},
      {"b64dec", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) -> Result<Value> {
           std::string out;
           size_t wrong = 0;
           // What is wrong becomes the result, as in Sprig.
           if (!Base64Decode(s, &out, &wrong)) return c.Keep(Concat("illegal base64 data at input byte ", wrong));
           return c.Keep(out);
         });
       }},
      {"fromJson", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) -> Result<Value> {
           size_t at = 0;
           JsonValue json;
           JsonFault fault = JsonFault::kNone;
           if (!ReadJsonValue(s, &at, &json, &fault) || !TrimSpace(s.substr(at)).empty()) return Value();
           auto value = FromJson(c, json, 0);
           if (!value.ok() && c.steps_left > 0) return Value();
           return value;
         });
       }},
      // Conversion.
      {"bytes", 1, 1,
       [](const Context&, Arguments a) {
         return OnText(a, [](auto s) -> Result<Value> {
           const auto bytes = ParseHumanBytes(s);
           if (!bytes) return Fail(HumanBytesError(s));
           return Value::Float(static_cast<double>(*bytes));
         });
       }},
      {"duration", 1, 1,
       [](const Context&, Arguments a) {
         return OnText(a, [](auto s) -> Result<Value> {
           const auto ns = ParseGoDuration(s);
           if (!ns) return Fail(GoDurationError(s));
           return Value::Float(DurationSeconds(*ns));
         });
       }},
      {"duration_seconds", 1, 1,
       [](const Context&, Arguments a) {
         return OnText(a, [](auto s) -> Result<Value> {
           const auto ns = ParseGoDuration(s);
           if (!ns) return Fail(GoDurationError(s));
           return Value::Float(DurationSeconds(*ns));
         });
       }},
      {"int", 1, 1, [](const Context&, Arguments a) -> Result<Value> { return Value::Int(ToInt(a[0])); }},
      {"float64", 1, 1, [](const Context&, Arguments a) -> Result<Value> { return Value::Float(ToFloat(a[0])); }},
      // Time.
      {"date", 2, 2,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto layout, Text(a[0]));
         int64_t time = 0;
         if (a[1].kind == Kind::kInt) {
           time = Wrap(static_cast<uint64_t>(a[1].integer) * 1'000'000'000);
         } else if (a[1].kind == Kind::kTime) {
           time = a[1].integer;
         } else {
           return Fail("wrong type for value; expected time.Time; got " + std::string(TypeName(a[1])));
         }
         if (layout.size() > 4096) return Fail("layout is too long");
         std::string out;
         AppendGoTime(time, layout, &out);
         return c.Keep(out);
       }},
      {"toDate", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto layout, auto text) -> Result<Value> {
           const auto time = ParseGoTime(layout, text, "UTC");
           // Sprig gives the zero time for what does not parse.
           return Value::Time(time.ok() ? *time : INT64_MIN);
         });
       }},
      {"toDateInZone", 3, 3,
       [](const Context&, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto layout, Text(a[0]));
         VARVE_ASSIGN_OR_RETURN(const auto zone, Text(a[1]));
         VARVE_ASSIGN_OR_RETURN(const auto text, Text(a[2]));
         const auto time = ParseGoTime(layout, text, zone);
         return Value::Time(time.ok() ? *time : INT64_MIN);
       }},
      {"unixEpoch", 1, 1,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto time, Time(a[0]));
         return c.Keep(std::to_string(FloorSeconds(time, 1'000'000'000)));
       }},
      {"unixEpochMillis", 1, 1,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto time, Time(a[0]));
         return c.Keep(std::to_string(FloorSeconds(time, 1'000'000)));
       }},
      {"unixEpochNanos", 1, 1,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto time, Time(a[0]));
         return c.Keep(std::to_string(time));
       }},
      {"unixToTime", 1, 1, [](const Context&, Arguments a) { return OnText(a, [](auto s) { return UnixToTime(s); }); }},
      // Sprig's order: the text last.
      {"lower", 1, 1, [](const Context& c, Arguments a) { return OnText(a, [&](auto s) { return c.Keep(MapAscii(s, false)); }); }},
      {"upper", 1, 1, [](const Context& c, Arguments a) { return OnText(a, [&](auto s) { return c.Keep(MapAscii(s, true)); }); }},
      {"title", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) -> Result<Value> {
           std::string out(s);
           bool start = true;
           for (char& ch : out) {
             if (start && ch >= 'a' && ch <= 'z') ch = static_cast<char>(ch - 32);
             // Letters, digits, underscores and bytes of other scripts continue a word.
             start = !(IsLabelByte(ch) || static_cast<unsigned char>(ch) >= 0x80 || ch == '\'');
             if (ch == '\'') start = true;
           }
           return c.Keep(out);
         });
       }},
      {"trunc", 2, 2,
       [](const Context&, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto count, Integer(a[0]));
         VARVE_ASSIGN_OR_RETURN(const auto text, Text(a[1]));
         const int64_t runes = CountRunes(text);
         if (count < 0 && runes + count > 0) return Value::String(text.substr(RuneOffset(text, runes + count)));
         if (count >= 0 && runes > count) return Value::String(text.substr(0, RuneOffset(text, count)));
         return Value::String(text);
       }},
      {"substr", 3, 3,
       [](const Context&, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(int64_t begin, Integer(a[0]));
         VARVE_ASSIGN_OR_RETURN(int64_t end, Integer(a[1]));
         VARVE_ASSIGN_OR_RETURN(const auto text, Text(a[2]));
         const int64_t runes = CountRunes(text);
         end = std::min(end, runes);
         begin = std::min(begin, runes);
         if (begin < 0) return Value::String(end < 0 ? std::string_view() : text.substr(0, RuneOffset(text, end)));
         if (end < 0) return Value::String(text.substr(RuneOffset(text, begin)));
         if (begin > end) return Value::String("");
         const size_t from = RuneOffset(text, begin);
         return Value::String(text.substr(from, RuneOffset(text, end) - from));
       }},
      {"contains", 2, 2, [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto part, auto s) -> Result<Value> { return Value::Bool(s.find(part) != std::string_view::npos); }); }},
      {"hasPrefix", 2, 2, [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto part, auto s) -> Result<Value> { return Value::Bool(s.starts_with(part)); }); }},
      {"hasSuffix", 2, 2, [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto part, auto s) -> Result<Value> { return Value::Bool(s.ends_with(part)); }); }},
      {"indent", 2, 2, [](const Context& c, Arguments a) { return Indent(c, a, ""); }},
      {"nindent", 2, 2, [](const Context& c, Arguments a) { return Indent(c, a, "\n"); }},
      {"replace", 3, 3,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto from, Text(a[0]));
         VARVE_ASSIGN_OR_RETURN(const auto to, Text(a[1]));
         VARVE_ASSIGN_OR_RETURN(const auto text, Text(a[2]));
         return Replace4(c, text, from, to, -1);
       }},
      {"repeat", 2, 2,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto count, Integer(a[0]));
         VARVE_ASSIGN_OR_RETURN(const auto text, Text(a[1]));
         if (count < 0) return Fail("strings: negative Repeat count");
         if (!text.empty() && static_cast<uint64_t>(count) > c.bytes_left / text.size()) {
           return Fail("exceeded the limit of template output");
         }
         std::string out;
         for (int64_t i = 0; i < count && !text.empty(); ++i) out += text;
         return c.Keep(out);
       }},
      {"trim", 1, 1, [](const Context&, Arguments a) { return OnText(a, [](auto s) -> Result<Value> { return Value::String(TrimSpace(s)); }); }},
      {"trimAll", 2, 2, [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto set, auto s) -> Result<Value> { return Value::String(TrimSet(s, set, true, true)); }); }},
      {"trimPrefix", 2, 2, [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto part, auto s) -> Result<Value> { return Value::String(s.starts_with(part) ? s.substr(part.size()) : s); }); }},
      {"trimSuffix", 2, 2, [](const Context&, Arguments a) { return OnTwoTexts(a, [](auto part, auto s) -> Result<Value> { return Value::String(s.ends_with(part) ? s.substr(0, s.size() - part.size()) : s); }); }},
      {"alignLeft", 2, 2, [](const Context& c, Arguments a) { return Align(c, a, true); }},
      {"alignRight", 2, 2, [](const Context& c, Arguments a) { return Align(c, a, false); }},
      {"default", 1, 2,
       [](const Context&, Arguments a) -> Result<Value> { return a.size() < 2 || !IsTruth(a[1]) ? a[0] : a[1]; }},
      // Mathematics.
      {"add", 1, -1, [](const Context&, Arguments a) { return FoldInts(a, [](int64_t x, int64_t y) { return Wrap(static_cast<uint64_t>(x) + static_cast<uint64_t>(y)); }); }},
      {"mul", 1, -1, [](const Context&, Arguments a) { return FoldInts(a, [](int64_t x, int64_t y) { return Wrap(static_cast<uint64_t>(x) * static_cast<uint64_t>(y)); }); }},
      {"max", 1, -1, [](const Context&, Arguments a) { return FoldInts(a, [](int64_t x, int64_t y) { return std::max(x, y); }); }},
      {"min", 1, -1, [](const Context&, Arguments a) { return FoldInts(a, [](int64_t x, int64_t y) { return std::min(x, y); }); }},
      {"sub", 2, 2, [](const Context&, Arguments a) { return FoldInts(a, [](int64_t x, int64_t y) { return Wrap(static_cast<uint64_t>(x) - static_cast<uint64_t>(y)); }); }},
      {"div", 2, 2,
       [](const Context&, Arguments a) -> Result<Value> {
         const int64_t y = ToInt(a[1]);
         if (y == 0) return Fail("runtime error: integer divide by zero");
         if (y == -1) return Value::Int(Wrap(0 - static_cast<uint64_t>(ToInt(a[0]))));
         return Value::Int(ToInt(a[0]) / y);
       }},
      {"mod", 2, 2,
       [](const Context&, Arguments a) -> Result<Value> {
         const int64_t y = ToInt(a[1]);
         if (y == 0) return Fail("runtime error: integer divide by zero");
         return Value::Int(y == -1 ? 0 : ToInt(a[0]) % y);
       }},
      {"addf", 1, -1, [](const Context&, Arguments a) { return FoldFloats(a, [](double x, double y) { return x + y; }); }},
      {"subf", 1, -1, [](const Context&, Arguments a) { return FoldFloats(a, [](double x, double y) { return x - y; }); }},
      {"mulf", 1, -1, [](const Context&, Arguments a) { return FoldFloats(a, [](double x, double y) { return x * y; }); }},
      {"divf", 1, -1,
       [](const Context&, Arguments a) -> Result<Value> {
         for (const Value& value : a.subspan(1)) {
           if (ToFloat(value) == 0) return Fail("decimal division by 0");
         }
         return FoldFloats(a, [](double x, double y) { return x / y; });
       }},
      {"maxf", 1, -1, [](const Context&, Arguments a) { return FoldFloats(a, [](double x, double y) { return std::max(x, y); }); }},
      {"minf", 1, -1, [](const Context&, Arguments a) { return FoldFloats(a, [](double x, double y) { return std::min(x, y); }); }},
      {"ceil", 1, 1, [](const Context&, Arguments a) -> Result<Value> { return Value::Float(std::ceil(ToFloat(a[0]))); }},
      {"floor", 1, 1, [](const Context&, Arguments a) -> Result<Value> { return Value::Float(std::floor(ToFloat(a[0]))); }},
      {"round", 2, 3,
       [](const Context&, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto digits, Integer(a[1]));
         return Value::Float(RoundTo(ToFloat(a[0]), digits));
       }},
      // Go's own.
      {"printf", 1, -1,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto format, Text(a[0]));
         VARVE_ASSIGN_OR_RETURN(const auto out, Sprintf(c, format, a.subspan(1)));
         return c.Keep(out);
       },
       true},
      {"print", 0, -1, [](const Context& c, Arguments a) { return c.Keep(Sprint(a, false)); }, true},
      {"println", 0, -1, [](const Context& c, Arguments a) { return c.Keep(Sprint(a, true)); }, true},
      {"eq", 2, -1,
       [](const Context&, Arguments a) -> Result<Value> {
         for (const Value& other : a.subspan(1)) {
           VARVE_ASSIGN_OR_RETURN(const bool equal, TemplateEquals(a[0], other));
           if (equal) return Value::Bool(true);
         }
         return Value::Bool(false);
       },
       true},
      {"ne", 2, 2,
       [](const Context&, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const bool equal, TemplateEquals(a[0], a[1]));
         return Value::Bool(!equal);
       },
       true},
      {"lt", 2, 2, [](const Context&, Arguments a) { return Ordered(a, [](int order) { return order < 0; }); }, true},
      {"le", 2, 2, [](const Context&, Arguments a) { return Ordered(a, [](int order) { return order <= 0; }); }, true},
      {"gt", 2, 2, [](const Context&, Arguments a) { return Ordered(a, [](int order) { return order > 0; }); }, true},
      {"ge", 2, 2, [](const Context&, Arguments a) { return Ordered(a, [](int order) { return order >= 0; }); }, true},
      {"and", 1, -1, nullptr, true},
      {"or", 1, -1, nullptr, true},
      {"not", 1, 1, [](const Context&, Arguments a) -> Result<Value> { return Value::Bool(!IsTruth(a[0])); }, true},
      {"index", 1, -1, [](const Context&, Arguments a) { return Index(a); }, true},
      {"len", 1, 1,
       [](const Context&, Arguments a) -> Result<Value> {
         switch (a[0].kind) {
           case Kind::kString:
             return Value::Int(static_cast<int64_t>(a[0].text.size()));
           case Kind::kList:
             return Value::Int(static_cast<int64_t>(a[0].list->size()));
           case Kind::kMap:
             return Value::Int(static_cast<int64_t>(a[0].map->size()));
           case Kind::kNil:
             return Fail("len of nil pointer");
           default:
             return Fail(Concat("len of type ", TypeName(a[0])));
         }
       },
       true},
      {"slice", 1, 4, [](const Context& c, Arguments a) { return Slice(c, a); }, true},
      {"html", 0, -1,
       [](const Context& c, Arguments a) {
         std::string out;
         AppendHtml(Sprint(a, false), &out);
         return c.Keep(out);
       },
       true},
      {"js", 0, -1,
       [](const Context& c, Arguments a) {
         std::string out;
         AppendJs(Sprint(a, false), &out);
         return c.Keep(out);
       },
       true},
      {"urlquery", 0, -1, [](const Context& c, Arguments a) { return c.Keep(QueryEscape(Sprint(a, false))); }, true},
  };
  return *table;
}

}  // namespace

Result<TemplateValue> TemplateCallContext::Keep(std::string_view bytes) const {
  if (bytes.size() > bytes_left) return Fail("exceeded the limit of template output");
  bytes_left -= bytes.size();
  return TemplateValue::String(arena.Copy(bytes));
}

std::string_view TypeName(const TemplateValue& value) {
  switch (value.kind) {
    case Kind::kNil:
      return "<nil>";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float64";
    case Kind::kString:
      return "string";
    case Kind::kTime:
      return "time.Time";
    case Kind::kList:
      return "[]interface {}";
    case Kind::kMap:
      return value.labels ? "map[string]string" : "map[string]interface {}";
  }
  return "";
}

bool IsTruth(const TemplateValue& value) {
  switch (value.kind) {
    case Kind::kNil:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.integer != 0;
    case Kind::kFloat:
      return value.number != 0;
    case Kind::kString:
      return !value.text.empty();
    case Kind::kTime:
      return true;
    case Kind::kList:
      return !value.list->empty();
    case Kind::kMap:
      return value.map != nullptr && !value.map->empty();
  }
  return false;
}

void AppendValue(const TemplateValue& value, std::string* out) {
  switch (value.kind) {
    case Kind::kNil:
      *out += "<nil>";
      return;
    case Kind::kBool:
      *out += value.integer ? "true" : "false";
      return;
    case Kind::kInt:
      *out += std::to_string(value.integer);
      return;
    case Kind::kFloat:
      *out += GoFormatG(value.number);
      return;
    case Kind::kString:
      *out += value.text;
      return;
    case Kind::kTime:
      *out += FormatGoTime(value.integer);
      return;
    case Kind::kList: {
      out->push_back('[');
      bool first = true;
      for (const TemplateValue& item : *value.list) {
        if (!first) out->push_back(' ');
        first = false;
        AppendValue(item, out);
      }
      out->push_back(']');
      return;
    }
    case Kind::kMap: {
      *out += "map[";
      bool first = true;
      if (value.map != nullptr) {
        for (const auto& [key, item] : *value.map) {
          if (!first) out->push_back(' ');
          first = false;
          *out += Concat(key, ":");
          AppendValue(item, out);
        }
      }
      out->push_back(']');
      return;
    }
  }
}

Result<bool> TemplateEquals(const TemplateValue& a, const TemplateValue& b) {
  if (a.kind == Kind::kNil || b.kind == Kind::kNil) return a.kind == b.kind;
  if (a.kind == Kind::kList || a.kind == Kind::kMap || b.kind == Kind::kList ||
      b.kind == Kind::kMap) {
    return Fail(Concat("non-comparable type ",
                       TypeName(a.kind == Kind::kList || a.kind == Kind::kMap ? a : b)));
  }
  if (a.kind != b.kind) return Fail("incompatible types for comparison");
  switch (a.kind) {
    case Kind::kFloat:
      return a.number == b.number;
    case Kind::kString:
      return a.text == b.text;
    default:
      return a.integer == b.integer;
  }
}

const TemplateFunction* FindTemplateFunction(std::string_view name) {
  static const auto* const by_name = [] {
    auto* map = new StringViewMap<const TemplateFunction*>();
    for (const TemplateFunction& function : Table()) map->emplace(function.name, &function);
    return map;
  }();
  const auto found = by_name->find(name);
  return found == by_name->end() ? nullptr : found->second;
}

}  // namespace varve::query
