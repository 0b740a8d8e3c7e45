#include "query/lang/traceql/build.h"

#include <array>
#include <optional>
#include <utility>

#include "engine/base/strings.h"
#include "query/lang/promql/literals.h"
#include "query/lang/traceql/literals.h"

namespace varve::traceql {
namespace {

using Grammar = grammar::TraceQL;
using antlr4::ParserRuleContext;
using antlr4::Token;

TextSpan SpanOf(const Token& token) {
  return {static_cast<uint32_t>(token.getStartIndex()),
          static_cast<uint32_t>(token.getStopIndex() + 1)};
}
TextSpan SpanOf(const ParserRuleContext& tree) {
  return {static_cast<uint32_t>(tree.start->getStartIndex()),
          static_cast<uint32_t>(tree.stop->getStopIndex() + 1)};
}

[[noreturn]] void Fail(TextSpan span, std::string_view what) {
  throw SyntaxFault{span, std::string(what)};
}

Op OpOf(size_t token) {
  switch (token) {
    case Grammar::ADD:
      return Op::kAdd;
    case Grammar::SUB:
      return Op::kSub;
    case Grammar::MUL:
      return Op::kMul;
    case Grammar::DIV:
      return Op::kDiv;
    case Grammar::MOD:
      return Op::kMod;
    case Grammar::POW:
      return Op::kPow;
    case Grammar::EQ:
      return Op::kEqual;
    case Grammar::NEQ:
      return Op::kNotEqual;
    case Grammar::LT:
      return Op::kLess;
    case Grammar::LTE:
      return Op::kLessEqual;
    case Grammar::GT:
      return Op::kGreater;
    case Grammar::GTE:
      return Op::kGreaterEqual;
    case Grammar::RE:
      return Op::kRegex;
    case Grammar::NRE:
      return Op::kNotRegex;
    case Grammar::AND:
      return Op::kAnd;
    case Grammar::OR:
      return Op::kOr;
    case Grammar::NOT:
      return Op::kNot;
    case Grammar::DESC:
      return Op::kDescendant;
    case Grammar::ANCE:
      return Op::kAncestor;
    case Grammar::TILDE:
      return Op::kSibling;
    case Grammar::NOT_CHILD:
      return Op::kNotChild;
    case Grammar::NOT_PARENT:
      return Op::kNotParent;
    case Grammar::NOT_DESC:
      return Op::kNotDescendant;
    case Grammar::NOT_ANCE:
      return Op::kNotAncestor;
    case Grammar::UNION_CHILD:
      return Op::kUnionChild;
    case Grammar::UNION_PARENT:
      return Op::kUnionParent;
    case Grammar::UNION_DESC:
      return Op::kUnionDescendant;
    case Grammar::UNION_ANCE:
      return Op::kUnionAncestor;
    case Grammar::UNION_SIBL:
      return Op::kUnionSibling;
    default:
      return Op::kPipe;
  }
}

std::optional<Function> FunctionOf(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(Function::kBottomk); ++i) {
    if (ToString(static_cast<Function>(i)) == name) return static_cast<Function>(i);
  }
  return std::nullopt;
}

class Builder {
 public:
  explicit Builder(std::string_view text) : text_(text) {}

  FieldExprPtr Build(Grammar::FieldContext& tree) {
    if (tree.prefix != nullptr) {
      Grammar::FieldContext& operand = *tree.field(0);
      // A sign right before a number is part of it.
      if (tree.prefix->getType() == Grammar::SUB && operand.atom() != nullptr &&
          operand.atom()->number() != nullptr) {
        auto out = MakeLiteral(Number(*operand.atom()->number(), true));
        out->span = SpanOf(tree);
        return out;
      }
      auto out = std::make_unique<FieldExpr>();
      out->kind = FieldExpr::Kind::kUnary;
      out->op = tree.prefix->getType() == Grammar::SUB ? Op::kNegate : Op::kNot;
      out->left = Build(operand);
      out->span = SpanOf(tree);
      return out;
    }
    if (tree.op != nullptr) {
      auto out = MakeBinary(OpOf(tree.op->getType()), Build(*tree.field(0)), Build(*tree.field(1)));
      out->span = SpanOf(tree);
      return out;
    }
    Grammar::AtomContext& atom = *tree.atom();
    if (atom.field() != nullptr) return Build(*atom.field());
    FieldExprPtr out;
    if (atom.number() != nullptr) {
      out = MakeLiteral(Number(*atom.number(), false));
    } else if (atom.STRING() != nullptr) {
      out = MakeLiteral(StringLiteral(String(*atom.STRING()->getSymbol())));
    } else if (atom.ATTRIBUTE() != nullptr) {
      const Token& token = *atom.ATTRIBUTE()->getSymbol();
      auto field = ParseAttribute(Text(token));
      if (!field.ok()) Fail(SpanOf(token), ToStd(field.status().message()));
      out = MakeField(*std::move(field));
    } else if (atom.WORD() != nullptr) {
      const Token& token = *atom.WORD()->getSymbol();
      TraceValue literal;
      Field field;
      if (ParseWordLiteral(Text(token), &literal)) {
        out = MakeLiteral(std::move(literal));
      } else if (ParseIntrinsic(Text(token), &field)) {
        out = MakeField(std::move(field));
      } else {
        Fail(SpanOf(token), Concat("syntax error: unknown identifier: ", Text(token)));
      }
    } else {
      out = std::make_unique<FieldExpr>();
      out->kind = FieldExpr::Kind::kArray;
      for (auto* element : atom.array()->element()) out->array.push_back(Element(*element));
    }
    out->span = SpanOf(atom);
    return out;
  }

