#pragma once

#include "tools/promqltest/storage.h"

namespace varve::promqltest {

/// Runs `varve promqltest [--verbose] [--before=flush|compact|restart|crash] FILE...` and prints
/// one line a file, `file: passed/total`, then the differences. `argv[0]` is the command's name.
/// Returns the exit code: 0 if everything passed, 1 if not, 2 for wrong usage.
/// Scripts run on a varve::Database on a file system in memory.
int RunPromqlTest(int argc, const char* const* argv);

/// Does the same on another storage.
int RunPromqlTestOn(int argc, const char* const* argv, const StorageFactory& storage);

}  // namespace varve::promqltest
