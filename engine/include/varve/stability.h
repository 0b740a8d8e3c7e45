#pragma once

#include <cstdint>

#include "varve/sample.h"

namespace varve {

/// Stands for the samples of a snapshot as they were when it was taken, for those who keep what
/// they computed from them.
struct Stability {
  /// Every sample older than this is final: later ones that old are refused. kMinTime: none is.
  int64_t settled_before_ms = kMinTime;
  /// Changes when samples of any age have changed: by a deletion, a bulk load or expiry. Grows; no
  /// two databases of a process have the same. 0: nothing computed may be kept.
  uint64_t epoch = 0;
  /// How many appends came before.
  uint64_t appends = 0;
};

/// What a Snapshot may be besides: one that knows how its database has changed since another one
/// was taken. Those of a Database are.
class StableSnapshot {
 public:
  virtual ~StableSnapshot() = default;
  /// Names the state of this snapshot.
  virtual Stability stability() const = 0;
  /// Tells up to when this snapshot has the samples of another one of the same epoch, whose state
  /// was `other`: all older than the returned time are the same.
  virtual int64_t UnchangedBefore(const Stability& other) const = 0;
};

}  // namespace varve
