#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "antlr4-runtime.h"

namespace varve::lang {

/// Runs an ANTLR grammar over a query: what the parse.cc of each language shares. Included by those
/// alone, so that nothing of ANTLR shows elsewhere.

/// Feeds the bytes of a query to the lexer as they are, so that token positions are byte offsets
/// and no text is too broken to be read.
class ByteStream final : public antlr4::CharStream {
 public:
  explicit ByteStream(std::string_view text) : text_(text) {}

  void consume() override { ++at_; }
  size_t LA(ssize_t i) override {
    if (i == 0) return 0;
    const ssize_t at = static_cast<ssize_t>(at_) + (i > 0 ? i - 1 : i);
    if (at < 0 || static_cast<size_t>(at) >= text_.size()) return IntStream::EOF;
    return static_cast<unsigned char>(text_[at]);
  }
  ssize_t mark() override { return -1; }
  void release(ssize_t) override {}
  size_t index() override { return at_; }
  void seek(size_t index) override { at_ = std::min(index, text_.size()); }
  size_t size() override { return text_.size(); }
  std::string getSourceName() const override { return {}; }
  std::string getText(const antlr4::misc::Interval& interval) override {
    const auto begin = static_cast<size_t>(std::max<ssize_t>(interval.a, 0));
    if (begin >= text_.size() || interval.b < interval.a) return {};
    return std::string(text_.substr(begin, interval.b - interval.a + 1));
  }
  std::string toString() const override { return std::string(text_); }

 private:
  std::string_view text_;
  size_t at_ = 0;
};

/// Stops at the first syntax error by throwing what `describe(parser, token index)` returns.
template <typename Describe>
class FaultListener final : public antlr4::BaseErrorListener {
 public:
  explicit FaultListener(const Describe& describe) : describe_(describe) {}

  void syntaxError(antlr4::Recognizer* parser, antlr4::Token* token, size_t, size_t,
                   const std::string&, std::exception_ptr) override {
    throw describe_(*static_cast<antlr4::Parser*>(parser), token->getTokenIndex());
  }

 private:
  const Describe& describe_;
};

/// Runs `Lexer` and `Parser` over `text` and returns what `build` makes of the tree of the start
/// rule, which dies when this returns. `check(tokens)` sees the tokens (TokenView: type and span)
/// before anything recurses over them, and throws if they go too deep; `describe(parser, tokens,
/// index)` makes the fault to be thrown for a token that cannot stand where it does.
template <typename Lexer, typename Parser, typename TokenView, typename StartRule, typename Check,
          typename Describe, typename Build>
auto ParseWith(std::string_view text, StartRule start_rule, const Check& check,
               const Describe& describe, const Build& build) {
  ByteStream bytes(text);
  Lexer lexer(&bytes);
  lexer.removeErrorListeners();
  antlr4::CommonTokenStream stream(&lexer);
  stream.fill();
  std::vector<TokenView> tokens;
  tokens.reserve(stream.size());
  for (const antlr4::Token* token : stream.getTokens()) {
    if (token->getType() == antlr4::Token::EOF) {
      const auto end = static_cast<uint32_t>(text.size());
      tokens.push_back({antlr4::Token::EOF, {end, end}});
    } else {
      tokens.push_back({token->getType(),
                        {static_cast<uint32_t>(token->getStartIndex()),
                         static_cast<uint32_t>(token->getStopIndex() + 1)}});
    }
  }
  check(tokens);

  Parser parser(&stream);
  parser.removeErrorListeners();
  // SLL prediction is faster, and where it accepts a text it reads it as LL does; only a refusal
  // needs the second look.
  auto* prediction = parser.template getInterpreter<antlr4::atn::ParserATNSimulator>();
  prediction->setPredictionMode(antlr4::atn::PredictionMode::SLL);
  parser.setErrorHandler(std::make_shared<antlr4::BailErrorStrategy>());
  decltype((parser.*start_rule)()) tree = nullptr;
  const auto fault_at = [&](antlr4::Parser& at, size_t index) {
    return describe(at, tokens, index);
  };
  FaultListener<decltype(fault_at)> listener(fault_at);
  try {
    tree = (parser.*start_rule)();
  } catch (const antlr4::ParseCancellationException&) {
    stream.seek(0);
    parser.reset();
    parser.addErrorListener(&listener);
    parser.setErrorHandler(std::make_shared<antlr4::DefaultErrorStrategy>());
    prediction->setPredictionMode(antlr4::atn::PredictionMode::LL);
    tree = (parser.*start_rule)();
  }
  return build(*tree);
}

}  // namespace varve::lang
