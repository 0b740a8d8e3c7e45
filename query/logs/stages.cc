#include "query/logs/stages.h"

#include <re2/re2.h>

#include <algorithm>
#include <cstring>

#include "engine/base/bounded_regex.h"
#include "engine/base/interrupt.h"
#include "engine/base/macros.h"
#include "query/functions/log_values.h"
#include "query/lang/logql/print.h"
#include "query/logs/ip_match.h"
#include "query/logs/json.h"
#include "query/logs/json_path.h"
#include "query/logs/label_filter.h"
#include "query/logs/logfmt.h"
#include "query/logs/text_pattern.h"
#include "varve/logql.h"

namespace varve::query {
namespace {

using logql::CompareOp;
using logql::Conversion;
using logql::LabelFilter;
using logql::LineOp;
using logql::Stage;
using logql::StageKind;
using Part = EntryLabels::Part;

constexpr std::string_view kJsonError = "JSONParserErr";
constexpr std::string_view kLogfmtError = "LogfmtParserErr";
constexpr std::string_view kTemplateError = "TemplateFormatErr";
constexpr std::string_view kSampleError = "SampleExtractionErr";

/// What a parser does for a pair of name and value, as EntryContext::Tire counts.
constexpr size_t kPairSteps = 64;

// --- Line filters ---

/// A test of the line with one or more texts.
class LineFilterOp final : public StageOp {
 public:
  static Result<std::unique_ptr<StageOp>> Make(const Stage& stage) {
    auto out = std::make_unique<LineFilterOp>();
    out->negative_ = IsNegative(stage.line_op);
    for (const logql::LineText& text : stage.line_texts) {
      Term term;
      if (text.ip) {
        VARVE_ASSIGN_OR_RETURN(auto ip, IpMatcher::Parse(text.text));
        term.ip = std::make_shared<const IpMatcher>(ip);
      } else if (stage.line_op == LineOp::kMatches || stage.line_op == LineOp::kNotMatches) {
        VARVE_ASSIGN_OR_RETURN(term.regex, CompileRegex(text.text, false));
      } else if (stage.line_op == LineOp::kPattern || stage.line_op == LineOp::kNotPattern) {
        VARVE_ASSIGN_OR_RETURN(auto pattern, TextPattern::Parse(text.text, true));
        term.pattern = std::make_shared<const TextPattern>(std::move(pattern));
      } else {
        term.text = text.text;
      }
      out->terms_.push_back(std::move(term));
    }
    return std::unique_ptr<StageOp>(std::move(out));
  }

  bool KeepsParsed() const override { return true; }
  bool Process(EntryContext& entry) const override {
    for (const Term& term : terms_) {
      if (Holds(term, entry)) return !negative_ && entry.fault.ok();
    }
    return negative_ && entry.fault.ok();
  }

 private:
  struct Term {
    std::string text;
    std::shared_ptr<const BoundedRegex> regex;
    std::shared_ptr<const TextPattern> pattern;
    std::shared_ptr<const IpMatcher> ip;
  };
  static bool Holds(const Term& term, EntryContext& entry) {
    const std::string_view line = entry.line;
    if (term.regex != nullptr) return IsYes(term.regex->Find(line), *term.regex, line, entry);
    if (term.pattern != nullptr) return term.pattern->Test(line);
    if (term.ip != nullptr) return term.ip->FindIn(line);
    return term.text.empty() ||
           memmem(line.data(), line.size(), term.text.data(), term.text.size()) != nullptr;
  }
  std::vector<Term> terms_;
  bool negative_ = false;
};

// --- Parsers ---

/// What became of a value that a parser found.
enum class Parsed : uint8_t {
  kMore,
  kDone,      // all that is needed is there
  kRejected,  // the entry is dropped
};

/// Sets a label that a parser found, under the rules for names: taken ones get `_extracted`, the
/// first value stays, and only what is needed is kept. `name` must live as long as the entry.
/// A value that a label filter behind the parser refuses rejects the entry.
Parsed SetParsed(EntryContext& entry, const KeyCache::Node& key, std::string_view value) {
  EntryLabels& labels = entry.labels;
  const bool taken = labels.Collides(key.name);
  if (!(taken ? key.extracted_needed : key.needed)) return Parsed::kMore;
  const std::string_view name = taken ? key.extracted : key.name;
  if (labels.ParsedHas(name)) return Parsed::kMore;
  const EarlyTest* const test = taken ? key.extracted_test : key.test;
  if (test != nullptr && test->Refuses(value)) return Parsed::kRejected;
  labels.Set(Part::kParsed, name, value);
  return !entry.hints->all() && entry.hints->Done(labels) ? Parsed::kDone : Parsed::kMore;
}

/// A parser whose labels the label filters behind it can look at one by one: what it has set once
/// stays as it is.
class ParserOp : public StageOp {
 public:
  std::vector<EarlyTest>* early_tests() override { return &early_; }
  bool KeepsParsed() const override { return true; }

 protected:
  uint32_t Find(EntryContext& entry, uint32_t parent, std::string_view key,
                uint32_t previous) const {
    return entry.caches[index].Find(parent, key, previous, *entry.hints, early_);
  }