  ExprPtr Build(Grammar::ExprContext& tree) {
    if (tree.primary() != nullptr) return Build(*tree.primary());
    auto out = std::make_unique<Expr>();
    out->span = SpanOf(tree);
    if (tree.prefix != nullptr) {
      Grammar::ExprContext& operand = *tree.expr(0);
      if (operand.primary() != nullptr && operand.primary()->number() != nullptr) {
        out->kind = Expr::Kind::kNumber;
        out->number = Number(*operand.primary()->number(), true);
        return out;
      }
      out->kind = Expr::Kind::kNegate;
      out->left = Build(operand);
      return out;
    }
    const Op op = OpOf(tree.op->getType());
    if (op == Op::kPipe) {
      out->kind = Expr::Kind::kPipeline;
      ExprPtr left = Build(*tree.expr(0));
      if (left->kind == Expr::Kind::kPipeline && !left->parenthesized) {
        out->stages = std::move(left->stages);
      } else {
        out->stages.push_back(std::move(left));
      }
      out->stages.push_back(Build(*tree.expr(1)));
      return out;
    }
    out->kind = Expr::Kind::kBinary;
    out->op = op;
    out->left = Build(*tree.expr(0));
    out->right = Build(*tree.expr(1));
    return out;
  }

  Query Build(Grammar::QueryContext& tree) {
    Query out;
    out.expr = Build(*tree.expr());
    if (tree.hints() == nullptr) return out;
    for (auto* hint : tree.hints()->hint()) {
      const bool negative = hint->SUB() != nullptr;
      if (negative || hint->ADD() != nullptr) {
        const size_t type = hint->value->getType();
        if (type != Grammar::NUMBER && type != Grammar::DURATION) {
          Fail(SpanOf(*hint), "syntax error: only numbers have signs");
        }
      }
      out.hints.push_back({std::string(Text(*hint->WORD(0)->getSymbol())),
                           Concat(negative ? "-" : "", Text(*hint->value))});
    }
    return out;
  }

 private:
  std::string_view Text(const Token& token) const {
    const TextSpan span = SpanOf(token);
    return text_.substr(span.begin, span.end - span.begin);
  }

  std::string String(const Token& token) const {
    auto text = promql::Unquote(Text(token));
    if (!text.ok()) Fail(SpanOf(token), ToStd(text.status().message()));
    return *std::move(text);
  }

  TraceValue Number(Grammar::NumberContext& tree, bool negative) const {
    const Token& token = *tree.start;
    TraceValue out;
    if (token.getType() == Grammar::DURATION) {
      auto duration = ParseDuration(Text(token));
      if (!duration.ok()) Fail(SpanOf(token), ToStd(duration.status().message()));
      out = DurationLiteral(*duration);
    } else {
      auto number = ParseNumber(Text(token));
      if (!number.ok()) Fail(SpanOf(token), ToStd(number.status().message()));
      out = *std::move(number);
    }
    if (negative) {
      out.integer = -out.integer;
      out.number = -out.number;
    }
    return out;
  }

  TraceValue Element(Grammar::ElementContext& tree) const {
    if (tree.number() != nullptr) return Number(*tree.number(), tree.SUB() != nullptr);
    if (tree.STRING() != nullptr) return StringLiteral(String(*tree.STRING()->getSymbol()));
    const Token& token = *tree.WORD()->getSymbol();
    TraceValue out;
    if (!ParseWordLiteral(Text(token), &out) || out.type == TraceValue::Type::kNil) {
      Fail(SpanOf(token), "syntax error: an array holds literals only");
    }
    return out;
  }

  ExprPtr Build(Grammar::PrimaryContext& tree) {
    if (tree.expr() != nullptr) {
      ExprPtr out = Build(*tree.expr());
      out->parenthesized = true;
      return out;
    }
    auto out = std::make_unique<Expr>();
    out->span = SpanOf(tree);
    if (tree.filter() != nullptr) {
      out->kind = Expr::Kind::kFilter;
      out->filter = Filter(*tree.filter());
    } else if (tree.group() != nullptr) {
      out->kind = Expr::Kind::kGroup;
      out->fields.push_back(Build(*tree.group()->field()));
    } else if (tree.number() != nullptr) {
      out->kind = Expr::Kind::kNumber;
      out->number = Number(*tree.number(), false);
    } else {
      BuildCall(*tree.call(), out.get());
    }
    return out;
  }

