#include "tools/loki/log_import.h"

#include <re2/re2.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/container/flat_hash_map.h"
#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/json_text.h"
#include "tools/loki/log_intake.h"
#include "tools/loki/push_decode.h"

namespace varve::loki {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr size_t kReadBytes = 1u << 20;
constexpr uint64_t kBatchBytes = 4u << 20;
constexpr size_t kBatchEntries = 50'000;
constexpr size_t kJoinedLinesMax = 1000;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

/// Reads a file piece by piece, through gzip or zstd if it begins like them.
class FileReader {
 public:
  explicit FileReader(const std::string& path) : path_(path), file_(nullptr, &std::fclose) {}
  ~FileReader() {
    if (zlib_open_) inflateEnd(&zlib_);
    ZSTD_freeDStream(zstd_);
  }
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  Status Open() {
    file_.reset(std::fopen(path_.c_str(), "rb"));
    if (file_ == nullptr) {
      return MakeStatus(errno == ENOENT ? StatusCode::kNotFound : StatusCode::kUnavailable,
                        Concat(path_, ": ", std::string_view(std::strerror(errno))));
    }
    input_.resize(kReadBytes);
    VARVE_RETURN_IF_ERROR(Fill());
    const std::string_view head(input_.data(), size_);
    if (head.starts_with("\x1f\x8b")) {
      if (inflateInit2(&zlib_, 15 + 16) != Z_OK) {
        return MakeStatus(StatusCode::kResourceExhausted, "zlib: out of memory");
      }
      zlib_open_ = true;
    } else if (head.starts_with("\x28\xb5\x2f\xfd")) {
      zstd_ = ZSTD_createDStream();
      if (zstd_ == nullptr)
        return MakeStatus(StatusCode::kResourceExhausted, "zstd: out of memory");
      // The user named the file, so a long window is wanted, not an attack.
      ZSTD_DCtx_setParameter(zstd_, ZSTD_d_windowLogMax, 31);
    }
    return absl::OkStatus();
  }

  /// Appends the next piece to `out`; false at the end.
  Result<bool> Next(std::string* out) {
    if (zlib_open_) return Inflate(out);
    if (zstd_ != nullptr) return Decompress(out);
    if (at_ == size_) VARVE_RETURN_IF_ERROR(Fill());
    if (size_ == 0) return false;
    out->append(input_.data() + at_, size_ - at_);
    at_ = size_;
    return true;
  }
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  Status Fill() {
    size_ = std::fread(input_.data(), 1, input_.size(), file_.get());
    at_ = 0;
    if (size_ == 0 && std::ferror(file_.get()) != 0) {
      return MakeStatus(StatusCode::kUnavailable, Concat(path_, ": read error"));
    }
    bytes_read_ += size_;
    return absl::OkStatus();
  }
  Status Damaged(std::string_view what) const {
    return DataLossError(path_, bytes_read_ - size_ + at_, what);
  }
  Result<bool> Inflate(std::string* out) {
    while (true) {
      if (at_ == size_) {
        VARVE_RETURN_IF_ERROR(Fill());
        if (size_ == 0) {
          if (!between_) return Damaged("the gzip stream is cut");
          return false;
        }
      }
      if (between_) {
        // Files of several gzip members are common: rotated logs put together.
        if (inflateReset(&zlib_) != Z_OK) return Damaged("zlib fails");
        between_ = false;
      }
      const size_t before = out->size();
      out->resize(before + kReadBytes);
      zlib_.next_in = reinterpret_cast<Bytef*>(input_.data() + at_);
      zlib_.avail_in = static_cast<uInt>(size_ - at_);
      zlib_.next_out = reinterpret_cast<Bytef*>(out->data() + before);
      zlib_.avail_out = static_cast<uInt>(kReadBytes);
      const int code = inflate(&zlib_, Z_NO_FLUSH);
      at_ = size_ - zlib_.avail_in;
      out->resize(before + kReadBytes - zlib_.avail_out);
      if (code == Z_STREAM_END) {
        between_ = true;
      } else if (code != Z_OK && code != Z_BUF_ERROR) {
        return Damaged("not a valid gzip stream");
      }
      if (out->size() > before) return true;
    }
  }
  Result<bool> Decompress(std::string* out) {
    while (true) {
      if (at_ == size_) {
        VARVE_RETURN_IF_ERROR(Fill());
        if (size_ == 0) {
          if (!between_) return Damaged("the zstd stream is cut");
          return false;
        }
      }
      const size_t before = out->size();
      out->resize(before + kReadBytes);
      ZSTD_inBuffer in{input_.data(), size_, at_};
      ZSTD_outBuffer done{out->data() + before, kReadBytes, 0};
      const size_t code = ZSTD_decompressStream(zstd_, &done, &in);
      at_ = in.pos;
      out->resize(before + done.pos);
      if (ZSTD_isError(code) != 0) {
        return Damaged(Concat("not a valid zstd stream: ", ZSTD_getErrorName(code)));
      }
      between_ = code == 0;
      if (done.pos > 0) return true;
    }
  }

