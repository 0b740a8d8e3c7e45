#include "query/logs/logfmt.h"

#include <algorithm>

#include "query/logs/json.h"

namespace varve::query {
namespace {

bool IsSeparator(char c) { return static_cast<unsigned char>(c) <= ' '; }

}  // namespace

bool LogfmtReader::Fail(std::string_view what, char unexpected) {
  if (!failed()) {
    fault_ = what;
    unexpected_ = unexpected;
    fault_at_ = at_ + 1;
  }
  while (at_ < line_.size() && !IsSeparator(line_[at_])) ++at_;
  return false;
}

bool LogfmtReader::Next(std::string_view* key, std::string_view* value) {
  *key = {};
  *value = {};
  while (at_ < line_.size() && IsSeparator(line_[at_])) ++at_;
  if (at_ >= line_.size()) return false;
  const size_t begin = at_;
  while (at_ < line_.size() && line_[at_] != '=' && line_[at_] != '"' && !IsSeparator(line_[at_]))
    ++at_;
  *key = line_.substr(begin, at_ - begin);
  if (at_ >= line_.size() || IsSeparator(line_[at_])) return true;
  if (line_[at_] == '"' || key->empty()) return Fail({}, line_[at_]);
  ++at_;
  if (at_ >= line_.size() || IsSeparator(line_[at_])) return true;
  if (line_[at_] != '"') {
    const size_t from = at_;
    while (at_ < line_.size() && line_[at_] != '=' && line_[at_] != '"' && !IsSeparator(line_[at_]))
      ++at_;
    if (at_ < line_.size() && !IsSeparator(line_[at_])) return Fail({}, line_[at_]);
    *value = line_.substr(from, at_ - from);
    return true;
  }
  const size_t from = ++at_;
  bool escapes = false;
  while (at_ < line_.size() && line_[at_] != '"') {
    const bool escape = line_[at_] == '\\';
    escapes |= escape;
    at_ += escape ? 2 : 1;
  }
  if (at_ >= line_.size()) {
    at_ = line_.size();
    return Fail("unterminated quoted value", 0);
  }
  *value = line_.substr(from, at_ - from);
  ++at_;
  if (escapes && !UnescapeJson(*value, arena_, value)) return Fail("invalid quoted value", 0);
  return true;
}

std::string LogfmtReader::Fault() const {
  const std::string start = Concat("logfmt syntax error at pos ", fault_at_, " : ");
  if (unexpected_ == 0) return start + std::string(fault_);
  return Concat(start, "unexpected '", unexpected_ == '\'' ? "\\'" : std::string(1, unexpected_),
                "'");
}

}  // namespace varve::query
