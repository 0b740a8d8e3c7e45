#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/db/db_testing.h"
#include "varve/database.h"

namespace varve::logs_testing {

using db_testing::MustOpen;
using db_testing::TestOptions;

struct Entry {
  int64_t time_ns = 0;
  std::string line;
  std::vector<std::pair<std::string, std::string>> metadata;
  friend bool operator==(const Entry&, const Entry&) = default;
};
inline void PrintTo(const Entry& entry, std::ostream* os) {
  *os << entry.time_ns << " " << entry.line.substr(0, 100);
  for (const auto& [name, value] : entry.metadata) *os << " " << name << "=" << value;
}
/// Printed labels -> entries in the order in which readers see them.
using Contents = std::map<std::string, std::vector<Entry>>;

/// Reads everything through the public API, checking what log_scan.h promises on the way.
inline Result<Contents> ReadAll(const LogSnapshot& snapshot, LogScanSpec spec = {},
                                std::vector<Matcher> matchers = {}, LogScanStats* stats = nullptr) {
  auto scan = CompileLogScan(spec);
  if (!scan.ok()) return scan.status();
  LogScanStats own;
  if (stats == nullptr) stats = &own;
  auto selected = snapshot.Select(matchers, spec.range, scan->get());
  if (!selected.ok()) return selected.status();
  Contents out;
  std::vector<LabelView> labels;
  std::vector<LabelView> before;
  std::vector<LogChunk> chunks;
  LogRows rows;
  for (size_t i = 0; i < (*selected)->size(); ++i) {
    (*selected)->GetLabels(i, &labels);
    if (i > 0) {
      EXPECT_TRUE(CompareLabels(before, labels) < 0);
    }
    before = labels;
    Status status = (*selected)->GetChunks(i, spec.range, &chunks);
    if (!status.ok()) return status;
    std::vector<Entry> entries;
    int64_t end = kMinTime;
    for (const LogChunk& chunk : chunks) {
      EXPECT_GE(chunk.count, 1u);
      EXPECT_TRUE(chunk.range().Overlaps(spec.range));
      EXPECT_GE(chunk.min_time_ns, end);
      end = chunk.max_time_ns;
      status = chunk.Read(**scan, &rows, stats);
      if (!status.ok()) return status;
      for (size_t row = 0; row < rows.size(); ++row) {
        Entry entry;
        entry.time_ns = rows.times_ns[row];
        EXPECT_TRUE(chunk.range().Contains(entry.time_ns));
        EXPECT_TRUE(spec.range.Contains(entry.time_ns));
        if (!entries.empty()) {
          EXPECT_GE(entry.time_ns, entries.back().time_ns);
        }
        if (spec.lines == LogScanSpec::Lines::kBytes) entry.line = std::string(rows.lines[row]);
        if (spec.lines == LogScanSpec::Lines::kLengths) {
          entry.line = std::to_string(rows.line_lengths[row]);
        }
        for (const LabelView& label : rows.metadata_of(row)) {
          entry.metadata.emplace_back(label.name, label.value);
        }
        entries.push_back(std::move(entry));
      }
    }
    if (!entries.empty()) out[ToString(LabelsView(labels))] = std::move(entries);
  }
  return out;
}

inline Contents MustReadAll(const Database& db, LogScanSpec spec = {},
                            std::vector<Matcher> matchers = {}, LogScanStats* stats = nullptr) {
  auto snapshot = db.TakeLogSnapshot();
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  auto contents = ReadAll(**snapshot, std::move(spec), std::move(matchers), stats);
  EXPECT_TRUE(contents.ok()) << contents.status();
  return contents.ok() ? *contents : Contents();
}

inline std::vector<LabelView> Views(const Entry& entry) {
  std::vector<LabelView> out;
  for (const auto& [name, value] : entry.metadata) out.push_back({name, value});
  return out;
}

inline Labels Stream(int i) { return Labels{{"app", "test"}, {"i", std::to_string(i)}}; }

}  // namespace varve::logs_testing
