#include "tools/varve/shell/complete.h"

#include <algorithm>
#include <array>
#include <optional>

#include "engine/base/strings.h"
#include "varve/labels.h"

namespace varve::cli::shell {
namespace {

constexpr std::array<std::string_view, 16> kCommands = {
    ".analyze", ".at",   ".exit", ".explain", ".help",  ".labels", ".lang",  ".limit",
    ".metrics", ".mode", ".quit", ".range",   ".stats", ".timer",  ".trace", ".values"};

// Functions, aggregations and keywords of PromQL.
constexpr std::array<std::string_view, 116> kPromQl = {"abs",
                                                       "absent",
                                                       "absent_over_time",
                                                       "acos",
                                                       "acosh",
                                                       "and",
                                                       "asin",
                                                       "asinh",
                                                       "atan",
                                                       "atan2",
                                                       "atanh",
                                                       "avg",
                                                       "avg_over_time",
                                                       "bool",
                                                       "bottomk",
                                                       "by",
                                                       "ceil",
                                                       "changes",
                                                       "clamp",
                                                       "clamp_max",
                                                       "clamp_min",
                                                       "cos",
                                                       "cosh",
                                                       "count",
                                                       "count_over_time",
                                                       "count_values",
                                                       "day_of_month",
                                                       "day_of_week",
                                                       "day_of_year",
                                                       "days_in_month",
                                                       "deg",
                                                       "delta",
                                                       "deriv",
                                                       "double_exponential_smoothing",
                                                       "exp",
                                                       "first_over_time",
                                                       "floor",
                                                       "group",
                                                       "group_left",
                                                       "group_right",
                                                       "histogram_avg",
                                                       "histogram_count",
                                                       "histogram_fraction",
                                                       "histogram_quantile",
                                                       "histogram_stddev",
                                                       "histogram_stdvar",
                                                       "histogram_sum",
                                                       "hour",
                                                       "idelta",
                                                       "ignoring",
                                                       "increase",
                                                       "info",
                                                       "irate",
                                                       "label_join",
                                                       "label_replace",
                                                       "last_over_time",
                                                       "limit_ratio",
                                                       "limitk",
                                                       "ln",
                                                       "log10",
                                                       "log2",
                                                       "mad_over_time",
                                                       "max",
                                                       "max_over_time",
                                                       "min",
                                                       "min_over_time",
                                                       "minute",
                                                       "month",
                                                       "offset",
                                                       "on",
                                                       "or",
                                                       "pi",
                                                       "predict_linear",
                                                       "present_over_time",
                                                       "quantile",
                                                       "quantile_over_time",
                                                       "rad",
                                                       "rate",
                                                       "resets",
                                                       "round",
                                                       "scalar",
                                                       "sgn",
                                                       "sin",
                                                       "sinh",
                                                       "sort",
                                                       "sort_by_label",
                                                       "sort_by_label_desc",
                                                       "sort_desc",
                                                       "sqrt",
                                                       "stddev",
                                                       "stddev_over_time",
                                                       "stdvar",
                                                       "stdvar_over_time",
                                                       "sum",
                                                       "sum_over_time",
                                                       "tan",
                                                       "tanh",
                                                       "time",
                                                       "timestamp",
                                                       "topk",
                                                       "ts_of_first_over_time",
                                                       "ts_of_last_over_time",
                                                       "ts_of_max_over_time",
                                                       "ts_of_min_over_time",
                                                       "unless",
                                                       "vector",
                                                       "without",
                                                       "year",
                                                       "end",
                                                       "start",
                                                       "step",
                                                       "range",
                                                       "anchored",
                                                       "smoothed",
                                                       "fill",
                                                       "fill_left"};

// Stages, functions and keywords of LogQL; intrinsics, functions and keywords
// of TraceQL.
constexpr std::string_view kLogQl[] = {"absent_over_time",
                                       "avg",
                                       "avg_over_time",
                                       "bottomk",
                                       "by",
                                       "bytes",
                                       "bytes_over_time",
                                       "bytes_rate",
                                       "count",
                                       "count_over_time",
                                       "decolorize",
                                       "drop",
                                       "duration",
                                       "duration_seconds",
                                       "first_over_time",
                                       "ignoring",
                                       "ip",
                                       "json",
                                       "keep",
                                       "label_format",
                                       "label_replace",
                                       "last_over_time",
                                       "line_format",
                                       "logfmt",
                                       "max",
                                       "max_over_time",
                                       "min",
                                       "min_over_time",
                                       "offset",
                                       "on",
                                       "pattern",
                                       "quantile_over_time",
                                       "rate",
                                       "rate_counter",
                                       "regexp",
                                       "sort",
                                       "sort_desc",
                                       "stddev",
                                       "stddev_over_time",
                                       "stdvar",
                                       "stdvar_over_time",
                                       "sum",
                                       "sum_over_time",
                                       "topk",
                                       "unpack",
                                       "unwrap",
                                       "vector",
                                       "without"};
constexpr std::string_view kTraceQl[] = {"avg",
                                         "avg_over_time",
                                         "by",
                                         "coalesce",
                                         "compare",
                                         "count",
                                         "count_over_time",
                                         "duration",
                                         "error",
                                         "event",
                                         "false",
                                         "histogram_over_time",
                                         "instrumentation",
                                         "kind",
                                         "link",
                                         "max",
                                         "max_over_time",
                                         "min",
                                         "min_over_time",
                                         "name",
                                         "nestedSetParent",
                                         "nil",
                                         "ok",
                                         "parent",
                                         "quantile_over_time",
                                         "rate",
                                         "resource",
                                         "rootName",
                                         "rootServiceName",
                                         "select",
                                         "server",
                                         "span",
                                         "status",
                                         "statusMessage",
                                         "sum",
                                         "sum_over_time",
                                         "trace",
                                         "traceDuration",
                                         "true",
                                         "unset",
                                         "client",
                                         "producer",
                                         "consumer",
                                         "internal",
                                         "topk",
                                         "bottomk",
                                         "with"};

bool IsWord(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == ':';
}

// Where the cursor stands in a query.
struct Place {
  bool in_braces = false;
  bool in_quotes = false;
  size_t quote_begin = 0;  // of an open quote
  std::string label;       // whose value is being written
};

Place Find(std::string_view line) {
  Place out;
  std::string word;  // the last one before an operator
  char quote = 0;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == '\\' && quote != '`') {
        ++i;
      } else if (c == quote) {
        quote = 0;
        out.label.clear();
      }
      continue;
    }
    if (c == '"' || c == '\'' || c == '`') {
      quote = c;
      out.quote_begin = i;
    } else if (c == '{') {
      out.in_braces = true;
      word.clear();
      out.label.clear();
    } else if (c == '}') {
      out.in_braces = false;
      out.label.clear();
    } else if (out.in_braces && c == ',') {
      word.clear();
      out.label.clear();
    } else if (out.in_braces && (c == '=' || c == '!' || c == '~')) {
      if (!word.empty()) out.label = word;
      word.clear();
    } else if (IsWord(c)) {
      word += c;
    }
  }
  out.in_quotes = quote != 0;
  return out;
}

