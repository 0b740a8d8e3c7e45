#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/block/manifest.h"
#include "engine/io/file_system.h"

namespace varve::block {

/// What stands on disk before a manifest is opened for writing.
struct LoadedManifest {
  ManifestState state;
  uint64_t base = 0;              // the file that the state comes from, 0 if none
  uint64_t last_number = 0;       // the highest in a file name
  std::vector<uint64_t> numbers;  // of all manifest files
};

/// Reads the state of the database in `dir`; salvages it if it must. Writes only to quarantine/,
/// and not at all if `read_only`. Errors: kUnavailable, kUnimplemented.
Result<LoadedManifest> LoadManifest(io::FileSystem& fs, const std::string& dir, bool read_only,
                                    ManifestReport* report);

}  // namespace varve::block
