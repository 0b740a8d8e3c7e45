#include "query/logs/json_path.h"

#include <charconv>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/functions/log_values.h"
#include "query/lang/promql/literals.h"

namespace varve::query {

Result<JsonPath> JsonPath::Parse(std::string_view text) {
  const auto fail = [&](std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("cannot parse expression [", text,
                                                           "]: syntax error: unexpected ", what));
  };
  // A step scans the value in which it looks: many, in one deep line, are many scans.
  constexpr size_t kStepsMax = 128;
  JsonPath out;
  size_t at = 0;
  const auto skip_space = [&] {
    while (at < text.size() &&
           (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r'))
      ++at;
  };
  bool first = true;
  for (;;) {
    skip_space();
    if (at >= text.size()) break;
    if (out.steps_.size() == kStepsMax) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("cannot parse expression: more than ", kStepsMax, " steps"));
    }
    if (text[at] == '[') {
      ++at;
      skip_space();
      if (at >= text.size()) return fail("$end, expecting STRING or INDEX");
      Step step;
      if (text[at] == '"' || text[at] == '`') {
        const char quote = text[at];
        size_t end = at + 1;
        while (end < text.size() && text[end] != quote)
          end += quote == '"' && text[end] == '\\' ? 2 : 1;
        if (end >= text.size()) return fail("$end, expecting STRING or INDEX");
        auto key = promql::Unquote(text.substr(at, end + 1 - at));
        if (!key.ok()) return fail("STRING");
        step.key = *std::move(key);
        at = end + 1;
      } else {
        const auto [end, error] =
            std::from_chars(text.data() + at, text.data() + text.size(), step.index);
        if (error != std::errc())
          return fail(Concat(text.substr(at, 1), ", expecting STRING or INDEX"));
        step.is_index = true;
        at = static_cast<size_t>(end - text.data());
      }
      skip_space();
      if (at >= text.size()) return fail("$end, expecting ]");
      if (text[at] != ']') return fail(Concat(text.substr(at, 1), ", expecting ]"));
      ++at;
      out.steps_.push_back(std::move(step));
    } else {
      if (!first) {
        if (text[at] != '.') return fail(text.substr(at, 1));
        ++at;
        skip_space();
      }
      size_t end = at;
      while (end < text.size() && (IsLabelByte(text[end]) || text[end] == '-' ||
                                   static_cast<unsigned char>(text[end]) >= 0x80)) {
        ++end;
      }
      if (end == at || (text[at] >= '0' && text[at] <= '9')) {
        return fail(at >= text.size() ? "$end, expecting FIELD" : text.substr(at, 1));
      }
      out.steps_.push_back({std::string(text.substr(at, end - at)), 0, false});
      at = end;
    }
    first = false;
  }
  if (out.steps_.empty()) return fail("$end, expecting FIELD or [");
  return out;
}

bool JsonPath::Find(std::string_view line, JsonValue* value, JsonFault* fault,
                    EntryArena& arena) const {
  JsonValue at;
  std::string_view rest = line;
  for (size_t i = 0; i < steps_.size(); ++i) {
    const Step& step = steps_[i];
    bool found = false;
    if (step.is_index) {
      JsonArrayReader reader(rest);
      if (!reader.Open()) return false;
      for (size_t n = 0; reader.Next(&at); ++n) {
        if (n == step.index) {
          found = true;
          break;
        }
      }
    } else {
      JsonObjectReader reader(rest);
      if (!reader.Open()) return false;
      std::string_view key;
      while (reader.Next(&key, &at)) {
        if (key.find('\\') != std::string_view::npos && !UnescapeJson(key, arena, &key)) continue;
        if (key == step.key) {
          found = true;
          break;
        }
      }
      if (!found && reader.fault() != JsonFault::kNone && i == 0) *fault = JsonFault::kNone;
    }
    if (!found) return false;
    if (i + 1 < steps_.size() && at.type != JsonType::kObject && at.type != JsonType::kArray)
      return false;
    rest = at.text;
  }
  *value = at;
  return true;
}

}  // namespace varve::query