 private:
  std::vector<EarlyTest> early_;
};

class JsonOp final : public ParserOp {
 public:
  bool Process(EntryContext& entry) const override {
    if (entry.hints->no_labels || (!entry.hints->all() && entry.hints->Done(entry.labels)))
      return true;
    KeyCache& cache = entry.caches[index];
    cache.Trim();
    JsonFault fault = JsonFault::kNone;
    const Parsed parsed = Walk(entry, cache, KeyCache::kRoot, entry.line, 0, &fault);
    if (fault != JsonFault::kNone) MarkError(entry, kJsonError, ToString(fault));
    return parsed != Parsed::kRejected;
  }

 private:
  static constexpr int kDepthMax = 128;

  /// Returns kMore at the end and at a fault.
  Parsed Walk(EntryContext& entry, KeyCache& cache, uint32_t parent, std::string_view text,
              int depth, JsonFault* fault) const {
    JsonObjectReader reader(text);
    if (!reader.Open()) {
      *fault = reader.fault();
      return Parsed::kMore;
    }
    std::string_view key;
    JsonValue value;
    uint32_t previous = parent;
    while (reader.Next(&key, &value)) {
      if (entry.Tire(kPairSteps + key.size() + value.text.size())) return Parsed::kRejected;
      if (value.type == JsonType::kArray || value.type == JsonType::kNull) {
        if (key.find('\\') == std::string_view::npos) continue;
      }
      std::string_view unescaped = key;
      if (!UnescapeJson(key, entry.labels.arena(), &unescaped)) {
        *fault = JsonFault::kEscape;
        return Parsed::kMore;
      }
      if (value.type == JsonType::kArray || value.type == JsonType::kNull) continue;
      const uint32_t at = Find(entry, parent, unescaped, previous);
      previous = at;
      if (value.type == JsonType::kObject) {
        if (!cache[at].prefix_needed) continue;
        if (depth == kDepthMax) {
          *fault = JsonFault::kDepth;
          return Parsed::kMore;
        }
        const Parsed parsed = Walk(entry, cache, at, value.text, depth + 1, fault);
        if (parsed != Parsed::kMore || *fault != JsonFault::kNone) return parsed;
        continue;
      }
      const KeyCache::Node& node = cache[at];
      if (node.name.empty() || (!node.needed && !node.extracted_needed)) continue;
      const Parsed parsed = SetParsed(entry, node, JsonLabelValue(value, entry.labels.arena()));
      if (parsed != Parsed::kMore) return parsed;
    }
    *fault = reader.fault();
    return Parsed::kMore;
  }
};

/// json a="path", ...
class JsonPathsOp final : public StageOp {
 public:
  static Result<std::unique_ptr<StageOp>> Make(const Stage& stage) {
    auto out = std::make_unique<JsonPathsOp>();
    for (const logql::Extraction& item : stage.extractions) {
      VARVE_ASSIGN_OR_RETURN(JsonPath path, JsonPath::Parse(item.expression));
      out->items_.push_back({item.name, Concat(item.name, kExtractedSuffix), std::move(path)});
    }
    return std::unique_ptr<StageOp>(std::move(out));
  }

  bool Process(EntryContext& entry) const override {
    if (entry.hints->no_labels || entry.line.empty()) return true;
    if (!entry.hints->all() && entry.hints->Done(entry.labels)) return true;
    const size_t first = entry.line.find_first_not_of(" \t\r\n");
    if (first == std::string_view::npos || !StartsJson(entry.line[first])) {
      MarkError(entry, kJsonError, "");
      return true;
    }
    for (const Item& item : items_) {
      if (entry.Tire(entry.line.size())) return false;
      const bool taken = entry.labels.Collides(item.name);
      const std::string_view name = taken ? item.extracted : item.name;
      JsonValue value;
      JsonFault fault = JsonFault::kNone;
      const bool found = item.path.Find(entry.line, &value, &fault, entry.labels.arena());
      if (fault != JsonFault::kNone) {
        MarkError(entry, kJsonError, ToString(fault));
      }
      if (found) {
        entry.labels.Set(Part::kParsed, name, JsonLabelValue(value, entry.labels.arena()));
      } else if (!entry.labels.Get(item.name)) {
        entry.labels.Set(Part::kParsed, item.name, "");
      }
    }
    return true;
  }

 private:
  static bool StartsJson(char c) {
    return c == '{' || c == '[' || c == '"' || c == '-' || (c >= '0' && c <= '9') || c == 't' ||
           c == 'f' || c == 'n';
  }
  struct Item {
    std::string name;
    std::string extracted;
    JsonPath path;
  };
  std::vector<Item> items_;
};

class LogfmtOp final : public ParserOp {
 public:
  /// With names of its own, later pairs replace earlier ones.
  std::vector<EarlyTest>* early_tests() override {
    return items_.empty() ? ParserOp::early_tests() : nullptr;
  }
  bool KeepsParsed() const override { return items_.empty(); }

  explicit LogfmtOp(const Stage& stage) : strict_(stage.strict), keep_empty_(stage.keep_empty) {
    for (const logql::Extraction& item : stage.extractions) {
      items_.push_back({item.name, Concat(item.name, kExtractedSuffix), item.expression});
    }
  }

