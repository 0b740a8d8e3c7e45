#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/base/arena.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/exposition_internal.h"
#include "tools/ingest/label_rules.h"

namespace varve::ingest {
namespace {

bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':';
}
bool IsNameChar(char c) { return IsNameStart(c) || (c >= '0' && c <= '9'); }
bool IsLabelStart(char c) { return IsNameStart(c) && c != ':'; }
bool IsLabelChar(char c) { return IsNameChar(c) && c != ':'; }
bool IsBlank(char c) { return c == ' ' || c == '\t'; }

/// Turns seconds into milliseconds as Prometheus does, toward zero; clamps what int64 cannot hold.
int64_t ToMs(double seconds) {
  const double ms = seconds * 1000;
  if (ms >= 9.2e18) return std::numeric_limits<int64_t>::max();
  if (ms <= -9.2e18) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(ms);
}

/// Reads the Prometheus text format and OpenMetrics, which share names, labels and values and
/// differ in blanks, comments, timestamps and exemplars. Works line by line; views go into the
/// body, or into an arena for text that had escapes.
class TextParser final : public ExpositionParser {
 public:
  TextParser(std::string_view body, bool open_metrics, bool strict)
      : at_(body.data()),
        end_(body.data() + body.size()),
        open_metrics_(open_metrics),
        rules_(strict ? std::make_unique<OpenMetricsRules>() : nullptr) {}

  Result<bool> Next(ExpositionItem* item) override {
    if (done_) return false;
    for (;;) {
      if (at_ == end_) {
        done_ = true;
        if (open_metrics_) {
          line_begin_ = at_;
          ++line_;
          return Fail(at_, "data does not end with # EOF");
        }
        return false;
      }
      const auto* newline =
          static_cast<const char*>(std::memchr(at_, '\n', static_cast<size_t>(end_ - at_)));
      line_begin_ = at_;
      line_end_ = newline != nullptr ? newline : end_;
      at_ = newline != nullptr ? newline + 1 : end_;
      ++line_;
      // Windows line ends are tolerated in the text format.
      if (!open_metrics_ && line_end_ > line_begin_ && line_end_[-1] == '\r') --line_end_;
      Result<bool> produced = ParseLine(item);
      if (!produced.ok()) {
        done_ = true;
        return produced;
      }
      if (done_) return false;
      if (*produced) return true;
    }
  }

 private:
  Status Fail(const char* where, std::string_view what) {
    const auto column = static_cast<uint32_t>(where - line_begin_) + 1;
    done_ = true;
    return TextError({line_, column}, Concat("line ", line_, ", column ", column, ": ", what));
  }
  Status Check(const char* where, std::string problem) {
    return problem.empty() ? absl::OkStatus() : Fail(where, problem);
  }

  Result<bool> ParseLine(ExpositionItem* item) {
    const char* p = line_begin_;
    if (!open_metrics_) {
      while (p != line_end_ && IsBlank(*p)) ++p;
      if (p == line_end_) return false;
      if (*p == '#') return ParseTextComment(p + 1, item);
    } else {
      if (p == line_end_) return Fail(p, "blank line");
      if (*p == '#') return ParseOpenMetricsComment(item);
    }
    return ParseSample(p, item);
  }

  // --- Comments ---

  Result<bool> ParseTextComment(const char* p, ExpositionItem* item) {
    while (p != line_end_ && IsBlank(*p)) ++p;
    const auto word = std::string_view(p, static_cast<size_t>(line_end_ - p));
    const bool help = word.starts_with("HELP ") || word.starts_with("HELP\t");
    const bool type = word.starts_with("TYPE ") || word.starts_with("TYPE\t");
    if (!help && !type) return false;
    p += 4;
    while (p != line_end_ && IsBlank(*p)) ++p;
    std::string_view family;
    VARVE_RETURN_IF_ERROR(ParseFamily(&p, &family));
    if (p != line_end_ && !IsBlank(*p)) return Fail(p, "unexpected character in metric name");
    while (p != line_end_ && IsBlank(*p)) ++p;
    std::string_view text(p, static_cast<size_t>(line_end_ - p));
    if (help) return SetText(ExpositionItem::Kind::kHelp, family, p, text, item);
    while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
    return SetType(family, p, text, item);
  }

