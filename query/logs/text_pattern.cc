#include "query/logs/text_pattern.h"

#include <algorithm>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/functions/log_values.h"

namespace varve::query {

Result<TextPattern> TextPattern::Parse(std::string_view text, bool filter) {
  TextPattern out;
  const auto fail = [](std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument, what);
  };
  std::string literal;
  const auto flush = [&] {
    if (!literal.empty()) out.parts_.push_back({false, false, std::move(literal)});
    literal.clear();
  };
  for (size_t at = 0; at < text.size();) {
    size_t end = at + 1;
    if (text[at] == '<') {
      const bool starts_name =
          end < text.size() && IsLabelByte(text[end]) && !(text[end] >= '0' && text[end] <= '9');
      while (starts_name && end < text.size() && IsLabelByte(text[end])) ++end;
      if (starts_name && end < text.size() && text[end] == '>') {
        flush();
        const std::string_view name = text.substr(at + 1, end - at - 1);
        if (!out.parts_.empty() && out.parts_.back().capture) {
          return fail(Concat("found consecutive capture '<", out.parts_.back().text, "><", name,
                             ">': invalid expression"));
        }
        out.parts_.push_back({true, name != "_", std::string(name)});
        at = end + 1;
        continue;
      }
    }
    literal.push_back(text[at++]);
  }
  flush();
  for (const Part& part : out.parts_) {
    if (!part.named) continue;
    if (filter) return fail(Concat("named captures are not allowed: invalid expression"));
    if (std::find(out.names_.begin(), out.names_.end(), part.text) != out.names_.end()) {
      return fail(Concat("duplicate capture name (", part.text, "): invalid expression"));
    }
    out.names_.push_back(part.text);
  }
  if (!filter && out.names_.empty())
    return fail("at least one capture is required: invalid expression");
  return out;
}

bool TextPattern::Test(std::string_view line) const {
  if (line.empty() || parts_.empty()) return line.empty() && parts_.empty();
  size_t at = 0;
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (parts_[i].capture) continue;
    const size_t found = line.find(parts_[i].text, at);
    if (found == std::string_view::npos) return false;
    // A capture in front must hold something.
    if (i != 0 && found == at) return false;
    at = found + parts_[i].text.size();
  }
  return parts_.back().capture == (at != line.size());
}

void TextPattern::Match(std::string_view line, std::vector<std::string_view>* captures) const {
  captures->clear();
  if (line.empty()) return;
  size_t i = 0;
  if (!parts_.empty() && !parts_[0].capture) {
    if (!line.starts_with(parts_[0].text)) return;
    line.remove_prefix(parts_[0].text.size());
    i = 1;
  }
  for (; i < parts_.size(); i += 2) {
    const Part& capture = parts_[i];
    const size_t found =
        i + 1 == parts_.size() ? std::string_view::npos : line.find(parts_[i + 1].text);
    // The last capture, and one whose end is missing, take the rest.
    if (capture.named) captures->push_back(line.substr(0, found));
    if (found == std::string_view::npos) return;
    line.remove_prefix(found + parts_[i + 1].text.size());
  }
}

std::vector<std::string> TextPattern::Literals() const {
  std::vector<std::string> out;
  for (const Part& part : parts_) {
    if (!part.capture) out.push_back(part.text);
  }
  return out;
}

}  // namespace varve::query