  bool Process(EntryContext& entry) const override {
    if (entry.hints->no_labels || (!entry.hints->all() && entry.hints->Done(entry.labels)))
      return true;
    KeyCache& cache = entry.caches[index];
    cache.Trim();
    EntryLabels& labels = entry.labels;
    for (const Item& item : items_) {
      if (!labels.Collides(item.name) && !labels.ParsedHas(item.name))
        labels.Set(Part::kParsed, item.name, "");
    }
    LogfmtReader reader(entry.line, labels.arena());
    uint32_t previous = KeyCache::kRoot;
    std::string_view key;
    std::string_view value;
    while (!reader.AtEnd()) {
      if (entry.Tire(kPairSteps + items_.size())) return false;
      if (!reader.Next(&key, &value)) {
        if (strict_) break;
        continue;
      }
      if (items_.empty() && value.empty() && !keep_empty_) continue;
      previous = Find(entry, KeyCache::kRoot, key, previous);
      const KeyCache::Node& node = cache[previous];
      if (node.name.empty()) continue;
      if (items_.empty()) {
        if (!node.needed && !node.extracted_needed) continue;
        const Parsed parsed = SetParsed(entry, node, DropInvalidUtf8(value, labels.arena()));
        if (parsed == Parsed::kRejected) return false;
        if (parsed == Parsed::kDone) break;
        continue;
      }
      for (const Item& item : items_) {
        if (item.key != node.name) continue;
        const bool taken = labels.Collides(item.name);
        labels.Set(Part::kParsed, taken ? item.extracted : item.name,
                   DropInvalidUtf8(value, labels.arena()));
      }
    }
    if (strict_ && reader.failed()) MarkError(entry, kLogfmtError, reader.Fault());
    return true;
  }

 private:
  struct Item {
    std::string name;
    std::string extracted;
    std::string key;
  };
  const bool strict_;
  const bool keep_empty_;
  std::vector<Item> items_;
};

class RegexpOp final : public ParserOp {
 public:
  static Result<std::unique_ptr<StageOp>> Make(const Stage& stage) {
    auto out = std::make_unique<RegexpOp>();
    VARVE_ASSIGN_OR_RETURN(out->regex_, CompileRegex(stage.text, false));
    const auto& names = out->regex_->re2().CapturingGroupNames();
    if (names.empty()) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "at least one named capture must be supplied");
    }
    for (const auto& [group, name] : names) {
      const std::string sanitized = SanitizeLogLabel(name);
      for (const auto& [other_group, other] : out->groups_) {
        if (other == sanitized) {
          return MakeStatus(StatusCode::kInvalidArgument,
                            Concat("duplicate extracted label name '", name, "'"));
        }
      }
      out->groups_.emplace_back(group, sanitized);
    }
    return std::unique_ptr<StageOp>(std::move(out));
  }

  bool Process(EntryContext& entry) const override {
    if (entry.hints->no_labels || (!entry.hints->all() && entry.hints->Done(entry.labels)))
      return true;
    re2::StringPiece captures[kGroupsMax];
    const int count = std::min(groups_.back().first + 1, kGroupsMax);
    if (!IsYes(regex_->Capture(entry.line, 0, captures, count), *regex_, entry.line, entry)) {
      return entry.fault.ok();
    }
    KeyCache& cache = entry.caches[index];
    uint32_t previous = KeyCache::kRoot;
    for (const auto& [group, name] : groups_) {
      if (group >= count) break;
      previous = Find(entry, KeyCache::kRoot, name, previous);
      const std::string_view value(captures[group].data(), captures[group].size());
      if (SetParsed(entry, cache[previous], value) == Parsed::kRejected) return false;
    }
    return true;
  }

 private:
  static constexpr int kGroupsMax = 256;
  std::shared_ptr<const BoundedRegex> regex_;
  std::vector<std::pair<int, std::string>> groups_;  // ascending
};

class PatternOp final : public ParserOp {
 public:
  static Result<std::unique_ptr<StageOp>> Make(const Stage& stage) {
    auto out = std::make_unique<PatternOp>();
    VARVE_ASSIGN_OR_RETURN(auto pattern, TextPattern::Parse(stage.text, false));
    out->pattern_ = std::make_shared<const TextPattern>(std::move(pattern));
    return std::unique_ptr<StageOp>(std::move(out));
  }

  bool Process(EntryContext& entry) const override {
    if (entry.hints->no_labels || (!entry.hints->all() && entry.hints->Done(entry.labels)))
      return true;
    pattern_->Match(entry.line, &entry.captures);
    KeyCache& cache = entry.caches[index];
    uint32_t previous = KeyCache::kRoot;
    for (size_t i = 0; i < entry.captures.size(); ++i) {
      previous = Find(entry, KeyCache::kRoot, pattern_->names()[i], previous);
      if (SetParsed(entry, cache[previous], entry.captures[i]) == Parsed::kRejected) return false;
    }
    return true;
  }

 private:
  std::shared_ptr<const TextPattern> pattern_;
};

