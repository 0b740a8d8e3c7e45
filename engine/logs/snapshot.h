#pragma once

#include <memory>
#include <vector>

#include "engine/logs/source.h"
#include "varve/log_scan.h"

namespace varve::logs {

/// Makes a snapshot over sources in order of precedence. It holds them until it is destroyed.
std::shared_ptr<const LogSnapshot> MakeSnapshot(std::vector<SourcePtr> sources);

}  // namespace varve::logs
