#include "engine/wal/replay.h"

#include <algorithm>
#include <optional>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::wal {
namespace {

using io::RecordScanner;

/// Bounds what a reader beside a writer loads of one segment.
constexpr uint64_t kCopiedSegmentBytesMax = 4ull << 30;

struct Segment {
  uint64_t number = 0;
  std::string path;
  uint64_t size = 0;
  // While the segment is read, and of the last one until the end: one of the two owns the bytes.
  std::unique_ptr<io::RandomAccessFile> file;
  std::string copy;
  std::string_view bytes;
  std::optional<io::LogHeader> header;
};

class Replayer {
 public:
  Replayer(io::FileSystem& fs, const std::string& dir, const WalOptions& options,
           const ReplayFn& fn, WalReplayReport* report)
      : fs_(fs), dir_(dir), options_(options), fn_(fn), report_(*report) {}

  Result<ReplayedLog> Run() {
    VARVE_RETURN_IF_ERROR(OpenSegments());
    for (size_t i = 0; i < segments_.size(); ++i) VARVE_RETURN_IF_ERROR(ReplaySegment(i));
    report_.last_lsn = next_ - 1;
    return Leave();
  }

 private:
  Status OpenSegments() {
    Result<std::vector<std::string>> names = fs_.List(dir_);
    if (!names.ok()) {
      // A log that was never written has nothing to read.
      if (names.status().code() == StatusCode::kNotFound && options_.read_only) return {};
      return names.status();
    }
    std::vector<uint64_t> numbers;
    for (const std::string& name : *names) {
      const uint64_t number = SegmentOfFileName(name);
      if (number != 0) numbers.push_back(number);
    }
    std::sort(numbers.begin(), numbers.end());
    uint64_t expected = options_.first_segment;
    for (const uint64_t number : numbers) {
      if (number < options_.first_segment) {
        too_old_.push_back(number);
        continue;
      }
      Segment segment;
      segment.number = number;
      segment.path = io::JoinPath(dir_, SegmentFileName(number));
      if (expected == 0) expected = number;
      if (number != expected) {
        Damage(segment, 0,
               Concat("segments ", expected, " to ", number - 1, " before it are missing"), false);
      }
      expected = number + 1;
      segments_.push_back(std::move(segment));
    }
    report_.segments = segments_.size();
    return {};
  }

  Status LoadBytes(Segment& segment) {
    if (options_.read_only) {
      // A writer may be at work in the directory and cut a file to its records: a mapping would
      // then fault where a copy does not.
      VARVE_ASSIGN_OR_RETURN(segment.copy, fs_.ReadFile(segment.path, kCopiedSegmentBytesMax));
      segment.bytes = segment.copy;
    } else {
      VARVE_ASSIGN_OR_RETURN(segment.file, fs_.Open(segment.path));
      VARVE_ASSIGN_OR_RETURN(segment.bytes, segment.file->Read(0, segment.file->size()));
    }
    segment.size = segment.bytes.size();
    return {};
  }

  static void Release(Segment& segment) {
    segment.bytes = {};
    segment.file.reset();
    segment.copy = std::string();
  }

  Status ReadHeader(size_t i) {
    Segment& segment = segments_[i];
    Result<io::DecodedLogHeader> decoded =
        io::DecodeLogHeader(segment.bytes, kMagic, kVersion, segment.path);
    if (decoded.ok() && decoded->header.number == segment.number) {
      segment.header = decoded->header;
      // The header is synced before the file takes records, so a crash may tear it only while
      // there is nothing behind it.
      const bool torn = IsLast(i) && NothingBehindHeader(segment);
      if (decoded->copy_damaged && !torn) {
        Damage(segment, decoded->damaged_offset, "one copy of the file header is damaged", true);
      }
      return {};
    }
    if (decoded.status().code() == StatusCode::kUnimplemented) return decoded.status();
    if (IsLast(i) && NothingBehindHeader(segment)) {
      report_.tail_bytes_cut += TrimmedBytes(segment, 0);
      return {};
    }
    Damage(segment, 0,
           decoded.ok() ? "file header has the number of another segment"
                        : "file header is damaged, both copies; no record can be read",
           true);
    return {};
  }

  bool IsLast(size_t i) const { return i + 1 == segments_.size(); }

  static bool NothingBehindHeader(const Segment& segment) {
    return segment.bytes.size() <= io::kLogHeaderBytes ||
           io::AllZero(segment.bytes.substr(io::kLogHeaderBytes));
  }