  /// "# HELP name text", with single spaces and nothing left out.
  Result<bool> ParseOpenMetricsComment(ExpositionItem* item) {
    const char* p = line_begin_;
    const std::string_view line(p, static_cast<size_t>(line_end_ - p));
    if (line == "# EOF") {
      if (at_ != end_) {
        line_begin_ = at_;
        ++line_;
        return Fail(at_, "unexpected data after # EOF");
      }
      done_ = true;
      if (rules_) VARVE_RETURN_IF_ERROR(Check(line_begin_, rules_->OnEnd()));
      return false;
    }
    const bool help = line.starts_with("# HELP ");
    const bool type = line.starts_with("# TYPE ");
    const bool unit = line.starts_with("# UNIT ");
    if (!help && !type && !unit) {
      return Fail(p, "a comment must be # HELP, # TYPE, # UNIT or # EOF");
    }
    p += 7;
    std::string_view family;
    VARVE_RETURN_IF_ERROR(ParseFamily(&p, &family));
    if (p == line_end_ || *p != ' ') return Fail(p, "expected a space after the metric name");
    ++p;
    const std::string_view text(p, static_cast<size_t>(line_end_ - p));
    if (help) {
      if (rules_) VARVE_RETURN_IF_ERROR(Check(line_begin_, rules_->OnHelp(family)));
      return SetText(ExpositionItem::Kind::kHelp, family, p, text, item);
    }
    if (type) return SetType(family, p, text, item);
    if (!text.empty() && !(family.size() > text.size() && family.ends_with(text) &&
                           family[family.size() - text.size() - 1] == '_')) {
      return Fail(p, Concat("unit ", GoQuote(text), " not a suffix of metric ", GoQuote(family)));
    }
    if (rules_) VARVE_RETURN_IF_ERROR(Check(line_begin_, rules_->OnUnit(family, text)));
    return SetText(ExpositionItem::Kind::kUnit, family, p, text, item);
  }

  /// Reads the metric name of a comment, plain or quoted.
  Status ParseFamily(const char** p, std::string_view* family) {
    arena_.Clear();
    if (*p != line_end_ && **p == '"') {
      VARVE_RETURN_IF_ERROR(ParseQuoted(p, family));
      if (family->empty()) return Fail(*p, "empty metric name");
      return absl::OkStatus();
    }
    const char* const begin = *p;
    if (*p != line_end_ && IsNameStart(**p)) {
      while (*p != line_end_ && IsNameChar(**p)) ++*p;
    }
    if (*p == begin) return Fail(*p, "expected a metric name");
    *family = std::string_view(begin, static_cast<size_t>(*p - begin));
    return absl::OkStatus();
  }

  Result<bool> SetType(std::string_view family, const char* where, std::string_view word,
                       ExpositionItem* item) {
    MetricType type;
    if (!ParseMetricType(word, !open_metrics_, &type)) {
      return Fail(where, Concat("invalid metric type ", GoQuote(word)));
    }
    if (rules_) VARVE_RETURN_IF_ERROR(Check(line_begin_, rules_->OnType(family, type)));
    family_ = family;
    type_ = type;
    item->kind = ExpositionItem::Kind::kType;
    item->family = family_;
    item->type = type;
    item->text = {};
    item->place = {line_, 1};
    return true;
  }

  Result<bool> SetText(ExpositionItem::Kind kind, std::string_view family, const char* where,
                       std::string_view text, ExpositionItem* item) {
    if (!IsValidUtf8(text)) return Fail(where, "text is not UTF-8");
    item->kind = kind;
    item->family = family;
    item->text = kind == ExpositionItem::Kind::kHelp ? Unescape(text, open_metrics_) : text;
    item->place = {line_, 1};
    return true;
  }

