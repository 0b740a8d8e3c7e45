#include "tools/loki/log_intake.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "engine/base/strings.h"
#include "engine/base/utf8.h"
#include "tools/loki/level.h"

namespace varve::loki {
namespace {

constexpr std::array<std::string_view, 13> kServiceLabels = {"service",
                                                             "app",
                                                             "application",
                                                             "app_name",
                                                             "name",
                                                             "app_kubernetes_io_name",
                                                             "container",
                                                             "container_name",
                                                             "k8s_container_name",
                                                             "component",
                                                             "workload",
                                                             "job",
                                                             "k8s_job_name"};

// How much of a stream's labels an error shows: a hostile one may have millions of them.
constexpr size_t kStreamTextMax = 2048;

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNameByte(char c) { return IsNameStart(c) || (c >= '0' && c <= '9'); }

std::string Shortened(std::string_view text) {
  if (text.size() <= kStreamTextMax) return std::string(text);
  return Concat(text.substr(0, kStreamTextMax), "...");
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Undoes Go's escapes of a double-quoted literal; false if one is unknown or cut.
bool Unquote(std::string_view text, std::string* out) {
  out->clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      out->push_back(text[i]);
      continue;
    }
    if (++i == text.size()) return false;
    const char c = text[i];
    const auto digits = [&](size_t count, uint32_t base, uint32_t* value) {
      *value = 0;
      for (size_t k = 0; k < count; ++k, ++i) {
        const int digit = i < text.size() ? HexDigit(text[i]) : -1;
        if (digit < 0 || static_cast<uint32_t>(digit) >= base) return false;
        *value = *value * base + static_cast<uint32_t>(digit);
      }
      --i;
      return true;
    };
    uint32_t value = 0;
    switch (c) {
      case 'a':
        out->push_back('\a');
        break;
      case 'b':
        out->push_back('\b');
        break;
      case 'f':
        out->push_back('\f');
        break;
      case 'n':
        out->push_back('\n');
        break;
      case 'r':
        out->push_back('\r');
        break;
      case 't':
        out->push_back('\t');
        break;
      case 'v':
        out->push_back('\v');
        break;
      case '\\':
      case '"':
      case '\'':
        out->push_back(c);
        break;
      case 'x':
        ++i;
        if (!digits(2, 16, &value)) return false;
        out->push_back(static_cast<char>(value));
        break;
      case 'u':
      case 'U':
        ++i;
        if (!digits(c == 'u' ? 4 : 8, 16, &value)) return false;
        if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return false;
        AppendUtf8(value, out);
        break;
      default:
        if (c < '0' || c > '7' || !digits(3, 8, &value) || value > 255) return false;
        out->push_back(static_cast<char>(value));
    }
  }
  return true;
}

}  // namespace

bool IsLabelName(std::string_view name) {
  if (name.empty() || !IsNameStart(name.front())) return false;
  return std::all_of(name.begin(), name.end(), IsNameByte);
}

bool IsNormalizedName(std::string_view name) {
  if (name.empty() || !IsNameStart(name.front())) return false;
  bool underscore = false;
  for (const char c : name) {
    if (!IsNameByte(c) || (underscore && c == '_')) return false;
    underscore = c == '_';
  }
  return true;
}

std::string NormalizeName(std::string_view name) {
  std::string out;
  if (!name.empty() && name.front() >= '0' && name.front() <= '9') out = "key_";
  for (size_t i = 0; i < name.size();) {
    const bool good = IsNameByte(name[i]) && name[i] != '_';
    if (good) {
      out.push_back(name[i]);
    } else if (out.empty() || out.back() != '_') {
      out.push_back('_');
    }
    ++i;
  }
  return out;
}

std::string_view DiscoverServiceName(LabelsView labels) {
  for (const std::string_view name : kServiceLabels) {
    const std::string_view value = FindLabel(labels, name);
    if (!value.empty()) return value;
  }
  return kUnknownService;
}

std::string FormatSeconds(int64_t time_ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  auto seconds = static_cast<std::time_t>(time_ns / kSecond);
  if (time_ns % kSecond < 0) --seconds;
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[64];
  const size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return std::string(text, size);
}

