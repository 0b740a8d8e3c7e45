#include "query/lang/traceql/literals.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "engine/base/strings.h"
#include "varve/span.h"

namespace varve::traceql {
namespace {

using query::TraceValue;

struct Unit {
  std::string_view name;
  int64_t ns;
};
// Longer names first.
constexpr std::array kUnits = {
    Unit{"ns", 1},
    Unit{"us", 1'000},
    Unit{"\u00b5s", 1'000},
    Unit{"\u03bcs", 1'000},
    Unit{"ms", 1'000'000},
    Unit{"s", 1'000'000'000},
    Unit{"m", 60'000'000'000},
    Unit{"h", 3'600'000'000'000},
    Unit{"d", 86'400'000'000'000},
    Unit{"w", 604'800'000'000'000},
};

struct Word {
  std::string_view word;
  TraceValue::Type type;
  int64_t value;
};
constexpr std::array kWords = {
    Word{"nil", TraceValue::Type::kNil, 0},
    Word{"true", TraceValue::Type::kBool, 1},
    Word{"false", TraceValue::Type::kBool, 0},
    Word{"error", TraceValue::Type::kStatus, static_cast<int64_t>(SpanStatus::kError)},
    Word{"ok", TraceValue::Type::kStatus, static_cast<int64_t>(SpanStatus::kOk)},
    Word{"unset", TraceValue::Type::kStatus, static_cast<int64_t>(SpanStatus::kUnset)},
    Word{"unspecified", TraceValue::Type::kKind, static_cast<int64_t>(SpanKind::kUnspecified)},
    Word{"internal", TraceValue::Type::kKind, static_cast<int64_t>(SpanKind::kInternal)},
    Word{"server", TraceValue::Type::kKind, static_cast<int64_t>(SpanKind::kServer)},
    Word{"client", TraceValue::Type::kKind, static_cast<int64_t>(SpanKind::kClient)},
    Word{"producer", TraceValue::Type::kKind, static_cast<int64_t>(SpanKind::kProducer)},
    Word{"consumer", TraceValue::Type::kKind, static_cast<int64_t>(SpanKind::kConsumer)},
};

std::string_view NameOf(TraceValue::Type type, int64_t value) {
  for (const Word& word : kWords) {
    if (word.type == type && word.value == value) return word.word;
  }
  return type == TraceValue::Type::kStatus ? "unset" : "unspecified";
}

}  // namespace

Result<int64_t> ParseDuration(std::string_view text) {
  const auto bad = [&] {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("bad duration ", GoQuote(text)));
  };
  std::string_view rest = text;
  if (rest.empty()) return bad();
  // Whole units are exact; fractions are rounded to the nanosecond.
  __int128 total = 0;
  while (!rest.empty()) {
    size_t digits = 0;
    bool point = false;
    bool any = false;
    while (digits < rest.size() &&
           ((rest[digits] >= '0' && rest[digits] <= '9') || (rest[digits] == '.' && !point))) {
      point = point || rest[digits] == '.';
      any = any || rest[digits] != '.';
      ++digits;
    }
    if (!any) return bad();
    const std::string_view number = rest.substr(0, digits);
    rest.remove_prefix(digits);
    const Unit* unit = nullptr;
    for (const Unit& candidate : kUnits) {
      if (rest.starts_with(candidate.name)) {
        unit = &candidate;
        break;
      }
    }
    if (unit == nullptr) return bad();
    rest.remove_prefix(unit->name.size());
    const size_t dot = number.find('.');
    __int128 whole = 0;
    for (const char c : number.substr(0, dot)) {
      whole = whole * 10 + (c - '0');
      if (whole > std::numeric_limits<int64_t>::max()) return bad();
    }
    total += whole * unit->ns;
    if (dot != std::string_view::npos) {
      double scale = 1;
      double fraction = 0;
      for (const char c : number.substr(dot + 1)) {
        scale *= 10;
        fraction = fraction * 10 + (c - '0');
        if (scale > 1e18) break;
      }
      total += std::llround(fraction / scale * static_cast<double>(unit->ns));
    }
    if (total > std::numeric_limits<int64_t>::max()) return bad();
  }
  return static_cast<int64_t>(total);
}

std::string FormatDuration(int64_t duration_ns) {
  if (duration_ns == 0) return "0s";
  const bool negative = duration_ns < 0;
  uint64_t rest = negative ? 0 - static_cast<uint64_t>(duration_ns) : duration_ns;
  std::string out = negative ? "-" : "";
  const auto append = [&](uint64_t whole, uint64_t part, uint64_t scale, std::string_view unit) {
    out.append(std::to_string(whole));
    if (part != 0) {
      std::string digits = std::to_string(scale + part).substr(1);
      digits.erase(digits.find_last_not_of('0') + 1);
      out.append(Concat(".", digits));
    }
    out.append(unit);
  };
  if (rest < 1'000) {
    append(rest, 0, 1, "ns");
  } else if (rest < 1'000'000) {
    append(rest / 1'000, rest % 1'000, 1'000, "\u00b5s");
  } else if (rest < 1'000'000'000) {
    append(rest / 1'000'000, rest % 1'000'000, 1'000'000, "ms");
  } else {
    const uint64_t hours = rest / 3'600'000'000'000;
    const uint64_t minutes = rest / 60'000'000'000 % 60;
    if (hours > 0) append(hours, 0, 1, "h");
    if (hours > 0 || minutes > 0) append(minutes, 0, 1, "m");
    rest %= 60'000'000'000;
    append(rest / 1'000'000'000, rest % 1'000'000'000, 1'000'000'000, "s");
  }
  return out;
}

Result<TraceValue> ParseNumber(std::string_view text) {
  if (text.find_first_of(".eE") == std::string_view::npos) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return IntLiteral(value);
  }
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("bad number ", GoQuote(text)));
  }
  return DoubleLiteral(value);
}

std::string FormatDouble(double value) {
  char buffer[400];
  const double size = std::fabs(value);
  const bool plain = size == 0 || (size >= 1e-6 && size < 1e21);
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string out(buffer, end.ptr);
  if (out.find_first_of(".en") == std::string::npos) out.append(".0");
  return out;
}

std::string QuoteString(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (c == '\n') {
      out.append("\\n");
    } else if (c == '\t') {
      out.append("\\t");
    } else if (c == '\r') {
      out.append("\\r");
    } else if (byte < 0x20 || byte == 0x7f) {
      out.append("\\x");
      out.push_back(kHex[byte >> 4]);
      out.push_back(kHex[byte & 15]);
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

TraceValue StringLiteral(std::string_view text) {
  TraceValue out;
  out.type = TraceValue::Type::kString;
  out.text = text;
  return out;
}
TraceValue IntLiteral(int64_t value) {
  TraceValue out;
  out.type = TraceValue::Type::kInt;
  out.integer = value;
  return out;
}
TraceValue DoubleLiteral(double value) {
  TraceValue out;
  out.type = TraceValue::Type::kDouble;
  out.number = value;
  return out;
}
TraceValue BoolLiteral(bool value) {
  TraceValue out;
  out.type = TraceValue::Type::kBool;
  out.boolean = value;
  return out;
}
TraceValue DurationLiteral(int64_t value) {
  TraceValue out;
  out.type = TraceValue::Type::kDuration;
  out.integer = value;
  return out;
}

bool ParseWordLiteral(std::string_view word, TraceValue* out) {
  for (const Word& known : kWords) {
    if (known.word != word) continue;
    *out = TraceValue();
    out->type = known.type;
    if (known.type == TraceValue::Type::kBool) {
      out->boolean = known.value != 0;
    } else {
      out->integer = known.value;
    }
    return true;
  }
  return false;
}

}  // namespace varve::traceql

namespace varve::query {

std::string ToString(const TraceValue& value) {
  switch (value.type) {
    case TraceValue::Type::kNil:
      return "nil";
    case TraceValue::Type::kString:
      return value.text;
    case TraceValue::Type::kBool:
      return value.boolean ? "true" : "false";
    case TraceValue::Type::kInt:
      return std::to_string(value.integer);
    case TraceValue::Type::kDouble:
      return varve::ToString(ValueView::Double(value.number));
    case TraceValue::Type::kDuration:
      return traceql::FormatDuration(value.integer);
    case TraceValue::Type::kStatus:
    case TraceValue::Type::kKind:
      return std::string(traceql::NameOf(value.type, value.integer));
    case TraceValue::Type::kBytes:
      return varve::ToString(ValueView::Bytes(value.text));
    case TraceValue::Type::kArray:
      return varve::ToString(ValueView::Array(value.text));
    case TraceValue::Type::kMap:
      return varve::ToString(ValueView::Map(value.text));
  }
  return {};
}

std::string_view NamedTraceValue::bare_name() const {
  for (const std::string_view scope :
       {".", "span.", "resource.", "event.", "link.", "instrumentation.", "parent."}) {
    if (name.starts_with(scope)) return std::string_view(name).substr(scope.size());
  }
  return name;
}

}  // namespace varve::query
