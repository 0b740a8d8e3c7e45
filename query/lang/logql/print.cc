#include "query/lang/logql/print.h"

#include <cmath>

#include "engine/base/strings.h"
#include "query/functions/log_values.h"
#include "query/lang/promql/literals.h"

namespace varve::logql {
namespace {

constexpr size_t kColumns = 100;

std::string Duration(int64_t ns) {
  if (ns % 1'000'000 == 0) return promql::FormatDurationMs(ns / 1'000'000);
  return Concat(ns, "ns");
}

/// What literals reduce to may have no literal of its own.
std::string Number(double value) {
  if (std::isnan(value)) return "(0 / 0)";
  if (std::isinf(value)) return value > 0 ? "(10 ^ 999)" : "(-10 ^ 999)";
  return promql::FormatFloat(value);
}

std::string_view ToString(CompareOp op, bool numeric) {
  switch (op) {
    case CompareOp::kEqual:
      return numeric ? "==" : "=";
    case CompareOp::kNotEqual:
      return "!=";
    case CompareOp::kGreater:
      return ">";
    case CompareOp::kGreaterEqual:
      return ">=";
    case CompareOp::kLess:
      return "<";
    case CompareOp::kLessEqual:
      return "<=";
  }
  return "";
}

std::string_view ToString(LineOp op) {
  constexpr std::string_view kNames[] = {"|=", "!=", "|~", "!~", "|>", "!>"};
  return kNames[static_cast<size_t>(op)];
}

std::string PrintMatcher(const Matcher& matcher) {
  constexpr std::string_view kOps[] = {"=", "!=", "=~", "!~"};
  return Concat(matcher.name, kOps[static_cast<size_t>(matcher.type)], GoQuote(matcher.value));
}

std::string PrintFilter(const LabelFilter& filter) {
  switch (filter.kind) {
    case LabelFilter::Kind::kString:
      return PrintMatcher(filter.matcher);
    case LabelFilter::Kind::kIp:
      return Concat(filter.name, ToString(filter.compare, false), "ip(", GoQuote(filter.text), ")");
    case LabelFilter::Kind::kNumber:
    case LabelFilter::Kind::kDuration:
    case LabelFilter::Kind::kBytes:
      return Concat(filter.name, ToString(filter.compare, true), filter.text);
    default:
      break;
  }
  // Words alone have a precedence that people know; everything else gets parentheses.
  const bool conjunction = filter.kind == LabelFilter::Kind::kAnd;
  const auto operand = [&](const LabelFilter& side, bool right) {
    const bool simple = side.kind < LabelFilter::Kind::kAnd;
    const bool same = side.kind == filter.kind;
    const bool tighter = side.kind == LabelFilter::Kind::kAnd && !conjunction;
    std::string text = PrintFilter(side);
    return simple || tighter || (same && !right) ? text : Concat("(", text, ")");
  };
  return Concat(operand(*filter.left, false), conjunction ? " and " : " or ",
                operand(*filter.right, true));
}

std::string Join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out += ", ";
    out += part;
  }
  return out;
}

std::string PrintModifiers(const Expr& binary) {
  std::string out;
  if (binary.return_bool) out += " bool";
  const Matching& matching = binary.matching;
  if (!matching.given) return out;
  out += Concat(matching.on ? " on (" : " ignoring (", Join(matching.labels), ")");
  if (matching.cardinality != Matching::Cardinality::kOneToOne) {
    out += Concat(matching.cardinality == Matching::Cardinality::kManyToOne ? " group_left ("
                                                                            : " group_right (",
                  Join(matching.include), ")");
  }
  return out;
}

std::string RangeSuffix(const Expr& range) {
  std::string out = Concat("[", Duration(range.range_ns));
  if (range.subquery_step_ns) {
    out += ":";
    if (*range.subquery_step_ns != 0) out += Duration(*range.subquery_step_ns);
  }
  out += "]";
  if (range.offset_ns != 0) out += Concat(" offset ", Duration(range.offset_ns));
  if (range.at_ns) {
    char seconds[64];
    std::snprintf(seconds, sizeof seconds, " @ %.3f", static_cast<double>(*range.at_ns) / 1e9);
    out += seconds;
  }
  return out;
}