  FieldExprPtr Filter(Grammar::FilterContext& tree) {
    return tree.field() == nullptr ? nullptr : Build(*tree.field());
  }

  static void Expect(bool holds, TextSpan span, std::string_view what) {
    if (!holds) Fail(span, what);
  }

  void BuildCall(Grammar::CallContext& tree, Expr* out) {
    const std::string_view name = Text(*tree.name);
    const auto function = FunctionOf(name);
    if (!function) Fail(SpanOf(*tree.name), Concat("syntax error: unknown function: ", name));
    out->kind = Expr::Kind::kCall;
    out->function = *function;
    std::vector<FieldExprPtr> arguments;
    const auto given = tree.argument();
    for (size_t i = 0; i < given.size(); ++i) {
      if (given[i]->filter() != nullptr) {
        Expect(*function == Function::kCompare && i == 0, SpanOf(*given[i]),
               Concat("syntax error: ", name, " takes no spanset here"));
        out->filter = Filter(*given[i]->filter());
      } else {
        arguments.push_back(Build(*given[i]->field()));
      }
    }
    if (tree.BY() != nullptr) {
      Expect(IsMetrics(*function) && *function != Function::kCompare,
             SpanOf(*tree.BY()->getSymbol()), Concat("syntax error: ", name, " takes no by"));
      for (auto* field : tree.field()) out->by.push_back(Build(*field));
    }
    const TextSpan span = out->span;
    switch (*function) {
      case Function::kCount:
      case Function::kCoalesce:
      case Function::kRate:
      case Function::kCountOverTime:
        Expect(arguments.empty(), span, Concat("syntax error: ", name, " takes no arguments"));
        break;
      case Function::kAvg:
      case Function::kMin:
      case Function::kMax:
      case Function::kSum:
      case Function::kMinOverTime:
      case Function::kMaxOverTime:
      case Function::kAvgOverTime:
      case Function::kSumOverTime:
      case Function::kHistogramOverTime:
        Expect(arguments.size() == 1, span,
               Concat("syntax error: ", name, " takes one field expression"));
        out->fields = std::move(arguments);
        break;
      case Function::kSelect:
        Expect(!arguments.empty(), span, "syntax error: select takes at least one field");
        for (const auto& argument : arguments) {
          Expect(argument->kind == FieldExpr::Kind::kField, argument->span,
                 "syntax error: select takes attributes and intrinsics only");
        }
        out->fields = std::move(arguments);
        break;
      case Function::kQuantileOverTime:
        Expect(arguments.size() >= 2, span,
               "syntax error: quantile_over_time takes a field expression and quantiles");
        for (size_t i = 1; i < arguments.size(); ++i) {
          out->numbers.push_back(Quantile(*arguments[i]));
        }
        arguments.resize(1);
        out->fields = std::move(arguments);
        break;
      case Function::kCompare:
        Expect(!given.empty() && given[0]->filter() != nullptr, span,
               "syntax error: compare takes a spanset filter first");
        Expect(arguments.size() <= 1 || arguments.size() == 3, span,
               "syntax error: compare takes a filter, a count, and a start with an end");
        for (const auto& argument : arguments) out->integers.push_back(Integer(*argument));
        Expect(out->integers.empty() || out->integers[0] > 0, span,
               "compare() top number of values must be integer greater than 0");
        Expect(out->integers.size() < 3 || out->integers[1] <= out->integers[2], span,
               "compare() start must not be after end");
        break;
      case Function::kTopk:
      case Function::kBottomk:
        Expect(arguments.size() == 1, span, Concat("syntax error: ", name, " takes one number"));
        out->integers.push_back(Integer(*arguments[0]));
        Expect(out->integers[0] > 0, arguments[0]->span,
               Concat(name, " limit must be greater than 0"));
        break;
    }
  }

  static double Quantile(const FieldExpr& argument) {
    double out = -1;
    if (argument.kind == FieldExpr::Kind::kLiteral) {
      if (argument.literal.type == TraceValue::Type::kDouble) out = argument.literal.number;
      if (argument.literal.type == TraceValue::Type::kInt) {
        out = static_cast<double>(argument.literal.integer);
      }
    }
    Expect(out >= 0 && out <= 1, argument.span, "a quantile is a number between 0 and 1");
    return out;
  }
  static int64_t Integer(const FieldExpr& argument) {
    Expect(argument.kind == FieldExpr::Kind::kLiteral &&
               argument.literal.type == TraceValue::Type::kInt,
           argument.span, "syntax error: expected an integer");
    return argument.literal.integer;
  }

  std::string_view text_;
};

}  // namespace

Query BuildQuery(std::string_view text, grammar::TraceQL::QueryContext& tree) {
  return Builder(text).Build(tree);
}
FieldExprPtr BuildField(std::string_view text, grammar::TraceQL::FieldContext& tree) {
  return Builder(text).Build(tree);
}

}  // namespace varve::traceql
