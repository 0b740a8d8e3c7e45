#include <re2/re2.h>

#include <algorithm>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/functions/log_values.h"
#include "query/lang/logql/parse.h"
#include "query/lang/logql/print.h"
#include "query/logs/json.h"
#include "query/logs/log_entries.h"
#include "query/logs/logfmt.h"
#include "query/logs/stages.h"
#include "varve/logql.h"

namespace varve::query {
namespace {

using logql::Expr;
using logql::ExprKind;

TemplateLimits LimitsOf(const LogEngineOptions& options) {
  return {options.template_steps_max, options.template_bytes_max};
}

/// Looks through a query; compiles every pipeline, so that what does not compile is found.
Status Inspect(std::string_view text, const Expr& expr, LogQueryInfo* info) {
  if (expr.kind == ExprKind::kLog) {
    info->selectors.push_back(expr.matchers);
    info->has_pipeline |= !expr.stages.empty();
    return Pipeline::Compile(text, expr, {}, {}).status();
  }
  if (expr.kind == ExprKind::kRangeAggregation) {
    info->longest_range_ns =
        std::max(info->longest_range_ns, expr.range_ns + std::max<int64_t>(expr.offset_ns, 0));
  }
  for (const auto& child : expr.children) VARVE_RETURN_IF_ERROR(Inspect(text, *child, info));
  return absl::OkStatus();
}

class LogPipelineImpl final : public LogPipeline {
 public:
  LogPipelineImpl(std::shared_ptr<const Expr> expr, std::shared_ptr<const Pipeline> pipeline,
                  std::shared_ptr<const LogScan> scan)
      : expr_(std::move(expr)), pipeline_(std::move(pipeline)), scan_(std::move(scan)) {
    pipeline_->Prepare(entry_);
    for (const Matcher& matcher : expr_->matchers) {
      RE2::Options options(RE2::Quiet);
      options.set_dot_nl(true);
      const bool regex = matcher.type == MatchType::kRegex || matcher.type == MatchType::kNotRegex;
      regexes_.push_back(regex ? std::make_unique<const RE2>(matcher.value, options) : nullptr);
    }
  }

  const std::vector<Matcher>& matchers() const override { return expr_->matchers; }

  bool SelectsStream(LabelsView stream) const override {
    for (size_t i = 0; i < expr_->matchers.size(); ++i) {
      const Matcher& matcher = expr_->matchers[i];
      const std::string_view value = FindLabel(stream, matcher.name);
      const bool equal =
          regexes_[i] != nullptr
              ? RE2::FullMatch(re2::StringPiece(value.data(), value.size()), *regexes_[i])
              : value == matcher.value;
      const bool wanted = matcher.type == MatchType::kEqual || matcher.type == MatchType::kRegex;
      if (equal != wanted) return false;
    }
    return true;
  }

  bool Process(LabelsView stream, int64_t time_ns, std::string_view line, LabelsView metadata,
               LogStream* out) override {
    if (!LineMatches(*scan_, line)) return false;
    entry_.labels.SetStream(stream);
    entry_.labels.Reset(metadata);
    entry_.time_ns = time_ns;
    entry_.line = line;
    if (!pipeline_->Process(entry_)) {
      entry_.fault = absl::OkStatus();  // a line too long for an expression does not match
      return false;
    }
    TakeEntry(entry_, out);
    return true;
  }

