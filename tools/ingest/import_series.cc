#include <simdjson.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/importers.h"
#include "varve/histogram_buckets.h"

namespace varve::ingest {
namespace {

namespace ondemand = simdjson::ondemand;

constexpr size_t kReadBytes = 1 << 20;

/// Reads a file line by line, through zstd if it begins like a zstd frame. Lines are followed by
/// the padding that simdjson wants.
class LineReader {
 public:
  LineReader(const std::string& path, const ImportOptions& options)
      : path_(path), options_(options), file_(nullptr, &std::fclose), stream_(nullptr, &Free) {}

  Status Open() {
    file_.reset(std::fopen(path_.c_str(), "rb"));
    if (!file_) {
      return MakeStatus(errno == ENOENT ? StatusCode::kNotFound : StatusCode::kUnavailable,
                        Concat(path_, ": ", std::string_view(std::strerror(errno))));
    }
    std::error_code error;
    total_ = std::filesystem::file_size(path_, error);
    if (error) total_ = 0;
    input_.resize(kReadBytes);
    VARVE_RETURN_IF_ERROR(Read());
    if (input_end_ >= 4 && std::memcmp(input_.data(), "\x28\xb5\x2f\xfd", 4) == 0) {
      stream_.reset(ZSTD_createDStream());
      if (!stream_) return MakeStatus(StatusCode::kResourceExhausted, "zstd: out of memory");
      // The user named the file, so a long window is wanted, not an attack.
      ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, 31);
    }
    return absl::OkStatus();
  }

  /// Returns false at the end. `line` lives until the next call.
  Result<bool> Next(std::string_view* line) {
    line_begin_ = next_line_;
    for (;;) {
      const char* const from = buffer_.data() + scanned_;
      const auto* newline = static_cast<const char*>(std::memchr(from, '\n', filled_ - scanned_));
      if (newline != nullptr) {
        Take(static_cast<size_t>(newline - buffer_.data()), 1, line);
        return true;
      }
      scanned_ = filled_;
      if (filled_ - line_at_ > options_.line_bytes_max) {
        return MakeStatus(
            StatusCode::kResourceExhausted,
            Concat(Place(), ": line longer than ", options_.line_bytes_max, " bytes"));
      }
      VARVE_ASSIGN_OR_RETURN(const bool more, Fill());
      if (more) continue;
      if (filled_ == line_at_) return false;
      Take(filled_, 0, line);
      return true;
    }
  }

  /// Names the line that Next returned last.
  std::string Place() const {
    return Concat(path_, ": line ", line_number_, " (byte ", line_begin_, ")");
  }
  uint64_t bytes_read() const { return bytes_read_; }
  uint64_t bytes_total() const { return total_; }

 private:
  static void Free(ZSTD_DStream* stream) { ZSTD_freeDStream(stream); }

  void Take(size_t end, size_t newline, std::string_view* line) {
    *line = std::string_view(buffer_).substr(line_at_, end - line_at_);
    next_line_ += line->size() + newline;
    line_at_ = end + newline;
    scanned_ = line_at_;
    ++line_number_;
  }

  Status Read() {
    input_at_ = 0;
    input_end_ = std::fread(input_.data(), 1, input_.size(), file_.get());
    bytes_read_ += input_end_;
    if (input_end_ == 0 && std::ferror(file_.get()) != 0) {
      return MakeStatus(StatusCode::kUnavailable,
                        Concat(path_, ": ", std::string_view(std::strerror(errno))));
    }
    return absl::OkStatus();
  }

  /// Adds decompressed bytes to the buffer; false at the end of the file.
  Result<bool> Fill() {
    // What was handed out can go now.
    if (line_at_ > 0) {
      std::memmove(buffer_.data(), buffer_.data() + line_at_, filled_ - line_at_);
      filled_ -= line_at_;
      scanned_ -= line_at_;
      line_at_ = 0;
    }
    const size_t needed = filled_ + kReadBytes + simdjson::SIMDJSON_PADDING;
    if (buffer_.size() < needed) buffer_.resize(std::max(needed, buffer_.size() * 2));
    const size_t room = buffer_.size() - simdjson::SIMDJSON_PADDING - filled_;
    for (;;) {
      if (input_at_ == input_end_) {
        VARVE_RETURN_IF_ERROR(Read());
        if (input_end_ == 0) {
          if (stream_ && hint_ != 0) {
            return DataLossError(path_, bytes_read_, "truncated zstd frame");
          }
          return false;
        }
      }
      if (!stream_) {
        const size_t size = std::min(room, input_end_ - input_at_);
        std::memcpy(buffer_.data() + filled_, input_.data() + input_at_, size);
        input_at_ += size;
        filled_ += size;
        return true;
      }
      ZSTD_inBuffer in{input_.data(), input_end_, input_at_};
      ZSTD_outBuffer out{buffer_.data() + filled_, room, 0};
      hint_ = ZSTD_decompressStream(stream_.get(), &out, &in);
      input_at_ = in.pos;
      if (ZSTD_isError(hint_)) {
        return DataLossError(path_, bytes_read_ - (input_end_ - input_at_),
                             Concat("zstd: ", std::string_view(ZSTD_getErrorName(hint_))));
      }
      filled_ += out.pos;
      if (out.pos > 0) return true;
    }
  }

