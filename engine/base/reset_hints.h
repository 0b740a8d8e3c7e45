#pragma once

#include <vector>

#include "varve/sample.h"

namespace varve {

/// Replaces the reset hints of histograms that follow each other in one series by what comparing
/// neighbours tells, as reading Prometheus's chunks does: gauges stay gauges; "not reset" where a
/// histogram has the layout of the one before and no count fell; "unknown" for the first and for
/// all others. A hint "reset" as given counts as a fall. Cost: linear in the buckets.
void DeriveResetHints(std::vector<Histogram>* histograms);

}  // namespace varve