  const std::string path_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::string input_;
  size_t at_ = 0;
  size_t size_ = 0;
  uint64_t bytes_read_ = 0;
  z_stream zlib_{};
  bool zlib_open_ = false;
  ZSTD_DStream* zstd_ = nullptr;
  bool between_ = false;  // a compressed stream has ended here
};

// --- Times ---

// Reads `digits` digits at `at`; false if they are none.
bool Number(std::string_view text, size_t at, size_t digits, int* out) {
  if (at + digits > text.size()) return false;
  *out = 0;
  for (size_t i = at; i < at + digits; ++i) {
    if (!IsDigit(text[i])) return false;
    *out = *out * 10 + (text[i] - '0');
  }
  return true;
}

int MonthOf(std::string_view text) {
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const size_t at = text.size() < 3 ? std::string_view::npos : kMonths.find(text.substr(0, 3));
  return at == std::string_view::npos || at % 3 != 0 ? 0 : static_cast<int>(at / 3 + 1);
}

bool ToNs(int year, int month, int day, int hour, int minute, int second, int64_t nanos,
          int64_t offset_s, int64_t* out) {
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return false;
  if (year < 1700 || year > 2250) return false;
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  *out = (days * 86'400 + hour * 3600 + minute * 60 + second - offset_s) * kSecond + nanos;
  return true;
}

// Reads "hh:mm:ss[.fraction][zone]" at `at`.
bool ClockTime(std::string_view text, size_t at, int* hour, int* minute, int* second,
               int64_t* nanos, int64_t* offset_s) {
  if (!Number(text, at, 2, hour) || !Number(text, at + 3, 2, minute) ||
      !Number(text, at + 6, 2, second) || text[at + 2] != ':' || text[at + 5] != ':') {
    return false;
  }
  at += 8;
  *nanos = 0;
  *offset_s = 0;
  if (at + 1 < text.size() && (text[at] == '.' || text[at] == ',') && IsDigit(text[at + 1])) {
    int64_t scale = kSecond / 10;
    for (++at; at < text.size() && IsDigit(text[at]); ++at, scale /= 10) {
      *nanos += (text[at] - '0') * scale;
    }
  }
  size_t zone = at;
  if (zone < text.size() && text[zone] == ' ') ++zone;
  if (zone < text.size() && (text[zone] == '+' || text[zone] == '-')) {
    int hours = 0;
    int minutes = 0;
    const bool colon = zone + 3 < text.size() && text[zone + 3] == ':';
    if (Number(text, zone + 1, 2, &hours) && Number(text, zone + (colon ? 4 : 3), 2, &minutes) &&
        hours <= 14 && minutes < 60) {
      *offset_s = (text[zone] == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    }
  }
  return true;
}

std::optional<int64_t> EpochTime(std::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && IsDigit(text[digits])) ++digits;
  int64_t unit = 0;
  if (digits == 10) unit = kSecond;
  if (digits == 13) unit = 1'000'000;
  if (digits == 16) unit = 1000;
  if (digits == 19) unit = 1;
  if (unit == 0) return std::nullopt;
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + digits, value);
  if (value > INT64_MAX / unit) return std::nullopt;
  int64_t nanos = 0;
  if (digits == 10 && digits + 1 < text.size() && text[digits] == '.') {
    int64_t scale = kSecond / 10;
    for (size_t i = digits + 1; i < text.size() && IsDigit(text[i]); ++i, scale /= 10) {
      nanos += (text[i] - '0') * scale;
    }
  }
  return value * unit + nanos;
}

constexpr std::string_view kTimeNames[] = {"time",      "ts",       "timestamp", "@timestamp",
                                           "timeStamp", "datetime", "date",      "t",
                                           "log_time",  "msec",     "time_local"};
bool IsTimeName(std::string_view name, const std::string& wanted) {
  if (!wanted.empty()) return name == wanted;
  return std::find(std::begin(kTimeNames), std::end(kTimeNames), name) != std::end(kTimeNames);
}

std::optional<int64_t> ValueTime(std::string_view value, int64_t now_ns) {
  int64_t time = 0;
  if (ParseRfc3339(value, &time)) return time;
  if (const auto epoch = EpochTime(value); epoch.has_value()) return epoch;
  return FindTime(value, now_ns);
}

// Finds the time of a JSON line among the members of the object itself.
std::optional<int64_t> JsonTime(std::string_view line, const std::string& name, int64_t now_ns,
                                std::string* copy) {
  *copy = line;
  JsonText json(copy->data(), copy->size());
  JsonList members(&json, '{', '}');
  while (members.Next()) {
    std::string_view key;
    std::string_view value;
    if (!json.String(&key) || !json.Take(':', "")) break;
    if (json.Peek() == '"' ? !json.String(&value) : !json.Skip(&value)) break;
    if (!IsTimeName(key, name)) continue;
    if (const auto time = ValueTime(value, now_ns); time.has_value()) return time;
  }
  return std::nullopt;
}

std::optional<int64_t> LogfmtTime(std::string_view line, const std::string& name, int64_t now_ns) {
  for (size_t i = 0; i < line.size();) {
    while (i < line.size() && static_cast<unsigned char>(line[i]) <= ' ') ++i;
    const size_t begin = i;
    while (i < line.size() && static_cast<unsigned char>(line[i]) > ' ' && line[i] != '=') ++i;
    if (i >= line.size() || line[i] != '=') continue;
    const std::string_view key = line.substr(begin, i++ - begin);
    const bool quoted = i < line.size() && line[i] == '"';
    const size_t from = quoted ? ++i : i;
    while (i < line.size() &&
           (quoted ? line[i] != '"' : static_cast<unsigned char>(line[i]) > ' ')) {
      i += line[i] == '\\' ? 2 : 1;
    }
    const size_t to = std::min(i, line.size());
    if (quoted) ++i;
    if (!IsTimeName(key, name)) continue;
    if (const auto time = ValueTime(line.substr(from, to - from), now_ns)) return time;
  }
  return std::nullopt;
}

/// Compiles the expression that the first lines of entries match; null if there is none.
Result<std::unique_ptr<const RE2>> MakeFirstLine(const std::string& multiline) {
  if (multiline.empty() || multiline == "auto") return nullptr;
  RE2::Options options(RE2::Latin1);
  options.set_log_errors(false);
  auto out = std::make_unique<const RE2>(multiline, options);
  if (out->ok()) return out;
  return MakeStatus(StatusCode::kInvalidArgument, Concat("multiline expression: ", out->error()));
}

class Importer {
 public:
  Importer(const LogImportOptions& options, Database* database, LogImportSummary* summary)
      : options_(options),
        limits_(Limits::ForImport()),
        database_(*database),
        summary_(*summary),
        intake_(&limits_) {
    limits_.discover_log_levels = options.detect_level;
    now_ns_ = Clock::Real()->NowMs() * 1'000'000;
  }

