#include "query/logs/stages.h"

#include <re2/re2.h>

#include <algorithm>
#include <cstring>

#include "engine/base/macros.h"
#include "query/functions/log_values.h"
#include "query/lang/logql/print.h"
#include "query/logs/ip_match.h"
#include "query/logs/json.h"
#include "query/logs/json_path.h"
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
constexpr std::string_view kLabelFilterError = "LabelFilterErr";
constexpr std::string_view kTemplateError = "TemplateFormatErr";
constexpr std::string_view kSampleError = "SampleExtractionErr";

re2::StringPiece Piece(std::string_view text) { return {text.data(), text.size()}; }

/// Marks an entry; the details live as long as it is processed.
void MarkError(EntryContext& entry, std::string_view error, std::string_view details) {
  entry.labels.SetError(error, entry.labels.arena().Copy(details));
  if (entry.hints->preserve_error) entry.labels.Set(Part::kParsed, kPreserveErrorLabel, "true");
}

Result<std::shared_ptr<const re2::RE2>> CompileRegex(std::string_view text, bool anchored) {
  re2::RE2::Options options(re2::RE2::Quiet);
  options.set_max_mem(8 << 20);
  auto out = std::make_shared<const re2::RE2>(
      Piece(anchored ? Concat("^(?:", text, ")$") : std::string(text)), options);
  if (out->ok()) return out;
  const re2::RE2 plain(Piece(text), options);
  return MakeStatus(StatusCode::kInvalidArgument,
                    Concat("error parsing regexp: ", GoRegexError(plain.ok() ? *out : plain)));
}

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

  bool Process(EntryContext& entry) const override {
    for (const Term& term : terms_) {
      if (Holds(term, entry.line)) return !negative_;
    }
    return negative_;
  }

 private:
  struct Term {
    std::string text;
    std::shared_ptr<const re2::RE2> regex;
    std::shared_ptr<const TextPattern> pattern;
    std::shared_ptr<const IpMatcher> ip;
  };
  static bool Holds(const Term& term, std::string_view line) {
    if (term.regex != nullptr) return re2::RE2::PartialMatch(Piece(line), *term.regex);
    if (term.pattern != nullptr) return term.pattern->Test(line);
    if (term.ip != nullptr) return term.ip->FindIn(line);
    return term.text.empty() ||
           memmem(line.data(), line.size(), term.text.data(), term.text.size()) != nullptr;
  }
  std::vector<Term> terms_;
  bool negative_ = false;
};

// --- Parsers ---

/// Sets a label that a parser found, under the rules for names: taken ones get `_extracted`, the
/// first value stays, and only what is needed is kept. `name` must live as long as the entry.
/// Returns true once all that is needed is there.
bool SetParsed(EntryContext& entry, const KeyCache::Node& key, std::string_view value) {
  EntryLabels& labels = entry.labels;
  const bool taken = labels.Collides(key.name);
  if (!(taken ? key.extracted_needed : key.needed)) return false;
  const std::string_view name = taken ? key.extracted : key.name;
  if (labels.ParsedHas(name)) return false;
  labels.Set(Part::kParsed, name, value);
  return !entry.hints->all() && entry.hints->Done(labels);
}

/// A string filter that a parser can apply as soon as it has set the label.
struct EarlyTest {
  std::string name;
  const StageOp* filter;
};

class JsonOp final : public StageOp {
 public:
  bool Process(EntryContext& entry) const override {
    if (entry.hints->no_labels || (!entry.hints->all() && entry.hints->Done(entry.labels)))
      return true;
    KeyCache& cache = entry.caches[index];
    cache.Trim();
    JsonFault fault = JsonFault::kNone;
    if (Walk(entry, cache, KeyCache::kRoot, entry.line, 0, &fault)) return true;
    if (fault != JsonFault::kNone) MarkError(entry, kJsonError, ToString(fault));
    return true;
  }

 private:
  static constexpr int kDepthMax = 128;