class UnpackOp final : public StageOp {
 public:
  bool Process(EntryContext& entry) const override {
    if (entry.hints->no_labels) return true;
    KeyCache& cache = entry.caches[index];
    cache.Trim();
    EntryArena& arena = entry.labels.arena();
    JsonObjectReader reader(entry.line);
    std::string_view packed;
    bool is_packed = false;
    std::vector<std::pair<uint32_t, std::string_view>> found;
    std::string_view key;
    JsonValue value;
    uint32_t previous = KeyCache::kRoot;
    const bool opened = reader.Open();
    if (opened) {
      while (reader.Next(&key, &value)) {
        if (entry.Tire(kPairSteps + value.text.size())) return false;
        if (value.type != JsonType::kString) continue;
        if (!UnescapeJson(key, arena, &key)) continue;
        if (key == "_entry") {
          packed = JsonLabelValue(value, arena);
          is_packed = true;
          continue;
        }
        previous = cache.Find(KeyCache::kRoot, key, previous, *entry.hints, {});
        found.emplace_back(previous, JsonLabelValue(value, arena));
      }
    }
    if (reader.fault() != JsonFault::kNone) {
      MarkError(entry, kJsonError,
                opened ? ToString(reader.fault()) : "expecting json object(6), but it is not");
      return true;
    }
    if (!is_packed) return true;
    for (const auto& [node, text] : found) {
      if (!cache[node].name.empty()) SetParsed(entry, cache[node], text);
    }
    entry.line = packed;
    return true;
  }
};

// --- Formats ---

class LineFormatOp final : public StageOp {
 public:
  explicit LineFormatOp(std::shared_ptr<const LogTemplate> t) : template_(std::move(t)) {}
  bool KeepsParsed() const override { return true; }
  bool Process(EntryContext& entry) const override {
    entry.text.clear();
    const Status status =
        template_->Execute({entry.time_ns, entry.line, &entry.labels}, entry.limits, &entry.text);
    if (!status.ok()) {
      MarkError(entry, kTemplateError, ToStd(status.message()));
      return true;
    }
    entry.line = entry.labels.arena().Copy(entry.text);
    return true;
  }
  void AddRequired(std::vector<std::string>* out) const override {
    out->insert(out->end(), template_->labels().begin(), template_->labels().end());
  }

 private:
  std::shared_ptr<const LogTemplate> template_;
};

class LabelFormatOp final : public StageOp {
 public:
  static Result<std::unique_ptr<StageOp>> Make(const Stage& stage) {
    auto out = std::make_unique<LabelFormatOp>();
    for (const logql::LabelFormat& format : stage.formats) {
      for (const Item& other : out->items_) {
        if (other.name == format.name) {
          return MakeStatus(StatusCode::kInvalidArgument,
                            Concat("multiple label name '", format.name,
                                   "' not allowed in a single format operation"));
        }
      }
      if (format.name == kErrorLabel) {
        return MakeStatus(StatusCode::kInvalidArgument,
                          Concat(kErrorLabel, " cannot be formatted"));
      }
      Item item{format.name, format.value, nullptr};
      if (!format.rename) {
        auto parsed = LogTemplate::Parse("label", format.value);
        if (!parsed.ok()) {
          return MakeStatus(StatusCode::kInvalidArgument,
                            Concat("invalid template for label '", format.name,
                                   "': ", ToStd(parsed.status().message())));
        }
        item.format = *std::move(parsed);
      }
      out->items_.push_back(std::move(item));
    }
    return std::unique_ptr<StageOp>(std::move(out));
  }

  bool Process(EntryContext& entry) const override {
    EntryLabels& labels = entry.labels;
    // All templates see the labels as they are when the first one runs.
    std::vector<std::pair<std::string_view, Status>> outputs;
    size_t next = 0;
    for (const Item& item : items_) {
      if (item.format == nullptr) {
        Part part = Part::kStream;
        const auto value = labels.Get(item.value, &part);
        if (!value) continue;
        labels.Set(part, item.name, *value);
        if (item.name != item.value) labels.Delete(item.value);
        continue;
      }
      if (outputs.empty()) {
        for (const Item& other : items_) {
          if (other.format == nullptr) continue;
          entry.text.clear();
          Status status = other.format->Execute({entry.time_ns, entry.line, &labels}, entry.limits,
                                                &entry.text);
          outputs.emplace_back(labels.arena().Copy(entry.text), std::move(status));
        }
      }
      const auto& [text, status] = outputs[next++];
      if (status.ok()) {
        labels.Set(Part::kParsed, item.name, text);
      } else {
        MarkError(entry, kTemplateError, ToStd(status.message()));
      }
    }
    return true;
  }
  void AddRequired(std::vector<std::string>* out) const override {
    for (const Item& item : items_) {
      if (item.format == nullptr) {
        out->push_back(item.value);
      } else {
        out->insert(out->end(), item.format->labels().begin(), item.format->labels().end());
      }
    }
  }

 private:
  struct Item {
    std::string name;
    std::string value;
    std::shared_ptr<const LogTemplate> format;
  };
  std::vector<Item> items_;
};