  const std::string path_;
  const ImportOptions& options_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::unique_ptr<ZSTD_DStream, void (*)(ZSTD_DStream*)> stream_;
  size_t hint_ = 0;  // of zstd: 0 at the end of a frame
  uint64_t total_ = 0;
  uint64_t bytes_read_ = 0;
  std::string input_;
  size_t input_at_ = 0, input_end_ = 0;

  std::string buffer_;  // decompressed; padding behind filled_
  size_t filled_ = 0;
  size_t line_at_ = 0;  // where the next line begins
  size_t scanned_ = 0;  // no newline between line_at_ and here
  uint64_t line_number_ = 0;
  uint64_t line_begin_ = 0, next_line_ = 0;  // offsets in the decompressed file
};

/// Parses one line after another into labels and columns.
class SeriesLine {
 public:
  /// Errors: kInvalidArgument; the caller adds the place.
  Status Parse(std::string_view line) {
    labels_.clear();
    times_.clear();
    values_.clear();
    histograms_.clear();
    bool has_metric = false;
    const Status status = ParseDocument(line, &has_metric);
    if (!status.ok()) return status;
    if (!has_metric) return Invalid("no \"metric\"");
    if (!values_.empty() && !histograms_.empty()) return Invalid("values and histograms in a line");
    const size_t points = values_.size() + histograms_.size();
    if (times_.size() != points) {
      return Invalid(Concat(times_.size(), " timestamps but ", points,
                            histograms_.empty() ? " values" : " histograms"));
    }
    VARVE_ASSIGN_OR_RETURN(canonical_, Labels::Make(labels_));
    if (canonical_.empty()) return Invalid("a series without labels");
    if (!std::is_sorted(times_.begin(), times_.end(), std::less_equal<>())) SortByTime();
    return absl::OkStatus();
  }
  const Labels& labels() const { return canonical_; }
  const std::vector<int64_t>& times() const { return times_; }
  const std::vector<double>& values() const { return values_; }
  /// As many as times, or none where there are values.
  const std::vector<Histogram>& histograms() const { return histograms_; }

 private:
  static Status Invalid(std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument, what);
  }
  static Status JsonError(simdjson::error_code error, std::string_view where) {
    return Invalid(Concat(where, ": ", std::string_view(simdjson::error_message(error))));
  }

  Status ParseDocument(std::string_view line, bool* has_metric) {
    ondemand::document document;
    if (const auto error =
            parser_.iterate(line.data(), line.size(), line.size() + simdjson::SIMDJSON_PADDING)
                .get(document)) {
      return JsonError(error, "line");
    }
    ondemand::object object;
    if (const auto error = document.get_object().get(object)) return JsonError(error, "line");
    for (auto field : object) {
      std::string_view key;
      if (const auto error = field.unescaped_key().get(key)) return JsonError(error, "key");
      if (key == "metric") {
        *has_metric = true;
        VARVE_RETURN_IF_ERROR(ParseMetric(field.value()));
      } else if (key == "timestamps") {
        ondemand::array array;
        if (const auto error = field.value().get_array().get(array)) {
          return JsonError(error, "timestamps");
        }
        for (auto element : array) {
          int64_t time;
          if (const auto error = element.get_int64().get(time)) {
            return JsonError(error, Concat("timestamps[", times_.size(), "]"));
          }
          times_.push_back(time);
        }
      } else if (key == "values") {
        ondemand::array array;
        if (const auto error = field.value().get_array().get(array)) {
          return JsonError(error, "values");
        }
        for (auto element : array) VARVE_RETURN_IF_ERROR(ParseValue(element));
      } else if (key == "histograms") {
        ondemand::array array;
        if (const auto error = field.value().get_array().get(array)) {
          return JsonError(error, "histograms");
        }
        for (auto element : array) {
          if (Status status = ParseHistogram(element); !status.ok()) {
            return Invalid(
                Concat("histograms[", histograms_.size(), "]: ", ToStd(status.message())));
          }
        }
      }
    }
    const char* rest;
    if (document.current_location().get(rest) == simdjson::SUCCESS) {
      return Invalid("more than one JSON value in the line");
    }
    return absl::OkStatus();
  }

