#pragma once

#include <memory>
#include <vector>

#include "engine/metrics/source.h"
#include "varve/scan.h"

namespace varve::metrics {

/// Makes a snapshot over sources in order of precedence. It holds them until it is destroyed.
std::shared_ptr<const Snapshot> MakeSnapshot(std::vector<SourcePtr> sources);

}  // namespace varve::metrics