  Status Run(const std::vector<std::string>& paths) {
    VARVE_ASSIGN_OR_RETURN(first_line_, MakeFirstLine(options_.multiline));
    for (const std::string& path : paths) {
      std::error_code error;
      const uint64_t size = std::filesystem::file_size(path, error);
      if (error == std::errc::no_such_file_or_directory) {
        return MakeStatus(StatusCode::kNotFound, Concat(path, ": ", error.message()));
      }
      if (!error) total_bytes_ += size;
    }
    StartBatch();
    for (const std::string& path : paths) {
      VARVE_RETURN_IF_ERROR(File(path));
      ++summary_.files;
    }
    VARVE_RETURN_IF_ERROR(Flush());
    return database_.Sync();
  }

 private:
  void StartBatch() {
    batch_.Clear();
    intake_.Reset(now_ns_, &batch_);
    if (!labels_.empty()) intake_.BeginStream(LabelsView(labels_));
  }

  Status File(const std::string& path) {
    labels_.assign(options_.labels.begin(), options_.labels.end());
    if (options_.filename_label && FindLabel(options_.labels, "filename").empty()) {
      labels_.push_back({"filename", path});
    }
    if (!intake_.BeginStream(LabelsView(labels_))) {
      return MakeStatus(StatusCode::kInvalidArgument, intake_.errors().Text());
    }
    format_ = options_.format;
    times_.clear();
    any_ = false;
    next_given_ = options_.time_ns;
    entry_.clear();
    entry_lines_ = 0;
    path_ = path;
    line_number_ = 0;
    std::error_code error;
    file_time_ns_ = now_ns_;
    if (const auto time = std::filesystem::last_write_time(path, error); !error) {
      file_time_ns_ = std::chrono::duration_cast<std::chrono::nanoseconds>(
                          std::chrono::file_clock::to_sys(time).time_since_epoch())
                          .count();
    }
    FileReader reader(path);
    VARVE_RETURN_IF_ERROR(reader.Open());
    std::string buffer;
    size_t begin = 0;
    size_t searched = 0;
    uint64_t skipped = 0;  // bytes of a line that is too long
    while (true) {
      const size_t end = buffer.find('\n', begin + searched);
      if (end != std::string::npos) {
        if (skipped > 0) {
          TooLong(skipped + end - begin);
          skipped = 0;
        } else {
          VARVE_RETURN_IF_ERROR(Line(std::string_view(buffer).substr(begin, end - begin)));
        }
        begin = end + 1;
        searched = 0;
        continue;
      }
      buffer.erase(0, begin);
      begin = 0;
      if (skipped > 0 || buffer.size() > options_.line_bytes_max) {
        skipped += buffer.size();
        buffer.clear();
      }
      searched = buffer.size();
      VARVE_ASSIGN_OR_RETURN(const bool more, reader.Next(&buffer));
      if (options_.progress) options_.progress(bytes_done_ + reader.bytes_read(), total_bytes_);
      if (!more) break;
    }
    if (skipped > 0) {
      TooLong(skipped);
    } else if (!buffer.empty()) {
      VARVE_RETURN_IF_ERROR(Line(buffer));
    }
    VARVE_RETURN_IF_ERROR(EndEntry());
    bytes_done_ += reader.bytes_read();
    summary_.bytes_read += reader.bytes_read();
    return absl::OkStatus();
  }

