#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "varve/scan.h"

namespace varve::testing {

/// What a synthetic snapshot holds: `metrics` x `targets` x `per_target` series, each with
/// `samples` samples `interval_ms` apart. All series of a target share their timestamps, as scraped
/// ones do.
struct SyntheticShape {
  std::string metric = "requests_total";
  uint32_t targets = 10;
  uint32_t per_target = 100;
  uint32_t samples = 240;
  int64_t start_ms = 0;
  int64_t interval_ms = 15'000;
  int64_t jitter_ms = 0;          // of timestamps, per target
  double reset_chance = 0;        // of a counter, per sample
  bool counters = true;           // else random gauges
  bool histogram_labels = false;  // gives each series an "le" label, per_target bounds a group
  uint32_t chunk_samples = 480;
  bool flags = true;        // sets chunk flags and axis ids
  double stale_chance = 0;  // turns samples into stale markers
  uint64_t seed = 1;
};

/// Makes a snapshot that decodes by copying: what is measured over it is the evaluator.
std::shared_ptr<const Snapshot> MakeSyntheticSnapshot(const SyntheticShape& shape);

}  // namespace varve::testing