void Keep(std::string_view prefix, std::string_view word, std::vector<std::string>* out) {
  if (word.starts_with(prefix)) out->emplace_back(word);
}

std::string QuoteLike(char quote, std::string_view text) {
  if (quote == '"') return GoQuote(text);
  std::string out(1, quote);
  for (const char c : text) {
    if (quote == '\'' && (c == '\'' || c == '\\')) out += '\\';
    out += c;
  }
  return out + quote;
}

bool IsAttribute(char c) { return IsWord(c) || c == '.' || c == '-' || c == '/'; }

// The attribute to which what stands at `at` is compared, `resource.service.name = "`; empty if
// there is none.
std::string_view ComparedAttribute(std::string_view line, size_t at) {
  const size_t op = line.find_last_not_of(' ', at == 0 ? 0 : at - 1);
  if (at == 0 || op == std::string_view::npos ||
      std::string_view("=~<>").find(line[op]) == std::string_view::npos) {
    return "";
  }
  const size_t end = line.find_last_not_of("=!~<> ", op);
  if (end == std::string_view::npos) return "";
  size_t begin = end + 1;
  while (begin > 0 && IsAttribute(line[begin - 1])) --begin;
  const std::string_view name = line.substr(begin, end + 1 - begin);
  return name.find('.') == std::string_view::npos ? std::string_view() : name;
}