 private:
  const std::shared_ptr<const Expr> expr_;
  const std::shared_ptr<const Pipeline> pipeline_;
  const std::shared_ptr<const LogScan> scan_;
  std::vector<std::unique_ptr<const RE2>> regexes_;  // one a matcher, null where it has none
  EntryContext entry_;
};

bool IsDigits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

LogLabels FoldedLabels(const LogStream& stream) {
  LogLabels out = stream.stream;
  out.insert(out.end(), stream.metadata.begin(), stream.metadata.end());
  out.insert(out.end(), stream.parsed.begin(), stream.parsed.end());
  std::sort(out.begin(), out.end());
  return out;
}

std::string ToString(const LogLabels& labels) {
  std::string out = "{";
  for (const auto& [name, value] : labels) {
    if (out.size() > 1) out += ", ";
    out += Concat(name, "=", GoQuote(value));
  }
  return out + "}";
}

std::vector<StreamGroup> GroupStreams(const Streams& streams, bool categorize, bool backward) {
  std::vector<std::pair<LogLabels, uint32_t>> keyed;
  for (uint32_t i = 0; i < streams.size(); ++i) {
    keyed.emplace_back(categorize ? streams[i].stream : FoldedLabels(streams[i]), i);
  }
  std::sort(keyed.begin(), keyed.end());
  std::vector<StreamGroup> out;
  for (auto& [labels, stream] : keyed) {
    if (out.empty() || out.back().labels != labels) {
      out.emplace_back();
      out.back().labels = std::move(labels);
    }
    for (uint32_t entry = 0; entry < streams[stream].entries.size(); ++entry) {
      out.back().items.push_back({stream, entry});
    }
  }
  for (StreamGroup& group : out) {
    std::stable_sort(group.items.begin(), group.items.end(),
                     [&](const StreamGroup::Item& a, const StreamGroup::Item& b) {
                       const int64_t x = streams[a.stream].entries[a.entry].time_ns;
                       const int64_t y = streams[b.stream].entries[b.entry].time_ns;
                       return backward ? x > y : x < y;
                     });
  }
  return out;
}

Result<LogQueryInfo> InspectLogQuery(std::string_view text) {
  VARVE_ASSIGN_OR_RETURN(const auto expr, logql::ParseCached(text));
  LogQueryInfo info;
  VARVE_RETURN_IF_ERROR(Inspect(text, *expr, &info));
  info.is_log_query = expr->kind == ExprKind::kLog;
  if (info.is_log_query) {
    VARVE_ASSIGN_OR_RETURN(const auto pipeline, Pipeline::Compile(text, *expr, {}, {}));
    info.only_line_filters = pipeline->empty();
    // Only the filters in front: those behind a parser do not stand alone.
    size_t leading = 0;
    while (leading < expr->stages.size() &&
           expr->stages[leading].kind == logql::StageKind::kLineFilter)
      ++leading;
    info.line_filters = pipeline->line_filters();
    if (info.line_filters.size() > leading) info.line_filters.resize(leading);
  }
  return info;
}

Result<std::string> FormatLogQuery(std::string_view text) {
  VARVE_ASSIGN_OR_RETURN(const auto expr, logql::ParseCached(text));
  LogQueryInfo info;
  VARVE_RETURN_IF_ERROR(Inspect(text, *expr, &info));
  return logql::PrettyPrint(*expr);
}

std::string RenderLogError(std::string_view text, const Status& status) {
  return logql::RenderError(text, status);
}

Result<std::vector<Matcher>> ParseLogSelector(std::string_view text, bool allow_empty) {
  return logql::ParseSelector(text, allow_empty);
}

Result<Labels> ParseStreamLabels(std::string_view text) {
  VARVE_ASSIGN_OR_RETURN(const auto matchers, logql::ParseSelector(text, true));
  std::vector<LabelView> labels;
  for (const Matcher& matcher : matchers) {
    if (matcher.type != MatchType::kEqual) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("parse error : label ", matcher.name, " has no equality operator"));
    }
    labels.push_back({matcher.name, matcher.value});
  }
  return Labels::Make(std::move(labels));
}

Result<std::unique_ptr<LogPipeline>> LogPipeline::Make(std::string_view text,
                                                       const LogEngineOptions& options) {
  VARVE_ASSIGN_OR_RETURN(auto expr, logql::ParseCached(text));
  if (expr->kind != ExprKind::kLog) {
    return MakeStatus(StatusCode::kInvalidArgument, "parse error : only log selector is supported");
  }
  VARVE_ASSIGN_OR_RETURN(auto pipeline, Pipeline::Compile(text, *expr, {}, LimitsOf(options)));
  LogScanSpec spec;
  spec.line_filters = pipeline->line_filters();
  VARVE_ASSIGN_OR_RETURN(auto scan, CompileLogScan(spec));
  return std::unique_ptr<LogPipeline>(
      std::make_unique<LogPipelineImpl>(std::move(expr), std::move(pipeline), std::move(scan)));
}

