#include <simdjson.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/importers.h"

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
    bool has_metric = false;
    const Status status = ParseDocument(line, &has_metric);
    if (!status.ok()) return status;
    if (!has_metric) return Invalid("no \"metric\"");
    if (times_.size() != values_.size()) {
      return Invalid(Concat(times_.size(), " timestamps but ", values_.size(), " values"));
    }
    VARVE_ASSIGN_OR_RETURN(canonical_, Labels::Make(labels_));
    if (canonical_.empty()) return Invalid("a series without labels");
    if (!std::is_sorted(times_.begin(), times_.end(), std::less_equal<>())) SortByTime();
    return absl::OkStatus();
  }
  const Labels& labels() const { return canonical_; }
  const std::vector<int64_t>& times() const { return times_; }
  const std::vector<double>& values() const { return values_; }

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

  template <typename Element>
  Status ParseValue(Element element) {
    double number;
    if (element.get_double().get(number) == simdjson::SUCCESS) [[likely]] {
      values_.push_back(number);
      return absl::OkStatus();
    }
    std::string_view word;
    if (const auto error = element.get_string().get(word)) {
      return JsonError(error, Concat("values[", values_.size(), "]"));
    }
    if (word == "NaN") {
      number = std::bit_cast<double>(kNormalNanBits);
    } else if (word == "+Inf") {
      number = std::numeric_limits<double>::infinity();
    } else if (word == "-Inf") {
      number = -std::numeric_limits<double>::infinity();
    } else if (word == "StaleNaN") {
      number = StaleNan();
    } else {
      return Invalid(Concat("values[", values_.size(), "]: ", GoQuote(word),
                            " is not a number, NaN, +Inf, -Inf or StaleNaN"));
    }
    values_.push_back(number);
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
    for (const size_t i : order) {
      if (!times.empty() && times.back() == times_[i]) continue;
      times.push_back(times_[i]);
      values.push_back(values_[i]);
    }
    times_ = std::move(times);
    values_ = std::move(values);
  }

  ondemand::parser parser_;
  std::vector<LabelView> labels_;
  Labels canonical_;
  std::vector<int64_t> times_;
  std::vector<double> values_;
};

// Parses a line, which padding follows, and hands its samples to the loader.
Status LoadLine(std::string_view line, SeriesLine* series, BulkLoader* loader,
                ImportSummary* summary) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(series->Parse(line));
  if (series->times().empty()) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(loader->AddSamples(series->labels(), series->times(), series->values()));
  ++summary->series;
  summary->samples += series->times().size();
  for (const double value : series->values()) summary->stale_markers += IsStaleNan(value);
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