class DecolorizeOp final : public StageOp {
 public:
  bool KeepsParsed() const override { return true; }
  bool Process(EntryContext& entry) const override {
    const auto starts = [](std::string_view line, size_t at) -> size_t {
      if (line[at] == '\x1b') return 1;
      return line.substr(at, 2) == "\xc2\x9b" ? 2 : 0;
    };
    const std::string_view line = entry.line;
    if (line.find('\x1b') == std::string_view::npos &&
        line.find("\xc2\x9b") == std::string_view::npos)
      return true;
    char* const out = entry.labels.arena().Allocate(line.size());
    char* to = out;
    for (size_t at = 0; at < line.size();) {
      const size_t start = starts(line, at);
      const size_t end = start == 0 ? 0 : SequenceEnd(line, at + start);
      if (end == 0) {
        *to++ = line[at++];
      } else {
        at = end;
      }
    }
    entry.line = {out, static_cast<size_t>(to - out)};
    return true;
  }

 private:
  static bool In(std::string_view line, size_t at, std::string_view set) {
    return at < line.size() && set.find(line[at]) != std::string_view::npos;
  }
  static bool IsDigit(std::string_view line, size_t at) {
    return at < line.size() && line[at] >= '0' && line[at] <= '9';
  }
  static bool IsAlnum(std::string_view line, size_t at) {
    return at < line.size() && IsLabelByte(line[at]) && line[at] != '_';
  }
  /// Finds the end of an escape sequence whose introducer ends at `at`; 0 if it is none.
  static size_t SequenceEnd(std::string_view line, size_t at) {
    size_t from = at;
    while (In(line, from, "[]()#;?")) ++from;
    // A title, ended by a bell.
    size_t title = from;
    while (IsAlnum(line, title) || In(line, title, ";")) ++title;
    if (title < line.size() && line[title] == '\x07') return title + 1;
    // Numbers, at most four digits each, and one final byte. The introducer's own marks may be part
    // of the numbers, so shorter ones are tried as well.
    for (size_t begin = from + 1; begin-- > at;) {
      size_t end = begin;
      size_t digits = 0;
      if (IsDigit(line, end)) {
        while (digits < 4 && IsDigit(line, end)) ++digits, ++end;
        while (In(line, end, ";")) {
          ++end;
          for (digits = 0; digits < 4 && IsDigit(line, end); ++digits) ++end;
        }
      }
      // The final byte may be a digit that was counted as part of a number.
      for (size_t final = end + 1; final-- > begin;) {
        if (final < line.size() && IsFinal(line[final])) return final + 1;
      }
    }
    return 0;
  }
  static bool IsFinal(char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'P') || c == 'R' || c == 'Z' || c == 'c' ||
           (c >= 'f' && c <= 'n') || c == 't' || c == 'q' || c == 'r' || c == 'y' || c == '=' ||
           c == '>' || c == '<' || c == '~';
  }
};

// --- Labels ---

class DropKeepOp final : public StageOp {
 public:
  static Result<std::unique_ptr<StageOp>> Make(const Stage& stage) {
    auto out = std::make_unique<DropKeepOp>();
    out->keep_ = stage.kind == StageKind::kKeep;
    for (const logql::LabelChoice& choice : stage.choices) {
      Item item{choice.name, std::nullopt};
      if (choice.matcher) {
        VARVE_ASSIGN_OR_RETURN(item.test, StringTest::Make(*choice.matcher));
      }
      out->items_.push_back(std::move(item));
    }
    return std::unique_ptr<StageOp>(std::move(out));
  }

  bool Process(EntryContext& entry) const override {
    EntryLabels& labels = entry.labels;
    if (!keep_) {
      for (const Item& item : items_) {
        if (!item.test || item.test->Matches(labels.Value(item.name), entry))
          labels.Delete(item.name);
      }
      return entry.fault.ok();
    }
    entry.captures.clear();
    labels.ForEach([&](Part, std::string_view name, std::string_view value) {
      if (name == kErrorLabel || name == kErrorDetailsLabel || name == kPreserveErrorLabel) return;
      for (const Item& item : items_) {
        if (item.name == name && (!item.test || item.test->Matches(value, entry))) return;
      }
      entry.captures.push_back(name);
    });
    for (const std::string_view name : entry.captures) labels.Delete(name);
    return entry.fault.ok();
  }

 private:
  struct Item {
    std::string name;
    std::optional<StringTest> test;
  };
  std::vector<Item> items_;
  bool keep_ = false;
};

class LabelFilterOp final : public StageOp {
 public:
  static Result<std::unique_ptr<StageOp>> Make(const LabelFilter& filter) {
    auto out = std::make_unique<LabelFilterOp>();
    VARVE_ASSIGN_OR_RETURN(out->test_, LabelTest::Make(filter));
    return std::unique_ptr<StageOp>(std::move(out));
  }
  bool Process(EntryContext& entry) const override {
    return test_.Holds(entry) && entry.fault.ok();
  }
  void AddRequired(std::vector<std::string>* out) const override { test_.AddNames(out); }
  bool KeepsParsed() const override { return true; }
  void AddEarlyTests(std::vector<EarlyTest>* out) const override { test_.AddEarlyTests(out); }

 private:
  LabelTest test_;
};

/// Line filters are applied before everything up to the last of these stages. That decolorize is
/// not among them is Loki's rule: a filter behind it sees the colours.
bool ChangesLine(const Stage& stage) {
  return stage.kind == StageKind::kLineFormat || stage.kind == StageKind::kUnpack;
}
bool ReadsLine(const Stage& stage) {
  switch (stage.kind) {
    case StageKind::kLineFilter:
    case StageKind::kJson:
    case StageKind::kLogfmt:
    case StageKind::kRegexp:
    case StageKind::kPattern:
    case StageKind::kUnpack:
    case StageKind::kDecolorize:
      return true;
    default:
      return false;
  }
}

