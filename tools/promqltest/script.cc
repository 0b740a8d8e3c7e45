#include "tools/promqltest/script.h"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/literals.h"
#include "query/lang/promql/parse.h"
#include "tools/promqltest/histogram_sequence.h"

namespace varve::promqltest {
namespace {

/// Bounds what one item such as 1x1000000 may unfold to.
constexpr uint64_t kRepeatMax = 1'000'000;

Status Bad(std::string_view what) { return MakeStatus(StatusCode::kInvalidArgument, what); }

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\v\f";
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  return text.substr(0, text.find_last_not_of(kSpace) + 1);
}

std::string_view FirstWord(std::string_view text) {
  return text.substr(0, text.find_first_of(" \t"));
}

re2::StringPiece Piece(std::string_view text) { return {text.data(), text.size()}; }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// Takes a decimal number without sign off the front: digits, point, exponent, Inf or NaN.
Result<double> TakeNumber(std::string_view* text) {
  size_t end = 0;
  const auto digits = [&] {
    while (end < text->size() && (IsDigit((*text)[end]) || (*text)[end] == '_')) ++end;
  };
  if (text->size() >= 3 && !IsDigit(text->front()) && text->front() != '.') {
    end = 3;  // Inf, NaN
  } else {
    digits();
    if (end < text->size() && (*text)[end] == '.') {
      ++end;
      digits();
    }
    if (end > 0 && end < text->size() && ((*text)[end] == 'e' || (*text)[end] == 'E')) {
      const size_t before = end++;
      if (end < text->size() && ((*text)[end] == '+' || (*text)[end] == '-')) ++end;
      const size_t exponent = end;
      digits();
      if (end == exponent) end = before;
    }
  }
  if (end == 0) return Bad(Concat("expected a number at ", GoQuote(*text)));
  VARVE_ASSIGN_OR_RETURN(const double value, promql::ParseNumber(text->substr(0, end)));
  text->remove_prefix(end);
  return value;
}

Result<double> TakeSigned(std::string_view* text) {
  const bool negative = text->starts_with('-');
  if (negative || text->starts_with('+')) text->remove_prefix(1);
  VARVE_ASSIGN_OR_RETURN(const double value, TakeNumber(text));
  return negative ? -value : value;
}

/// Reads the count of `xN`, which must be all that is left.
Result<uint64_t> ParseRepeat(std::string_view text) {
  uint64_t count = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() ||
      count > kRepeatMax) {
    return Bad(Concat("invalid repetition ", GoQuote(text)));
  }
  return count;
}

/// Unfolds one item of floats: `_`, `_x2`, `1`, `1x3`, `1+2x3`, `stale`.
Status ParseFloatItem(std::string_view item, std::vector<SequenceValue>* out) {
  if (item.starts_with('_')) {
    uint64_t count = 1;
    if (item.size() > 1) {
      if (item[1] != 'x') return Bad(Concat("bad sequence item ", GoQuote(item)));
      VARVE_ASSIGN_OR_RETURN(count, ParseRepeat(item.substr(2)));
    }
    SequenceValue omitted;
    omitted.omitted = true;
    out->insert(out->end(), count, omitted);
    return absl::OkStatus();
  }
  SequenceValue value;
  std::string_view rest = item;
  if (rest.starts_with("stale")) {
    value.value = StaleNan();
    rest.remove_prefix(5);
  } else {
    VARVE_ASSIGN_OR_RETURN(value.value, TakeSigned(&rest));
  }
  if (rest.empty()) {
    out->push_back(value);
    return absl::OkStatus();
  }
  double step = 0;
  if (!rest.starts_with('x')) {
    VARVE_ASSIGN_OR_RETURN(step, TakeSigned(&rest));
    if (!rest.starts_with('x')) return Bad(Concat("bad sequence item ", GoQuote(item)));
  }
  VARVE_ASSIGN_OR_RETURN(const uint64_t count, ParseRepeat(rest.substr(1)));
  // Adds up, as Prometheus does: the rounding belongs to what a script expects.
  for (uint64_t i = 0; i <= count; ++i) {
    out->push_back(value);
    if (step != 0) value.value += step;
  }
  return absl::OkStatus();
}

