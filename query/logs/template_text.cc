#include <algorithm>

#include "engine/base/strings.h"
#include "query/functions/log_values.h"
#include "query/logs/template_arguments.h"

namespace varve::query::templates {

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
size_t RuneOffset(std::string_view text, int64_t index) {
  size_t at = 0;
  while (index-- > 0 && at < text.size()) at += RuneLength(text, at);
  return at;
}

namespace {

bool IsUnicodeSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

}  // namespace

std::string_view TrimSpace(std::string_view text) {
  while (!text.empty() && IsUnicodeSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsUnicodeSpace(text.back())) text.remove_suffix(1);
  return text;
}

namespace {

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

}  // namespace

FunctionList TextFunctions() {
  return {
      // Go's order: the text first.
      {"ToLower", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) { return c.Keep(MapAscii(s, false)); });
       }},
      {"ToUpper", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) { return c.Keep(MapAscii(s, true)); });
       }},
      {"Replace", 4, 4,
       [](const Context& c, Arguments a) -> Result<Value> {
         VARVE_ASSIGN_OR_RETURN(const auto text, Text(a[0]));
         VARVE_ASSIGN_OR_RETURN(const auto from, Text(a[1]));
         VARVE_ASSIGN_OR_RETURN(const auto to, Text(a[2]));
         VARVE_ASSIGN_OR_RETURN(const auto limit, Integer(a[3]));
         return Replace4(c, text, from, to, limit);
       }},
      {"Trim", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto s, auto set) -> Result<Value> {
           return Value::String(TrimSet(s, set, true, true));
         });
       }},
      {"TrimLeft", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto s, auto set) -> Result<Value> {
           return Value::String(TrimSet(s, set, true, false));
         });
       }},
      {"TrimRight", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto s, auto set) -> Result<Value> {
           return Value::String(TrimSet(s, set, false, true));
         });
       }},
      {"TrimPrefix", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto s, auto part) -> Result<Value> {
           return Value::String(s.starts_with(part) ? s.substr(part.size()) : s);
         });
       }},
      {"TrimSuffix", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto s, auto part) -> Result<Value> {
           return Value::String(s.ends_with(part) ? s.substr(0, s.size() - part.size()) : s);
         });
       }},
      {"TrimSpace", 1, 1,
       [](const Context&, Arguments a) {
         return OnText(a, [](auto s) -> Result<Value> { return Value::String(TrimSpace(s)); });
       }},
      // Sprig's order: the text last.
      {"lower", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) { return c.Keep(MapAscii(s, false)); });
       }},
      {"upper", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) { return c.Keep(MapAscii(s, true)); });
       }},
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
         if (count < 0 && runes + count > 0)
           return Value::String(text.substr(RuneOffset(text, runes + count)));
         if (count >= 0 && runes > count)
           return Value::String(text.substr(0, RuneOffset(text, count)));
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
         if (begin < 0)
           return Value::String(end < 0 ? std::string_view()
                                        : text.substr(0, RuneOffset(text, end)));
         if (end < 0) return Value::String(text.substr(RuneOffset(text, begin)));
         if (begin > end) return Value::String("");
         const size_t from = RuneOffset(text, begin);
         return Value::String(text.substr(from, RuneOffset(text, end) - from));
       }},
      {"contains", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto part, auto s) -> Result<Value> {
           return Value::Bool(s.find(part) != std::string_view::npos);
         });
       }},
      {"hasPrefix", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto part, auto s) -> Result<Value> {
           return Value::Bool(s.starts_with(part));
         });
       }},
      {"hasSuffix", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(
             a, [](auto part, auto s) -> Result<Value> { return Value::Bool(s.ends_with(part)); });
       }},
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
      {"trim", 1, 1,
       [](const Context&, Arguments a) {
         return OnText(a, [](auto s) -> Result<Value> { return Value::String(TrimSpace(s)); });
       }},
      {"trimAll", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto set, auto s) -> Result<Value> {
           return Value::String(TrimSet(s, set, true, true));
         });
       }},
      {"trimPrefix", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto part, auto s) -> Result<Value> {
           return Value::String(s.starts_with(part) ? s.substr(part.size()) : s);
         });
       }},
      {"trimSuffix", 2, 2,
       [](const Context&, Arguments a) {
         return OnTwoTexts(a, [](auto part, auto s) -> Result<Value> {
           return Value::String(s.ends_with(part) ? s.substr(0, s.size() - part.size()) : s);
         });
       }},
      {"alignLeft", 2, 2, [](const Context& c, Arguments a) { return Align(c, a, true); }},
      {"alignRight", 2, 2, [](const Context& c, Arguments a) { return Align(c, a, false); }},
  };
}

}  // namespace varve::query::templates