Result<std::unique_ptr<StageOp>> CompileStage(const Stage& stage) {
  switch (stage.kind) {
    case StageKind::kLineFilter:
      return LineFilterOp::Make(stage);
    case StageKind::kJson:
      if (stage.extractions.empty()) return std::unique_ptr<StageOp>(std::make_unique<JsonOp>());
      return JsonPathsOp::Make(stage);
    case StageKind::kLogfmt:
      return std::unique_ptr<StageOp>(std::make_unique<LogfmtOp>(stage));
    case StageKind::kRegexp:
      return RegexpOp::Make(stage);
    case StageKind::kPattern:
      return PatternOp::Make(stage);
    case StageKind::kUnpack:
      return std::unique_ptr<StageOp>(std::make_unique<UnpackOp>());
    case StageKind::kLabelFilter:
      return LabelFilterOp::Make(*stage.filter);
    case StageKind::kLineFormat: {
      auto parsed = LogTemplate::Parse("line", stage.text);
      if (!parsed.ok()) {
        return MakeStatus(StatusCode::kInvalidArgument,
                          Concat("invalid line template: ", ToStd(parsed.status().message())));
      }
      return std::unique_ptr<StageOp>(std::make_unique<LineFormatOp>(*std::move(parsed)));
    }
    case StageKind::kLabelFormat:
      return LabelFormatOp::Make(stage);
    case StageKind::kDecolorize:
      return std::unique_ptr<StageOp>(std::make_unique<DecolorizeOp>());
    case StageKind::kDrop:
    case StageKind::kKeep:
      return DropKeepOp::Make(stage);
    case StageKind::kUnwrap:
      break;
  }
  return MakeStatus(StatusCode::kInternal, "no such stage");
}

/// Gives the form in which a store applies a line filter; nothing if it cannot.
std::optional<LineFilter> StoreFilter(const Stage& stage) {
  LineFilter out;
  switch (stage.line_op) {
    case LineOp::kContains:
      out.op = LineFilter::Op::kContains;
      break;
    case LineOp::kNotContains:
      out.op = LineFilter::Op::kNotContains;
      break;
    case LineOp::kMatches:
      out.op = LineFilter::Op::kMatches;
      break;
    case LineOp::kNotMatches:
      out.op = LineFilter::Op::kNotMatches;
      break;
    default:
      return std::nullopt;
  }
  for (const logql::LineText& text : stage.line_texts) {
    if (text.ip) return std::nullopt;
    out.texts.push_back(text.text);
  }
  return out;
}

void AddWithBase(std::string_view name, std::vector<std::string>* out) {
  out->emplace_back(name);
  if (name.ends_with(kExtractedSuffix)) {
    out->emplace_back(name.substr(0, name.size() - kExtractedSuffix.size()));
  }
}

}  // namespace

bool EntryContext::Rest() {
  work_ = 0;
  fault.Update(InterruptCheck::Interrupted());
  return !fault.ok();
}

// --- KeyCache ---

void KeyCache::Clear() {
  nodes_.clear();
  index_.clear();
  bytes_.Clear();
  nodes_.emplace_back();
}

uint32_t KeyCache::Find(uint32_t parent, std::string_view key, uint32_t previous,
                        const ParserHints& hints, const std::vector<EarlyTest>& early) {
  const uint32_t guess = nodes_[previous].next;
  if (guess != 0 && nodes_[guess].parent == parent && nodes_[guess].key == key) return guess;
  const auto found = index_.find(std::make_pair(parent, key));
  if (found != index_.end()) {
    nodes_[previous].next = found->second;
    return found->second;
  }
  Node node;
  node.parent = parent;
  node.key = bytes_.Copy(key);
  std::string name(nodes_[parent].name);
  const size_t prefix = name.size();
  if (prefix > 0) name.push_back('_');
  const size_t begin = name.size();
  AppendSanitized(key, prefix == 0, &name);
  // A key of nothing but space names nothing; below an object it still names the object's part.
  if (name.size() > begin || prefix > 0) {
    node.name = bytes_.Copy(name);
    node.needed = hints.Needs(name);
    node.test = FindEarlyTest(early, name);
    node.prefix_needed = hints.NeedsPrefix(name);
    name += kExtractedSuffix;
    node.extracted = bytes_.Copy(name);
    node.extracted_needed = hints.Needs(name);
    node.extracted_test = FindEarlyTest(early, name);
  } else {
    node.needed = node.extracted_needed = false;
  }
  const auto at = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back(node);
  index_.emplace(std::make_pair(parent, node.key), at);
  nodes_[previous].next = at;
  return at;
}

void AppendSanitized(std::string_view key, bool first, std::string* out) {
  const auto is_space = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (!key.empty() && is_space(key.front())) key.remove_prefix(1);
  while (!key.empty() && is_space(key.back())) key.remove_suffix(1);
  if (key.empty()) return;
  if (first && key[0] >= '0' && key[0] <= '9') out->push_back('_');
  for (size_t at = 0; at < key.size();) {
    const char c = key[at++];
    if (IsLabelByte(c)) {
      out->push_back(c);
      continue;
    }
    out->push_back('_');
    // One underscore for each rune, not for each byte.
    if (static_cast<unsigned char>(c) >= 0xc0) {
      while (at < key.size() && (static_cast<unsigned char>(key[at]) & 0xc0) == 0x80) ++at;
    }
  }
}