  Status ParseMetric(simdjson::simdjson_result<ondemand::value> value) {
    ondemand::object object;
    if (const auto error = value.get_object().get(object)) return JsonError(error, "metric");
    for (auto field : object) {
      LabelView label;
      if (const auto error = field.unescaped_key().get(label.name)) {
        return JsonError(error, "metric");
      }
      if (const auto error = field.value().get_string().get(label.value)) {
        return JsonError(error, Concat("metric label ", label.name));
      }
      labels_.push_back(label);
    }
    return absl::OkStatus();
  }

  /// Reads a number, or a text that stands for one: what JSON cannot write, and what Prometheus's
  /// API quotes.
  template <typename Element>
  static Status ParseNumber(Element element, std::string_view what, double* out) {
    if (element.get_double().get(*out) == simdjson::SUCCESS) [[likely]] {
      return absl::OkStatus();
    }
    std::string_view word;
    if (const auto error = element.get_string().get(word)) return JsonError(error, what);
    if (word == "NaN") {
      *out = std::bit_cast<double>(kNormalNanBits);
    } else if (word == "+Inf") {
      *out = std::numeric_limits<double>::infinity();
    } else if (word == "-Inf") {
      *out = -std::numeric_limits<double>::infinity();
    } else if (word == "StaleNaN") {
      *out = StaleNan();
    } else {
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), *out);
      if (error != std::errc() || end != word.data() + word.size() || !std::isfinite(*out)) {
        return Invalid(
            Concat(what, ": ", GoQuote(word), " is not a number, NaN, +Inf, -Inf or StaleNaN"));
      }
    }
    return absl::OkStatus();
  }

  template <typename Element>
  Status ParseValue(Element element) {
    double number;
    if (element.get_double().get(number) != simdjson::SUCCESS) [[unlikely]] {
      VARVE_RETURN_IF_ERROR(ParseNumber(element, Concat("values[", values_.size(), "]"), &number));
    }
    values_.push_back(number);
    return absl::OkStatus();
  }

  /// Reads [lower, upper, count], or the same behind Prometheus's number for the rule.
  template <typename Element>
  static Status ParseBucket(Element element, query::HistogramBucket* bucket, bool* has_rule) {
    ondemand::array array;
    if (const auto error = element.get_array().get(array)) return JsonError(error, "a bucket");
    std::array<double, 4> parts{};
    size_t count = 0;
    for (auto part : array) {
      if (count == parts.size()) return Invalid("a bucket of more than four parts");
      VARVE_RETURN_IF_ERROR(ParseNumber(part, "a bucket", &parts[count]));
      ++count;
    }
    if (count < 3) return Invalid("a bucket must have lower, upper and count");
    *has_rule = count == 4;
    if (*has_rule) {
      if (!(parts[0] >= 0 && parts[0] <= 3)) return Invalid("a bucket's rule is 0 to 3");
      bucket->rule = static_cast<query::HistogramBucket::Rule>(static_cast<int>(parts[0]));
    }
    bucket->lower = parts[count - 3];
    bucket->upper = parts[count - 2];
    bucket->count = parts[count - 1];
    return absl::OkStatus();
  }

  static Status ParseHint(std::string_view name, CounterResetHint* hint) {
    static constexpr std::string_view kNames[] = {"unknown", "reset", "not_reset", "gauge"};
    const auto* const found = std::find(std::begin(kNames), std::end(kNames), name);
    if (found == std::end(kNames)) return Invalid(Concat(GoQuote(name), " is not a reset hint"));
    *hint = static_cast<CounterResetHint>(found - std::begin(kNames));
    return absl::OkStatus();
  }

  /// Reads what the query API prints of a histogram, and what the export adds to make it whole.
  template <typename Element>
  Status ParseHistogram(Element element) {
    ondemand::object object;
    if (const auto error = element.get_object().get(object)) return JsonError(error, "object");
    double count = 0;
    double sum = 0;
    bool has_count = false;
    bool has_sum = false;
    query::HistogramShape shape;
    std::vector<query::HistogramBucket> buckets;
    for (auto field : object) {
      std::string_view key;
      if (const auto error = field.unescaped_key().get(key)) return JsonError(error, "key");
      if (key == "count") {
        has_count = true;
        VARVE_RETURN_IF_ERROR(ParseNumber(field.value(), key, &count));
      } else if (key == "sum") {
        has_sum = true;
        VARVE_RETURN_IF_ERROR(ParseNumber(field.value(), key, &sum));
      } else if (key == "zero_threshold") {
        VARVE_RETURN_IF_ERROR(ParseNumber(field.value(), key, &shape.zero_threshold));
      } else if (key == "schema") {
        int64_t schema;
        if (const auto error = field.value().get_int64().get(schema)) return JsonError(error, key);
        shape.schema = static_cast<int32_t>(std::clamp<int64_t>(schema, -1000, 1000));
      } else if (key == "reset_hint") {
        std::string_view name;
        if (const auto error = field.value().get_string().get(name)) return JsonError(error, key);
        VARVE_RETURN_IF_ERROR(ParseHint(name, &shape.reset_hint));
      } else if (key == "custom_values" || key == "buckets") {
        ondemand::array array;
        if (const auto error = field.value().get_array().get(array)) return JsonError(error, key);
        const bool bounds = key == "custom_values";
        for (auto one : array) {
          if (bounds) {
            VARVE_RETURN_IF_ERROR(
                ParseNumber(one, "custom_values", &shape.custom_values.emplace_back()));
          } else {
            bool has_rule = false;
            VARVE_RETURN_IF_ERROR(ParseBucket(one, &buckets.emplace_back(), &has_rule));
            shape.has_rules = shape.has_rules && has_rule;
          }
        }
      }
    }
    if (!has_count || !has_sum) return Invalid("a histogram needs \"count\" and \"sum\"");
    VARVE_ASSIGN_OR_RETURN(const query::FloatHistogram found,
                           query::HistogramOfBuckets(count, sum, buckets, shape));
    Histogram stored = query::ToSample(found);
    VARVE_RETURN_IF_ERROR(Validate(stored));
    histograms_.push_back(std::move(stored));
    return absl::OkStatus();
  }

  /// Brings the columns into ascending order; of equal times the first stays.
  void SortByTime() {
    std::vector<size_t> order(times_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return times_[a] < times_[b]; });
    std::vector<int64_t> times;
    std::vector<double> values;
    std::vector<Histogram> histograms;
    for (const size_t i : order) {
      if (!times.empty() && times.back() == times_[i]) continue;
      times.push_back(times_[i]);
      if (histograms_.empty()) {
        values.push_back(values_[i]);
      } else {
        histograms.push_back(std::move(histograms_[i]));
      }
    }
    times_ = std::move(times);
    values_ = std::move(values);
    histograms_ = std::move(histograms);
  }

  ondemand::parser parser_;
  std::vector<LabelView> labels_;
  Labels canonical_;
  std::vector<int64_t> times_;
  std::vector<double> values_;
  std::vector<Histogram> histograms_;
};