  /// Returns true when nothing more is needed; with a fault, false.
  static bool Walk(EntryContext& entry, KeyCache& cache, uint32_t parent, std::string_view text,
                   int depth, JsonFault* fault) {
    JsonObjectReader reader(text);
    if (!reader.Open()) {
      *fault = reader.fault();
      return false;
    }
    std::string_view key;
    JsonValue value;
    uint32_t previous = parent;
    while (reader.Next(&key, &value)) {
      if (value.type == JsonType::kArray || value.type == JsonType::kNull) {
        if (key.find('\\') == std::string_view::npos) continue;
      }
      std::string_view unescaped = key;
      if (!UnescapeJson(key, entry.labels.arena(), &unescaped)) {
        *fault = JsonFault::kEscape;
        return false;
      }
      if (value.type == JsonType::kArray || value.type == JsonType::kNull) continue;
      const uint32_t at =
          cache.Find(parent, unescaped, previous, *entry.hints, entry.labels.arena());
      previous = at;
      if (value.type == JsonType::kObject) {
        if (!cache[at].prefix_needed) continue;
        if (depth == kDepthMax) {
          *fault = JsonFault::kDepth;
          return false;
        }
        if (Walk(entry, cache, at, value.text, depth + 1, fault)) return true;
        if (*fault != JsonFault::kNone) return false;
        continue;
      }
      const KeyCache::Node& node = cache[at];
      if (node.name.empty() || (!node.needed && !node.extracted_needed)) continue;
      if (SetParsed(entry, node, JsonLabelValue(value, entry.labels.arena()))) return true;
    }
    *fault = reader.fault();
    return false;
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

class LogfmtOp final : public StageOp {
 public:
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
      if (!reader.Next(&key, &value)) {
        if (strict_) break;
        continue;
      }
      if (items_.empty() && value.empty() && !keep_empty_) continue;
      previous = cache.Find(KeyCache::kRoot, key, previous, *entry.hints, labels.arena());
      const KeyCache::Node& node = cache[previous];
      if (node.name.empty()) continue;
      if (items_.empty()) {
        if (!node.needed && !node.extracted_needed) continue;
        if (SetParsed(entry, node, DropInvalidUtf8(value, labels.arena()))) break;
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

class RegexpOp final : public StageOp {
 public:
  static Result<std::unique_ptr<StageOp>> Make(const Stage& stage) {
    auto out = std::make_unique<RegexpOp>();
    VARVE_ASSIGN_OR_RETURN(out->regex_, CompileRegex(stage.text, false));
    const auto& names = out->regex_->CapturingGroupNames();
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
    if (!regex_->Match(Piece(entry.line), 0, entry.line.size(), re2::RE2::UNANCHORED, captures,
                       count)) {
      return true;
    }
    KeyCache& cache = entry.caches[index];
    uint32_t previous = KeyCache::kRoot;
    for (const auto& [group, name] : groups_) {
      if (group >= count) break;
      previous = cache.Find(KeyCache::kRoot, name, previous, *entry.hints, entry.labels.arena());
      SetParsed(entry, cache[previous], {captures[group].data(), captures[group].size()});
    }
    return true;
  }

 private:
  static constexpr int kGroupsMax = 256;
  std::shared_ptr<const re2::RE2> regex_;
  std::vector<std::pair<int, std::string>> groups_;  // ascending
};

class PatternOp final : public StageOp {
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
      previous = cache.Find(KeyCache::kRoot, pattern_->names()[i], previous, *entry.hints,
                            entry.labels.arena());
      SetParsed(entry, cache[previous], entry.captures[i]);
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
        if (value.type != JsonType::kString) continue;
        if (!UnescapeJson(key, arena, &key)) continue;
        if (key == "_entry") {
          packed = JsonLabelValue(value, arena);
          is_packed = true;
          continue;
        }
        previous = cache.Find(KeyCache::kRoot, key, previous, *entry.hints, arena);
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

/// A matcher as label filters, drop and keep have it: anchored, the dot stops at a newline.
class StringTest {
 public:
  static Result<StringTest> Make(const Matcher& matcher) {
    StringTest out;
    out.matcher_ = matcher;
    if (matcher.type == MatchType::kRegex || matcher.type == MatchType::kNotRegex) {
      VARVE_ASSIGN_OR_RETURN(out.regex_, CompileRegex(matcher.value, true));
    }
    return out;
  }
  bool Matches(std::string_view value) const {
    switch (matcher_.type) {
      case MatchType::kEqual:
        return value == matcher_.value;
      case MatchType::kNotEqual:
        return value != matcher_.value;
      case MatchType::kRegex:
        return re2::RE2::PartialMatch(Piece(value), *regex_);
      default:
        return !re2::RE2::PartialMatch(Piece(value), *regex_);
    }
  }
  const std::string& name() const { return matcher_.name; }

 private:
  Matcher matcher_;
  std::shared_ptr<const re2::RE2> regex_;
};

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
        if (!item.test || item.test->Matches(labels.Value(item.name))) labels.Delete(item.name);
      }
      return true;
    }
    entry.captures.clear();
    labels.ForEach([&](Part, std::string_view name, std::string_view value) {
      if (name == kErrorLabel || name == kErrorDetailsLabel || name == kPreserveErrorLabel) return;
      for (const Item& item : items_) {
        if (item.name == name && (!item.test || item.test->Matches(value))) return;
      }
      entry.captures.push_back(name);
    });
    for (const std::string_view name : entry.captures) labels.Delete(name);
    return true;
  }

 private:
  struct Item {
    std::string name;
    std::optional<StringTest> test;
  };
  std::vector<Item> items_;
  bool keep_ = false;
};

template <typename T>
bool CompareValues(CompareOp op, T a, T b) {
  switch (op) {
    case CompareOp::kEqual:
      return a == b;
    case CompareOp::kNotEqual:
      return a != b;
    case CompareOp::kGreater:
      return a > b;
    case CompareOp::kGreaterEqual:
      return a >= b;
    case CompareOp::kLess:
      return a < b;
    default:
      return a <= b;
  }
}

class LabelFilterOp final : public StageOp {
 public:
  static Result<std::unique_ptr<StageOp>> Make(const LabelFilter& filter) {
    auto out = std::make_unique<LabelFilterOp>();
    VARVE_ASSIGN_OR_RETURN(out->root_, Compile(filter));
    return std::unique_ptr<StageOp>(std::move(out));
  }
  bool Process(EntryContext& entry) const override { return Test(root_, entry); }
  void AddRequired(std::vector<std::string>* out) const override { AddNames(root_, out); }