// --- Pipeline ---

Result<std::shared_ptr<const Pipeline>> Pipeline::Compile(std::string_view query,
                                                          const logql::Expr& log, const Use& use,
                                                          const TemplateLimits& limits) {
  auto out = std::make_shared<Pipeline>();
  out->limits_ = limits;
  out->unwrap_ = logql::FindUnwrap(log);
  out->reads_line_ = !use.metric;
  bool line_changed = false;
  bool labels_changed = false;
  bool behind_unwrap = false;
  size_t filters_end = 0;  // where the next line filter goes
  std::vector<std::string> required;
  std::vector<std::string> names_behind;  // of unwrap and what follows it
  for (size_t i = 0; i < log.stages.size(); ++i) {
    const Stage& stage = log.stages[i];
    if (stage.kind == StageKind::kUnwrap) {
      behind_unwrap = true;
      names_behind.push_back(logql::Print(stage));
      continue;
    }
    auto compiled = CompileStage(stage);
    if (!compiled.ok()) {
      if (compiled.status().code() != StatusCode::kInvalidArgument) return compiled.status();
      const std::string_view what = ToStd(compiled.status().message());
      if (stage.kind == StageKind::kPattern) {
        return logql::SenseError(query, stage.span, Concat("invalid pattern parser: ", what));
      }
      constexpr size_t kShownMax = 512;
      std::string shown = logql::Print(stage);
      if (shown.size() > kShownMax) shown.replace(kShownMax, std::string::npos, "...");
      return logql::SenseError(query, stage.span, Concat("stage '", shown, "' : ", what));
    }
    if (behind_unwrap) {
      (*compiled)->AddRequired(&required);
      names_behind.push_back(logql::Print(stage));
      out->after_unwrap_.push_back(*std::move(compiled));
      continue;
    }
    if (stage.kind == StageKind::kLineFormat && use.metric && !use.bytes) {
      // Nobody sees the line that it makes, unless a stage behind it reads lines.
      const bool read = std::any_of(log.stages.begin() + static_cast<ptrdiff_t>(i) + 1,
                                    log.stages.end(), ReadsLine);
      if (!read) continue;
    }
    out->slow_ |= stage.kind == StageKind::kLineFormat || stage.kind == StageKind::kLabelFormat ||
                  stage.kind == StageKind::kRegexp;
    out->reads_line_ |= ReadsLine(stage) || stage.kind == StageKind::kLineFormat ||
                        stage.kind == StageKind::kLabelFormat;
    if (stage.kind == StageKind::kLineFilter && !line_changed) {
      // Line filters commute with everything that leaves the line alone.
      if (auto filter = StoreFilter(stage)) {
        out->line_filters_.push_back(*std::move(filter));
        continue;
      }
      if (stage.line_op == LineOp::kPattern && stage.line_texts.size() == 1) {
        // The literals of a pattern must be there; the store can look for them.
        VARVE_ASSIGN_OR_RETURN(const auto pattern,
                               TextPattern::Parse(stage.line_texts[0].text, true));
        for (std::string& literal : pattern.Literals()) {
          out->line_filters_.push_back({LineFilter::Op::kContains, {std::move(literal)}});
        }
      }
    }
    if (stage.kind == StageKind::kLabelFilter && !labels_changed) {
      // Each side of a conjunction must hold.
      std::vector<const LabelFilter*> stack{stage.filter.get()};
      while (!stack.empty()) {
        const LabelFilter* filter = stack.back();
        stack.pop_back();
        if (filter->kind == LabelFilter::Kind::kAnd) {
          stack.push_back(filter->left.get());
          stack.push_back(filter->right.get());
        } else if (filter->kind == LabelFilter::Kind::kString &&
                   (filter->matcher.type == MatchType::kEqual ||
                    filter->matcher.type == MatchType::kNotEqual) &&
                   !filter->name.starts_with("__") && !filter->name.ends_with(kExtractedSuffix)) {
          out->early_matchers_.push_back(filter->matcher);
        }
      }
    }
    labels_changed |= stage.kind != StageKind::kLabelFilter &&
                      stage.kind != StageKind::kLineFilter &&
                      stage.kind != StageKind::kDecolorize && stage.kind != StageKind::kLineFormat;
    (*compiled)->AddRequired(&required);
    size_t place = out->stages_.size();
    if (ChangesLine(stage)) {
      line_changed = true;
      filters_end = place + 1;
    } else if (stage.kind == StageKind::kLineFilter) {
      place = filters_end++;
    }
    out->names_.insert(out->names_.begin() + static_cast<ptrdiff_t>(place), logql::Print(stage));
    out->stages_.insert(out->stages_.begin() + static_cast<ptrdiff_t>(place), *std::move(compiled));
  }

  out->names_.insert(out->names_.end(), names_behind.begin(), names_behind.end());
  for (size_t i = 0; i < out->stages_.size(); ++i)
    out->stages_[i]->index = static_cast<uint32_t>(i);
  out->PushFilters();

  // Loki's rule of which labels parsers extract.
  if (use.metric) {
    std::vector<std::string> hints;
    for (const std::string& name : required) AddWithBase(name, &hints);
    for (const std::string& name : use.groups) AddWithBase(name, &hints);
    if (out->unwrap_ != nullptr) AddWithBase(out->unwrap_->text, &hints);
    std::sort(hints.begin(), hints.end());
    hints.erase(std::unique(hints.begin(), hints.end()), hints.end());
    const bool by = !use.groups.empty() && !use.without;
    if (use.no_labels || by) {
      out->hints_.no_labels = use.no_labels && hints.empty();
      out->hints_.preserve_error =
          std::any_of(hints.begin(), hints.end(), [](const std::string& name) {
            return name == kErrorLabel || name == kErrorDetailsLabel;
          });
      out->hints_.required = std::move(hints);
    }
  }
  return std::shared_ptr<const Pipeline>(std::move(out));
}