/// Unfolds one item of histograms at the front of `text`: `{{}}`, `{{}}x3`, `{{}}+{{}}x3`.
Status TakeHistogramItem(std::string_view* text, std::vector<SequenceValue>* out) {
  VARVE_ASSIGN_OR_RETURN(SequenceValue value, ParseHistogram(text));
  std::optional<SequenceValue> increment;
  bool add = true;
  if (text->starts_with("+{{") || text->starts_with("-{{")) {
    add = text->front() == '+';
    text->remove_prefix(1);
    VARVE_ASSIGN_OR_RETURN(increment, ParseHistogram(text));
    if (!text->starts_with('x')) return Bad("expected a repetition after histogram increment");
  }
  if (!text->starts_with('x')) {
    out->push_back(std::move(value));
    return absl::OkStatus();
  }
  const std::string_view word = FirstWord(text->substr(1));
  VARVE_ASSIGN_OR_RETURN(const uint64_t count, ParseRepeat(word));
  text->remove_prefix(1 + word.size());
  if (increment) value.hint_given = increment->hint_given;
  out->push_back(value);
  for (uint64_t i = 0; i < count; ++i) {
    if (increment) {
      VARVE_ASSIGN_OR_RETURN(query::FloatHistogram sum,
                             Combine(*value.histogram, *increment->histogram, add));
      value.histogram = std::make_shared<const query::FloatHistogram>(std::move(sum));
    }
    out->push_back(value);
  }
  return absl::OkStatus();
}

/// Takes a quoted string with its quotes off the front.
Result<std::string> TakeQuoted(std::string_view* text) {
  const char quote = text->front();
  size_t end = 1;
  while (end < text->size() && (*text)[end] != quote) {
    end += (*text)[end] == '\\' && quote != '`' ? 2 : 1;
  }
  if (end >= text->size()) return Bad("unterminated quoted string");
  VARVE_ASSIGN_OR_RETURN(std::string value, promql::Unquote(text->substr(0, end + 1)));
  text->remove_prefix(end + 1);
  return value;
}

bool IsQuote(char c) { return c == '"' || c == '\'' || c == '`'; }