bool NeedsParentheses(const Expr& parent, const Expr& child, bool right) {
  if (child.kind != ExprKind::kBinary) return false;
  const int outer = PrecedenceOf(parent.binary_op);
  const int inner = PrecedenceOf(child.binary_op);
  if (inner != outer) return inner < outer;
  return right != (parent.binary_op == BinaryOp::kPow);
}

/// What is in front of the parenthesis of a call.
std::string CallHead(const Expr& expr) {
  if (expr.kind == ExprKind::kRangeAggregation) return std::string(ToString(expr.range_op));
  if (expr.kind == ExprKind::kLabelReplace) return "label_replace";
  std::string out(ToString(expr.vector_op));
  if (expr.grouping) out += Concat(" ", Print(*expr.grouping), " ");
  return out;
}
/// The arguments before and after the expression in a call.
std::string CallFirst(const Expr& expr) {
  if (expr.parameter) return Concat(Number(*expr.parameter), ", ");
  if (expr.kind == ExprKind::kVectorAggregation && expr.vector_op == VectorOp::kCountValues) {
    return Concat(GoQuote(expr.label), ", ");
  }
  return {};
}
std::string CallLast(const Expr& expr) {
  if (expr.kind == ExprKind::kLabelReplace) {
    std::string out;
    for (const std::string& text : expr.strings) out += Concat(", ", GoQuote(text));
    return out;
  }
  return expr.kind == ExprKind::kRangeAggregation ? RangeSuffix(expr) : "";
}
std::string CallTail(const Expr& expr) {
  if (expr.kind == ExprKind::kRangeAggregation && expr.grouping) {
    return Concat(" ", Print(*expr.grouping));
  }
  return {};
}
/// Puts a space between a stage and the range, and parentheses around what a subquery ranges over.
std::string RangeInput(const Expr& expr) {
  const Expr& input = *expr.children[0];
  std::string text = Print(input);
  if (expr.kind != ExprKind::kRangeAggregation) return text;
  if (input.kind != ExprKind::kLog) {
    return input.kind == ExprKind::kBinary || input.kind == ExprKind::kNumber
               ? Concat("(", text, ")")
               : text;
  }
  return input.stages.empty() ? text : text + " ";
}

std::string Pretty(const Expr& expr, size_t indent) {
  const std::string pad(indent, ' ');
  std::string line = Print(expr);
  if (indent + line.size() <= kColumns) return pad + line;
  switch (expr.kind) {
    case ExprKind::kLog: {
      std::string out = pad + Print(expr.matchers);
      for (const Stage& stage : expr.stages) out += Concat("\n", pad, "  ", Print(stage));
      return out;
    }
    case ExprKind::kRangeAggregation:
    case ExprKind::kVectorAggregation:
    case ExprKind::kLabelReplace: {
      std::string out = Concat(pad, CallHead(expr), "(\n");
      if (const std::string first = CallFirst(expr); !first.empty()) {
        out += Concat(pad, "  ", first.substr(0, first.size() - 1), "\n");
      }
      const Expr& input = *expr.children[0];
      std::string last = CallLast(expr);
      if (expr.kind == ExprKind::kRangeAggregation && input.kind != ExprKind::kLog) {
        const bool wrapped = input.kind == ExprKind::kBinary;
        out += wrapped ? Concat(pad, "  (\n", Pretty(input, indent + 4), "\n", pad, "  )")
                       : Pretty(input, indent + 2);
      } else {
        out += Pretty(input, indent + 2);
        if (expr.kind == ExprKind::kRangeAggregation) out += " ";
      }
      return Concat(out, last, "\n", pad, ")", CallTail(expr));
    }
    case ExprKind::kBinary: {
      const auto side = [&](const Expr& child, bool right) {
        if (!NeedsParentheses(expr, child, right)) return Pretty(child, indent + 2);
        return Concat(pad, "  (\n", Pretty(child, indent + 4), "\n", pad, "  )");
      };
      return Concat(side(*expr.children[0], false), "\n", pad, ToString(expr.binary_op),
                    PrintModifiers(expr), "\n", side(*expr.children[1], true));
    }
    default:
      return pad + line;
  }
}

}  // namespace

