#include "tools/server/telemetry/registry.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "engine/base/strings.h"
#include "tools/server/http/coding.h"
#include "tools/server/json/writer.h"

namespace varve::telemetry {
namespace {

void AppendEscaped(std::string_view text, bool quotes, std::string* out) {
  for (const char c : text) {
    if (c == '\\') {
      out->append("\\\\");
    } else if (c == '\n') {
      out->append("\\n");
    } else if (c == '"' && quotes) {
      out->append("\\\"");
    } else {
      out->push_back(c);
    }
  }
}

std::string_view WordOf(Kind kind, Format format) {
  switch (kind) {
    case Kind::kCounter:
      return "counter";
    case Kind::kGauge:
      return "gauge";
    case Kind::kHistogram:
      return "histogram";
    case Kind::kInfo:
      return format == Format::kOpenMetrics ? "info" : "gauge";
  }
  return "unknown";
}

std::string_view SuffixOf(Kind kind) {
  if (kind == Kind::kCounter) return "_total";
  if (kind == Kind::kInfo) return "_info";
  return "";
}

size_t CountEntries(const char* path) {
  DIR* dir = opendir(path);
  if (dir == nullptr) return 0;
  size_t count = 0;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(dir);
  return count;
}

}  // namespace

Format NegotiateFormat(std::string_view accept) {
  double text = 0;
  double open = 0;
  for (const http::MediaRange& range : http::ParseAccept(accept)) {
    if (range.type == "application/openmetrics-text" &&
        (range.version.empty() || range.version == "1.0.0" || range.version == "0.0.1")) {
      open = std::max(open, range.q);
    } else if (range.type == "text/plain" || range.type == "text/*" || range.type == "*/*") {
      text = std::max(text, range.q);
    }
  }
  return open > 0 && open >= text ? Format::kOpenMetrics : Format::kText;
}

std::string_view ContentTypeOf(Format format) {
  return format == Format::kOpenMetrics
             ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
             : "text/plain; version=0.0.4; charset=utf-8";
}

void Exposition::Family(std::string_view name, Kind kind, std::string_view help) {
  if (format_ == Format::kJson) EndJsonFamily();
  kind_ = kind;
  name_ = name;
  skipping_ = wanted_ != nullptr && !wanted_(Concat(name, SuffixOf(kind)));
  if (skipping_) return;
  if (format_ == Format::kJson) {
    static constexpr std::string_view kTypes[] = {"COUNTER", "GAUGE", "HISTOGRAM", "GAUGE"};
    out_ += before_family_;
    json::Writer json(&out_);
    json.BeginObject().Field("name", Concat(name, SuffixOf(kind))).Field("help", help);
    json.Field("type", kTypes[static_cast<size_t>(kind)]).Key("metric");
    before_family_ = ",";
    before_metric_ = "[";
    return;
  }
  // The older format puts the suffix into the name of the family.
  const std::string_view suffix = format_ == Format::kText ? SuffixOf(kind) : "";
  out_ += Concat("# HELP ", name, suffix, " ");
  AppendEscaped(help, format_ == Format::kOpenMetrics, &out_);
  out_ += Concat("\n# TYPE ", name, suffix, " ", WordOf(kind, format_), "\n");
}

void Exposition::JsonSample(const LabelList& labels, double value, std::string_view suffix) {
  const auto number = [](double v, json::Writer* json) {
    // Whole numbers of 64 bits are strings in this mapping, and so is what JSON cannot say.
    if (std::isfinite(v)) {
      json->Number(v);
    } else {
      json->String(std::isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity");
    }
  };
  const auto whole = [](double v) { return Concat(static_cast<uint64_t>(v)); };
  if (suffix == "_bucket") {
    // The last bound, +Inf, says what the count says.
    if (labels.back().second == "+Inf") return;
    if (!buckets_.empty()) buckets_ += ',';
    json::Writer json(&buckets_);
    json.BeginObject().Field("cumulativeCount", whole(value)).Key("upperBound");
    json.Raw(labels.back().second).EndObject();
    return;
  }
  if (suffix == "_sum") {
    std::string sum;
    json::Writer json(&sum);
    number(value, &json);
    buckets_ = Concat("\"sampleSum\":", sum, ",\"bucket\":[", buckets_, "]");
    return;
  }
  out_ += before_metric_;
  before_metric_ = ",";
  json::Writer json(&out_);
  json.BeginObject().Key("label").BeginArray();
  for (const auto& [name, text] : labels) {
    json.BeginObject().Field("name", name).Field("value", text).EndObject();
  }
  json.EndArray();
  if (kind_ == Kind::kHistogram) {
    json.Key("histogram");
    json.Raw(Concat("{\"sampleCount\":\"", whole(value), "\",", buckets_, "}"));
    buckets_.clear();
  } else {
    json.Key(kind_ == Kind::kCounter ? "counter" : "gauge").BeginObject().Key("value");
    number(value, &json);
    json.EndObject();
  }
  json.EndObject();
}

void Exposition::EndJsonFamily() {
  if (name_.empty() || skipping_) return;
  if (before_metric_ == "[") out_ += '[';  // a family without metrics
  out_ += "]}";
}

void Exposition::Sample(const LabelList& labels, double value, std::string_view suffix) {
  if (skipping_) return;
  if (format_ == Format::kJson) {
    JsonSample(labels, value, suffix);
    return;
  }
  out_ += name_;
  out_ += suffix.empty() ? SuffixOf(kind_) : suffix;
  if (!labels.empty()) {
    char separator = '{';
    for (const auto& [name, label_value] : labels) {
      out_ += Concat(separator, name, "=\"");
      AppendEscaped(label_value, true, &out_);
      out_ += '"';
      separator = ',';
    }
    out_ += '}';
  }
  out_ += ' ';
  json::AppendFloat(value, &out_);
  out_ += '\n';
}

void Exposition::Counter(std::string_view name, std::string_view help, double value) {
  Family(name, Kind::kCounter, help);
  Sample({}, value);
}

void Exposition::Gauge(std::string_view name, std::string_view help, double value) {
  Family(name, Kind::kGauge, help);
  Sample({}, value);
}

std::string Exposition::Finish() {
  if (format_ == Format::kOpenMetrics) out_ += "# EOF\n";
  if (format_ == Format::kJson) {
    EndJsonFamily();
    out_ += out_.empty() ? "[]" : "]";
  }
  return std::move(out_);
}

size_t Counter::Shard() {
  static std::atomic<size_t> next{0};
  thread_local const size_t kShard = next.fetch_add(1, std::memory_order_relaxed) % kShards;
  return kShard;
}

uint64_t Counter::value() const {
  uint64_t sum = 0;
  for (const Cell& cell : shards_) sum += cell.value.load(std::memory_order_relaxed);
  return sum;
}

void DurationHistogram::Observe(double seconds) {
  size_t bucket = 0;
  while (bucket < kBoundsSeconds.size() && seconds > kBoundsSeconds[bucket]) ++bucket;
  buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
  sum_ns_.fetch_add(static_cast<uint64_t>(seconds * 1e9), std::memory_order_relaxed);
}

void DurationHistogram::Write(const LabelList& labels, Exposition* out) const {
  LabelList with_bound = labels;
  with_bound.emplace_back("le", "");
  uint64_t count = 0;
  for (size_t i = 0; i < buckets_.size(); ++i) {
    count += buckets_[i].load(std::memory_order_relaxed);
    std::string bound;
    if (i < kBoundsSeconds.size()) {
      json::AppendFloat(kBoundsSeconds[i], &bound);
      if (bound.find('.') == std::string::npos) bound += ".0";
    } else {
      bound = "+Inf";
    }
    with_bound.back().second = bound;
    out->Sample(with_bound, static_cast<double>(count), "_bucket");
  }
  out->Sample(labels, static_cast<double>(sum_ns_.load(std::memory_order_relaxed)) * 1e-9, "_sum");
  out->Sample(labels, static_cast<double>(count), "_count");
}

void WriteProcessMetrics(Exposition* out) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  out->Counter("process_cpu_seconds", "Total user and system CPU time spent in seconds.",
               seconds(usage.ru_utime) + seconds(usage.ru_stime));
  std::ifstream stat("/proc/self/stat");
  std::string line;
  std::getline(stat, line);
  // The command name, in parentheses, may hold blanks; fields count from after it.
  const size_t close = line.rfind(')');
  if (close != std::string::npos) {
    std::istringstream fields(line.substr(close + 1));
    std::vector<std::string> values;
    for (std::string field; fields >> field;) values.push_back(field);
    const auto number = [&](size_t i) {
      return i < values.size() ? std::strtod(values[i].c_str(), nullptr) : 0;
    };
    const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
    const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
    out->Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", number(20));
    out->Gauge("process_resident_memory_bytes", "Resident memory size in bytes.",
               number(21) * page);
    out->Gauge("process_threads", "Number of threads.", number(17));
    std::ifstream boot("/proc/stat");
    double boot_seconds = 0;
    for (std::string word; boot >> word;) {
      if (word == "btime") {
        boot >> boot_seconds;
        break;
      }
    }
    out->Gauge("process_start_time_seconds",
               "Start time of the process since unix epoch in seconds.",
               boot_seconds + number(19) / ticks);
  }
  out->Gauge("process_open_fds", "Number of open file descriptors.",
             static_cast<double>(CountEntries("/proc/self/fd")));
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    out->Gauge("process_max_fds", "Maximum number of open file descriptors.",
               static_cast<double>(limit.rlim_cur));
  }
}

}  // namespace varve::telemetry
