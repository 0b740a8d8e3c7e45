#pragma once

#include <memory>
#include <vector>

#include "engine/metrics/append_times.h"
#include "engine/metrics/source.h"
#include "varve/scan.h"
#include "varve/stability.h"

namespace varve::metrics {

/// Makes a snapshot over sources in order of precedence. It holds them until it is destroyed.
/// `stability` names its state; `append_times` knows what was appended up to then, and may be null.
std::shared_ptr<const Snapshot> MakeSnapshot(
    std::vector<SourcePtr> sources, const Stability& stability = {},
    std::shared_ptr<const AppendTimes> append_times = nullptr);

}  // namespace varve::metrics
