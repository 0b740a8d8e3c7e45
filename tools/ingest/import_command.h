#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include "tools/ingest/importers.h"
#include "varve/options.h"

namespace varve::ingest {

enum class ImportKind : uint8_t { kSeries, kPrometheus };

/// The arguments of `varve import series|prometheus --data DIR PATH`.
struct ImportCommand {
  ImportKind kind = ImportKind::kSeries;
  Options database;  // `dir` is --data
  std::string path;
  bool json = false;      // a machine-readable summary on `out`, nothing else
  bool progress = false;  // a progress bar on `err`; give isatty(2)
};

/// Opens the database, imports, closes it, and prints what happened: a summary on `out`, errors
/// that name file and offset on `err`. Returns the exit code: 0, or 1 when nothing was imported.
int RunImportCommand(const ImportCommand& command, std::ostream& out, std::ostream& err);

}  // namespace varve::ingest