// Parses a line, which padding follows, and hands its samples to the loader.
Status LoadLine(std::string_view line, SeriesLine* series, BulkLoader* loader,
                ImportSummary* summary) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(series->Parse(line));
  if (series->times().empty()) return absl::OkStatus();
  if (series->histograms().empty()) {
    VARVE_RETURN_IF_ERROR(loader->AddSamples(series->labels(), series->times(), series->values()));
  } else {
    VARVE_RETURN_IF_ERROR(
        loader->AddHistograms(series->labels(), series->times(), series->histograms()));
  }
  ++summary->series;
  summary->samples += series->times().size();
  for (const double value : series->values()) summary->stale_markers += IsStaleNan(value);
  for (const Histogram& one : series->histograms()) summary->stale_markers += one.is_stale();
  summary->min_time_ms = std::min(summary->min_time_ms, series->times().front());
  summary->max_time_ms = std::max(summary->max_time_ms, series->times().back());
  return absl::OkStatus();
}

}  // namespace

Status ImportSeriesFile(const std::string& path, const ImportOptions& options, BulkLoader* loader,
                        ImportSummary* summary) {
  LineReader reader(path, options);
  VARVE_RETURN_IF_ERROR(reader.Open());
  SeriesLine series;
  std::string_view line;
  for (;;) {
    VARVE_ASSIGN_OR_RETURN(const bool more, reader.Next(&line));
    if (!more) break;
    if (const Status status = LoadLine(line, &series, loader, summary); !status.ok()) {
      return MakeStatus(status.code(), Concat(reader.Place(), ": ", ToStd(status.message())));
    }
    summary->bytes_read = reader.bytes_read();
    if (options.progress) options.progress(reader.bytes_read(), reader.bytes_total());
  }
  summary->bytes_read = reader.bytes_read();
  return absl::OkStatus();
}

Status ImportSeriesText(std::string_view text, BulkLoader* loader, ImportSummary* summary) {
  SeriesLine series;
  // simdjson reads past a line's end: what follows a line in `text` serves, the last one moves.
  std::string last;
  uint64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, newline - begin);
    if (text.size() - newline < simdjson::SIMDJSON_PADDING) {
      last.assign(line.size() + simdjson::SIMDJSON_PADDING, ' ');
      line.copy(last.data(), line.size());
      line = std::string_view(last).substr(0, line.size());
    }
    ++number;
    if (const Status status = LoadLine(line, &series, loader, summary); !status.ok()) {
      return MakeStatus(status.code(), Concat("line ", number, ": ", ToStd(status.message())));
    }
    begin = newline + 1;
  }
  summary->bytes_read += text.size();
  return absl::OkStatus();
}

}  // namespace varve::ingest
