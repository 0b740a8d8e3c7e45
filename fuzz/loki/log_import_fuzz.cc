// Imports a file of any bytes. The first byte chooses the options. Without joining and without
// times of its own, every line must come back byte for byte and in order; else no line may be lost.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/io/memory_file_system.h"
#include "tools/loki/log_import.h"
#include "varve/database.h"

namespace {

using namespace varve;

constexpr int64_t kNow = 1'795'800'000'000'000'000;

/// All lines by time, each followed by a newline.
std::string Stored(const Database& db) {
  std::string out;
  const auto snapshot = db.TakeLogSnapshot();
  VARVE_CHECK(snapshot.ok());
  const auto scan = CompileLogScan({});
  const auto streams = (*snapshot)->Select({}, {});
  VARVE_CHECK(streams.ok() && (*streams)->size() <= 1);
  std::vector<LogChunk> chunks;
  LogRows rows;
  LogScanStats stats;
  for (size_t i = 0; i < (*streams)->size(); ++i) {
    VARVE_CHECK((*streams)->GetChunks(i, {}, &chunks).ok());
    for (const LogChunk& chunk : chunks) {
      VARVE_CHECK(chunk.Read(**scan, &rows, &stats).ok());
      for (const std::string_view line : rows.lines) out += Concat(line, "\n");
    }
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0 || size > 1 << 20) return 0;
  const uint8_t choice = data[0];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto found = loki::FindTime(text, kNow);
  VARVE_CHECK(found == loki::FindTime(text.substr(0, 128), kNow));

  // A file without a name.
  const int fd = memfd_create("lines", 0);
  VARVE_CHECK(fd >= 0);
  VARVE_CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  Options options;
  options.dir = "/db";
  options.background_threads = 0;
  options.file_system = std::make_shared<io::MemoryFileSystem>();
  auto db = Database::Open(options);
  VARVE_CHECK(db.ok());

  loki::LogImportOptions import;
  import.filename_label = false;
  import.labels = Labels{{"a", "b"}};
  import.format = static_cast<loki::LogFormat>(choice % 4);
  const bool times_given = (choice & 4) != 0;
  if (times_given) import.time_ns = kNow;
  if ((choice & 8) != 0) import.time_field = "t";
  if ((choice & 16) != 0) import.multiline = (choice & 32) != 0 ? "^[0-9a-z]" : "auto";
  if ((choice & 64) != 0) import.line_bytes_max = 16;
  loki::LogImportSummary summary;
  const Status status =
      loki::ImportLogFiles({Concat("/proc/self/fd/", fd)}, import, db->get(), &summary);
  close(fd);
  const bool packed = text.starts_with("\x1f\x8b") || text.starts_with("\x28\xb5\x2f\xfd");
  if (!status.ok()) {
    // Only what is compressed can be damaged.
    VARVE_CHECK(packed || status.code() != StatusCode::kDataLoss);
    return 0;
  }
  VARVE_CHECK(summary.bytes_read == text.size());
  VARVE_CHECK(summary.entries + summary.lines_too_long <= summary.lines);
  if (times_given && import.multiline.empty() && (choice & 64) == 0 && !packed) {
    std::string expected(text);
    if (!expected.empty() && expected.back() != '\n') expected.push_back('\n');
    VARVE_CHECK(Stored(**db) == expected);
    VARVE_CHECK(summary.entries == summary.lines);
  }
  VARVE_CHECK((*db)->Close().ok());
  return 0;
}