  void TooLong(uint64_t bytes) {
    ++line_number_;
    ++summary_.lines;
    ++summary_.lines_too_long;
    if (summary_.warnings.size() < 20) {
      summary_.warnings.push_back(Concat(path_, ":", line_number_, ": a line of ", bytes,
                                         " bytes is left out, at most ", options_.line_bytes_max,
                                         " are kept"));
    }
  }

  std::optional<int64_t> TimeOf(std::string_view line) {
    if (format_ == LogFormat::kAuto) {
      const size_t first = line.find_first_not_of(" \t");
      if (first != std::string_view::npos && line[first] == '{') {
        if (const auto time = JsonTime(line, options_.time_field, now_ns_, &copy_)) return time;
      }
      if (const auto time = FindTime(line, now_ns_)) return time;
      return LogfmtTime(line.substr(0, 4096), options_.time_field, now_ns_);
    }
    switch (format_) {
      case LogFormat::kJson:
        return JsonTime(line, options_.time_field, now_ns_, &copy_);
      case LogFormat::kLogfmt:
        return LogfmtTime(line, options_.time_field, now_ns_);
      default:
        return FindTime(line, now_ns_);
    }
  }

  Status Line(std::string_view line) {
    ++line_number_;
    ++summary_.lines;
    summary_.line_bytes += line.size();
    if (line.size() > options_.line_bytes_max) {
      summary_.line_bytes -= line.size();
      --summary_.lines;
      --line_number_;
      TooLong(line.size());
      return absl::OkStatus();
    }
    std::optional<int64_t> time;
    if (!options_.time_ns.has_value()) time = TimeOf(line);
    bool joins = false;
    if (first_line_ != nullptr) {
      joins = !RE2::PartialMatch(re2::StringPiece(line.data(), line.size()), *first_line_);
    } else if (options_.multiline == "auto") {
      const bool indented = !line.empty() && (line.front() == ' ' || line.front() == '\t');
      joins = indented ||
              (!options_.time_ns.has_value() && !time.has_value() && entry_found_.has_value());
    }
    joins = joins && entry_lines_ > 0 && entry_lines_ < kJoinedLinesMax &&
            entry_.size() + 1 + line.size() <= options_.line_bytes_max;
    if (joins) {
      entry_.push_back('\n');
      entry_ += line;
      ++entry_lines_;
      return absl::OkStatus();
    }
    if (options_.multiline.empty()) return Entry(line, time);
    VARVE_RETURN_IF_ERROR(EndEntry());
    entry_ = line;
    entry_lines_ = 1;
    entry_found_ = time;
    return absl::OkStatus();
  }

