#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/io/memory_file_system.h"
#include "engine/wal/wal.h"

namespace varve::wal {

struct Entry {
  uint8_t type = 0;
  Lsn lsn = 0;
  std::string payload;
  friend bool operator==(const Entry&, const Entry&) = default;
};

/// A log and what its replay delivered.
struct Opened {
  Status status;
  std::unique_ptr<Wal> wal;
  std::vector<Entry> entries;
  WalReplayReport report;
};

inline constexpr char kDir[] = "wal/metrics";

inline WalOptions TestOptions() {
  WalOptions options;
  options.quarantine_dir = "quarantine";
  return options;
}

inline Opened OpenLog(std::shared_ptr<io::FileSystem> fs, WalOptions options = TestOptions()) {
  Opened out;
  auto wal = Wal::Open(
      std::move(fs), kDir, options,
      [&out](uint8_t type, Lsn lsn, std::string_view payload) {
        out.entries.push_back({type, lsn, std::string(payload)});
        return Status();
      },
      &out.report);
  out.status = wal.status();
  if (wal.ok()) out.wal = std::move(*wal);
  return out;
}

inline Lsn MustAppend(Wal& wal, std::string_view payload, uint8_t type = 1) {
  auto lsn = wal.Append(type, payload);
  EXPECT_TRUE(lsn.ok()) << lsn.status();
  return lsn.ok() ? *lsn : 0;
}

inline std::vector<std::string> Payloads(const Opened& opened) {
  std::vector<std::string> out;
  for (const Entry& entry : opened.entries) out.push_back(entry.payload);
  return out;
}

/// Makes the payload of the i-th record of a script: its length varies and it ends in its number.
inline std::string NumberedPayload(uint64_t i) {
  return std::string((i * 37) % 900, static_cast<char>('a' + i % 26)) + ":" + std::to_string(i);
}

}  // namespace varve::wal
