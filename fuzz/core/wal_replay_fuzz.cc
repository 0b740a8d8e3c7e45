// Replays a log of one or two segments that may hold anything. Opening must succeed or refuse a
// later version; a log that was opened and closed must then open clean and say the same.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"
#include "engine/io/record_log.h"
#include "engine/wal/wal.h"

namespace {

using varve::Status;
using varve::StatusCode;
using varve::wal::Lsn;
using varve::wal::Wal;
using varve::wal::WalOptions;
using varve::wal::WalReplayReport;

uint64_t Replay(const std::shared_ptr<varve::io::MemoryFileSystem>& fs, bool read_only,
                WalReplayReport* report) {
  WalOptions options;
  options.read_only = read_only;
  options.first_segment = 0;
  options.quarantine_dir = "quarantine";
  options.preallocate_bytes = 0;
  uint64_t records = 0;
  Lsn last = 0;
  const auto wal = Wal::Open(
      fs, "wal", options,
      [&](uint8_t type, Lsn lsn, std::string_view payload) {
        VARVE_CHECK(type != 0 && lsn > last);
        VARVE_CHECK(payload.size() <= varve::wal::kPayloadBytesMax);
        last = lsn;
        ++records;
        return Status();
      },
      report);
  VARVE_CHECK(wal.ok() || wal.status().code() == StatusCode::kUnimplemented);
  return wal.ok() ? records : UINT64_MAX;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  auto fs = std::make_shared<varve::io::MemoryFileSystem>();
  // The first byte says where the second segment begins, in 256ths; 0: there is one segment. Its
  // top value makes a good header first, so that mutations reach the records.
  std::string first(input);
  if (data[0] == 255) {
    first = varve::io::EncodeLogHeader("VARVEWL1", {1, 1, 42, 1}) + first;
  } else if (data[0] != 0) {
    const size_t cut = input.size() * data[0] / 256;
    first = std::string(input.substr(0, cut));
    VARVE_CHECK(fs->Put("wal/000002.wal", input.substr(cut)).ok());
  }
  VARVE_CHECK(fs->Put("wal/000001.wal", first).ok());

  WalReplayReport looked, opened, again;
  const uint64_t looked_at = Replay(fs, /*read_only=*/true, &looked);
  const uint64_t records = Replay(fs, /*read_only=*/false, &opened);
  VARVE_CHECK(looked_at == records);
  if (records == UINT64_MAX) return 0;
  VARVE_CHECK(looked.damage.size() <= opened.damage.size());
  // Cutting and closing is done once: the same records are found again, and no torn tail.
  VARVE_CHECK(Replay(fs, /*read_only=*/false, &again) == records);
  VARVE_CHECK(again.tail_bytes_cut == 0);
  return 0;
}
