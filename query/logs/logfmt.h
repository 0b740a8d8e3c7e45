#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "query/logs/entry_labels.h"

namespace varve::query {

/// Walks the `key=value` pairs of a line: bytes up to ' ' separate, values may be quoted with
/// JSON's escapes, a key may stand alone. A pair that is wrong is skipped up to the next separator,
/// and the first such fault is remembered.
class LogfmtReader {
 public:
  LogfmtReader(std::string_view line, EntryArena& arena) : line_(line), arena_(arena) {}

  bool AtEnd() const { return at_ >= line_.size(); }
  /// Reads the next pair. False for a pair that is wrong, or white space at the end.
  bool Next(std::string_view* key, std::string_view* value);
  bool failed() const { return !fault_.empty() || unexpected_ != 0; }
  /// Words the first fault: "logfmt syntax error at pos 12 : unexpected '='".
  std::string Fault() const;

 private:
  bool Fail(std::string_view what, char unexpected);
  std::string_view line_;
  EntryArena& arena_;
  size_t at_ = 0;
  std::string_view fault_;
  char unexpected_ = 0;
  size_t fault_at_ = 0;
};

}  // namespace varve::query
