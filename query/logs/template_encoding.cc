#include <algorithm>
#include <cstring>

#include "engine/base/strings.h"
#include "query/functions/log_values.h"
#include "query/logs/json.h"
#include "query/logs/template_arguments.h"

namespace varve::query::templates {
namespace {

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

}  // namespace

FunctionList EncodingFunctions() {
  return {
      {"urlencode", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) { return c.Keep(QueryEscape(s)); });
       }},
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
      {"b64enc", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) { return c.Keep(Base64Encode(s)); });
       }},
      {"b64dec", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) -> Result<Value> {
           std::string out;
           size_t wrong = 0;
           // What is wrong becomes the result, as in Sprig.
           if (!Base64Decode(s, &out, &wrong))
             return c.Keep(Concat("illegal base64 data at input byte ", wrong));
           return c.Keep(out);
         });
       }},
      {"fromJson", 1, 1,
       [](const Context& c, Arguments a) {
         return OnText(a, [&](auto s) -> Result<Value> {
           size_t at = 0;
           JsonValue json;
           JsonFault fault = JsonFault::kNone;
           if (!ReadJsonValue(s, &at, &json, &fault) || !TrimSpace(s.substr(at)).empty())
             return Value();
           auto value = FromJson(c, json, 0);
           if (!value.ok() && c.steps_left > 0) return Value();
           return value;
         });
       }},
      // Go's own.
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
      {"urlquery", 0, -1,
       [](const Context& c, Arguments a) { return c.Keep(QueryEscape(Sprint(a, false))); }, true},
  };
}

}  // namespace varve::query::templates