/// Takes `name{label="value", ...}` off the front; either half may be missing.
Status TakeMetric(std::string_view* text, Labels* labels) {
  std::vector<std::pair<std::string, std::string>> pairs;
  size_t name_end = 0;
  while (name_end < text->size()) {
    const char c = (*text)[name_end];
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
    if (!letter && !(IsDigit(c) && name_end > 0)) break;
    ++name_end;
  }
  if (name_end > 0) pairs.emplace_back(kMetricName, text->substr(0, name_end));
  text->remove_prefix(name_end);
  const auto skip = [text] {
    text->remove_prefix(std::min(text->find_first_not_of(" \t"), text->size()));
  };
  if (text->starts_with('{')) {
    text->remove_prefix(1);
    for (skip(); !text->starts_with('}'); skip()) {
      if (text->empty()) return Bad("unexpected end of input inside braces");
      std::string name;
      const bool quoted = IsQuote(text->front());
      if (quoted) {
        VARVE_ASSIGN_OR_RETURN(name, TakeQuoted(text));
      } else {
        const size_t end = text->find_first_not_of(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
        name = text->substr(0, end);
        text->remove_prefix(name.size());
        if (name.empty())
          return Bad("unexpected character in label set, expected identifier or \"}\"");
      }
      skip();
      if (text->starts_with('=')) {
        text->remove_prefix(1);
        skip();
        if (text->empty() || !IsQuote(text->front())) return Bad("expected string in label set");
        VARVE_ASSIGN_OR_RETURN(std::string value, TakeQuoted(text));
        pairs.emplace_back(std::move(name), std::move(value));
      } else if (quoted) {
        pairs.emplace_back(kMetricName, std::move(name));
      } else {
        return Bad("expected \"=\" in label set");
      }
      skip();
      if (text->starts_with(',')) {
        text->remove_prefix(1);
      } else if (!text->starts_with('}')) {
        return Bad("expected \",\" or \"}\" in label set");
      }
    }
    text->remove_prefix(1);
  }
  std::vector<LabelView> views;
  for (const auto& [name, value] : pairs) views.push_back({name, value});
  VARVE_ASSIGN_OR_RETURN(*labels, Labels::Make(std::move(views)));
  return absl::OkStatus();
}

Status TakeSequence(std::string_view text, std::vector<SequenceValue>* values) {
  for (text = Trim(text); !text.empty(); text = Trim(text)) {
    if (values->size() > 2 * kRepeatMax) return Bad("too many values in one line");
    if (text.starts_with("{{")) {
      VARVE_RETURN_IF_ERROR(TakeHistogramItem(&text, values));
      if (!text.empty() && text.front() != ' ' && text.front() != '\t') {
        return Bad(Concat("bad sequence item at ", GoQuote(text)));
      }
    } else {
      const std::string_view item = FirstWord(text);
      VARVE_RETURN_IF_ERROR(ParseFloatItem(item, values));
      text.remove_prefix(item.size());
    }
  }
  return absl::OkStatus();
}

// --- Start timestamps ---

/// Takes a signed duration such as -1m, 30s or 0 off the front.
Result<int64_t> TakeOffset(std::string_view* text) {
  const bool negative = text->starts_with('-');
  if (negative || text->starts_with('+')) text->remove_prefix(1);
  size_t end = 0;
  while (end < text->size() && IsDigit((*text)[end])) ++end;
  if (end == 0) return Bad(Concat("expected digits in duration ", GoQuote(*text)));
  // The x of a repetition is no unit.
  while (end < text->size() && (*text)[end] >= 'a' && (*text)[end] <= 'z' && (*text)[end] != 'x') {
    ++end;
  }
  VARVE_ASSIGN_OR_RETURN(const int64_t ms, promql::ParseDurationMs(text->substr(0, end)));
  text->remove_prefix(end);
  return negative ? -ms : ms;
}

/// Unfolds one item of a start-timestamp line into offsets against each sample's time: `_`, `_x2`,
/// `-1m`, `-1mx3`, `-1m-30sx3`, `*` (the offset before), `*x2`.
Status ParseStartItem(std::string_view item, std::vector<std::optional<int64_t>>* out) {
  if (item == "_") {
    out->emplace_back();
    return absl::OkStatus();
  }
  if (item.starts_with("_x")) {
    VARVE_ASSIGN_OR_RETURN(const uint64_t count, ParseRepeat(item.substr(2)));
    out->insert(out->end(), count, std::nullopt);
    return absl::OkStatus();
  }
  int64_t offset = 0;
  std::string_view rest = item;
  if (rest.starts_with('*')) {
    rest.remove_prefix(1);
    for (auto at = out->rbegin(); at != out->rend(); ++at) {
      if (*at) {
        offset = **at;
        break;
      }
    }
  } else {
    VARVE_ASSIGN_OR_RETURN(offset, TakeOffset(&rest));
  }
  if (rest.empty()) {
    out->emplace_back(offset);
    return absl::OkStatus();
  }
  int64_t step = 0;
  if (!rest.starts_with('x')) {
    VARVE_ASSIGN_OR_RETURN(step, TakeOffset(&rest));
  }
  if (!rest.starts_with('x')) return Bad("expected 'x<count>' after step duration");
  VARVE_ASSIGN_OR_RETURN(const uint64_t count, ParseRepeat(rest.substr(1)));
  for (uint64_t i = 0; i <= count; ++i) {
    out->emplace_back(offset + static_cast<int64_t>(i) * step);
  }
  return absl::OkStatus();
}

/// Reads `series@st items...`, or `@st items...` for all series that follow.
struct StartLine {
  Labels labels;
  bool is_default = false;
  std::vector<std::optional<int64_t>> offsets;
};
Result<StartLine> ParseStartLine(std::string_view line) {
  std::string_view metric = FirstWord(line);
  std::string_view items = line.substr(metric.size());
  metric.remove_suffix(3);
  StartLine out;
  out.is_default = metric.empty();
  VARVE_RETURN_IF_ERROR(TakeMetric(&metric, &out.labels));
  if (!metric.empty()) return Bad("invalid @st line metric");
  for (items = Trim(items); !items.empty(); items = Trim(items)) {
    const std::string_view item = FirstWord(items);
    VARVE_RETURN_IF_ERROR(ParseStartItem(item, &out.offsets));
    items.remove_prefix(item.size());
  }
  return out;
}

// --- Commands ---

class ScriptParser {
 public:
  explicit ScriptParser(std::string_view text) {
    while (true) {
      const size_t end = text.find('\n');
      const std::string_view line = Trim(text.substr(0, end));
      lines_.push_back(line.starts_with('#') ? std::string_view() : line);
      if (end == std::string_view::npos) break;
      text.remove_prefix(end + 1);
    }
  }

  Result<std::vector<Command>> Run() {
    std::vector<Command> out;
    for (; at_ < lines_.size(); ++at_) {
      if (lines_[at_].empty()) continue;
      Command command;
      command.line = static_cast<uint32_t>(at_ + 1);
      if (Status status = ParseCommand(&command); !status.ok()) {
        return MakeStatus(status.code(), Concat("line ", at_ + 1, ": ", ToStd(status.message())));
      }
      out.push_back(std::move(command));
    }
    return out;
  }

 private:
  Status ParseCommand(Command* out) {
    const std::string_view line = lines_[at_];
    std::string word(FirstWord(line));
    for (char& c : word) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    const std::string_view rest = Trim(line.substr(word.size()));
    if (word == "clear") {
      out->what = ClearCommand{};
    } else if (word == "flush" && rest.empty()) {
      out->what = FlushCommand{};
    } else if (word == "compact" && rest.empty()) {
      out->what = CompactCommand{};
    } else if (word == "restart" && (rest.empty() || rest == "crash")) {
      out->what = RestartCommand{!rest.empty()};
    } else if (word == "delete") {
      VARVE_ASSIGN_OR_RETURN(auto matchers, promql::ParseSelector(rest));
      out->what = DeleteCommand{std::move(matchers)};
    } else if (word.starts_with("load")) {
      VARVE_ASSIGN_OR_RETURN(out->what, ParseLoad());
    } else if (word.starts_with("eval")) {
      VARVE_ASSIGN_OR_RETURN(out->what, ParseEval());
    } else {
      return Bad(Concat("invalid command ", GoQuote(line)));
    }
    return absl::OkStatus();
  }

  /// Moves on to the next line of a command's body; false at its end.
  bool NextBodyLine(std::string_view* line) {
    if (at_ + 1 >= lines_.size() || lines_[at_ + 1].empty()) return false;
    *line = lines_[++at_];
    return true;
  }

  Result<LoadCommand> ParseLoad() {
    static const RE2 kLoad("load(?:_(with_nhcb))?\\s+(.+?)");
    std::string nhcb;
    std::string step;
    if (!RE2::FullMatch(Piece(lines_[at_]), kLoad, &nhcb, &step)) {
      return Bad("invalid load command. (load[_with_nhcb] <step:duration>)");
    }
    VARVE_ASSIGN_OR_RETURN(const int64_t gap_ms, promql::ParseDurationMs(step));
    std::vector<LoadedSeries> series;
    std::optional<StartLine> pending;
    std::vector<std::optional<int64_t>> defaults;
    std::string_view line;
    while (NextBodyLine(&line)) {
      if (FirstWord(line).ends_with("@st") && FirstWord(line) != line) {
        if (pending) return Bad("@st line has no following sample line");
        VARVE_ASSIGN_OR_RETURN(StartLine start, ParseStartLine(line));
        if (start.is_default) {
          defaults = std::move(start.offsets);
        } else {
          pending = std::move(start);
        }
        continue;
      }
      LoadedSeries loaded;
      std::vector<SequenceValue> values;
      VARVE_RETURN_IF_ERROR(ParseSeriesLine(line, &loaded.labels, &values));
      if (pending && !(pending->labels == loaded.labels)) {
        return Bad("@st metric does not match the following sample line metric");
      }
      if (pending && pending->offsets.size() != values.size()) {
        return Bad(Concat("@st line has ", pending->offsets.size(), " values but sample line has ",
                          values.size()));
      }
      for (size_t i = 0; i < values.size(); ++i) {
        if (values[i].omitted) continue;
        std::optional<int64_t> offset;
        if (pending) {
          offset = pending->offsets[i];
        } else if (!defaults.empty()) {
          offset = defaults[i % defaults.size()];
        }
        const int64_t time_ms = static_cast<int64_t>(i) * gap_ms;
        loaded.samples.push_back({time_ms, offset ? time_ms + *offset : kNoStartTime,
                                  values[i].value, values[i].histogram});
      }
      pending.reset();
      // The last line of a series replaces those before.
      std::erase_if(series, [&](const LoadedSeries& s) { return s.labels == loaded.labels; });
      series.push_back(std::move(loaded));
    }
    if (pending) return Bad("@st line has no following sample line");
    LoadCommand load{std::move(series)};
    if (!nhcb.empty()) VARVE_RETURN_IF_ERROR(AddCustomBucketHistograms(&load));
    return load;
  }

  static Status ParseTimes(std::string_view from, std::string_view to, std::string_view step,
                           EvalCommand* out) {
    VARVE_ASSIGN_OR_RETURN(out->start_ms, promql::ParseDurationMs(from));
    VARVE_ASSIGN_OR_RETURN(out->end_ms, promql::ParseDurationMs(to));
    VARVE_ASSIGN_OR_RETURN(out->step_ms, promql::ParseDurationMs(step));
    if (out->end_ms < out->start_ms) {
      return Bad(Concat("invalid test definition, end timestamp (", to,
                        ") is before start timestamp (", from, ")"));
    }
    return absl::OkStatus();
  }

  Result<EvalCommand> ParseEval() {
    static const RE2 kInstant(
        "eval(?:_(fail|warn|ordered|info))?\\s+instant\\s+(?:at\\s+(.+?))?\\s+(.+)");
    static const RE2 kRange(
        "eval(?:_(fail|warn|info))?\\s+range\\s+from\\s+(.+)\\s+to\\s+(.+)\\s+step\\s+(.+?)\\s+(.+"
        ")");
    const std::string_view head = lines_[at_];
    EvalCommand out;
    std::string mode;
    std::string from;
    std::string to;
    std::string step;
    if (RE2::FullMatch(Piece(head), kInstant, &mode, &from, &out.text)) {
      VARVE_ASSIGN_OR_RETURN(out.time_ms, promql::ParseDurationMs(from));
    } else if (RE2::FullMatch(Piece(head), kRange, &mode, &from, &to, &step, &out.text)) {
      out.is_range = true;
      VARVE_RETURN_IF_ERROR(ParseTimes(from, to, step, &out));
    } else {
      return Bad("invalid evaluation command");
    }
    VARVE_ASSIGN_OR_RETURN(out.expr, promql::Parse(out.text));
    out.ordered = mode == "ordered";
    out.needs_warning = mode == "warn";
    out.needs_info = mode == "info";
    const bool legacy_fail = mode == "fail";
    if (legacy_fail) out.fail.emplace();
    bool has_range_vector = false;
    std::string_view line;
    for (size_t position = 1; NextBodyLine(&line); ++position) {
      if (legacy_fail && line.starts_with("expected_fail_message")) {
        out.fail->message = Trim(line.substr(21));
        break;
      }
      if (legacy_fail && line.starts_with("expected_fail_regexp")) {
        out.fail->pattern = Trim(line.substr(20));
        break;
      }
      if (line.starts_with("expect range vector")) {
        static const RE2 kExpectRange(
            "expect range vector\\s+from\\s+(.+)\\s+to\\s+(.+)\\s+step\\s+(.+)");
        if (!RE2::FullMatch(Piece(line), kExpectRange, &from, &to, &step)) {
          return Bad(Concat("invalid range vector definition ", GoQuote(line)));
        }
        VARVE_RETURN_IF_ERROR(ParseTimes(from, to, step, &out));
        // Prometheus evaluates at the end of the range vector, whatever the first line says.
        out.time_ms = out.end_ms;
        has_range_vector = true;
        out.instant_only = true;
        continue;
      }
      if (line.starts_with("expect string")) {
        const std::string_view quoted = Trim(line.substr(13));
        if (quoted.size() < 2) return Bad("expected string literal not valid");
        VARVE_ASSIGN_OR_RETURN(out.string, promql::Unquote(quoted));
        out.instant_only = true;
        continue;
      }
      if (FirstWord(line) == "expect") {
        VARVE_RETURN_IF_ERROR(ParseExpect(line, &out));
        --position;
        continue;
      }
      if (const auto scalar = ParseScalar(line)) {
        out.scalar = SequenceValue{*scalar};
        break;
      }
      ExpectedSeries expected;
      VARVE_RETURN_IF_ERROR(ParseSeriesLine(line, &expected.labels, &expected.values));
      expected.position = position;
      if (expected.values.size() > 1 && !out.is_range && !has_range_vector) {
        return Bad(
            "expecting multiple values in instant evaluation not allowed. consider using "
            "'expect range vector' directive to enable a range vector result for an instant "
            "query");
      }
      if (expected.values.empty()) return Bad("series line without a value");
      out.scalar.reset();
      std::erase_if(out.series,
                    [&](const ExpectedSeries& s) { return s.labels == expected.labels; });
      out.series.push_back(std::move(expected));
    }
    return out;
  }

  static std::optional<double> ParseScalar(std::string_view line) {
    const bool negative = line.starts_with('-');
    if (negative || line.starts_with('+')) line.remove_prefix(1);
    if (line.empty() || line.find_first_of(" \t{") != std::string_view::npos) return std::nullopt;
    const auto value = promql::ParseNumber(line);
    if (!value.ok()) return std::nullopt;
    return negative ? -*value : *value;
  }

  static Status ParseExpect(std::string_view line, EvalCommand* out) {
    static const RE2 kExpect(
        "expect\\s+(ordered|fail|warn|no_warn|info|no_info)(?:\\s+(regex|msg):(.+))?");
    std::string what;
    std::string how;
    std::string text;
    if (!RE2::FullMatch(Piece(line), kExpect, &what, &how, &text)) {
      return Bad(
          "invalid expect statement, must match `expect <type> <match_type>: <string>` format");
    }
    Expectation expectation;
    if (how == "msg") expectation.message = Trim(text);
    if (how == "regex") {
      expectation.pattern = Trim(text);
      if (!RE2(*expectation.pattern, RE2::Quiet).ok()) {
        return Bad(Concat("invalid regex ", *expectation.pattern, " for ", what));
      }
    }
    if (what == "ordered") out->ordered = true;
    if (what == "warn")
      out->warn.push_back(std::move(expectation));
    else if (what == "info")
      out->info.push_back(std::move(expectation));
    else if (what == "no_warn")
      out->no_warn = true;
    else if (what == "no_info")
      out->no_info = true;
    else if (what == "fail") {
      if (out->fail) return Bad("invalid expect lines, multiple expect fail lines are not allowed");
      out->fail = std::move(expectation);
    }
    if ((out->no_warn && !out->warn.empty()) || (out->no_info && !out->info.empty())) {
      return Bad("invalid expect lines, an annotation and its absence cannot be expected together");
    }
    return absl::OkStatus();
  }

  std::vector<std::string_view> lines_;  // trimmed; comments are empty
  size_t at_ = 0;
};

}  // namespace

bool Expectation::Matches(std::string_view text) const {
  if (message) return *message == text;
  if (pattern) return RE2::PartialMatch(Piece(text), RE2(*pattern, RE2::Quiet));
  return true;
}

std::string Expectation::Describe() const {
  if (message) return GoQuote(*message);
  if (pattern) return Concat("pattern ", GoQuote(*pattern));
  return "any";
}

Status ParseSeriesLine(std::string_view line, Labels* labels, std::vector<SequenceValue>* values) {
  VARVE_RETURN_IF_ERROR(TakeMetric(&line, labels));
  if (!line.empty() && line.front() != ' ' && line.front() != '\t') {
    return Bad(Concat("unexpected ", GoQuote(line), " in series line"));
  }
  return TakeSequence(line, values);
}

Result<std::vector<Command>> ParseScript(std::string_view text) { return ScriptParser(text).Run(); }

}  // namespace varve::promqltest