  /// Resolves \\ and \n, and \" where `quotes`; what else follows a backslash stays as it is.
  std::string_view Unescape(std::string_view text, bool quotes) {
    if (text.find('\\') == std::string_view::npos) return text;
    char* const out = arena_.Allocate(text.size());
    size_t size = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\\' && i + 1 < text.size()) {
        const char next = text[i + 1];
        if (next == '\\' || next == 'n' || (next == '"' && quotes)) {
          out[size++] = next == 'n' ? '\n' : next;
          ++i;
          continue;
        }
      }
      out[size++] = text[i];
    }
    return {out, size};
  }

  // --- Samples ---

  /// Reads "..." at *p and leaves *p behind it.
  Status ParseQuoted(const char** p, std::string_view* out) {
    const char* const begin = ++*p;
    bool escaped = false;
    while (*p != line_end_ && **p != '"') {
      if (**p == '\\') {
        escaped = true;
        ++*p;
        if (*p == line_end_) break;
      }
      ++*p;
    }
    if (*p == line_end_) return Fail(begin - 1, "unterminated quoted text");
    *out = std::string_view(begin, static_cast<size_t>(*p - begin));
    ++*p;
    if (!IsValidUtf8(*out)) return Fail(begin, Concat(GoQuote(*out), " is not UTF-8"));
    if (escaped) *out = Unescape(*out, true);
    return absl::OkStatus();
  }

  void SkipBlanks(const char** p) const {
    if (open_metrics_) return;
    while (*p != line_end_ && IsBlank(**p)) ++*p;
  }

  /// Reads {...} at *p. `name` takes a quoted metric name, where one may stand (null: nowhere).
  Status ParseLabels(const char** p, std::vector<LabelView>* labels, std::string_view* name) {
    ++*p;
    SkipBlanks(p);
    if (*p != line_end_ && **p == '}') {
      ++*p;
      return absl::OkStatus();
    }
    for (;;) {
      LabelView label;
      const char* const begin = *p;
      const bool quoted = *p != line_end_ && **p == '"';
      if (quoted) {
        VARVE_RETURN_IF_ERROR(ParseQuoted(p, &label.name));
      } else {
        if (*p != line_end_ && IsLabelStart(**p)) {
          while (*p != line_end_ && IsLabelChar(**p)) ++*p;
        }
        if (*p == begin) return Fail(*p, "expected a label name");
        label.name = std::string_view(begin, static_cast<size_t>(*p - begin));
      }
      SkipBlanks(p);
      if (*p != line_end_ && **p == '=') {
        ++*p;
        SkipBlanks(p);
        if (*p == line_end_ || **p != '"') return Fail(*p, "expected a quoted label value");
        VARVE_RETURN_IF_ERROR(ParseQuoted(p, &label.value));
        if (label.name.empty()) return Fail(begin, "empty label name");
        labels->push_back(label);
      } else if (quoted && name != nullptr && *p != line_end_ && (**p == ',' || **p == '}')) {
        if (name->data() != nullptr) return Fail(begin, "metric name already set");
        if (label.name.empty()) return Fail(begin, "empty metric name");
        *name = label.name;
      } else {
        return Fail(*p, "expected = after the label name");
      }
      SkipBlanks(p);
      if (*p == line_end_) return Fail(*p, "unterminated label set");
      if (**p == '}') {
        ++*p;
        return absl::OkStatus();
      }
      if (**p == ',') {
        ++*p;
        SkipBlanks(p);
        // The text format lets a list end in a comma.
        if (!open_metrics_ && *p != line_end_ && **p == '}') {
          ++*p;
          return absl::OkStatus();
        }
      } else if (open_metrics_ || *p == begin || !IsBlank((*p)[-1])) {
        return Fail(*p, "expected , or } after the label value");
      }
    }
  }

  /// Reads what stands before the next blank.
  std::string_view Token(const char** p) const {
    const char* const begin = *p;
    while (*p != line_end_ && !IsBlank(**p)) ++*p;
    return {begin, static_cast<size_t>(*p - begin)};
  }

  Result<bool> ParseSample(const char* p, ExpositionItem* item) {
    arena_.Clear();
    labels_.clear();
    exemplars_.clear();
    std::string_view name(nullptr, 0);
    const char* const begin = p;
    if (*p != '{') {
      if (IsNameStart(*p)) {
        while (p != line_end_ && IsNameChar(*p)) ++p;
      }
      if (p == begin) return Fail(p, "expected a metric name");
      name = std::string_view(begin, static_cast<size_t>(p - begin));
      SkipBlanks(&p);
    }
    if (p != line_end_ && *p == '{') {
      VARVE_RETURN_IF_ERROR(ParseLabels(&p, &labels_, &name));
    } else if (p != line_end_ && !IsBlank(*p) && (open_metrics_ || !IsBlank(p[-1]))) {
      return Fail(p, "unexpected character in metric name");
    }
    const bool name_is_label = name.data() == nullptr;
    if (name_is_label) {
      // A name may come as an ordinary label, too.
      for (const LabelView& label : labels_) {
        if (label.name == kMetricName) name = label.value;
      }
      if (name.empty()) return Fail(begin, "the sample has no metric name");
    } else {
      for (const LabelView& label : labels_) {
        if (label.name == kMetricName) return Fail(begin, "label __name__ next to a metric name");
      }
    }
    if (open_metrics_) {
      if (p == line_end_ || *p != ' ') return Fail(p, "expected a space before the value");
      ++p;
    } else {
      SkipBlanks(&p);
    }
    const char* const value_at = p;
    if (!ParseExpositionFloat(Token(&p), &item->value)) return Fail(value_at, "invalid value");
    item->time_ms.reset();
    double time_s = 0;
    bool has_exemplar = false;
    if (open_metrics_) {
      if (p != line_end_ && !StartsExemplar(p)) {
        if (*p != ' ') return Fail(p, "expected a space before the timestamp");
        ++p;
        const char* const time_at = p;
        if (!ParseExpositionFloat(Token(&p), &time_s) || !std::isfinite(time_s)) {
          return Fail(time_at, "invalid timestamp");
        }
        item->time_ms = ToMs(time_s);
      }
      if (p != line_end_) {
        if (!StartsExemplar(p)) return Fail(p, "expected an exemplar or the end of the line");
        VARVE_RETURN_IF_ERROR(ParseExemplar(p));
        has_exemplar = true;
      }
    } else {
      SkipBlanks(&p);
      if (p != line_end_) {
        const char* const time_at = p;
        int64_t time_ms = 0;
        if (!ParseInteger(Token(&p), &time_ms)) return Fail(time_at, "invalid timestamp");
        item->time_ms = time_ms;
        SkipBlanks(&p);
        if (p != line_end_) return Fail(p, "expected the end of the line");
      }
    }
    if (rules_) {
      OpenMetricsLine line;
      line.name = name;
      line.labels = &labels_;
      line.value = item->value;
      line.has_time = item->time_ms.has_value();
      line.time_s = time_s;
      line.has_exemplar = has_exemplar;
      VARVE_RETURN_IF_ERROR(Check(begin, rules_->OnSample(line)));
    }
    const MetricType type = TypeOf(name);
    for (LabelView& label : labels_) {
      double bound;
      if (IsFloatLabel(type, family_, name, label.name) &&
          ParseExpositionFloat(label.value, &bound)) {
        label.value = arena_.Copy(FormatOpenMetricsFloat(bound));
      }
    }
    // In front, because most names sort there.
    if (!name_is_label) labels_.insert(labels_.begin(), {kMetricName, name});
    const LabelVerdict verdict = Canonicalize(&labels_, true);
    if (!verdict.good()) return Fail(begin, verdict.text);
    item->kind = ExpositionItem::Kind::kSample;
    item->family = type == MetricType::kUnknown ? std::string_view() : std::string_view(family_);
    item->type = type;
    item->labels = labels_;
    item->histogram = nullptr;
    item->start_ms = kNoStartTime;
    item->exemplars = exemplars_;
    item->place = {line_, 1};
    return true;
  }

  bool StartsExemplar(const char* p) const {
    return line_end_ - p >= 4 && std::memcmp(p, " # {", 4) == 0;
  }

  /// Reads " # {...} value [timestamp]" to the end of the line.
  Status ParseExemplar(const char* p) {
    p += 3;
    const char* const begin = p;
    exemplar_labels_.clear();
    VARVE_RETURN_IF_ERROR(ParseLabels(&p, &exemplar_labels_, nullptr));
    size_t runes = 0;
    for (const LabelView& label : exemplar_labels_) {
      for (const std::string_view text : {label.name, label.value}) {
        for (const char c : text) runes += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
      }
    }
    if (rules_ && runes > 128) return Fail(begin, "exemplar labels longer than 128 characters");
    Exemplar exemplar;
    if (p == line_end_ || *p != ' ') return Fail(p, "expected a space before the exemplar's value");
    ++p;
    const char* at = p;
    if (!ParseExpositionFloat(Token(&p), &exemplar.value)) {
      return Fail(at, "invalid exemplar value");
    }
    exemplar.has_time = false;
    if (p != line_end_) {
      if (*p != ' ') return Fail(p, "expected a space before the exemplar's timestamp");
      ++p;
      at = p;
      double time_s;
      if (!ParseExpositionFloat(Token(&p), &time_s) || !std::isfinite(time_s)) {
        return Fail(at, "invalid exemplar timestamp");
      }
      exemplar.time_ms = ToMs(time_s);
      exemplar.has_time = true;
      if (p != line_end_) return Fail(p, "expected the end of the line");
    }
    auto labels = Labels::Make(exemplar_labels_);
    if (!labels.ok()) return Fail(begin, ToStd(labels.status().message()));
    exemplar.labels = std::move(labels).value();
    exemplars_.push_back(std::move(exemplar));
    return absl::OkStatus();
  }

  static bool ParseInteger(std::string_view text, int64_t* out) {
    if (text.empty()) return false;
    const bool negative = text.front() == '-';
    if (negative || text.front() == '+') text.remove_prefix(1);
    if (text.empty() || text.size() > 19) return false;
    uint64_t value = 0;
    for (const char c : text) {
      if (c < '0' || c > '9') return false;
      value = value * 10 + static_cast<uint64_t>(c - '0');
    }
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return false;
    *out = negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
    return true;
  }

  /// Returns the declared type if `name` is the current family or one of its suffixed series.
  MetricType TypeOf(std::string_view name) const {
    if (!name.starts_with(family_) || family_.empty()) return MetricType::kUnknown;
    const std::string_view suffix = name.substr(family_.size());
    if (suffix.empty()) return type_;
    for (const std::string_view known :
         {"_bucket", "_count", "_sum", "_total", "_created", "_gcount", "_gsum", "_info"}) {
      if (suffix == known) return type_;
    }
    return MetricType::kUnknown;
  }

  const char* at_;
  const char* const end_;
  const bool open_metrics_;
  const std::unique_ptr<OpenMetricsRules> rules_;
  const char* line_begin_ = nullptr;
  const char* line_end_ = nullptr;
  uint32_t line_ = 0;
  bool done_ = false;
  std::string family_;  // of the last # TYPE
  MetricType type_ = MetricType::kUnknown;
  Arena arena_;
  std::vector<LabelView> labels_;
  std::vector<LabelView> exemplar_labels_;
  std::vector<Exemplar> exemplars_;
};

}  // namespace

std::unique_ptr<ExpositionParser> MakeTextParser(std::string_view body) {
  return std::make_unique<TextParser>(body, false, false);
}
std::unique_ptr<ExpositionParser> MakeOpenMetricsParser(std::string_view body, bool strict) {
  return std::make_unique<TextParser>(body, true, strict);
}

}  // namespace varve::ingest
