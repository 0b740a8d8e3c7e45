#include "tools/loki/log_intake.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "engine/base/hash.h"
#include "engine/base/strings.h"
#include "tools/loki/level.h"
#include "tools/loki/stream_rates.h"
#include "tools/loki/stream_selector.h"

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

constexpr int64_t kSecondNs = 1'000'000'000;

// How much of a stream's labels an error shows: a hostile one may have millions of them.
constexpr size_t kStreamTextMax = 2048;

bool IsNameStart(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool IsNameByte(char c) { return IsNameStart(c) || (c >= '0' && c <= '9'); }

std::string Shortened(std::string_view text) {
  if (text.size() <= kStreamTextMax) return std::string(text);
  return Concat(text.substr(0, kStreamTextMax), "...");
}

// Go's text of a time in UTC: fractions of a second without zeros at the end.
std::string GoTimeText(int64_t time_ns) {
  std::string out = FormatSeconds(time_ns);
  out[10] = ' ';
  out.pop_back();
  const int64_t nanos = (time_ns % kSecondNs + kSecondNs) % kSecondNs;
  if (nanos != 0) {
    std::string digits = std::to_string(kSecondNs + nanos).substr(1);
    digits.erase(digits.find_last_not_of('0') + 1);
    out += Concat(".", digits);
  }
  return out + " +0000 UTC";
}

// A size as Loki prints it: in the largest unit that leaves a whole number.
std::string SizeText(uint64_t bytes) {
  constexpr std::string_view kUnits[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
  size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return Concat(bytes, kUnits[unit]);
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
  auto seconds = static_cast<std::time_t>(time_ns / kSecondNs);
  if (time_ns % kSecondNs < 0) --seconds;
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

// --- Intake ---

void LogIntake::Reset(int64_t now_ns, LogBatch* batch, StreamRates* rates,
                      std::chrono::nanoseconds monotonic) {
  batch_ = batch;
  rates_ = rates;
  monotonic_ = monotonic;
  limited_ = false;
  stream_entries_ = 0;
  stream_refused_ = 0;
  now_ns_ = now_ns;
  discover_ = true;
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

std::string StreamLimitText(std::string_view stream) {
  return Concat("Maximum active stream limit exceeded when trying to create stream ", stream,
                ", reduce the number of active streams (reduce labels or reduce label values), or "
                "contact your Loki administrator to see if the limit can be increased, user: '",
                kTenant, "'");
}

std::string LogIntake::MissingLabelsText() const {
  std::string missing;
  for (const std::string& name : limits_->enforced_labels) {
    if (!FindLabel(labels_, name).empty()) continue;
    if (!missing.empty()) missing += ",";
    missing += name;
  }
  return Concat("missing required labels ", missing, " for user ", kTenant, " for stream ",
                StreamText());
}

std::string LogIntake::StreamText() const {
  LabelsView shown = labels_;
  if (shown.size() > 64) shown = shown.first(64);
  return Shortened(ToString(shown));
}

bool LogIntake::TakeRate(int64_t time_ns, uint64_t bytes) {
  constexpr uint64_t kNamedMax = 10;  // Loki's max_ignored_stream_errors
  ++stream_entries_;
  if (rates_->Take(stream_hash_, bytes, monotonic_)) return true;
  ++discarded_;
  if (++stream_refused_ > kNamedMax) return false;
  refused_text_ += Concat(
      "entry with timestamp ", GoTimeText(time_ns),
      " ignored, reason: 'Per stream rate limit exceeded (limit: ", SizeText(rates_->rate()),
      "/sec) while attempting to ingest for stream '", StreamText(), "' totaling ", SizeText(bytes),
      ", consider splitting a stream via additional labels or contact your Loki administrator to "
      "see if the limit can be increased',\n");
  return false;
}

void LogIntake::EndStream() {
  if (stream_refused_ > 0) {
    limited_ = true;
    errors_.Add(Concat(refused_text_, "user '", kTenant, "', total ignored: ", stream_refused_,
                       " out of ", stream_entries_, " for stream: ", StreamText()));
  }
  refused_text_.clear();
  stream_entries_ = 0;
  stream_refused_ = 0;
}

bool LogIntake::BeginStream(std::string_view selector) {
  EndStream();
  const std::string wrong = ParseStreamSelector(selector, batch_, &parsed_);
  if (!wrong.empty()) {
    return Refuse(Concat("Error parsing labels '", Shortened(selector), "' with error: ", wrong));
  }
  return BeginStream(LabelsView(parsed_));
}

bool LogIntake::BeginStream(LabelsView labels) {
  EndStream();
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
    if (IsLabelName(label.name)) continue;
    // A body's map of labels is the text of a selector to Loki, and fails as that does.
    const std::string text = SelectorText(labels_, kStreamTextMax);
    std::string wrong = ParseStreamSelector(text, batch_, &parsed_);
    if (wrong.empty()) wrong = "invalid label name";
    return Refuse(Concat("Error parsing labels '", Shortened(text), "' with error: ", wrong));
  }
  size_t count = labels_.size();
  const bool named = !FindLabel(labels_, kServiceName).empty();
  if (named) --count;  // it never counts, added or not
  if (!named && discover_ && limits_->discover_service_name) {
    const LabelView service{kServiceName, DiscoverServiceName(labels_)};
    labels_.insert(std::lower_bound(labels_.begin(), labels_.end(), service, by_name), service);
  }
  if (labels_.empty()) return Refuse("error at least one label pair is required per stream");
  if (limits_->max_label_names_per_series > 0 && count > limits_->max_label_names_per_series) {
    return Refuse(Concat("entry for stream '", StreamText(), "' has ", count,
                         " label names; limit ", limits_->max_label_names_per_series));
  }
  std::string_view last_name;
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
    if (label.name == last_name) {
      return Refuse(Concat("stream '", StreamText(), "' has duplicate label name: '",
                           Shortened(label.name), "'"));
    }
    last_name = label.name;
  }
  for (const std::string& name : limits_->enforced_labels) {
    if (FindLabel(labels_, name).empty()) return Refuse(MissingLabelsText());
  }
  if (limits_->max_global_streams_per_user > 0 &&
      batch_->streams().size() >= limits_->max_global_streams_per_user) {
    limited_ = true;
    accepting_ = false;
    if (errors_.full()) {
      errors_.Count();
      return false;
    }
    return Refuse(StreamLimitText(StreamText()));
  }
  if (rates_ != nullptr) {
    stream_hash_ = 0;
    for (const LabelView& label : labels_) {
      stream_hash_ = Hash64(label.value, Hash64(label.name, stream_hash_));
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
  if (discover_ && limits_->discover_log_levels) {
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
  if (rates_ != nullptr) {
    uint64_t bytes = line.size();
    for (const LabelView& label : metadata) bytes += label.name.size() + label.value.size();
    if (!TakeRate(time_ns, bytes)) return false;
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