void Pipeline::PushFilters() {
  for (size_t i = 0; i < stages_.size(); ++i) {
    std::vector<EarlyTest>* const early = stages_[i]->early_tests();
    if (early == nullptr) continue;
    size_t next = i + 1;
    for (; next < stages_.size() && stages_[next]->KeepsParsed(); ++next) {
      stages_[next]->AddEarlyTests(early);
    }
    if (next == stages_.size()) {
      for (const auto& stage : after_unwrap_) stage->AddEarlyTests(early);
    }
    for (const EarlyTest& test : *early) early_names_.push_back(test.name);
  }
  std::sort(early_names_.begin(), early_names_.end());
  early_names_.erase(std::unique(early_names_.begin(), early_names_.end()), early_names_.end());
}

void Pipeline::Prepare(EntryContext& entry, bool count) const {
  if (count) entry.counts.assign(names_.size(), {});
  entry.hints = &hints_;
  entry.limits = limits_;
  entry.caches = std::vector<KeyCache>(stages_.size());
}

bool Pipeline::ProcessCounting(EntryContext& entry) const {
  for (size_t i = 0; i < stages_.size(); ++i) {
    ++entry.counts[i].in;
    if (!stages_[i]->Process(entry)) return false;
    ++entry.counts[i].out;
  }
  return true;
}

bool Pipeline::Unwrap(EntryContext& entry, double* value) const {
  StageCount* count = entry.counts.empty() ? nullptr : &entry.counts[stages_.size()];
  if (count != nullptr) ++count->in;
  const auto text = entry.labels.Get(unwrap_->text);
  if (!text || text->empty()) return false;
  *value = 0;
  switch (unwrap_->conversion) {
    case Conversion::kNone: {
      const auto number = ParseGoFloat(*text);
      if (number) {
        *value = *number;
      } else {
        MarkError(entry, kSampleError, GoFloatError(*text));
      }
      break;
    }
    case Conversion::kBytes: {
      const auto bytes = ParseHumanBytes(*text);
      if (bytes) {
        *value = static_cast<double>(*bytes);
      } else {
        MarkError(entry, kSampleError, HumanBytesError(*text));
      }
      break;
    }
    default: {
      const auto ns = ParseGoDuration(*text);
      if (ns) {
        *value = DurationSeconds(*ns);
      } else {
        MarkError(entry, kSampleError, GoDurationError(*text));
      }
      break;
    }
  }
  if (count != nullptr) ++count->out;
  for (const auto& stage : after_unwrap_) {
    if (count != nullptr) ++(++count)->in;
    if (!stage->Process(entry)) return false;
    if (count != nullptr) ++count->out;
  }
  return true;
}

std::vector<std::string> Pipeline::Describe() const {
  std::vector<std::string> out = StoreFilters();
  out.insert(out.end(), names_.begin(), names_.end());
  for (std::string& note : ParserNotes()) out.push_back(std::move(note));
  return out;
}

std::vector<std::string> Pipeline::ParserNotes() const {
  std::vector<std::string> out;
  const auto add = [&](std::string line, const std::vector<std::string>& names) {
    if (names.empty()) return;
    for (const std::string& name : names) line += Concat(" ", name);
    out.push_back(std::move(line));
  };
  add("extract only:", hints_.required);
  add("reject while parsing:", early_names_);
  return out;
}

std::vector<std::string> Pipeline::StoreFilters() const {
  std::vector<std::string> out;
  constexpr std::string_view kOps[] = {"contains", "not contains", "matches", "not matches"};
  for (const LineFilter& filter : line_filters_) {
    std::string line = Concat("store filter: line ", kOps[static_cast<size_t>(filter.op)]);
    for (size_t i = 0; i < filter.texts.size(); ++i)
      line += Concat(i > 0 ? " or " : " ", GoQuote(filter.texts[i]));
    out.push_back(std::move(line));
  }
  for (const Matcher& matcher : early_matchers_) {
    out.push_back(Concat("store filter: metadata ", ToString(matcher)));
  }
  return out;
}

std::string SanitizeLogLabel(std::string_view key) {
  std::string out;
  AppendSanitized(key, true, &out);
  return out;
}

}  // namespace varve::query
