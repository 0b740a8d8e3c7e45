#pragma once

#include <functional>
#include <memory>
#include <span>

#include "varve/labels.h"
#include "varve/options.h"
#include "varve/scan.h"
#include "varve/status.h"
#include "varve/write_batch.h"

namespace varve::promqltest {

/// Holds the data of a script.
class ScriptStorage {
 public:
  virtual ~ScriptStorage() = default;
  virtual Status Append(const WriteBatch& batch) = 0;
  virtual Result<std::shared_ptr<const Snapshot>> TakeSnapshot() = 0;
  /// Do what the commands of the same name ask. A storage without files answers OK.
  virtual Status Flush() = 0;
  virtual Status Compact() = 0;
  /// Closes and opens again; after a crash without having closed.
  virtual Status Restart(bool crash) = 0;
  virtual Status Delete(std::span<const Matcher> matchers) = 0;
};

/// Makes an empty storage.
using StorageFactory = std::function<Result<std::unique_ptr<ScriptStorage>>()>;

/// Makes storages that are a varve::Database each, on a file system in memory. A crash loses what
/// was not synced. `base` gives the other options; dir and file system are replaced, and the
/// out-of-order window is opened wide, since scripts load series one after the other.
StorageFactory DatabaseStorage(const Options& base);

}  // namespace varve::promqltest
