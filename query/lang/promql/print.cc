#include "query/lang/promql/print.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <vector>

#include "engine/base/strings.h"
#include "query/lang/promql/literals.h"

namespace varve::promql {
namespace {

constexpr size_t kLineMax = 100;

/// Gives a duration in whole milliseconds, if it is one.
std::optional<int64_t> WholeMs(double seconds) {
  const double ms = std::round(seconds * 1000);
  if (!(std::abs(ms) < 0x1p53) || ms / 1000 != seconds) return std::nullopt;
  return static_cast<int64_t>(ms);
}

std::string FormatSeconds(double seconds) {
  if (const auto ms = WholeMs(seconds); ms && !(*ms == 0 && std::signbit(seconds))) {
    return FormatDurationMs(*ms);
  }
  return FormatFloat(seconds);
}

/// Prints milliseconds as seconds with three decimals, as Prometheus does; where a float cannot
/// carry that, prints a number that reads back as `at_ms`.
std::string FormatAt(int64_t at_ms) {
  double seconds = static_cast<double>(at_ms) / 1000;
  if (std::abs(seconds) < 0x1p43) {
    char buffer[64];
    const int length = std::snprintf(buffer, sizeof buffer, "%.3f", seconds);
    return std::string(buffer, length);
  }
  for (const double other :
       {std::nextafter(seconds, -INFINITY), std::nextafter(seconds, INFINITY)}) {
    if (std::round(seconds * 1000) == static_cast<double>(at_ms)) break;
    if (std::round(other * 1000) == static_cast<double>(at_ms)) seconds = other;
  }
  return FormatFloat(seconds);
}

std::string LabelName(std::string_view name) {
  return IsPlainLabelName(name) ? std::string(name) : GoQuote(name);
}

void AppendLabels(const std::vector<std::string>& labels, std::string* out) {
  out->push_back('(');
  for (size_t i = 0; i < labels.size(); ++i) {
    if (i > 0) *out += ", ";
    *out += LabelName(labels[i]);
  }
  out->push_back(')');
}

std::string MatcherText(const Matcher& matcher) {
  static constexpr std::string_view kSigns[] = {"=", "!=", "=~", "!~"};
  return Concat(LabelName(matcher.name), kSigns[static_cast<size_t>(matcher.type)],
                GoQuote(matcher.value));
}

/// Prints name and matchers, without any suffix.
std::string SelectorText(const VectorSelector& selector) {
  std::vector<std::string> matchers;
  for (const Matcher& matcher : selector.matchers) {
    const bool is_name = matcher.name == kMetricName && matcher.type == MatchType::kEqual &&
                         matcher.value == selector.name && !matcher.value.empty();
    if (!is_name) matchers.push_back(MatcherText(matcher));
  }
  std::sort(matchers.begin(), matchers.end());
  std::string out = selector.name;
  if (matchers.empty()) return out.empty() ? "{}" : out;
  out += '{';
  for (size_t i = 0; i < matchers.size(); ++i) {
    if (i > 0) out += ',';
    out += matchers[i];
  }
  out += '}';
  return out;
}

std::string AtText(const TimeShift& shift) {
  if (shift.at_ms) return " @ " + FormatAt(*shift.at_ms);
  switch (shift.at_edge) {
    case TimeShift::Edge::kNone:
      return "";
    case TimeShift::Edge::kStart:
      return " @ start()";
    case TimeShift::Edge::kEnd:
      return " @ end()";
  }
  return "";
}

std::string OffsetText(const TimeShift& shift) {
  return shift.offset ? " offset " + Print(*shift.offset) : "";
}

std::string_view ExtendedText(const VectorSelector& selector) {
  return selector.anchored ? " anchored" : selector.smoothed ? " smoothed" : "";
}

/// Prints the operator with its modifiers.
std::string OperatorText(const BinaryExpr& binary) {
  std::string out(ToString(binary.op));
  if (binary.return_bool) out += " bool";
  if (!binary.matching) return out;
  const VectorMatching& matching = *binary.matching;
  using Cardinality = VectorMatching::Cardinality;
  const bool grouped = matching.cardinality == Cardinality::kManyToOne ||
                       matching.cardinality == Cardinality::kOneToMany;
  if (!matching.labels.empty() || matching.on || grouped) {
    out += matching.on ? " on " : " ignoring ";
    AppendLabels(matching.labels, &out);
  }
  if (grouped) {
    out += matching.cardinality == Cardinality::kManyToOne ? " group_left " : " group_right ";
    AppendLabels(matching.include, &out);
  }
  const auto& [left, right] = std::pair(matching.fill_left, matching.fill_right);
  const bool same = left && right &&
                    ((*left == *right && std::signbit(*left) == std::signbit(*right)) ||
                     (std::isnan(*left) && std::isnan(*right)));
  if (same) {
    out += Concat(" fill (", FormatFloat(*left), ")");
  } else {
    if (left) out += Concat(" fill_left (", FormatFloat(*left), ")");
    if (right) out += Concat(" fill_right (", FormatFloat(*right), ")");
  }
  return out;
}

/// Prints what stands in front of an aggregation's parentheses.
std::string AggregateText(const AggregateExpr& aggregate) {
  std::string out(ToString(aggregate.op));
  if (aggregate.without || !aggregate.grouping.empty()) {
    out += aggregate.without ? " without " : " by ";
    AppendLabels(aggregate.grouping, &out);
    out += ' ';
  }
  return out;
}

std::string SubqueryText(const SubqueryExpr& subquery) {
  return Concat("[", Print(*subquery.range), ":", subquery.step ? Print(*subquery.step) : "", "]",
                AtText(subquery.shift), OffsetText(subquery.shift));
}

/// Appends an expression; once `out` is longer than `limit` the rest may be left out.
void Append(const Expr& expr, std::string* out, size_t limit = std::string::npos) {
  if (out->size() > limit) return;
  switch (expr.kind) {
    case ExprKind::kNumber: {
      const auto& number = *As<NumberLiteral>(expr);
      *out += number.is_duration ? FormatSeconds(number.value) : FormatFloat(number.value);
      break;
    }
    case ExprKind::kString:
      *out += GoQuote(As<StringLiteral>(expr)->value);
      break;
    case ExprKind::kVectorSelector: {
      const auto& selector = *As<VectorSelector>(expr);
      *out += Concat(SelectorText(selector), AtText(selector.shift), ExtendedText(selector),
                     OffsetText(selector.shift));
      break;
    }
    case ExprKind::kMatrixSelector: {
      const auto& matrix = *As<MatrixSelector>(expr);
      const VectorSelector& selector = *matrix.selector;
      *out += Concat(SelectorText(selector), "[", Print(*matrix.range), "]", ExtendedText(selector),
                     AtText(selector.shift), OffsetText(selector.shift));
      break;
    }
    case ExprKind::kSubquery:
      Append(*As<SubqueryExpr>(expr)->expr, out, limit);
      *out += SubqueryText(*As<SubqueryExpr>(expr));
      break;
    case ExprKind::kCall: {
      const auto& call = *As<Call>(expr);
      *out += call.function->name;
      *out += '(';
      for (size_t i = 0; i < call.args.size(); ++i) {
        if (i > 0) *out += ", ";
        Append(*call.args[i], out, limit);
      }
      *out += ')';
      break;
    }
    case ExprKind::kAggregate: {
      const auto& aggregate = *As<AggregateExpr>(expr);
      *out += AggregateText(aggregate);
      *out += '(';
      if (aggregate.param) {
        Append(*aggregate.param, out, limit);
        *out += ", ";
      }
      Append(*aggregate.expr, out, limit);
      *out += ')';
      break;
    }
    case ExprKind::kBinary: {
      const auto& binary = *As<BinaryExpr>(expr);
      Append(*binary.left, out, limit);
      *out += Concat(" ", OperatorText(binary), " ");
      Append(*binary.right, out, limit);
      break;
    }
    case ExprKind::kUnary:
      *out += As<UnaryExpr>(expr)->negative ? '-' : '+';
      Append(*As<UnaryExpr>(expr)->expr, out, limit);
      break;
    case ExprKind::kParen:
      *out += '(';
      Append(*As<ParenExpr>(expr)->expr, out, limit);
      *out += ')';
      break;
  }
}

// --- Over several lines ---

void Indent(size_t level, std::string* out) { out->append(2 * level, ' '); }

/// Tells whether an expression is too long for one line. Cost: independent of its length.
bool NeedsSplit(const Expr& expr) {
  std::string line;
  Append(expr, &line, kLineMax);
  return line.size() > kLineMax;
}

void AppendPretty(const Expr& expr, size_t level, std::string* out) {
  const bool split = NeedsSplit(expr);
  switch (expr.kind) {
    case ExprKind::kAggregate: {
      if (!split) break;
      const auto& aggregate = *As<AggregateExpr>(expr);
      Indent(level, out);
      *out += AggregateText(aggregate) + "(\n";
      if (aggregate.param) {
        AppendPretty(*aggregate.param, level + 1, out);
        *out += ",\n";
      }
      AppendPretty(*aggregate.expr, level + 1, out);
      *out += '\n';
      Indent(level, out);
      *out += ')';
      return;
    }
    case ExprKind::kBinary: {
      if (!split) break;
      const auto& binary = *As<BinaryExpr>(expr);
      AppendPretty(*binary.left, level + 1, out);
      *out += '\n';
      Indent(level, out);
      *out += OperatorText(binary) + "\n";
      AppendPretty(*binary.right, level + 1, out);
      return;
    }
    case ExprKind::kCall: {
      const auto& call = *As<Call>(expr);
      if (!split || call.args.empty()) break;
      Indent(level, out);
      *out += Concat(call.function->name, "(\n");
      for (size_t i = 0; i < call.args.size(); ++i) {
        if (i > 0) *out += ",\n";
        AppendPretty(*call.args[i], level + 1, out);
      }
      *out += '\n';
      Indent(level, out);
      *out += ')';
      return;
    }
    case ExprKind::kParen:
      if (!split) break;
      Indent(level, out);
      *out += "(\n";
      AppendPretty(*As<ParenExpr>(expr)->expr, level + 1, out);
      *out += '\n';
      Indent(level, out);
      *out += ')';
      return;
    case ExprKind::kSubquery:
      // Prometheus does not indent a subquery that fits on its line.
      if (!split) {
        Append(expr, out);
        return;
      }
      AppendPretty(*As<SubqueryExpr>(expr)->expr, level, out);
      *out += SubqueryText(*As<SubqueryExpr>(expr));
      return;
    case ExprKind::kUnary: {
      const auto& unary = *As<UnaryExpr>(expr);
      Indent(level, out);
      *out += unary.negative ? '-' : '+';
      // The operand indents itself, but it goes on this line.
      const size_t begin = out->size();
      AppendPretty(*unary.expr, level, out);
      out->erase(begin, out->find_first_not_of(' ', begin) - begin);
      return;
    }
    default:
      break;
  }
  Indent(level, out);
  Append(expr, out);
}

// --- JSON ---

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
      ++at;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char buffer[8];
      std::snprintf(buffer, sizeof buffer, "\\u%04x", c);
      out += buffer;
      ++at;
    } else if (static_cast<unsigned char>(c) < 0x80) {
      out += c;
      ++at;
    } else {
      size_t length = 2;
      while (length <= 4 && !IsValidUtf8(text.substr(at, length))) ++length;
      if (length <= 4) {
        out += text.substr(at, length);
        at += length;
      } else {
        out += "\\ufffd";
        ++at;
      }
    }
  }
  out += '"';
  return out;
}

