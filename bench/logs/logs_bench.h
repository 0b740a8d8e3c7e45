#pragma once

#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "varve/database.h"

/// What the benches of the log wing share. All times are CPU time of the whole process, so that a
/// busy machine does not show.
namespace varve {

inline double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

inline double PeakMb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_maxrss) / 1024;
}

/// Ends the program with what went wrong.
inline void Check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

struct Answer {
  uint64_t entries = 0;
  LogScanStats stats;
};

/// Reads all that a scan asks for.
inline Answer Ask(const Database& db, const LogScanSpec& spec,
                  const std::vector<Matcher>& matchers = {}) {
  Answer out;
  auto scan = CompileLogScan(spec);
  Check(scan.status());
  auto snapshot = db.TakeLogSnapshot();
  Check(snapshot.status());
  auto streams = (*snapshot)->Select(matchers, spec.range, scan->get());
  Check(streams.status());
  std::vector<LogChunk> chunks;
  LogRows rows;
  for (size_t i = 0; i < (*streams)->size(); ++i) {
    Check((*streams)->GetChunks(i, spec.range, &chunks));
    for (const LogChunk& chunk : chunks) {
      Check(chunk.Read(**scan, &rows, &out.stats));
      out.entries += rows.size();
    }
  }
  return out;
}

/// Prints the best of three times, what was found, and what had to be read for it.
inline void Report(const Database& db, const char* name, LineFilter::Op op,
                   std::vector<std::string> texts, std::vector<Matcher> streams = {}) {
  LogScanSpec spec;
  if (!texts.empty()) spec.line_filters = {{op, std::move(texts)}};
  Answer answer;
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const double begin = CpuSeconds();
    answer = Ask(db, spec, streams);
    best = std::min(best, CpuSeconds() - begin);
  }
  std::printf("%-34s %9.2f ms  %8lu found  %7.1f MB inflated  %4lu of %4lu groups  %5.2f GB/s\n",
              name, best * 1e3, static_cast<unsigned long>(answer.entries),
              static_cast<double>(answer.stats.bytes_decompressed) * 1e-6,
              static_cast<unsigned long>(answer.stats.groups_read),
              static_cast<unsigned long>(answer.stats.groups),
              static_cast<double>(answer.stats.line_bytes) * 1e-9 / best);
}

}  // namespace varve
