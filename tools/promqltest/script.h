#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "query/lang/promql/ast.h"
#include "varve/labels.h"
#include "varve/query.h"
#include "varve/status.h"

/// The promqltest language: Prometheus's scripts of loads and evaluations (promql/promqltest), read
/// into commands. Ours on top of it: `flush`, `compact`, `restart [crash]`, `delete SELECTOR`.
namespace varve::promqltest {

/// One value of a sequence such as `1+2x3`: a number, a histogram, or nothing.
struct SequenceValue {
  double value = 0;
  bool omitted = false;
  query::HistogramPtr histogram;
  bool hint_given = false;  // a counter reset hint was written, so it must match
};

/// One stored sample of a load.
struct LoadedSample {
  int64_t time_ms = 0;
  int64_t start_ms = 0;  // kNoStartTime if unknown
  double value = 0;
  query::HistogramPtr histogram;
};
struct LoadedSeries {
  Labels labels;
  std::vector<LoadedSample> samples;
};

/// Stores samples; native histograms made from classic ones (load_with_nhcb) are among them.
struct LoadCommand {
  std::vector<LoadedSeries> series;
};
/// Converts a histogram to the form in which a batch carries it.
Histogram StoredHistogram(const query::FloatHistogram& histogram);
struct ClearCommand {};
struct FlushCommand {};
struct CompactCommand {};
struct RestartCommand {
  bool crash = false;
};
struct DeleteCommand {
  std::vector<Matcher> matchers;
};

/// A text that must be met exactly, or a pattern that must occur in it; neither: anything does.
struct Expectation {
  std::optional<std::string> message;
  std::optional<std::string> pattern;
  bool Matches(std::string_view text) const;
  std::string Describe() const;
};

struct ExpectedSeries {
  Labels labels;
  size_t position = 0;  // from 1, in the order of the script
  std::vector<SequenceValue> values;
};

/// Evaluates one expression and says what must come of it.
struct EvalCommand {
  std::string text;
  promql::ExprPtr expr;  // of `text`
  bool is_range = false;
  int64_t time_ms = 0;   // instant
  int64_t start_ms = 0;  // range, or where an instant query's expected range vector starts
  int64_t end_ms = 0;
  int64_t step_ms = 0;

  bool ordered = false;
  std::optional<Expectation> fail;
  std::vector<Expectation> warn;
  std::vector<Expectation> info;
  bool no_warn = false;
  bool no_info = false;
  bool needs_warning = false;  // eval_warn: any
  bool needs_info = false;     // eval_info: any

  std::optional<SequenceValue> scalar;
  std::optional<std::string> string;
  std::vector<ExpectedSeries> series;
  bool instant_only = false;  // a string or range vector: no rerun as a range query
};

struct Command {
  uint32_t line = 0;  // from 1
  std::variant<LoadCommand, ClearCommand, FlushCommand, CompactCommand, RestartCommand,
               DeleteCommand, EvalCommand>
      what;
};

/// Reads a script. Errors: kInvalidArgument, `line N: ...`, for the first line that is not right;
/// an expression that does not parse is one.
Result<std::vector<Command>> ParseScript(std::string_view text);

/// Reads one series line, `name{label="value"} 1 2+1x3 _ {{schema:0 count:1}}`; exposed for tests.
Status ParseSeriesLine(std::string_view line, Labels* labels, std::vector<SequenceValue>* values);

}  // namespace varve::promqltest