 private:
  struct Node {
    LabelFilter::Kind kind = LabelFilter::Kind::kString;
    CompareOp compare = CompareOp::kEqual;
    std::string name;
    double number = 0;
    std::optional<StringTest> test;
    std::shared_ptr<const IpMatcher> ip;
    std::vector<Node> sides;  // two or none
  };

  static Result<Node> Compile(const LabelFilter& filter) {
    Node out;
    out.kind = filter.kind;
    out.compare = filter.compare;
    out.name = filter.name;
    out.number = filter.number;
    switch (filter.kind) {
      case LabelFilter::Kind::kAnd:
      case LabelFilter::Kind::kOr: {
        VARVE_ASSIGN_OR_RETURN(Node left, Compile(*filter.left));
        VARVE_ASSIGN_OR_RETURN(Node right, Compile(*filter.right));
        out.sides.push_back(std::move(left));
        out.sides.push_back(std::move(right));
        break;
      }
      case LabelFilter::Kind::kString: {
        VARVE_ASSIGN_OR_RETURN(out.test, StringTest::Make(filter.matcher));
        break;
      }
      case LabelFilter::Kind::kIp: {
        VARVE_ASSIGN_OR_RETURN(auto ip, IpMatcher::Parse(filter.text));
        out.ip = std::make_shared<const IpMatcher>(ip);
        break;
      }
      default:
        break;
    }
    return out;
  }

  static bool Test(const Node& node, EntryContext& entry) {
    EntryLabels& labels = entry.labels;
    switch (node.kind) {
      case LabelFilter::Kind::kString:
        return node.test->Matches(labels.Value(node.name));
      case LabelFilter::Kind::kAnd: {
        // Both sides run, as in Loki: the second may mark an error though the first fails.
        const bool left = Test(node.sides[0], entry);
        const bool right = Test(node.sides[1], entry);
        return left && right;
      }
      case LabelFilter::Kind::kOr:
        return Test(node.sides[0], entry) || Test(node.sides[1], entry);
      default:
        break;
    }
    const auto value = labels.Get(node.name);
    if (!value) return false;
    switch (node.kind) {
      case LabelFilter::Kind::kIp:
        return node.ip->FindIn(*value) == (node.compare == CompareOp::kEqual);
      case LabelFilter::Kind::kNumber: {
        const auto number = ParseGoFloat(*value);
        if (!number) return Unconvertible(entry, GoFloatError(*value));
        return CompareValues(node.compare, *number, node.number);
      }
      case LabelFilter::Kind::kDuration: {
        const auto ns = ParseGoDuration(*value);
        if (!ns) return Unconvertible(entry, GoDurationError(*value));
        return CompareValues(node.compare, *ns, static_cast<int64_t>(node.number));
      }
      default: {
        const auto bytes = ParseHumanBytes(*value);
        if (!bytes) return Unconvertible(entry, HumanBytesError(*value));
        return CompareValues(node.compare, *bytes, static_cast<uint64_t>(node.number));
      }
    }
  }
  static bool Unconvertible(EntryContext& entry, std::string_view details) {
    MarkError(entry, kLabelFilterError, details);
    return true;
  }

  static void AddNames(const Node& node, std::vector<std::string>* out) {
    for (const Node& side : node.sides) AddNames(side, out);
    if (node.sides.empty()) out->push_back(node.name);
  }

  Node root_;
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

// --- KeyCache ---

void KeyCache::Clear() {
  nodes_.clear();
  index_.clear();
  bytes_.Clear();
  nodes_.emplace_back();
}

uint32_t KeyCache::Find(uint32_t parent, std::string_view key, uint32_t previous,
                        const ParserHints& hints, EntryArena&) {
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
    node.prefix_needed = hints.NeedsPrefix(name);
    name += kExtractedSuffix;
    node.extracted = bytes_.Copy(name);
    node.extracted_needed = hints.Needs(name);
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
      return logql::SenseError(query, stage.span,
                               Concat("stage '", logql::Print(stage), "' : ", what));
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
    out->slow_ |= stage.kind == StageKind::kLineFormat || stage.kind == StageKind::kLabelFormat;
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
  if (std::string extracted = Extracted(); !extracted.empty()) out.push_back(std::move(extracted));
  return out;
}

std::string Pipeline::Extracted() const {
  if (hints_.required.empty()) return "";
  std::string line = "extract only:";
  for (const std::string& name : hints_.required) line += Concat(" ", name);
  return line;
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
