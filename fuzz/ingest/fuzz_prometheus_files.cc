// Feeds bytes to the readers of Prometheus's files. The first byte chooses which: index, chunk
// payload by encoding, chunk segment, tombstones, write-ahead log. Checksums are real, so the
// corpus holds valid files for mutations to start from.

#include <cstdlib>

#include "tools/ingest/prometheus_chunk.h"
#include "tools/ingest/prometheus_index.h"
#include "tools/ingest/prometheus_wal.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::ingest;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string path = "file";
  const uint8_t kind = data[0] % 16;
  if (kind < 8) {
    PrometheusChunk chunk;
    if (DecodePrometheusChunk(kind, bytes, &chunk).ok() &&
        chunk.times_ms.size() != chunk.values.size() + chunk.histograms.size()) {
      std::abort();
    }
  } else if (kind < 11) {
    const auto index = PrometheusIndex::Open(bytes, path);
    if (!index.ok()) return 0;
    std::vector<LabelView> labels;
    std::vector<PrometheusIndex::ChunkRef> chunks;
    for (size_t i = 0; i < index->series_count(); ++i) {
      if (index->ReadSeries(i, &labels, &chunks).ok() && !IsCanonical(labels)) std::abort();
    }
  } else if (kind < 12) {
    static_cast<void>(ReadPrometheusTombstones(bytes, path));
  } else if (kind < 13) {
    if (!CheckPrometheusSegment(bytes, path).ok()) return 0;
    for (uint32_t offset = 0; offset < bytes.size(); ++offset) {
      static_cast<void>(FindPrometheusChunk(bytes, path, offset));
    }
  } else {
    PrometheusWal wal;
    static_cast<void>(wal.ReadSegment(bytes, path));
  }
  return 0;
}
