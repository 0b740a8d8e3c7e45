#pragma once

#include <array>
#include <cstdint>

#include "query/plan/plan.h"

namespace varve::query::plan {

/// Stands for everything that decides what a plan computes; two plans that compute the same thing
/// from the same samples at the same steps have equal ones. Places are not part of it.
using PlanKey = std::array<uint64_t, 2>;

/// Hashes a node with what is below it, given the keys of its children. Cost: its own fields.
PlanKey KeyOf(const Node& node, const std::vector<PlanKey>& children);
/// Hashes a whole plan. Cost: its size.
PlanKey KeyOf(const Node& node);

}  // namespace varve::query::plan