// --- Fields ---

class LogFieldDetector::Impl {
 public:
  LogFieldParser Detect(std::string_view line, LabelsView stream, LabelsView metadata,
                        std::vector<LogField>* fields) {
    fields->clear();
    labels_.SetStream(stream);
    labels_.Reset(metadata);
    const size_t first = line.find_first_not_of(" \t\r\n");
    if (first != std::string_view::npos && line[first] == '{') {
      path_.clear();
      if (WalkJson(line, "", 0, fields) && !fields->empty()) return LogFieldParser::kJson;
      fields->clear();
    }
    LogfmtReader reader(line, labels_.arena());
    std::string_view key;
    std::string_view value;
    while (!reader.AtEnd() && fields->size() < kFieldsMax) {
      if (!reader.Next(&key, &value) || value.empty()) continue;
      Add(SanitizeLogLabel(key), DropInvalidUtf8(value, labels_.arena()), fields);
    }
    return fields->empty() ? LogFieldParser::kNone : LogFieldParser::kLogfmt;
  }

 private:
  static constexpr size_t kFieldsMax = 1000;
  static constexpr int kDepthMax = 128;

  void Add(std::string name, std::string_view value, std::vector<LogField>* fields) {
    if (name.empty()) return;
    if (labels_.Collides(name)) name += kExtractedSuffix;
    if (labels_.ParsedHas(name)) return;
    labels_.Set(EntryLabels::Part::kParsed, labels_.arena().Copy(name), value);
    fields->push_back({std::move(name), std::string(value), path_});
  }

  /// Returns false if the line breaks.
  bool WalkJson(std::string_view text, const std::string& prefix, int depth,
                std::vector<LogField>* fields) {
    JsonObjectReader reader(text);
    if (!reader.Open() || depth > kDepthMax) return false;
    std::string_view key;
    JsonValue value;
    while (fields->size() < kFieldsMax && reader.Next(&key, &value)) {
      if (value.type == JsonType::kArray || value.type == JsonType::kNull) continue;
      if (!UnescapeJson(key, labels_.arena(), &key)) return false;
      std::string name = prefix.empty() ? "" : prefix + "_";
      AppendSanitized(key, prefix.empty(), &name);
      path_.emplace_back(key);
      if (value.type == JsonType::kObject) {
        if (!WalkJson(value.text, name, depth + 1, fields)) return false;
      } else {
        Add(std::move(name), JsonLabelValue(value, labels_.arena()), fields);
      }
      path_.pop_back();
    }
    return reader.fault() == JsonFault::kNone;
  }

  EntryLabels labels_;
  std::vector<std::string> path_;
};

LogFieldDetector::LogFieldDetector() : impl_(std::make_unique<Impl>()) {}
LogFieldDetector::~LogFieldDetector() = default;
LogFieldParser LogFieldDetector::Detect(std::string_view line, LabelsView stream,
                                        LabelsView metadata, std::vector<LogField>* fields) {
  return impl_->Detect(line, stream, metadata, fields);
}

std::string_view LogFieldType(std::string_view value) {
  const std::string_view digits =
      value.starts_with('-') || value.starts_with('+') ? value.substr(1) : value;
  if (IsDigits(digits)) return "int";
  if (ParseGoFloat(value)) return "float";
  if (value == "true" || value == "false" || value == "True" || value == "False" ||
      value == "TRUE" || value == "FALSE") {
    return "boolean";
  }
  if (ParseGoDuration(value)) return "duration";
  if (ParseHumanBytes(value)) return "bytes";
  return "string";
}

}  // namespace varve::query
