#include "query/lang/traceql/parse.h"

#include <optional>
#include <utility>
#include <vector>

#include "TraceQL.h"
#include "TraceQLLexer.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/parse.h"
#include "query/lang/traceql/build.h"
#include "query/lang/traceql/check.h"
#include "query/lang/traceql/faults.h"

namespace varve::traceql {
namespace {

using Grammar = grammar::TraceQL;

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

/// Stops at the first syntax error by throwing the fault it describes.
class FaultListener final : public antlr4::BaseErrorListener {
 public:
  FaultListener(std::string_view text, const std::vector<TokenView>& tokens)
      : text_(text), tokens_(tokens) {}

  void syntaxError(antlr4::Recognizer*, antlr4::Token* token, size_t, size_t, const std::string&,
                   std::exception_ptr) override {
    throw DescribeFault(text_, tokens_, token->getTokenIndex());
  }

 private:
  std::string_view text_;
  const std::vector<TokenView>& tokens_;
};

/// Runs lexer and parser over `text` and hands the tree of the start rule to `build`. Throws
/// SyntaxFault. The tree dies when this returns.
template <typename StartRule, typename Build>
auto ParseWith(std::string_view text, StartRule start_rule, Build build) {
  ByteStream bytes(text);
  grammar::TraceQLLexer lexer(&bytes);
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
  if (auto fault = FindExcessiveDepth(tokens)) throw *std::move(fault);

  Grammar parser(&stream);
  parser.removeErrorListeners();
  // SLL prediction is faster, and where it accepts a text it reads it as LL does; only a refusal
  // needs the second look.
  auto* prediction = parser.getInterpreter<antlr4::atn::ParserATNSimulator>();
  prediction->setPredictionMode(antlr4::atn::PredictionMode::SLL);
  parser.setErrorHandler(std::make_shared<antlr4::BailErrorStrategy>());
  decltype((parser.*start_rule)()) tree = nullptr;
  try {
    tree = (parser.*start_rule)();
  } catch (const antlr4::ParseCancellationException&) {
    FaultListener listener(text, tokens);
    stream.seek(0);
    parser.reset();
    parser.addErrorListener(&listener);
    parser.setErrorHandler(std::make_shared<antlr4::DefaultErrorStrategy>());
    prediction->setPredictionMode(antlr4::atn::PredictionMode::LL);
    tree = (parser.*start_rule)();
  }
  return build(*tree);
}

/// Calls `parse` and turns what it throws into a status.
template <typename T, typename F>
Result<T> Guard(std::string_view text, size_t query_bytes_max, F parse) {
  if (query_bytes_max != 0 && text.size() > query_bytes_max) {
    return QueryError(text, {},
                      Concat("the query is ", text.size(), " bytes long, more than the limit of ",
                             query_bytes_max));
  }
  try {
    return parse();
  } catch (const SyntaxFault& fault) {
    return QueryError(text, fault.span, fault.what);
  } catch (const std::exception& error) {
    return MakeStatus(StatusCode::kInternal, Concat("parser: ", std::string_view(error.what())));
  }
}

}  // namespace

Result<std::shared_ptr<const Query>> Parse(std::string_view text, size_t query_bytes_max) {
  using Out = std::shared_ptr<const Query>;
  return Guard<Out>(text, query_bytes_max, [&]() -> Result<Out> {
    auto query =
        std::make_shared<Query>(ParseWith(text, &Grammar::query, [&](Grammar::QueryContext& tree) {
          return BuildQuery(text, tree);
        }));
    VARVE_RETURN_IF_ERROR(CheckQuery(text, query.get()));
    return query;
  });
}

Result<FieldExprPtr> ParseFilter(std::string_view text, size_t query_bytes_max) {
  return Guard<FieldExprPtr>(text, query_bytes_max, [&]() -> Result<FieldExprPtr> {
    FieldExprPtr out = ParseWith(text, &Grammar::fieldOnly, [&](Grammar::FieldOnlyContext& tree) {
      return BuildField(text, *tree.field());
    });
    VARVE_RETURN_IF_ERROR(CheckFilter(text, *out));
    return out;
  });
}

Result<Field> ParseField(std::string_view text) {
  return Guard<Field>(text, kQueryBytesMax, [&]() -> Result<Field> {
    FieldExprPtr out = ParseWith(text, &Grammar::fieldOnly, [&](Grammar::FieldOnlyContext& tree) {
      return BuildField(text, *tree.field());
    });
    if (out->kind != FieldExpr::Kind::kField) return QueryError(text, {}, "not a field");
    return std::move(out->field);
  });
}

}  // namespace varve::traceql