// --- Errors ---

void GroupedErrors::Add(std::string text) {
  ++total_;
  for (last_ = 0; last_ < texts_.size(); ++last_) {
    if (texts_[last_].first == text) {
      ++texts_[last_].second;
      return;
    }
  }
  if (texts_.size() >= kTextsMax) {
    ++others_;
    return;
  }
  texts_.emplace_back(std::move(text), 1);
}

std::string GroupedErrors::Text() const {
  std::string out;
  for (const auto& [text, count] : texts_) {
    if (!out.empty()) out += "; ";
    if (count > 1) out += Concat(count, " errors like: ");
    out += text;
  }
  if (others_ > 0) out += Concat("; ", others_, " other errors");
  return out;
}

std::string GroupedErrors::Last() const {
  return last_ < texts_.size() ? texts_[last_].first : std::string("over a limit like others");
}

void GroupedErrors::Clear() {
  last_ = 0;
  texts_.clear();
  total_ = 0;
  others_ = 0;
}

// --- Selector text ---

std::string ParseStreamSelector(std::string_view text, LogBatch* batch,
                                std::vector<LabelView>* labels) {
  labels->clear();
  size_t i = 0;
  const auto blanks = [&] {
    while (i < text.size() && (text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r'))) ++i;
  };
  const auto error = [&](std::string_view what) {
    if (i >= text.size()) return Concat("1:", i + 1, ": parse error: unexpected end of input");
    return Concat("1:", i + 1, ": parse error: ", what);
  };
  blanks();
  if (i >= text.size() || text[i] != '{') return error("expected \"{\"");
  ++i;
  blanks();
  std::string unquoted;
  bool first = true;
  while (i < text.size() && text[i] != '}') {
    if (!first) {
      if (text[i] != ',') return error("expected \",\" or \"}\" after a label");
      ++i;
      blanks();
      if (i < text.size() && text[i] == '}') break;
    }
    first = false;
    const size_t name_begin = i;
    if (i >= text.size() || !IsNameStart(text[i])) return error("expected a label name");
    while (i < text.size() && IsNameByte(text[i])) ++i;
    const std::string_view name = text.substr(name_begin, i - name_begin);
    blanks();
    if (i >= text.size() || text[i] != '=' ||
        (i + 1 < text.size() && (text[i + 1] == '~' || text[i + 1] == '='))) {
      return error("expected \"=\" after a label name");
    }
    ++i;
    blanks();
    if (i >= text.size() || (text[i] != '"' && text[i] != '`')) {
      return error("expected a quoted label value");
    }
    const char quote = text[i];
    const size_t value_begin = ++i;
    bool escaped = false;
    while (i < text.size() && text[i] != quote) {
      if (quote == '"' && text[i] == '\\') {
        escaped = true;
        ++i;
      }
      ++i;
    }
    if (i >= text.size()) return error("");
    std::string_view value = text.substr(value_begin, i - value_begin);
    if (escaped) {
      if (!Unquote(value, &unquoted)) return error("invalid escape in a label value");
      value = batch->Copy(unquoted);
    }
    ++i;
    labels->push_back({name, value});
    blanks();
  }
  if (i >= text.size()) return error("");
  ++i;
  blanks();
  if (i < text.size()) return error("unexpected text after the labels");
  return {};
}

// --- Intake ---

void LogIntake::Reset(int64_t now_ns, LogBatch* batch) {
  batch_ = batch;
  now_ns_ = now_ns;
  constexpr int64_t kForEver = INT64_MAX;
  oldest_ns_ = INT64_MIN;
  newest_ns_ = kForEver;
  if (limits_->reject_old_samples && limits_->reject_old_samples_max_age.count() > 0) {
    oldest_ns_ = now_ns - std::chrono::nanoseconds(limits_->reject_old_samples_max_age).count();
  }
  if (limits_->creation_grace_period.count() > 0) {
    newest_ns_ = now_ns + std::chrono::nanoseconds(limits_->creation_grace_period).count();
  }
  accepting_ = false;
  errors_.Clear();
  entries_ = 0;
  discarded_ = 0;
}

bool LogIntake::Refuse(std::string text) {
  errors_.Add(std::move(text));
  accepting_ = false;
  return false;
}

std::string LogIntake::StreamText() const {
  LabelsView shown = labels_;
  if (shown.size() > 64) shown = shown.first(64);
  return Shortened(ToString(shown));
}

bool LogIntake::BeginStream(std::string_view selector) {
  const std::string wrong = ParseStreamSelector(selector, batch_, &parsed_);
  if (!wrong.empty()) {
    return Refuse(Concat("Error parsing labels '", Shortened(selector), "' with error: ", wrong));
  }
  return BeginStream(LabelsView(parsed_));
}

bool LogIntake::BeginStream(LabelsView labels) {
  accepting_ = false;
  added_ = false;
  labels_.clear();
  for (const LabelView& label : labels) {
    if (!label.value.empty()) labels_.push_back(label);
  }
  const auto by_name = [](const LabelView& a, const LabelView& b) { return a.name < b.name; };
  if (!std::is_sorted(labels_.begin(), labels_.end(), by_name)) {
    std::stable_sort(labels_.begin(), labels_.end(), by_name);
  }
  for (const LabelView& label : labels_) {
    if (!IsLabelName(label.name)) {
      return Refuse(Concat("Error parsing labels '", StreamText(),
                           "' with error: invalid label name ",
                           GoQuote(label.name.substr(0, kStreamTextMax))));
    }
  }
  const auto same = [](const LabelView& a, const LabelView& b) { return a.name == b.name; };
  const auto twice = std::adjacent_find(labels_.begin(), labels_.end(), same);
  if (twice != labels_.end()) {
    return Refuse(Concat("stream '", StreamText(), "' has duplicate label name: '",
                         Shortened(twice->name), "'"));
  }
  size_t count = labels_.size();
  const bool named = !FindLabel(labels_, kServiceName).empty();
  if (named) --count;  // it never counts, added or not
  if (!named && limits_->discover_service_name) {
    const LabelView service{kServiceName, DiscoverServiceName(labels_)};
    labels_.insert(std::lower_bound(labels_.begin(), labels_.end(), service, by_name), service);
  }
  if (labels_.empty()) return Refuse("error at least one label pair is required per stream");
  if (limits_->max_label_names_per_series > 0 && count > limits_->max_label_names_per_series) {
    return Refuse(Concat("entry for stream '", StreamText(), "' has ", count,
                         " label names; limit ", limits_->max_label_names_per_series));
  }
  for (const LabelView& label : labels_) {
    if (limits_->max_label_name_length > 0 && label.name.size() > limits_->max_label_name_length) {
      return Refuse(Concat("stream '", StreamText(), "' has label name too long: '",
                           Shortened(label.name), "'"));
    }
    if (limits_->max_label_value_length > 0 &&
        label.value.size() > limits_->max_label_value_length) {
      return Refuse(Concat("stream '", StreamText(), "' has label value too long: '",
                           Shortened(label.value), "'"));
    }
  }
  stream_level_ = limits_->discover_log_levels ? LevelOfLabels(labels_) : std::string_view();
  accepting_ = true;
  return true;
}

void LogIntake::Fail(std::string text) {
  ++discarded_;
  errors_.Add(std::move(text));
}

bool LogIntake::TakeMetadata(LabelsView metadata) {
  metadata_.clear();
  if (metadata.empty()) return true;
  const auto fail = [&](std::string text) {
    Fail(std::move(text));
    return false;
  };
  if (!limits_->allow_structured_metadata) {
    return fail(Concat("stream '", StreamText(),
                       "' includes structured metadata, but this feature is disallowed. Please see "
                       "`limits_config.allow_structured_metadata` or contact your Loki "
                       "administrator to enable it."));
  }
  if (limits_->max_structured_metadata_size > 0) {
    uint64_t bytes = 0;
    for (const LabelView& label : metadata) bytes += label.name.size() + label.value.size();
    if (bytes > limits_->max_structured_metadata_size) {
      return fail(Concat("stream '", StreamText(), "' has structured metadata too large: '", bytes,
                         "' bytes, limit: '", limits_->max_structured_metadata_size,
                         "' bytes. Please see `limits_config.max_structured_metadata_size` or "
                         "contact your Loki administrator to increase it."));
    }
  }
  if (limits_->max_structured_metadata_entries_count > 0 &&
      metadata.size() > limits_->max_structured_metadata_entries_count) {
    return fail(Concat(
        "stream '", StreamText(), "' has too many structured metadata labels: '", metadata.size(),
        "', limit: '", limits_->max_structured_metadata_entries_count,
        "'. Please see `limits_config.max_structured_metadata_entries_count` or contact your Loki "
        "administrator to increase it."));
  }
  for (const LabelView& label : metadata) {
    if (IsNormalizedName(label.name)) {
      metadata_.push_back(label);
    } else if (!label.name.empty()) {
      metadata_.push_back({batch_->Copy(NormalizeName(label.name)), label.value});
    } else {
      return fail(Concat("stream '", StreamText(), "' has structured metadata without a name"));
    }
  }
  const auto by_name = [](const LabelView& a, const LabelView& b) { return a.name < b.name; };
  if (!std::is_sorted(metadata_.begin(), metadata_.end(), by_name)) {
    std::stable_sort(metadata_.begin(), metadata_.end(), by_name);
  }
  // Of equal names the last one stays.
  size_t kept = 0;
  for (size_t i = 0; i < metadata_.size(); ++i) {
    if (kept > 0 && metadata_[kept - 1].name == metadata_[i].name) --kept;
    metadata_[kept++] = metadata_[i];
  }
  metadata_.resize(kept);
  return true;
}

bool LogIntake::AddEntry(int64_t time_ns, std::string_view line, LabelsView metadata) {
  if (!accepting_) {
    ++discarded_;
    return false;
  }
  const auto fail = [&](auto make) {
    // A text of its own for each of a million bad entries would help nobody.
    if (errors_.full()) {
      ++discarded_;
      errors_.Count();
    } else {
      Fail(make());
    }
    return false;
  };
  if (time_ns < oldest_ns_) [[unlikely]] {
    return fail([&] {
      return Concat("entry for stream '", StreamText(),
                    "' has timestamp too old: ", FormatSeconds(time_ns),
                    ", oldest acceptable timestamp is: ", FormatSeconds(oldest_ns_));
    });
  }
  if (time_ns > newest_ns_) [[unlikely]] {
    return fail([&] {
      return Concat("entry for stream '", StreamText(),
                    "' has timestamp too new: ", FormatSeconds(time_ns));
    });
  }
  if (limits_->max_line_size > 0 && line.size() > limits_->max_line_size) [[unlikely]] {
    if (!limits_->max_line_size_truncate) {
      return fail([&] {
        return Concat("Max entry size '", limits_->max_line_size, "' bytes exceeded for stream '",
                      StreamText(), "' while adding an entry with length '", line.size(),
                      "' bytes");
      });
    }
    line = line.substr(0, limits_->max_line_size);
  }
  if (!TakeMetadata(metadata)) return false;
  if (limits_->discover_log_levels) {
    const auto at = std::lower_bound(
        metadata_.begin(), metadata_.end(), kDetectedLevel,
        [](const LabelView& label, std::string_view name) { return label.name < name; });
    if (at == metadata_.end() || at->name != kDetectedLevel) {
      std::string_view level = stream_level_;
      if (level.empty() && !metadata_.empty()) {
        level = LevelOfLabels(metadata_);
        if (level.empty()) {
          const std::string_view number = FindLabel(metadata_, "severity_number");
          if (!number.empty()) level = LevelOfSeverityNumber(number);
        }
      }
      if (level.empty()) level = DetectLevel(line);
      metadata_.insert(at, {kDetectedLevel, level});
    }
  }
  if (!added_) {
    stream_ = batch_->AddStream(LabelsView(labels_));
    added_ = true;
  }
  batch_->AddEntry(stream_, time_ns, line, LabelsView(metadata_));
  ++entries_;
  return true;
}

}  // namespace varve::loki
