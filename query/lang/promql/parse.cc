#include "query/lang/promql/parse.h"

#include <list>
#include <optional>
#include <utility>

#include "PromQL.h"
#include "PromQLLexer.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/build.h"
#include "query/lang/promql/check.h"
#include "query/lang/promql/faults.h"

namespace varve::promql {
namespace {

using Grammar = grammar::PromQL;

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
  FaultListener(std::string_view query, const std::vector<TokenView>& tokens)
      : query_(query), tokens_(tokens) {}

  void syntaxError(antlr4::Recognizer*, antlr4::Token* token, size_t, size_t, const std::string&,
                   std::exception_ptr) override {
    throw DescribeFault(query_, tokens_, token->getTokenIndex());
  }

 private:
  std::string_view query_;
  const std::vector<TokenView>& tokens_;
};

Span SpanOf(const antlr4::Token& token) {
  return {static_cast<uint32_t>(token.getStartIndex()),
          static_cast<uint32_t>(token.getStopIndex() + 1)};
}

/// Runs lexer and parser over `query` and hands the tree of the start rule to `build`. Throws
/// SyntaxFault. The tree dies when this returns.
template <typename StartRule, typename Build>
auto ParseWith(std::string_view query, StartRule start_rule, Build build) {
  ByteStream bytes(query);
  grammar::PromQLLexer lexer(&bytes);
  lexer.removeErrorListeners();
  antlr4::CommonTokenStream stream(&lexer);
  stream.fill();
  std::vector<TokenView> tokens;
  tokens.reserve(stream.size());
  for (const antlr4::Token* token : stream.getTokens()) {
    if (token->getType() == antlr4::Token::EOF) {
      const auto end = static_cast<uint32_t>(query.size());
      tokens.push_back({antlr4::Token::EOF, {end, end}});
    } else {
      tokens.push_back({token->getType(), SpanOf(*token)});
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
    FaultListener listener(query, tokens);
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
Result<T> Guard(std::string_view query, const ParseOptions& options, F parse) {
  if (query.size() > options.query_bytes_max) {
    return ParseError(query, Span{},
                      Concat("query is ", query.size(), " bytes long, more than the limit of ",
                             options.query_bytes_max));
  }
  try {
    return parse();
  } catch (const SyntaxFault& fault) {
    return ParseError(query, fault.span, fault.what);
  } catch (const std::exception& error) {
    return MakeStatus(StatusCode::kInternal, Concat("parser: ", std::string_view(error.what())));
  }
}

// --- Cache ---

uint8_t FlagsOf(const ParseOptions& options) {
  return static_cast<uint8_t>(options.experimental_functions | options.experimental_durations << 1 |
                              options.extended_range_selectors << 2 |
                              options.binop_fill_modifiers << 3);
}

/// Keeps the trees of the queries used last. Thread-safe.
class TreeCache {
 public:
  std::shared_ptr<const Expr> Find(const std::string& key) {
    absl::MutexLock lock(&mutex_);
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->tree;
  }

  void Insert(std::string key, std::shared_ptr<const Expr> tree) {
    absl::MutexLock lock(&mutex_);
    if (by_key_.contains(key)) return;
    bytes_ += key.size();
    entries_.push_front({std::move(key), std::move(tree)});
    by_key_.emplace(entries_.front().key, entries_.begin());
    while (entries_.size() > kEntriesMax || bytes_ > kBytesMax) {
      bytes_ -= entries_.back().key.size();
      by_key_.erase(entries_.back().key);
      entries_.pop_back();
    }
  }

 private:
  // A tree takes some twenty times its text.
  static constexpr size_t kEntriesMax = 1024;
  static constexpr size_t kBytesMax = 1 << 20;
  struct Entry {
    std::string key;
    std::shared_ptr<const Expr> tree;
  };

  absl::Mutex mutex_;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // latest first
  StringViewMap<std::list<Entry>::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

TreeCache& Cache() {
  static auto* const cache = new TreeCache();
  return *cache;
}

}  // namespace

Result<ExprPtr> Parse(std::string_view query, const ParseOptions& options) {
  return Guard<ExprPtr>(query, options, [&]() -> Result<ExprPtr> {
    ExprPtr expr = ParseWith(query, &Grammar::query, [&](Grammar::QueryContext& tree) {
      return BuildExpr(query, options, *tree.expr());
    });
    VARVE_RETURN_IF_ERROR(CheckTypes(query, *expr));
    return expr;
  });
}

Result<std::shared_ptr<const Expr>> ParseCached(std::string_view query,
                                                const ParseOptions& options) {
  if (query.size() > options.query_bytes_max) return Parse(query, options).status();
  std::string key = Concat(static_cast<char>(FlagsOf(options)), query);
  if (auto tree = Cache().Find(key)) return tree;
  VARVE_ASSIGN_OR_RETURN(ExprPtr parsed, Parse(query, options));
  std::shared_ptr<const Expr> tree = std::move(parsed);
  Cache().Insert(std::move(key), tree);
  return tree;
}

Result<std::vector<Matcher>> ParseSelector(std::string_view text, const ParseOptions& options) {
  return Guard<std::vector<Matcher>>(text, options, [&]() -> Result<std::vector<Matcher>> {
    auto selector = ParseWith(text, &Grammar::selector, [&](Grammar::SelectorContext& tree) {
      return BuildSelector(text, options, *tree.vectorSelector());
    });
    VARVE_RETURN_IF_ERROR(CheckTypes(text, *selector));
    return std::move(selector->matchers);
  });
}

std::string RenderError(std::string_view query, const Status& status) {
  const std::string_view message = ToStd(status.message());
  const auto place = TextPlaceOf(status);
  if (!place) return std::string(message);
  size_t begin = 0;
  for (uint32_t line = 1; line < place->line; ++line) {
    const size_t newline = query.find('\n', begin);
    if (newline == std::string_view::npos) return std::string(message);
    begin = newline + 1;
  }
  std::string_view line = query.substr(begin, query.substr(begin).find('\n'));
  size_t caret = std::min<size_t>(place->column - 1, line.size());
  // A long line is shown around the place only.
  constexpr size_t kShown = 160;
  constexpr size_t kBefore = 80;
  if (line.size() > kShown) {
    const size_t cut = caret > kBefore ? caret - kBefore : 0;
    line = line.substr(cut, kShown);
    caret -= cut;
  }
  // Tabs stay tabs in the caret's line, and a rune takes one column, so that the caret stands
  // under its character.
  std::string indent;
  for (size_t i = 0; i < caret; ++i) {
    if ((line[i] & 0xc0) != 0x80) indent.push_back(line[i] == '\t' ? '\t' : ' ');
  }
  return Concat(message, "\n", line, "\n", indent, "^");
}

}  // namespace varve::promql
