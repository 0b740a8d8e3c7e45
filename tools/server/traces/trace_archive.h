#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "varve/database.h"

namespace varve::api {

/// Keeps copies of chosen traces for ever: Jaeger's archive. It is a database of its own, without
/// retention, which appears with the first trace that is archived. Thread-safe.
///
/// A copy is of the spans that are stored when it is asked for; asking again adds what has come
/// since. A trace comes over in pieces, each durable: a crash may leave part of a trace whose
/// archiving was never acknowledged, and asking again completes it.
class TraceArchive {
 public:
  /// Opens the archive's database. `create` says whether it may be made; kNotFound if not.
  using Open = std::function<Result<std::unique_ptr<Database>>(bool create)>;

  /// Without `open` there is no archive: nothing is found and nothing can be added.
  explicit TraceArchive(Open open) : open_(std::move(open)) {}
  ~TraceArchive() { Close().IgnoreError(); }

  /// Copies a trace; durable on return. Errors: kNotFound if neither `store` nor the archive has
  /// it, kUnimplemented without an archive, those of reading, opening and appending.
  Status Add(const TraceSnapshot& store, const TraceId& id);
  /// Returns a view of what is archived; null if nothing ever was.
  Result<std::shared_ptr<const TraceSnapshot>> TakeSnapshot();
  /// Writes a copy into `dir`, which must not exist; nothing if nothing was ever archived.
  Status Backup(const std::string& dir, const BackupOptions& options);
  /// Call it when no other call is running, and no view is left.
  Status Close();

 private:
  Result<Database*> Get(bool create);

  const Open open_;
  absl::Mutex mutex_;
  std::unique_ptr<Database> database_ ABSL_GUARDED_BY(mutex_);
  bool absent_ ABSL_GUARDED_BY(mutex_) = false;  // known not to exist
};

/// Reads traces by id from the store, together with what the archive has of them. Immutable and
/// thread-safe.
class TraceLookup {
 public:
  explicit TraceLookup(std::shared_ptr<const TraceSnapshot> view) : views_{std::move(view)} {}
  /// Takes views of both. `archive` may be null. Errors: those of taking them.
  static Result<TraceLookup> Make(Database& store, TraceArchive* archive);

  /// Adds the spans of a trace to `out`, of which the returned indices, by start, are the trace:
  /// spans that both have count once. Empty if there is no such trace.
  Result<std::vector<uint32_t>> Get(const TraceId& id, SpanBatch* out) const;
  Result<bool> Has(const TraceId& id) const;
  const TraceSnapshot& store() const { return *views_.front(); }

 private:
  std::vector<std::shared_ptr<const TraceSnapshot>> views_;  // the store's first
};

}  // namespace varve::api