  Status EndEntry() {
    if (entry_lines_ == 0) return absl::OkStatus();
    entry_lines_ = 0;
    return Entry(entry_, entry_found_);
  }

  Status Entry(std::string_view line, std::optional<int64_t> found) {
    int64_t time_ns = 0;
    if (next_given_.has_value()) {
      time_ns = (*next_given_)++;
    } else if (found.has_value()) {
      // Lines of one second, or millisecond, follow one another by a nanosecond.
      constexpr size_t kTimesMax = 1u << 20;
      if (times_.size() >= kTimesMax) times_.clear();
      time_ns = *found + times_[*found]++;
    } else {
      ++summary_.lines_without_time;
      time_ns = any_ ? last_used_ + 1 : file_time_ns_;
    }
    any_ = true;
    last_used_ = time_ns;
    summary_.min_time_ns = std::min(summary_.min_time_ns, time_ns);
    summary_.max_time_ns = std::max(summary_.max_time_ns, time_ns);
    if (!intake_.AddEntry(time_ns, batch_.Copy(line), {})) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat(path_, ":", line_number_, ": ", intake_.errors().Text()));
    }
    ++summary_.entries;
    if (batch_.line_bytes() >= kBatchBytes || batch_.entries().size() >= kBatchEntries) {
      return Flush();
    }
    return absl::OkStatus();
  }

  Status Flush() {
    if (batch_.empty()) return absl::OkStatus();
    WriteOptions write;
    write.durability = Durability::kProcessCrash;  // one sync in the end
    VARVE_RETURN_IF_ERROR(database_.AppendLogs(batch_, write).status());
    StartBatch();
    return absl::OkStatus();
  }

  const LogImportOptions& options_;
  Limits limits_;
  Database& database_;
  LogImportSummary& summary_;
  LogBatch batch_;
  LogIntake intake_;
  int64_t now_ns_ = 0;
  uint64_t total_bytes_ = 0;
  uint64_t bytes_done_ = 0;
  std::unique_ptr<const RE2> first_line_;
  // Of the file at hand:
  std::string path_;
  uint64_t line_number_ = 0;
  std::vector<LabelView> labels_;
  LogFormat format_ = LogFormat::kAuto;
  int64_t file_time_ns_ = 0;
  std::optional<int64_t> next_given_;
  absl::flat_hash_map<int64_t, int64_t> times_;  // how many entries have had a time found
  bool any_ = false;                             // an entry has been added
  int64_t last_used_ = 0;
  std::string entry_;  // lines joined so far
  size_t entry_lines_ = 0;
  std::optional<int64_t> entry_found_;
  std::string copy_;
};

}  // namespace