Completion CompleteTraceQl(std::string_view line, const Place& place, Source& source) {
  Completion out;
  if (place.in_quotes) {
    out.begin = place.quote_begin;
    const std::string_view name = ComparedAttribute(line, place.quote_begin);
    if (name.empty()) return out;
    const std::string_view prefix = line.substr(place.quote_begin + 1);
    for (const std::string& value : source.AttributeValues(std::string(name))) {
      if (value.starts_with(prefix)) {
        out.words.push_back(QuoteLike(line[place.quote_begin], value));
      }
    }
    std::sort(out.words.begin(), out.words.end());
    return out;
  }
  out.begin = line.size();
  while (out.begin > 0 && IsAttribute(line[out.begin - 1])) --out.begin;
  const std::string_view prefix = line.substr(out.begin);
  const std::string_view compared = ComparedAttribute(line, out.begin);
  if (prefix.empty() && !compared.empty()) {
    for (const std::string& value : source.AttributeValues(std::string(compared))) {
      out.words.push_back(GoQuote(value));
    }
  } else {
    if (place.in_braces || prefix.find('.') != std::string_view::npos) {
      for (const std::string& name : source.AttributeNames()) {
        Keep(prefix, name, &out.words);
        // Without its scope: what comes from the first point on.
        if (prefix.starts_with('.')) Keep(prefix, name.substr(name.find('.')), &out.words);
      }
    }
    for (const std::string_view word : kTraceQl) Keep(prefix, word, &out.words);
  }
  std::sort(out.words.begin(), out.words.end());
  out.words.erase(std::unique(out.words.begin(), out.words.end()), out.words.end());
  return out;
}

}  // namespace

Completion Complete(std::string_view line, Language language, Source& source) {
  Completion out;
  if (line.starts_with(".")) {
    const size_t blank = line.find(' ');
    if (blank == std::string_view::npos) {
      for (const std::string_view command : kCommands) Keep(line, command, &out.words);
      return out;
    }
    const std::string_view command = line.substr(0, blank);
    const size_t begin = line.rfind(' ') + 1;
    const std::string_view prefix = line.substr(begin);
    const auto choose = [&](std::initializer_list<std::string_view> words) {
      out.begin = begin;
      for (const std::string_view word : words) Keep(prefix, word, &out.words);
    };
    if (command == ".mode") return choose({"chart", "csv", "json", "table"}), out;
    if (command == ".lang") return choose({"logql", "promql", "traceql"}), out;
    if (command == ".stats" || command == ".timer") return choose({"off", "on"}), out;
    if (command == ".range") return choose({"15m", "1h", "6h", "24h", "off"}), out;
    if (command == ".values") {
      out.begin = begin;
      for (const std::string& name : source.LabelNames()) Keep(prefix, name, &out.words);
      return out;
    }
    if (command != ".explain" && command != ".analyze") return out;
  }
  const Place place = Find(line);
  const auto names = [&] {
    return language == Language::kLogQl ? source.StreamLabelNames() : source.LabelNames();
  };
  const auto values = [&](const std::string& name) {
    return language == Language::kLogQl ? source.StreamLabelValues(name) : source.LabelValues(name);
  };
  if (language == Language::kTraceQl) return CompleteTraceQl(line, place, source);
  if (place.in_quotes) {
    if (place.label.empty()) return out;
    out.begin = place.quote_begin;
    const char quote = line[place.quote_begin];
    const std::string_view prefix = line.substr(place.quote_begin + 1);
    for (const std::string& value : values(place.label)) {
      if (value.starts_with(prefix)) out.words.push_back(QuoteLike(quote, value));
    }
    std::sort(out.words.begin(), out.words.end());
    return out;
  }
  out.begin = line.size();
  while (out.begin > 0 && IsWord(line[out.begin - 1])) --out.begin;
  const std::string_view prefix = line.substr(out.begin);
  if (place.in_braces && !place.label.empty()) {
    if (!prefix.empty()) return out;
    for (const std::string& value : values(place.label)) {
      out.words.push_back(GoQuote(value));
    }
  } else if (place.in_braces) {
    for (const std::string& name : names()) {
      if (name != kMetricName) Keep(prefix, name, &out.words);
    }
  } else if (language == Language::kLogQl) {
    for (const std::string_view word : kLogQl) Keep(prefix, word, &out.words);
    for (const std::string& name : names()) Keep(prefix, name, &out.words);
  } else {
    for (const std::string& name : source.LabelValues(std::string(kMetricName))) {
      Keep(prefix, name, &out.words);
    }
    for (const std::string_view word : kPromQl) Keep(prefix, word, &out.words);
    // `by (` and `on (` are followed by label names.
    const size_t open = line.find_last_not_of(" ", out.begin == 0 ? 0 : out.begin - 1);
    if (open != std::string_view::npos && out.begin > 0 &&
        (line[open] == '(' || line[open] == ',')) {
      for (const std::string& name : source.LabelNames()) Keep(prefix, name, &out.words);
    }
  }
  std::sort(out.words.begin(), out.words.end());
  out.words.erase(std::unique(out.words.begin(), out.words.end()), out.words.end());
  return out;
}

std::string CommonPrefix(const std::vector<std::string>& words) {
  if (words.empty()) return "";
  std::string out = words.front();
  for (const std::string& word : words) {
    size_t same = 0;
    while (same < out.size() && same < word.size() && out[same] == word[same]) ++same;
    out.resize(same);
  }
  return out;
}

}  // namespace varve::cli::shell
