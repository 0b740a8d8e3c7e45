#include "query/lang/promql/faults.h"

#include <algorithm>

#include "engine/base/strings.h"

namespace varve::promql {
namespace {

using Grammar = grammar::PromQL;
constexpr size_t kEnd = static_cast<size_t>(-1);

bool IsAggregator(size_t type) { return type >= Grammar::SUM && type <= Grammar::LIMIT_RATIO; }
bool IsOperator(size_t type) {
  return (type >= Grammar::AT && type <= Grammar::ATAN2) && type != Grammar::EQL;
}
bool IsKeyword(size_t type) { return type >= Grammar::BY && type <= Grammar::MAX_OF; }
bool IsName(size_t type) {
  return type == Grammar::IDENTIFIER || type == Grammar::METRIC_IDENTIFIER;
}

/// Tells whether a parenthesis right after a token of this type holds the labels or the value of
/// an operator's modifier, so that an operand, not an operator, follows it.
bool OpensModifier(size_t type) {
  switch (type) {
    case Grammar::ON:
    case Grammar::IGNORING:
    case Grammar::GROUP_LEFT:
    case Grammar::GROUP_RIGHT:
    case Grammar::FILL:
    case Grammar::FILL_LEFT:
    case Grammar::FILL_RIGHT:
      return true;
    default:
      return false;
  }
}

/// Follows brackets and operands through a token sequence.
class Walk {
 public:
  struct Frame {
    size_t open = kEnd;    // type of the opening bracket; kEnd outside of all
    size_t before = kEnd;  // type of the token in front of it
    size_t deep = 0;       // signs, powers and ranges piled up since the last looser operator
    size_t chain = 0;      // binary operators since the last comma
    size_t colons = 0;
  };

  Walk() { frames_.emplace_back(); }

  void Step(size_t type) {
    Frame& frame = frames_.back();
    switch (type) {
      case Grammar::LEFT_PAREN:
      case Grammar::LEFT_BRACE:
      case Grammar::LEFT_BRACKET:
        frames_.push_back({type, last_});
        after_operand_ = false;
        break;
      case Grammar::RIGHT_PAREN:
      case Grammar::RIGHT_BRACE:
      case Grammar::RIGHT_BRACKET: {
        const bool modifier = OpensModifier(frame.before) && frame.open == Grammar::LEFT_PAREN;
        if (frames_.size() > 1) Pop();
        if (type == Grammar::RIGHT_BRACKET) Deepen();
        after_operand_ = !modifier;
        break;
      }
      case Grammar::COMMA:
        Forget(frame.deep, nesting_);
        Forget(frame.chain, chain_);
        after_operand_ = false;
        break;
      case Grammar::COLON:
        ++frame.colons;
        after_operand_ = false;
        break;
      case Grammar::ADD:
      case Grammar::SUB:
        if (after_operand_) {
          Forget(frame.deep, nesting_);
          Chain();
        } else {
          Deepen();
        }
        after_operand_ = false;
        break;
      case Grammar::POW:
        Deepen();
        after_operand_ = false;
        break;
      case Grammar::LAND:
      case Grammar::LOR:
      case Grammar::LUNLESS:
        // After an operand these are operators, elsewhere names.
        if (!after_operand_) {
          after_operand_ = true;
          break;
        }
        [[fallthrough]];
      case Grammar::MUL:
      case Grammar::DIV:
      case Grammar::MOD:
      case Grammar::ATAN2:
      case Grammar::EQLC:
      case Grammar::NEQ:
      case Grammar::LTE:
      case Grammar::GTE:
      case Grammar::LSS:
      case Grammar::GTR:
      case Grammar::TRIM_UPPER:
      case Grammar::TRIM_LOWER:
        if (frames_.back().open != Grammar::LEFT_BRACE) {
          Forget(frame.deep, nesting_);
          Chain();
        }
        after_operand_ = false;
        break;
      case Grammar::AT:
      case Grammar::OFFSET:
      case Grammar::BOOL:
        // A sign after `@` or `offset` does not nest, but counting it does no harm.
        after_operand_ = type == Grammar::OFFSET && !after_operand_;
        break;
      default:
        after_operand_ = true;
    }
    last_ = type;
  }

  const Frame& frame() const { return frames_.back(); }
  size_t depth() const { return frames_.size() - 1; }
  size_t nesting() const { return depth() + nesting_; }
  size_t tree_depth() const { return nesting() + chain_; }
  size_t last() const { return last_; }
  bool after_operand() const { return after_operand_; }