std::string Print(const Grouping& grouping) {
  return Concat(grouping.without ? "without (" : "by (", Join(grouping.labels), ")");
}

std::string Print(const std::vector<Matcher>& matchers) {
  std::string out = "{";
  for (const Matcher& matcher : matchers) {
    if (out.size() > 1) out += ", ";
    out += PrintMatcher(matcher);
  }
  return out + "}";
}

std::string Print(const Stage& stage) {
  const auto list = [](std::string head, const auto& items, const auto& print) {
    bool first = true;
    for (const auto& item : items) {
      head += Concat(first ? " " : ", ", print(item));
      first = false;
    }
    return head;
  };
  const auto extraction = [](const Extraction& item) {
    return item.bare ? item.name : Concat(item.name, "=", GoQuote(item.expression));
  };
  const auto choice = [](const LabelChoice& item) {
    return item.matcher ? PrintMatcher(*item.matcher) : item.name;
  };
  switch (stage.kind) {
    case StageKind::kLineFilter: {
      std::string out = Concat(ToString(stage.line_op), " ");
      for (size_t i = 0; i < stage.line_texts.size(); ++i) {
        const LineText& text = stage.line_texts[i];
        if (i > 0) out += " or ";
        out += text.ip ? Concat("ip(", GoQuote(text.text), ")") : GoQuote(text.text);
      }
      return out;
    }
    case StageKind::kJson:
      return list("| json", stage.extractions, extraction);
    case StageKind::kLogfmt:
      return list(Concat("| logfmt", stage.strict ? " --strict" : "",
                         stage.keep_empty ? " --keep-empty" : ""),
                  stage.extractions, extraction);
    case StageKind::kRegexp:
      return Concat("| regexp ", GoQuote(stage.text));
    case StageKind::kPattern:
      return Concat("| pattern ", GoQuote(stage.text));
    case StageKind::kUnpack:
      return "| unpack";
    case StageKind::kLabelFilter:
      return Concat("| ", PrintFilter(*stage.filter));
    case StageKind::kLineFormat:
      return Concat("| line_format ", GoQuote(stage.text));
    case StageKind::kLabelFormat:
      return list("| label_format", stage.formats, [](const LabelFormat& item) {
        return Concat(item.name, "=", item.rename ? item.value : GoQuote(item.value));
      });
    case StageKind::kDecolorize:
      return "| decolorize";
    case StageKind::kDrop:
      return list("| drop", stage.choices, choice);
    case StageKind::kKeep:
      return list("| keep", stage.choices, choice);
    case StageKind::kUnwrap: {
      constexpr std::string_view kNames[] = {"", "bytes", "duration", "duration_seconds"};
      if (stage.conversion == Conversion::kNone) return Concat("| unwrap ", stage.text);
      return Concat("| unwrap ", kNames[static_cast<size_t>(stage.conversion)], "(", stage.text,
                    ")");
    }
  }
  return {};
}

std::string Print(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kLog: {
      std::string out = Print(expr.matchers);
      for (const Stage& stage : expr.stages) out += Concat(" ", Print(stage));
      return out;
    }
    case ExprKind::kNumber:
      return Number(expr.number);
    case ExprKind::kVector:
      return Concat("vector(", Number(expr.number), ")");
    case ExprKind::kBinary: {
      std::string left = Print(*expr.children[0]);
      std::string right = Print(*expr.children[1]);
      if (NeedsParentheses(expr, *expr.children[0], false)) left = Concat("(", left, ")");
      if (NeedsParentheses(expr, *expr.children[1], true)) right = Concat("(", right, ")");
      return Concat(left, " ", ToString(expr.binary_op), PrintModifiers(expr), " ", right);
    }
    default:
      return Concat(CallHead(expr), "(", CallFirst(expr), RangeInput(expr), CallLast(expr), ")",
                    CallTail(expr));
  }
}

std::string PrettyPrint(const Expr& expr) { return Pretty(expr, 0); }

}  // namespace varve::logql