std::string JsonList(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) out += ',';
    out += JsonString(texts[i]);
  }
  return out + "]";
}

std::string_view JsonBool(bool value) { return value ? "true" : "false"; }

/// Gives milliseconds; Prometheus shows 0 for arithmetic whose value depends on the query.
int64_t JsonDuration(const DurationPtr& duration) {
  if (!duration || !duration->is_literal()) return 0;
  return std::llround(duration->seconds * 1e9) / 1'000'000;
}

std::string JsonMatchers(const std::vector<Matcher>& matchers) {
  static constexpr std::string_view kSigns[] = {"=", "!=", "=~", "!~"};
  std::string out = "[";
  for (size_t i = 0; i < matchers.size(); ++i) {
    if (i > 0) out += ',';
    out += Concat("{\"name\":", JsonString(matchers[i].name),
                  ",\"type\":", JsonString(kSigns[static_cast<size_t>(matchers[i].type)]),
                  ",\"value\":", JsonString(matchers[i].value), "}");
  }
  return out + "]";
}

std::string JsonEdge(const TimeShift& shift) {
  switch (shift.at_edge) {
    case TimeShift::Edge::kNone:
      return "null";
    case TimeShift::Edge::kStart:
      return "\"start\"";
    case TimeShift::Edge::kEnd:
      return "\"end\"";
  }
  return "null";
}