  /// Returns the bytes from `offset` on, without the zeros at the end of the file.
  static uint64_t TrimmedBytes(const Segment& segment, uint64_t offset) {
    const size_t last = segment.bytes.find_last_not_of('\0');
    return last == std::string_view::npos || last < offset ? 0 : last + 1 - offset;
  }

  Status ReplaySegment(size_t i) {
    Segment& segment = segments_[i];
    VARVE_RETURN_IF_ERROR(LoadBytes(segment));
    VARVE_RETURN_IF_ERROR(ReadHeader(i));
    VARVE_RETURN_IF_ERROR(ReplayRecords(i));
    if (!IsLast(i)) Release(segment);
    return {};
  }

  Status ReplayRecords(size_t i) {
    Segment& segment = segments_[i];
    if (!segment.header) return {};
    const uint64_t first = segment.header->first_sequence;
    if (!started_) {
      next_ = std::max(next_, first);
      started_ = true;
    }
    if (first > next_) {
      Damage(i > 0 ? segments_[i - 1] : segment, i > 0 ? segments_[i - 1].size : 0,
             Concat("records ", next_, " to ", first - 1, " are missing"), i > 0);
      next_ = first;
    }
    RecordScanner scanner(segment.bytes, segment.header->tag, io::kLogHeaderBytes);
    uint64_t end = io::kLogHeaderBytes;
    while (true) {
      const RecordScanner::Step step = scanner.Next();
      if (step == RecordScanner::Step::kEnd) break;
      if (step == RecordScanner::Step::kDamage) {
        if (IsLast(i) && !WasDurable(segment, scanner.damage_end())) {
          VARVE_RETURN_IF_ERROR(CutTail(segment, scanner.damage_begin(), scanner.damage_end()));
          return {};
        }
        Damage(segment, scanner.damage_begin(),
               Concat(scanner.damage_reason(), "; ", scanner.damage_end() - scanner.damage_begin(),
                      " bytes from record ", next_, " on are lost"),
               true);
        continue;
      }
      const io::RecordView& record = scanner.record();
      if (record.sequence > next_ && IsLast(i) && !WasDurable(segment, record.offset)) {
        VARVE_RETURN_IF_ERROR(CutTail(segment, record.offset, record.offset));
        return {};
      }
      end = record.end;
      if (record.sequence != next_) {
        if (record.sequence < next_) {
          Damage(segment, record.offset,
                 Concat("record ", record.sequence, " comes a second time, expected ", next_),
                 true);
          continue;
        }
        // After a damaged range this is what it held, and has been reported.
        if (scanner.damage_end() != record.offset) {
          Damage(segment, record.offset,
                 Concat("records ", next_, " to ", record.sequence - 1, " are missing"), true);
        }
      }
      next_ = record.sequence + 1;
      VARVE_RETURN_IF_ERROR(Deliver(segment, record));
    }
    last_good_end_ = end;
    return {};
  }

  /// Decides whether record next_ had been durable: whether any later good record of the last
  /// segment, from `offset` on, was made when next_ was on disk already. If not, a crash can
  /// explain the damage, and nothing from there on had been acknowledged as durable.
  bool WasDurable(const Segment& segment, uint64_t offset) {
    if (!evidence_) {
      evidence_ = 0;
      RecordScanner scanner(segment.bytes, segment.header->tag, offset);
      RecordScanner::Step step;
      while ((step = scanner.Next()) != RecordScanner::Step::kEnd) {
        if (step == RecordScanner::Step::kRecord) {
          evidence_ = std::max(*evidence_, scanner.record().durable_sequence);
        }
      }
    }
    return *evidence_ >= next_;
  }

  Status Deliver(const Segment& segment, const io::RecordView& record) {
    if (record.type == kMarkType) return {};
    const Status status = fn_(record.type, record.sequence, record.payload);
    if (status.ok()) {
      ++report_.records;
      report_.payload_bytes += record.payload.size();
      return {};
    }
    if (status.code() == StatusCode::kDataLoss) {
      Damage(segment, record.offset,
             Concat("record ", record.sequence, ": ", ToStd(status.message())), true);
      return {};
    }
    if (status.code() == StatusCode::kUnimplemented && (record.type & kSkippableBit) != 0) {
      ++report_.records_skipped;
      return {};
    }
    return status;
  }

