#include "query/lang/logql/parse.h"

#include <list>
#include <utility>

#include "LogQL.h"
#include "LogQLLexer.h"
#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/logql/build.h"
#include "query/lang/logql/faults.h"
#include "query/lang/promql/parse.h"

namespace varve::logql {
namespace {

using Grammar = grammar::LogQL;

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

  void syntaxError(antlr4::Recognizer* recognizer, antlr4::Token* token, size_t, size_t,
                   const std::string&, std::exception_ptr) override {
    const TokenView& at = tokens_[token->getTokenIndex()];
    std::string what =
        DescribeUnexpected(at.type, query_.substr(at.span.begin, at.span.end - at.span.begin));
    const bool lexical = at.type == Grammar::BAD_RANGE || at.type == Grammar::BAD_NUMBER ||
                         at.type == Grammar::BAD_STRING;
    if (!lexical) what += Expected(*static_cast<antlr4::Parser*>(recognizer));
    throw SyntaxFault{at.span, std::move(what)};
  }

 private:
  /// Lists what could stand there, if that is at most four things, as Loki's parser does.
  static std::string Expected(antlr4::Parser& parser) {
    const antlr4::misc::IntervalSet set = parser.getExpectedTokens();
    std::vector<std::string> names;
    bool any_name = false;
    for (const ssize_t type : set.toList()) {
      if (type == Grammar::IDENTIFIER || (type >= static_cast<ssize_t>(Grammar::COUNT_OVER_TIME) &&
                                          type <= static_cast<ssize_t>(Grammar::IP) &&
                                          set.contains(static_cast<size_t>(Grammar::IDENTIFIER)))) {
        if (!std::exchange(any_name, true)) names.emplace_back("IDENTIFIER");
        continue;
      }
      std::string name = type == static_cast<ssize_t>(antlr4::Token::EOF)
                             ? "$end"
                             : parser.getVocabulary().getDisplayName(static_cast<size_t>(type));
      if (name.size() > 2 && name.front() == '\'') name = name.substr(1, name.size() - 2);
      names.push_back(std::move(name));
      if (names.size() > 4) return {};
    }
    std::string out;
    for (size_t i = 0; i < names.size(); ++i) {
      out += Concat(i == 0 ? ", expecting " : " or ", names[i]);
    }
    return out;
  }

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
  grammar::LogQLLexer lexer(&bytes);
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
Result<T> Guard(std::string_view query, F parse) {
  if (query.size() > kQueryBytesMax) {
    return MakeStatus(
        StatusCode::kInvalidArgument,
        Concat("parse error : input size too long (", query.size(), " > ", kQueryBytesMax, ")"));
  }
  try {
    return parse();
  } catch (const SyntaxFault& fault) {
    return fault.placed ? PlacedError(query, fault.span.begin, fault.what)
                        : SenseError(query, fault.span, fault.what);
  } catch (const std::exception& error) {
    return MakeStatus(StatusCode::kInternal, Concat("parser: ", std::string_view(error.what())));
  }
}

// --- Cache ---

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

Result<ExprPtr> Parse(std::string_view query) {
  return Guard<ExprPtr>(query, [&]() -> Result<ExprPtr> {
    ExprPtr expr = ParseWith(query, &Grammar::query, [&](Grammar::QueryContext& tree) {
      return BuildExpr(query, *tree.expr());
    });
    CheckSelectors(*expr);
    return expr;
  });
}

Result<std::shared_ptr<const Expr>> ParseCached(std::string_view query) {
  if (query.size() > kQueryBytesMax) return Parse(query).status();
  std::string key(query);
  if (auto tree = Cache().Find(key)) return tree;
  VARVE_ASSIGN_OR_RETURN(ExprPtr parsed, Parse(query));
  std::shared_ptr<const Expr> tree = std::move(parsed);
  Cache().Insert(std::move(key), tree);
  return tree;
}

Result<std::vector<Matcher>> ParseSelector(std::string_view text, bool allow_empty) {
  return Guard<std::vector<Matcher>>(text, [&]() -> Result<std::vector<Matcher>> {
    auto matchers = ParseWith(text, &Grammar::matchers, [&](Grammar::MatchersContext& tree) {
      return BuildMatchers(text, *tree.selector());
    });
    CheckMatchers(matchers, {0, static_cast<uint32_t>(text.size())}, allow_empty);
    return matchers;
  });
}

std::string RenderError(std::string_view query, const Status& status) {
  // The carets of all our languages look alike.
  return promql::RenderError(query, status);
}

}  // namespace varve::logql