std::string JsonTimestamp(const TimeShift& shift) {
  return shift.at_ms ? std::to_string(*shift.at_ms) : "null";
}

/// Prints the fields of a selector; `range` is empty for an instant one.
std::string JsonSelector(const VectorSelector& s, std::string_view type, std::string_view range) {
  return Concat("{\"anchored\":", JsonBool(s.anchored), ",\"matchers\":", JsonMatchers(s.matchers),
                ",\"name\":", JsonString(s.name), ",\"offset\":", JsonDuration(s.shift.offset),
                range, ",\"smoothed\":", JsonBool(s.smoothed),
                ",\"startOrEnd\":", JsonEdge(s.shift), ",\"timestamp\":", JsonTimestamp(s.shift),
                ",\"type\":", JsonString(type), "}");
}

std::string JsonMatching(const std::optional<VectorMatching>& matching) {
  if (!matching) return "null";
  static constexpr std::string_view kCardinalities[] = {"one-to-one", "many-to-one", "one-to-many",
                                                        "many-to-many"};
  const auto fill = [](const std::optional<double>& value) {
    // JSON has no name for these.
    if (!value || !std::isfinite(*value)) return std::string("null");
    return FormatFloat(*value);
  };
  return Concat(
      "{\"card\":", JsonString(kCardinalities[static_cast<size_t>(matching->cardinality)]),
      ",\"fillValues\":{\"lhs\":", fill(matching->fill_left),
      ",\"rhs\":", fill(matching->fill_right), "},\"include\":", JsonList(matching->include),
      ",\"labels\":", JsonList(matching->labels), ",\"on\":", JsonBool(matching->on), "}");
}

}  // namespace

