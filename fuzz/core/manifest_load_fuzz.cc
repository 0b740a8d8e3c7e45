// Opens a manifest that may hold anything. Opening must succeed or refuse a later version; what it
// came up with must then open clean and unchanged.

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/base/macros.h"
#include "engine/block/manifest.h"
#include "engine/block/manifest_codec.h"
#include "engine/io/memory_file_system.h"
#include "engine/io/record_log.h"

using varve::block::Manifest;
using varve::block::ManifestEdit;
using varve::block::ManifestReport;
using varve::block::ManifestState;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  auto fs = std::make_shared<varve::io::MemoryFileSystem>();
  std::string manifest(input);
  std::string current = varve::block::EncodeCurrent(1);
  switch (data[0] % 4) {
    case 1:  // the bytes of one edit, well framed
      manifest = varve::io::EncodeLogHeader(varve::block::kManifestMagic, {1, 1, 42, 1});
      for (const uint8_t type : {varve::block::kEditRecord, varve::block::kEditCopyRecord}) {
        const std::string_view pieces[] = {input};
        varve::io::AppendRecord(pieces, input.size(), varve::io::PayloadChecksum(pieces), 42,
                                manifest.size(), type, 1, 0, &manifest);
      }
      break;
    case 2:  // records behind a good header
      manifest = varve::io::EncodeLogHeader(varve::block::kManifestMagic, {1, 1, 42, 1}) + manifest;
      break;
    case 3:
      current = std::string(input.substr(0, 64));
      break;
    default:
      break;
  }
  VARVE_CHECK(fs->Put("db/MANIFEST-000001", manifest).ok());
  VARVE_CHECK(fs->Put("db/CURRENT", current).ok());

  ManifestReport report;
  auto opened = Manifest::Open(fs, "db", {}, &report);
  if (!opened.ok()) {
    VARVE_CHECK(opened.status().code() == varve::StatusCode::kUnimplemented);
    return 0;
  }
  const ManifestState state = (*opened)->state();
  opened->reset();
  ManifestReport again;
  opened = Manifest::Open(fs, "db", {}, &again);
  VARVE_CHECK(opened.ok() && again.clean() && (*opened)->state() == state);
  return 0;
}
