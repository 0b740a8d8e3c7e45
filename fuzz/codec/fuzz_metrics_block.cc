// Puts any bytes into the sections of a metrics block whose checksums hold, then reads all of it.
// The input is cut into sections by lengths in front: two bytes each for labels, directory,
// chunks, exemplars; the rest is metadata.

#include <array>

#include "engine/block/container.h"
#include "engine/io/memory_file_system.h"
#include "engine/metrics/block_format.h"
#include "engine/metrics/block_reader.h"
#include "fuzz/codec/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  std::array<std::string_view, 5> parts;
  if (size < 8) return 0;
  std::string_view rest(reinterpret_cast<const char*>(data) + 8, size - 8);
  for (size_t i = 0; i < 4; ++i) {
    const size_t bytes = std::min<size_t>(rest.size(), data[2 * i] | data[2 * i + 1] << 8);
    parts[i] = rest.substr(0, bytes);
    rest.remove_prefix(bytes);
  }
  parts[4] = rest;
  auto fs = std::make_shared<io::MemoryFileSystem>();
  fuzz::Expect(fs->MakeDirs("/d").ok());
  auto writer = block::BlockWriter::Create(fs, "/d", 1, block::Wing::kMetrics, 1);
  fuzz::Expect(writer.ok());
  fuzz::Expect((*writer)->BeginPagedSection(metrics::kChunksSection, 0, 0).ok());
  fuzz::Expect((*writer)->Append(parts[2]).ok());
  fuzz::Expect((*writer)->EndPagedSection().ok());
  fuzz::Expect((*writer)->AddSection(metrics::kLabelsSection, 0, 0, parts[0]).ok());
  fuzz::Expect((*writer)->AddSection(metrics::kDirectorySection, 0, 0, parts[1]).ok());
  fuzz::Expect((*writer)->AddSection(metrics::kExemplarsSection, 0, 0, parts[3]).ok());
  fuzz::Expect((*writer)->AddSection(metrics::kMetadataSection, 0, 0, parts[4]).ok());
  block::BlockMeta meta;
  meta.id = 1;
  fuzz::Expect((*writer)->Finish(meta).ok());
  const auto block = metrics::MetricsBlock::Open(*fs, "/d/" + block::BlockFileName(1));
  if (!block.ok()) return 0;
  for (const Status& status : (*block)->VerifyAll()) {
    fuzz::Expect(status.code() == StatusCode::kDataLoss);
  }
  (void)(*block)->Stats();
  return 0;
}