std::string Print(const DurationExpr& d) {
  using Kind = DurationExpr::Kind;
  const auto binary = [&d](std::string_view op) {
    return Concat(Print(*d.left), " ", op, " ", Print(*d.right));
  };
  switch (d.kind) {
    case Kind::kLiteral:
      return FormatSeconds(d.seconds);
    case Kind::kStep:
      return "step()";
    case Kind::kRange:
      return "range()";
    case Kind::kNegate:
      return "-" + Print(*d.left);
    case Kind::kParen:
      return Concat("(", Print(*d.left), ")");
    case Kind::kMin:
      return Concat("min_of(", Print(*d.left), ", ", Print(*d.right), ")");
    case Kind::kMax:
      return Concat("max_of(", Print(*d.left), ", ", Print(*d.right), ")");
    case Kind::kAdd:
      return binary("+");
    case Kind::kSub:
      return binary("-");
    case Kind::kMul:
      return binary("*");
    case Kind::kDiv:
      return binary("/");
    case Kind::kMod:
      return binary("%");
    case Kind::kPow:
      return binary("^");
  }
  return "";
}

std::string Print(const Expr& expr) {
  std::string out;
  Append(expr, &out);
  return out;
}

std::string PrettyPrint(const Expr& expr) {
  std::string out;
  AppendPretty(expr, 0, &out);
  return out;
}

