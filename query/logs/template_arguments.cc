#include "query/logs/template_arguments.h"

#include <charconv>
#include <cmath>

#include "engine/base/strings.h"
#include "query/functions/log_values.h"

namespace varve::query::templates {

Status Fail(std::string_view what) { return MakeStatus(StatusCode::kInvalidArgument, what); }

namespace {

int64_t ClampToInt(double value) {
  if (std::isnan(value)) return INT64_MIN;
  if (value >= 9223372036854775808.0 || value < -9223372036854775808.0) return INT64_MIN;
  return static_cast<int64_t>(value);
}

}  // namespace

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

}  // namespace varve::query::templates
