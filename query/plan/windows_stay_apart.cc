#include <algorithm>
#include <array>

#include "engine/base/macros.h"
#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

constexpr TimeRange kEver{kMinTime, kMaxTime};

/// Says whether a selector finds a series, of whatever time, that names its type or unit.
Result<bool> FindsTypesOrUnits(const Snapshot& snapshot, const Node& selector) {
  for (const std::string_view label : {"__type__", "__unit__"}) {
    std::vector<Matcher> matchers = selector.selection.matchers;
    matchers.push_back({MatchType::kNotEqual, std::string(label), ""});
    VARVE_ASSIGN_OR_RETURN(const auto found, snapshot.Select(matchers, kEver));
    if (found->size() > 0) return true;
  }
  return false;
}

/// Says whether the series of a selector differ in more than in what a window function drops.
Result<bool> StayApart(const Snapshot& snapshot, const Node& selector) {
  VARVE_ASSIGN_OR_RETURN(const bool found, FindsTypesOrUnits(snapshot, selector));
  if (!found) return true;  // they have one name, so it is no part of the difference
  VARVE_ASSIGN_OR_RETURN(const auto set, snapshot.Select(selector.selection.matchers, kEver));
  std::vector<std::vector<LabelView>> rest(set->size());
  for (size_t i = 0; i < rest.size(); ++i) {
    set->GetLabels(i, &rest[i]);
    std::erase_if(rest[i], [](const LabelView& label) { return IsMetadataLabel(label.name); });
  }
  std::ranges::sort(rest);
  return std::ranges::adjacent_find(rest) == rest.end();
}

/// Says that none of the selectors of a part finds a series that names its type or unit.
Result<bool> KnowsNoTypes(const Snapshot& snapshot, const Node& node) {
  if (node.kind == NodeKind::kSelector || node.kind == NodeKind::kMatrix) {
    VARVE_ASSIGN_OR_RETURN(const bool found, FindsTypesOrUnits(snapshot, node));
    return !found;
  }
  for (const NodePtr& child : node.children) {
    VARVE_ASSIGN_OR_RETURN(const bool none, KnowsNoTypes(snapshot, *child));
    if (!none) return false;
  }
  return true;
}

}  // namespace

Result<bool> WindowsStayApart(const Snapshot& snapshot, const Node& node) {
  for (const NodePtr& child : node.children) {
    Result<bool> apart = true;
    if (node.kind == NodeKind::kCall && child->kind == NodeKind::kMatrix) {
      apart = StayApart(snapshot, *child);
    } else if (node.kind == NodeKind::kCall && child->kind == NodeKind::kSubquery) {
      // What the part inside makes of its labels is not followed here.
      apart = KnowsNoTypes(snapshot, *child);
    } else {
      apart = WindowsStayApart(snapshot, *child);
    }
    if (!apart.ok() || !*apart) return apart;
  }
  return true;
}

}  // namespace varve::query::plan
