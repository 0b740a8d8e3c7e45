#include "tools/promqltest/storage.h"

#include <utility>

#include "engine/base/macros.h"
#include "engine/io/memory_file_system.h"
#include "tools/promqltest/command.h"
#include "varve/database.h"

namespace varve::promqltest {
namespace {

class Storage final : public ScriptStorage {
 public:
  explicit Storage(const Options& base)
      : options_(base), disk_(std::make_shared<io::MemoryFileSystem>()) {
    options_.dir = "/script";
    options_.out_of_order_window = std::chrono::hours(24 * 365 * 200);
    options_.background_threads = 0;
  }

  Status Open() {
    options_.file_system = disk_;
    VARVE_ASSIGN_OR_RETURN(database_, Database::Open(options_));
    if (!database_->recovery().clean()) return database_->recovery().damage.front();
    return absl::OkStatus();
  }

  Status Append(const WriteBatch& batch) override { return database_->Append(batch).status(); }
  Result<std::shared_ptr<const Snapshot>> TakeSnapshot() override {
    return database_->TakeSnapshot();
  }
  Status Flush() override { return database_->Flush(); }
  Status Compact() override { return database_->Compact(); }

  Status Restart(bool crash) override {
    if (crash) {
      // What the disk holds now is what the next process finds; the old one ends on its own copy.
      auto left = disk_->Crash(io::CrashPolicy::kDropUnsynced, ++crashes_);
      database_.reset();
      disk_ = std::move(left);
    } else {
      VARVE_RETURN_IF_ERROR(database_->Close());
      database_.reset();
    }
    return Open();
  }

  Status Delete(std::span<const Matcher> matchers) override {
    return database_->DeleteSeries(matchers, TimeRange{});
  }

 private:
  Options options_;
  std::shared_ptr<io::MemoryFileSystem> disk_;
  std::unique_ptr<Database> database_;
  uint64_t crashes_ = 0;
};

}  // namespace

StorageFactory DatabaseStorage(const Options& base) {
  return [base]() -> Result<std::unique_ptr<ScriptStorage>> {
    auto storage = std::make_unique<Storage>(base);
    VARVE_RETURN_IF_ERROR(storage->Open());
    return storage;
  };
}

int RunPromqlTest(int argc, const char* const* argv) {
  return RunPromqlTestOn(argc, argv, DatabaseStorage(Options()));
}

}  // namespace varve::promqltest
