#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/macros.h"
#include "query/logs/template_value.h"
#include "varve/status.h"

/// What the functions of templates share, and the lists of them by theme; private to this folder.
namespace varve::query::templates {

using Value = TemplateValue;
using Kind = TemplateValue::Kind;
using Context = TemplateCallContext;
using Arguments = TemplateArguments;

Status Fail(std::string_view what);

/// Arguments of one type; errors in Go's words.
Result<std::string_view> Text(const Value& value);
Result<int64_t> Integer(const Value& value);
Result<int64_t> Time(const Value& value);

/// Convert as spf13/cast does: text that is no number is 0.
double ToFloat(const Value& value);
int64_t ToInt(const Value& value);

/// Integers wrap around, as Go's do.
inline int64_t Wrap(uint64_t value) { return static_cast<int64_t>(value); }

/// Bytes of the rune at a place; stray bytes count as one.
size_t RuneLength(std::string_view text, size_t at);
int64_t CountRunes(std::string_view text);
/// Gives the byte at which rune `index` starts, or the end.
size_t RuneOffset(std::string_view text, int64_t index);
std::string_view TrimSpace(std::string_view text);
/// Prints values as Go's Sprint, or Sprintln.
std::string Sprint(Arguments arguments, bool line);

/// Calls `f` with the last argument, or the first two, which must be texts.
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

using FunctionList = std::vector<TemplateFunction>;
FunctionList TextFunctions();
FunctionList RegexFunctions();
FunctionList EncodingFunctions();
FunctionList PrintFunctions();
FunctionList NumberFunctions();
FunctionList TimeFunctions();

}  // namespace varve::query::templates
