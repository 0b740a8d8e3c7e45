// Feeds bytes to the importer of NDJSON series, through a file in memory and as a text: both must
// find the same.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "tests/ingest/fake_database.h"
#include "tools/ingest/importers.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::ingest;
  static const int fd = memfd_create("series", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(fd);
  if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != static_cast<ssize_t>(size)) return 0;
  ImportOptions options;
  options.line_bytes_max = 1 << 20;
  FakeLoader loader;
  ImportSummary summary;
  const Status status = ImportSeriesFile(path, options, &loader, &summary);
  // The loader answers kInternal when it is handed what its contract forbids.
  if (status.code() == StatusCode::kInternal) std::abort();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with("\x28\xb5\x2f\xfd")) return 0;  // compressed
  if (status.code() == StatusCode::kResourceExhausted) return 0;
  FakeLoader from_text;
  ImportSummary other;
  if (ImportSeriesText(text, &from_text, &other).ok() != status.ok()) std::abort();
  if (other.samples != summary.samples || other.max_time_ms != summary.max_time_ms) std::abort();
  return 0;
}