std::string ToJson(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kNumber:
      return Concat("{\"type\":\"numberLiteral\",\"val\":",
                    JsonString(FormatFloat(As<NumberLiteral>(expr)->value)), "}");
    case ExprKind::kString:
      return Concat(
          "{\"type\":\"stringLiteral\",\"val\":", JsonString(As<StringLiteral>(expr)->value), "}");
    case ExprKind::kVectorSelector:
      return JsonSelector(*As<VectorSelector>(expr), "vectorSelector", "");
    case ExprKind::kMatrixSelector: {
      const auto& matrix = *As<MatrixSelector>(expr);
      return JsonSelector(*matrix.selector, "matrixSelector",
                          Concat(",\"range\":", JsonDuration(matrix.range)));
    }
    case ExprKind::kSubquery: {
      const auto& subquery = *As<SubqueryExpr>(expr);
      return Concat(
          "{\"expr\":", ToJson(*subquery.expr), ",\"offset\":", JsonDuration(subquery.shift.offset),
          ",\"range\":", JsonDuration(subquery.range), ",\"startOrEnd\":", JsonEdge(subquery.shift),
          ",\"step\":", JsonDuration(subquery.step),
          ",\"timestamp\":", JsonTimestamp(subquery.shift), ",\"type\":\"subquery\"}");
    }
    case ExprKind::kCall: {
      const auto& call = *As<Call>(expr);
      std::string args;
      for (const ExprPtr& arg : call.args) args += Concat(args.empty() ? "" : ",", ToJson(*arg));
      std::string types;
      for (const ValueType type : call.function->args()) {
        types += Concat(types.empty() ? "" : ",", JsonString(ToString(type)));
      }
      return Concat("{\"args\":[", args, "],\"func\":{\"argTypes\":[", types,
                    "],\"name\":", JsonString(call.function->name),
                    ",\"returnType\":", JsonString(ToString(call.function->return_type)),
                    ",\"variadic\":", call.function->variadic, "},\"type\":\"call\"}");
    }
    case ExprKind::kAggregate: {
      const auto& aggregate = *As<AggregateExpr>(expr);
      return Concat("{\"expr\":", ToJson(*aggregate.expr),
                    ",\"grouping\":", JsonList(aggregate.grouping),
                    ",\"op\":", JsonString(ToString(aggregate.op)),
                    ",\"param\":", aggregate.param ? ToJson(*aggregate.param) : "null",
                    ",\"type\":\"aggregation\",\"without\":", JsonBool(aggregate.without), "}");
    }
    case ExprKind::kBinary: {
      const auto& binary = *As<BinaryExpr>(expr);
      return Concat("{\"bool\":", JsonBool(binary.return_bool), ",\"lhs\":", ToJson(*binary.left),
                    ",\"matching\":", JsonMatching(binary.matching),
                    ",\"op\":", JsonString(ToString(binary.op)), ",\"rhs\":", ToJson(*binary.right),
                    ",\"type\":\"binaryExpr\"}");
    }
    case ExprKind::kUnary: {
      const auto& unary = *As<UnaryExpr>(expr);
      return Concat("{\"expr\":", ToJson(*unary.expr), ",\"op\":\"", unary.negative ? '-' : '+',
                    "\",\"type\":\"unaryExpr\"}");
    }
    case ExprKind::kParen:
      return Concat("{\"expr\":", ToJson(*As<ParenExpr>(expr)->expr), ",\"type\":\"parenExpr\"}");
  }
  return "null";
}

}  // namespace varve::promql
