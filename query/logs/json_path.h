#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "query/logs/json.h"
#include "varve/status.h"

namespace varve::query {

/// The way to one value: `a.b[0]["c d"]`.
class JsonPath {
 public:
  /// Errors: kInvalidArgument: `cannot parse expression [...]: ...`.
  static Result<JsonPath> Parse(std::string_view text);
  /// Follows the path in a line. False if it leads nowhere, or the line breaks first (`fault`).
  bool Find(std::string_view line, JsonValue* value, JsonFault* fault, EntryArena& arena) const;

  struct Step {
    std::string key;
    size_t index = 0;
    bool is_index = false;
  };

 private:
  std::vector<Step> steps_;
};

}  // namespace varve::query
