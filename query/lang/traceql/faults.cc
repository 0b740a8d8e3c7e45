#include "query/lang/traceql/faults.h"

#include "engine/base/strings.h"

namespace varve::traceql {
namespace {

using Grammar = grammar::TraceQL;
constexpr size_t kEnd = static_cast<size_t>(-1);

std::string Describe(size_t type, std::string_view text) {
  if (type == kEnd) return "end of input";
  constexpr size_t kShown = 40;
  if (text.size() > kShown) return GoQuote(text.substr(0, kShown)) + "...";
  switch (type) {
    case Grammar::WORD:
      return Concat("identifier ", text);
    case Grammar::ATTRIBUTE:
      return Concat("attribute ", text);
    case Grammar::STRING:
      return Concat("string ", text);
    case Grammar::NUMBER:
    case Grammar::DURATION:
      return Concat("number ", text);
    default:
      return GoQuote(text);
  }
}

}  // namespace

std::optional<SyntaxFault> FindExcessiveDepth(const std::vector<TokenView>& tokens) {
  // Per open bracket: prefixes and powers since the last operator that ends them, and operators.
  struct Frame {
    size_t deep = 0;
    size_t chain = 0;
  };
  std::vector<Frame> frames(1);
  size_t deep = 0;  // sums over frames
  size_t chain = 0;
  bool after_operand = false;
  const auto end_prefixes = [&] {
    deep -= frames.back().deep;
    frames.back().deep = 0;
  };
  for (const TokenView& token : tokens) {
    switch (token.type) {
      case Grammar::LEFT_BRACE:
      case Grammar::LEFT_PAREN:
      case Grammar::LEFT_BRACKET:
        frames.emplace_back();
        after_operand = false;
        break;
      case Grammar::RIGHT_BRACE:
      case Grammar::RIGHT_PAREN:
      case Grammar::RIGHT_BRACKET:
        if (frames.size() > 1) {
          deep -= frames.back().deep;
          chain -= frames.back().chain;
          frames.pop_back();
        }
        after_operand = true;
        break;
      case Grammar::COMMA:
        end_prefixes();
        chain -= frames.back().chain;
        frames.back().chain = 0;
        after_operand = false;
        break;
      case Grammar::NOT:
      case Grammar::POW:
        ++deep;
        ++frames.back().deep;
        after_operand = false;
        break;
      case Grammar::SUB:
        if (!after_operand) {
          ++deep;
          ++frames.back().deep;
          break;
        }
        [[fallthrough]];
      case Grammar::ADD:
      case Grammar::AND:
      case Grammar::OR:
      case Grammar::PIPE:
        end_prefixes();
        ++chain;
        ++frames.back().chain;
        after_operand = false;
        break;
      case Grammar::STRING:
      case Grammar::NUMBER:
      case Grammar::DURATION:
      case Grammar::ATTRIBUTE:
      case Grammar::WORD:
      case Grammar::BAD_STRING:  // what is no token at all is the parser's to report
      case Grammar::BAD_ATTRIBUTE:
      case Grammar::BAD_NUMBER:
      case Grammar::UNEXPECTED:
        after_operand = true;
        break;
      default:
        // The other operators end no prefix of a looser level; counting them as chain is enough.
        ++chain;
        ++frames.back().chain;
        after_operand = false;
    }
    if (frames.size() - 1 + deep > kNestingMax) {
      return SyntaxFault{token.span,
                         Concat("the query is nested more than ", kNestingMax, " levels deep")};
    }
    if (frames.size() - 1 + deep + chain > kTreeDepthMax) {
      return SyntaxFault{token.span, Concat("the query chains more than ", kTreeDepthMax,
                                            " operators; use parentheses, =~ or an array")};
    }
  }
  return std::nullopt;
}

SyntaxFault DescribeFault(std::string_view text, const std::vector<TokenView>& tokens,
                          size_t index) {
  const auto [type, span] = tokens[index];
  const std::string_view token = text.substr(span.begin, span.end - span.begin);
  const auto fault = [&](std::string_view what) { return SyntaxFault{span, std::string(what)}; };
  switch (type) {
    case Grammar::BAD_STRING:
      return fault("syntax error: unterminated string");
    case Grammar::BAD_ATTRIBUTE:
      return fault(token.find('"') == std::string_view::npos
                       ? "syntax error: an attribute needs a name"
                       : "syntax error: unterminated quoted attribute");
    case Grammar::BAD_NUMBER:
      return fault(Concat("syntax error: bad number or duration ", GoQuote(token)));
    case Grammar::UNEXPECTED:
      return fault(Concat("syntax error: unexpected character ", GoQuote(token)));
    default:
      break;
  }
  if (type == kEnd && index == 0) return fault("syntax error: the query is empty");
  std::vector<size_t> open;
  for (size_t i = 0; i < index; ++i) {
    switch (tokens[i].type) {
      case Grammar::LEFT_BRACE:
      case Grammar::LEFT_PAREN:
      case Grammar::LEFT_BRACKET:
        open.push_back(tokens[i].type);
        break;
      case Grammar::RIGHT_BRACE:
      case Grammar::RIGHT_PAREN:
      case Grammar::RIGHT_BRACKET:
        if (!open.empty()) open.pop_back();
        break;
      default:
        break;
    }
  }
  std::string what = Concat("syntax error: unexpected ", Describe(type, token));
  if (type == kEnd && !open.empty()) {
    what.append(open.back() == Grammar::LEFT_BRACE   ? ", expected \"}\""
                : open.back() == Grammar::LEFT_PAREN ? ", expected \")\""
                                                     : ", expected \"]\"");
  }
  return {span, std::move(what)};
}

}  // namespace varve::traceql