 private:
  void Deepen() {
    ++frames_.back().deep;
    ++nesting_;
  }
  void Chain() {
    ++frames_.back().chain;
    ++chain_;
  }
  static void Forget(size_t& part, size_t& total) {
    total -= part;
    part = 0;
  }
  void Pop() {
    nesting_ -= frames_.back().deep;
    chain_ -= frames_.back().chain;
    frames_.pop_back();
  }

  std::vector<Frame> frames_;
  size_t nesting_ = 0;  // sum of `deep`
  size_t chain_ = 0;    // sum of `chain`
  size_t last_ = kEnd;
  bool after_operand_ = false;
};

/// Shortens as Go's %.10q does, by runes; `text` may be cut inside one that is not UTF-8.
std::string QuoteShort(std::string_view text) {
  size_t end = 0;
  for (int runes = 0; end < text.size() && runes < 10; ++runes) {
    ++end;
    while (end < text.size() && (text[end] & 0xc0) == 0x80) ++end;
  }
  return GoQuote(text.substr(0, end));
}

/// Names a token in Prometheus's way: `identifier "x"`, `<op:+>`, `"("`, `end of input`.
std::string DescribeToken(size_t type, std::string_view text) {
  if (type == kEnd) return "end of input";
  if (IsAggregator(type)) return Concat("<aggr:", text, ">");
  if (IsKeyword(type)) return Concat("<", text, ">");
  if (IsOperator(type)) return Concat("<op:", text, ">");
  const std::string shown = IsName(type)       ? GoQuote(text)
                            : text.size() > 10 ? QuoteShort(text) + "..."
                                               : GoQuote(text);
  switch (type) {
    case Grammar::IDENTIFIER:
      return "identifier " + shown;
    case Grammar::METRIC_IDENTIFIER:
      return "metric identifier " + shown;
    case Grammar::STRING:
      return "string " + shown;
    case Grammar::NUMBER:
      return "number " + shown;
    case Grammar::DURATION:
      return "duration " + shown;
    default:
      return shown;
  }
}

/// Words what the lexer itself refuses, if `type` is such a token.
std::optional<std::string> DescribeBadToken(size_t type, std::string_view text, size_t open) {
  const bool in_braces = open == Grammar::LEFT_BRACE;
  switch (type) {
    case Grammar::BAD_NUMBER:
      return Concat("bad number or duration syntax: ", GoQuote(text));
    case Grammar::BAD_STRING:
      return text[0] == '`' ? "unterminated raw string" : "unterminated quoted string";
    case Grammar::UNEXPECTED:
      if (text == "{" && in_braces) return "unexpected left brace '{'";
      if (text == "[" && open == Grammar::LEFT_BRACKET) return "unexpected left bracket '['";
      {
        // One byte; Go names a character, which takes more than one above ASCII.
        const std::string quoted = GoQuote(text);
        return Concat("unexpected character", in_braces ? " inside braces: '" : ": '",
                      text == "\"" ? "\"" : quoted.substr(1, quoted.size() - 2), "'");
      }
    default:
      return std::nullopt;
  }
}

/// Finds the token that spoils a list of labels whose opening parenthesis is token `open`.
size_t FindFaultInLabels(const std::vector<TokenView>& tokens, size_t open) {
  bool after_label = false;
  for (size_t i = open + 1;; ++i) {
    const size_t type = tokens[i].type;
    const bool is_label = type == Grammar::STRING || IsName(type) || IsAggregator(type) ||
                          IsKeyword(type) || (type >= Grammar::LAND && type <= Grammar::ATAN2);
    if (after_label ? type != Grammar::COMMA : !is_label) return i;
    after_label = !after_label;
  }
}

}  // namespace

std::optional<SyntaxFault> FindExcessiveDepth(const std::vector<TokenView>& tokens) {
  Walk walk;
  for (const TokenView& token : tokens) {
    walk.Step(token.type);
    if (walk.nesting() > kNestingMax) {
      return SyntaxFault{token.span,
                         Concat("expression is nested more than ", kNestingMax, " levels deep")};
    }
    if (walk.tree_depth() > kTreeDepthMax) {
      return SyntaxFault{token.span, Concat("expression chains more than ", kTreeDepthMax,
                                            " operators, use parentheses or split it")};
    }
  }
  return std::nullopt;
}

SyntaxFault DescribeFault(std::string_view query, const std::vector<TokenView>& tokens,
                          size_t index) {
  // The parser stops at this parenthesis, since nothing else could start with it here either.
  if (index > 0 && tokens[index].type == Grammar::LEFT_PAREN &&
      (tokens[index - 1].type == Grammar::GROUP_LEFT ||
       tokens[index - 1].type == Grammar::GROUP_RIGHT)) {
    index = FindFaultInLabels(tokens, index);
  }
  Walk walk;
  for (size_t i = 0; i < index; ++i) walk.Step(tokens[i].type);
  const auto [type, span] = tokens[index];
  const std::string_view text = query.substr(span.begin, span.end - span.begin);
  const Walk::Frame& frame = walk.frame();
  const size_t open = frame.open;
  const size_t last = walk.last();
  const auto fault = [&](std::string_view what) { return SyntaxFault{span, std::string(what)}; };

  if (const auto bad = DescribeBadToken(type, text, open)) return fault(*bad);
  if (type == kEnd && index == 0) return {Span{}, "no expression found in input"};
  if (type == kEnd) {
    if (open == Grammar::LEFT_BRACE) return fault("unexpected end of input inside braces");
    if (open == Grammar::LEFT_BRACKET) return fault("unclosed left bracket");
    if (open == Grammar::LEFT_PAREN) return fault("unclosed left parenthesis");
  }
  if (type == Grammar::RIGHT_PAREN && walk.depth() == 0) {
    return fault("unexpected right parenthesis ')'");
  }
  if (type == Grammar::RIGHT_BRACKET && open != Grammar::LEFT_BRACKET) {
    return fault("unexpected right bracket ']'");
  }
  if (type == Grammar::RIGHT_BRACE && open != Grammar::LEFT_BRACE) {
    return fault("unexpected right brace '}'");
  }
  // The lexer of Prometheus looks one character ahead here.
  if (type == Grammar::EQL_REGEX && open != Grammar::LEFT_BRACE) {
    return fault("unexpected character after '=': '~'");
  }
  if (type == Grammar::NEQ_REGEX && open != Grammar::LEFT_BRACE) {
    return fault("unexpected character after '!': '~'");
  }

  const std::string what = "unexpected " + DescribeToken(type, text);
  if (open == Grammar::LEFT_BRACE) {
    const std::string_view expected = last == Grammar::LEFT_BRACE || last == Grammar::COMMA
                                          ? "identifier or \"}\""
                                      : IsName(last)            ? "label matching operator"
                                      : last == Grammar::STRING ? "\",\" or \"}\""
                                                                : "string";
    return fault(Concat(what, " in label matching, expected ", expected));
  }
  if (open == Grammar::LEFT_BRACKET) {
    if (last == Grammar::LEFT_BRACKET) {
      return fault(Concat(
          what, " in subquery or range selector, expected number, duration, step(), or range()"));
    }
    if (last == Grammar::COLON) {
      return fault(Concat(
          what, " in subquery selector, expected number, duration, step(), range(), or \"]\""));
    }
    if (walk.after_operand()) {
      return fault(frame.colons == 0
                       ? Concat(what, " in subquery or range, expected \":\" or \"]\"")
                       : Concat(what, " in subquery selector, expected \"]\""));
    }
    return fault(Concat(what, " in duration, expected number, duration, step(), or range()"));
  }
  switch (last) {
    case Grammar::BY:
    case Grammar::WITHOUT:
    case Grammar::ON:
    case Grammar::IGNORING:
      return fault(Concat(what, " in grouping opts, expected \"(\""));
    case Grammar::AT:
      return fault(Concat(what, " in @, expected timestamp"));
    case Grammar::OFFSET:
      return fault(Concat(what, " in offset, expected number, duration, step(), or range()"));
    default:
      break;
  }
  const bool in_labels = open == Grammar::LEFT_PAREN &&
                         (frame.before == Grammar::BY || frame.before == Grammar::WITHOUT ||
                          (OpensModifier(frame.before) && frame.before < Grammar::FILL));
  if (in_labels) {
    const bool after_label = last != Grammar::LEFT_PAREN && last != Grammar::COMMA;
    return fault(
        Concat(what, " in grouping opts, expected ", after_label ? "\",\" or \")\"" : "label"));
  }
  if (type == Grammar::RIGHT_PAREN && last == Grammar::COMMA) {
    return {tokens[index - 1].span, "trailing commas not allowed in function call args"};
  }
  if (IsAggregator(last) && !IsOperator(type)) return fault(what + " in aggregation");
  if (!walk.after_operand()) return fault(what + ", expected an expression");
  if (open == Grammar::LEFT_PAREN) return fault(what + ", expected an operator or \")\"");
  return fault(what + ", expected an operator or end of input");
}

}  // namespace varve::promql
