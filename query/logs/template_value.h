#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "query/logs/entry_labels.h"
#include "query/logs/template.h"
#include "varve/status.h"

/// Values and functions of templates; private to this folder.
namespace varve::query {

struct TemplateValue;
using TemplateList = std::vector<TemplateValue>;
/// Sorted by key, as Go ranges over maps.
using TemplateMap = std::vector<std::pair<std::string_view, TemplateValue>>;

struct TemplateValue {
  enum class Kind : uint8_t { kNil, kBool, kInt, kFloat, kString, kTime, kList, kMap };
  Kind kind = Kind::kNil;
  /// Of kMap: the labels of the entry, a map of strings in which what is missing is "".
  bool labels = false;
  int64_t integer = 0;  // kBool, kInt; kTime: Unix nanoseconds
  double number = 0;
  std::string_view text;
  const TemplateList* list = nullptr;
  const TemplateMap* map = nullptr;

  static TemplateValue Bool(bool value) {
    TemplateValue out;
    out.kind = Kind::kBool;
    out.integer = value;
    return out;
  }
  static TemplateValue Int(int64_t value) {
    TemplateValue out;
    out.kind = Kind::kInt;
    out.integer = value;
    return out;
  }
  static TemplateValue Float(double value) {
    TemplateValue out;
    out.kind = Kind::kFloat;
    out.number = value;
    return out;
  }
  static TemplateValue String(std::string_view value) {
    TemplateValue out;
    out.kind = Kind::kString;
    out.text = value;
    return out;
  }
  static TemplateValue Time(int64_t ns) {
    TemplateValue out;
    out.kind = Kind::kTime;
    out.integer = ns;
    return out;
  }
};

/// Names the type as Go does.
std::string_view TypeName(const TemplateValue& value);
/// Tells whether a value counts as true: not zero, not empty.
bool IsTruth(const TemplateValue& value);
/// Appends a value as Go's %v prints it.
void AppendValue(const TemplateValue& value, std::string* out);

/// What functions may use.
struct TemplateCallContext {
  const TemplateInput& input;
  EntryArena& arena;
  std::list<TemplateList>& lists;
  std::list<TemplateMap>& maps;
  uint64_t& bytes_left;
  uint64_t& steps_left;

  /// Keeps bytes; charged.
  Result<TemplateValue> Keep(std::string_view bytes) const;
};

using TemplateArguments = absl::Span<const TemplateValue>;
struct TemplateFunction {
  std::string_view name;
  int arguments_min;
  int arguments_max;  // -1: any number
  Result<TemplateValue> (*call)(const TemplateCallContext& context, TemplateArguments arguments);
  /// Errors of Go's calling convention instead of "error calling": not for builtins.
  bool builtin = false;
};
/// Null if there is none. `and` and `or` are the evaluator's own, and in the table by name only.
const TemplateFunction* FindTemplateFunction(std::string_view name);

/// Compares for `eq`; errors for types that do not compare.
Result<bool> TemplateEquals(const TemplateValue& a, const TemplateValue& b);

}  // namespace varve::query