  Status CutTail(const Segment& segment, uint64_t offset, uint64_t scan_from) {
    RecordScanner scanner(segment.bytes, segment.header->tag, scan_from);
    RecordScanner::Step step;
    while ((step = scanner.Next()) != RecordScanner::Step::kEnd) {
      if (step == RecordScanner::Step::kRecord && scanner.record().type != kMarkType) {
        ++report_.tail_records_cut;
      }
    }
    report_.tail_bytes_cut += TrimmedBytes(segment, offset);
    if (report_.tail_records_cut > 0) Keep(segment);
    last_good_end_ = offset;
    return {};
  }

  void Damage(const Segment& segment, uint64_t offset, std::string_view what, bool keep) {
    report_.damage.push_back(DataLossError(segment.path, offset, what));
    if (keep) Keep(segment);
  }

  void Keep(const Segment& segment) {
    if (options_.read_only || options_.quarantine_dir.empty()) return;
    if (std::find(kept_.begin(), kept_.end(), segment.number) != kept_.end()) return;
    kept_.push_back(segment.number);
    // The last segment may be cut afterwards, which a link would follow.
    const bool copy = &segment == &segments_.back();
    const Result<std::string> kept =
        io::Quarantine(fs_, segment.path, options_.quarantine_dir,
                       Concat(io::BaseName(dir_), "-", SegmentFileName(segment.number)), copy);
    if (kept.ok()) {
      report_.quarantined.push_back(*kept);
    } else {
      report_.damage.push_back(DataLossError(
          segment.path, 0, Concat("not kept in quarantine: ", ToStd(kept.status().message()))));
    }
  }

  /// Leaves the directory ready for a writer.
  Result<ReplayedLog> Leave() {
    ReplayedLog out;
    out.last_lsn = next_ - 1;
    out.next_segment = std::max<uint64_t>(1, options_.first_segment);
    for (const Segment& segment : segments_) {
      out.segments.emplace_back(segment.number, segment.size);
    }
    if (!segments_.empty()) {
      Segment& last = segments_.back();
      const bool empty = NothingBehindHeader(last) || last_good_end_ == io::kLogHeaderBytes;
      // An empty segment is made anew under its number: a loop of crashes leaves no pile of files.
      const bool reuse = last.header ? empty : NothingBehindHeader(last);
      out.next_segment = reuse ? last.number : last.number + 1;
      if (reuse) out.segments.pop_back();
      const std::string path = last.path;
      const bool cut = last.header.has_value() && !reuse;
      // A file that is mapped must not be shortened.
      Release(last);
      if (!options_.read_only && !reuse) {
        VARVE_ASSIGN_OR_RETURN(const auto file, fs_.OpenForWrite(path));
        // A later segment says of all records before it that they are durable, and that there is
        // nothing else: make it so.
        if (cut && last_good_end_ < file->size()) {
          VARVE_RETURN_IF_ERROR(file->Truncate(last_good_end_));
        }
        VARVE_RETURN_IF_ERROR(file->Sync());
        VARVE_RETURN_IF_ERROR(file->Close());
        if (cut) out.segments.back().second = last_good_end_;
      }
    }
    if (!options_.read_only) {
      for (const uint64_t number : too_old_) {
        const Status status = fs_.Remove(io::JoinPath(dir_, SegmentFileName(number)));
        if (!status.ok() && status.code() != StatusCode::kNotFound) return status;
      }
    }
    return out;
  }

  io::FileSystem& fs_;
  const std::string& dir_;
  const WalOptions& options_;
  const ReplayFn& fn_;
  WalReplayReport& report_;

  std::vector<uint64_t> too_old_;
  std::vector<Segment> segments_;
  std::vector<uint64_t> kept_;
  bool started_ = false;
  Lsn next_ = 1;
  uint64_t last_good_end_ = io::kLogHeaderBytes;  // in the last segment
  std::optional<Lsn> evidence_;
};

}  // namespace

Result<ReplayedLog> Replay(io::FileSystem& fs, const std::string& dir, const WalOptions& options,
                           const ReplayFn& fn, WalReplayReport* report) {
  return Replayer(fs, dir, options, fn, report).Run();
}

uint64_t SegmentOfFileName(std::string_view name) {
  constexpr std::string_view kSuffix = ".wal";
  if (!name.ends_with(kSuffix)) return 0;
  name.remove_suffix(kSuffix.size());
  if (name.size() < 6 || name.size() > 18) return 0;
  uint64_t number = 0;
  for (const char c : name) {
    if (c < '0' || c > '9') return 0;
    number = number * 10 + static_cast<uint64_t>(c - '0');
  }
  // A padded name and a longer one must not mean the same segment.
  return SegmentFileName(number) == std::string(name) + std::string(kSuffix) ? number : 0;
}

}  // namespace varve::wal