std::optional<int64_t> FindTime(std::string_view line, int64_t now_ns) {
  constexpr size_t kLookBytes = 128;
  const std::string_view text = line.substr(0, kLookBytes);
  if (const auto epoch = EpochTime(text); epoch.has_value()) return epoch;
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  int64_t nanos = 0;
  int64_t offset = 0;
  int64_t out = 0;
  for (size_t i = 0; i + 15 <= text.size(); ++i) {
    const char c = text[i];
    if (i > 0 && (IsDigit(text[i - 1]) || (text[i - 1] >= 'a' && text[i - 1] <= 'z') ||
                  (text[i - 1] >= 'A' && text[i - 1] <= 'Z'))) {
      continue;  // inside a word or number
    }
    if (IsDigit(c)) {
      // 2026-11-20T13:00:00.123Z, 2026-11-20 13:00:00,123, 2026/11/20 13:00:00
      if (text.size() >= i + 19 && (text[i + 4] == '-' || text[i + 4] == '/') &&
          text[i + 7] == text[i + 4] &&
          (text[i + 10] == 'T' || text[i + 10] == ' ' || text[i + 10] == '_') &&
          Number(text, i, 4, &year) && Number(text, i + 5, 2, &month) &&
          Number(text, i + 8, 2, &day) &&
          ClockTime(text, i + 11, &hour, &minute, &second, &nanos, &offset) &&
          ToNs(year, month, day, hour, minute, second, nanos, offset, &out)) {
        return out;
      }
      // 20/Nov/2026:13:00:00 +0000
      if (text.size() >= i + 20 && text[i + 2] == '/' && text[i + 6] == '/' &&
          (text[i + 11] == ':' || text[i + 11] == ' ') && Number(text, i, 2, &day) &&
          (month = MonthOf(text.substr(i + 3))) != 0 && Number(text, i + 7, 4, &year) &&
          ClockTime(text, i + 12, &hour, &minute, &second, &nanos, &offset) &&
          ToNs(year, month, day, hour, minute, second, nanos, offset, &out)) {
        return out;
      }
      // 20 Nov 2026 13:00:00.123
      if (text.size() >= i + 20 && text[i + 2] == ' ' && text[i + 6] == ' ' &&
          text[i + 11] == ' ' && Number(text, i, 2, &day) &&
          (month = MonthOf(text.substr(i + 3))) != 0 && Number(text, i + 7, 4, &year) &&
          ClockTime(text, i + 12, &hour, &minute, &second, &nanos, &offset) &&
          ToNs(year, month, day, hour, minute, second, nanos, offset, &out)) {
        return out;
      }
    } else if ((month = MonthOf(text.substr(i))) != 0 && text[i + 3] == ' ' && text[i + 6] == ' ') {
      // Nov 20 13:00:00, Nov  1 13:00:00
      const bool one = text[i + 4] == ' ';
      if (!Number(text, i + (one ? 5 : 4), one ? 1 : 2, &day) ||
          !ClockTime(text, i + 7, &hour, &minute, &second, &nanos, &offset)) {
        continue;
      }
      const auto today = std::chrono::floor<std::chrono::days>(
          std::chrono::sys_time<std::chrono::nanoseconds>(std::chrono::nanoseconds(now_ns)));
      const int this_year = static_cast<int>(std::chrono::year_month_day(today).year());
      std::optional<int64_t> best;
      for (year = this_year - 1; year <= this_year + 1; ++year) {
        if (!ToNs(year, month, day, hour, minute, second, nanos, 0, &out)) continue;
        if (!best.has_value() || std::abs(out - now_ns) < std::abs(*best - now_ns)) best = out;
      }
      if (best.has_value()) return best;
    }
  }
  return std::nullopt;
}

Status CheckMultiline(const std::string& multiline) { return MakeFirstLine(multiline).status(); }

Status ImportLogFiles(const std::vector<std::string>& paths, const LogImportOptions& options,
                      Database* database, LogImportSummary* summary) {
  return Importer(options, database, summary).Run(paths);
}

}  // namespace varve::loki
