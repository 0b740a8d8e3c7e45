#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/log_scan.h"
#include "varve/log_scan.h"

namespace varve::logs {

class LineTable;

/// One entry on its way in.
struct EntryView {
  int64_t time_ns = 0;
  std::string_view line;
  LabelsView metadata;
  uint32_t stream = 0;  // of the batch
};

/// Decoded entries of a page or a row group as columns. Lines lie one after the other in `text`,
/// with index::kScanPadding readable bytes behind them, so that one search covers all. The first
/// one begins anywhere: the text of a page is the whole page.
struct Rows {
  std::vector<int64_t> times;
  std::string text;
  std::vector<uint32_t> line_begin;      // rows + 1
  std::vector<uint32_t> metadata_begin;  // rows + 1; empty: no entry has metadata
  std::vector<LabelView> metadata;       // into the texts here, or into what outlives the rows
  std::string metadata_text;
  bool ascending = true;  // in time

  uint32_t size() const { return static_cast<uint32_t>(times.size()); }
  std::string_view line(uint32_t row) const {
    return std::string_view(text).substr(line_begin[row], line_begin[row + 1] - line_begin[row]);
  }
  /// Returns the bytes of the lines of rows [begin, end).
  uint32_t bytes_of(uint32_t begin, uint32_t end) const {
    return line_begin[end] - line_begin[begin];
  }
  LabelsView metadata_of(uint32_t row) const {
    if (metadata_begin.empty()) return {};
    return LabelsView(metadata).subspan(metadata_begin[row],
                                        metadata_begin[row + 1] - metadata_begin[row]);
  }
  void Clear();
};

/// What LogRows::storage holds for every chunk of this wing: the page or row group decoded last,
/// and the parts of a merge.
struct RowStorage {
  std::shared_ptr<const void> owner;  // of what is decoded; null: nothing
  uint64_t group = 0;                 // which one of the owner's
  Rows rows;
  bool has_lines = false;  // all of them
  bool has_metadata = false;
  std::shared_ptr<LineTable> table;  // the group's encoded lines, if has_table
  bool has_table = false;
  // Without has_lines: the rows of the whole group that the filters of one scan let through, and
  // their lines.
  uint64_t matched_scan = 0;  // LogScan::id(); 0: none
  std::vector<uint32_t> matched;
  bool ruled_out = false;  // by templates alone
  std::vector<uint32_t> selected;
  std::vector<LogRows> parts;
  std::string scratch;
};
/// Returns the storage of `out`, made if missing.
RowStorage* StorageOf(LogRows* out);

/// Forgets what is decoded.
void ForgetGroup(RowStorage* storage);

/// Replaces `selected` by the rows in [begin, end) that `scan` asks for, in order. Lines and
/// metadata must be decoded where the scan tests them.
/// Errors: those of LogScan::KeepMatchingLines.
Status SelectRows(const LogScan& scan, const Rows& rows, uint32_t begin, uint32_t end,
                  std::vector<uint32_t>* selected);
/// Sorts `selected` by time, ties as they are, and drops all but the first of equal entries.
/// Precondition: lines and metadata are decoded.
void SortAndCollapse(const Rows& rows, std::vector<uint32_t>* selected);
/// Fills the columns of `out` that `scan` asks for with the selected rows.
void EmitRows(const LogScan& scan, const Rows& rows, const std::vector<uint32_t>& selected,
              LogRows* out);

/// Hashes what makes two entries of one time and stream the same one. Of this process
/// (SeededHash64).
uint64_t EntryHash(std::string_view line, LabelsView metadata);
/// Tells that two entries have the same metadata, name by name.
inline bool SameMetadata(LabelsView a, LabelsView b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

}  // namespace varve::logs
