#include <algorithm>
#include <map>

#include "query/plan/identity.h"
#include "query/plan/plan.h"

namespace varve::query::plan {
namespace {

/// Where a part of the plan is evaluated: the query's own steps, once for all of them, or the steps
/// of a subquery. Parts are only shared within one such place.
struct Occurrence {
  uint32_t grid;
  PlanKey key;
  auto operator<=>(const Occurrence&) const = default;
};

/// Says whether evaluating a part twice costs more than keeping its result. It must read samples;
/// bare selectors mostly cost what a copy of their rows costs.
bool WorthSharing(const Node& node) {
  switch (node.kind) {
    case NodeKind::kAggregate:
    case NodeKind::kCall:
    case NodeKind::kBinary:
      return true;
    case NodeKind::kOnce:
      return WorthSharing(*node.children[0]);
    default:
      return false;
  }
}

class Sharer {
 public:
  void Run(NodePtr& root) {
    Count(*root, 0);
    Wrap(root, 0);
  }

 private:
  using Where = std::map<Occurrence, std::vector<Node*>>;

  /// Says which grid the children of a node are on.
  uint32_t GridBelow(const Node& node, uint32_t grid) {
    if (node.kind != NodeKind::kSubquery && node.kind != NodeKind::kOnce) return grid;
    auto [at, fresh] = grids_.try_emplace(&node, 0);
    if (fresh) at->second = static_cast<uint32_t>(grids_.size());
    return at->second;
  }

  /// Finds out which parts come more than once, and which read samples.
  PlanKey Count(Node& node, uint32_t grid) {
    const uint32_t below = GridBelow(node, grid);
    std::vector<PlanKey> keys;
    bool reads = node.kind == NodeKind::kSelector || node.kind == NodeKind::kMatrix;
    for (const NodePtr& child : node.children) {
      keys.push_back(Count(*child, below));
      reads |= reads_[child.get()];
    }
    const PlanKey key = KeyOf(node, keys);
    keys_[&node] = key;
    reads_[&node] = reads;
    where_[{grid, key}].push_back(&node);
    return key;
  }

  void Wrap(NodePtr& node, uint32_t grid) {
    if (WorthSharing(*node) && reads_[node.get()]) {
      const std::vector<Node*>& same = where_[{grid, keys_[node.get()]}];
      if (same.size() > 1) {
        auto [at, fresh] = ids_.try_emplace({grid, keys_[node.get()]}, 0);
        std::string place = node->place;
        if (fresh) {
          at->second = static_cast<uint32_t>(ids_.size());
          // The one that is evaluated speaks for all: its notes name the places of each.
          for (size_t i = 1; i < same.size(); ++i) AddPlaces(*same[0], *same[i]);
        }
        auto shared = std::make_unique<Node>(NodeKind::kShared);
        shared->type = node->type;
        shared->place = std::move(place);
        shared->shared_id = at->second;
        shared->shared_uses = static_cast<uint32_t>(same.size());
        shared->children.push_back(std::move(node));
        node = std::move(shared);
        return;
      }
    }
    const uint32_t below = GridBelow(*node, grid);
    const bool info =
        node->kind == NodeKind::kCall && node->function->id == promql::FunctionId::kInfo;
    for (size_t i = 0; i < node->children.size(); ++i) {
      if (info && i == 1) continue;  // selects labels; never evaluated
      Wrap(node->children[i], below);
    }
  }

  static void AddPlace(std::string& to, const std::string& place) {
    if (!place.empty() && place != to) to += kPlaceSeparator + place;
  }
  static void AddPlaces(Node& to, const Node& from) {
    AddPlace(to.place, from.place);
    AddPlace(to.selection.place, from.selection.place);
    for (size_t i = 0; i < to.children.size(); ++i) AddPlaces(*to.children[i], *from.children[i]);
  }

  std::map<const Node*, uint32_t> grids_;
  std::map<const Node*, PlanKey> keys_;
  std::map<const Node*, bool> reads_;
  Where where_;
  std::map<Occurrence, uint32_t> ids_;
};

}  // namespace

void ShareCommon(NodePtr& node) { Sharer().Run(node); }

}  // namespace varve::query::plan
