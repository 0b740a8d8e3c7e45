#include "query/plan/identity.h"

#include <xxhash.h>

#include <bit>
#include <string>

namespace varve::query::plan {
namespace {

/// Writes fields one after another, each with its length, so that no two lists of fields look
/// alike.
class Fields {
 public:
  void Add(std::string_view text) {
    AddInteger(text.size());
    bytes_.append(text);
  }
  template <typename T>
  void AddInteger(T value) {
    const auto wide = static_cast<uint64_t>(value);
    bytes_.append(reinterpret_cast<const char*>(&wide), sizeof wide);
  }
  void AddDouble(double value) { AddInteger(std::bit_cast<uint64_t>(value)); }
  void Add(const std::optional<int64_t>& value) {
    AddInteger(value.has_value());
    AddInteger(value.value_or(0));
  }
  void Add(const std::optional<double>& value) {
    AddInteger(value.has_value());
    AddDouble(value.value_or(0));
  }
  void Add(const std::vector<std::string>& list) {
    AddInteger(list.size());
    for (const std::string& text : list) Add(text);
  }
  PlanKey Key() const {
    const XXH128_hash_t hash = XXH3_128bits(bytes_.data(), bytes_.size());
    return {hash.low64, hash.high64};
  }

 private:
  std::string bytes_;
};

}  // namespace

PlanKey KeyOf(const Node& node, const std::vector<PlanKey>& children) {
  Fields out;
  out.AddInteger(node.kind);
  out.AddInteger(node.type);
  switch (node.kind) {
    case NodeKind::kNumber:
      out.AddDouble(node.number);
      break;
    case NodeKind::kString:
      out.Add(node.text);
      break;
    case NodeKind::kSelector:
    case NodeKind::kMatrix:
      out.AddInteger(node.selection.matchers.size());
      for (const Matcher& m : node.selection.matchers) {
        out.AddInteger(m.type);
        out.Add(m.name);
        out.Add(m.value);
      }
      out.AddInteger(node.selection.offset_ms);
      out.Add(node.selection.at_ms);
      out.AddInteger(node.selection.edges);
      out.AddInteger(node.selection.track_resets);
      out.AddInteger(node.range_ms);
      break;
    case NodeKind::kSubquery:
      out.AddInteger(node.range_ms);
      out.AddInteger(node.offset_ms);
      out.Add(node.at_ms);
      out.AddInteger(node.step_ms);
      break;
    case NodeKind::kCall:
      out.AddInteger(node.function->id);
      break;
    case NodeKind::kAggregate:
      out.AddInteger(node.aggregate);
      out.Add(node.grouping);
      out.AddInteger(node.without);
      break;
    case NodeKind::kBinary:
      out.AddInteger(node.binary);
      out.AddInteger(node.return_bool);
      out.AddInteger(node.matching.has_value());
      if (node.matching) {
        out.AddInteger(node.matching->cardinality);
        out.AddInteger(node.matching->on);
        out.Add(node.matching->labels);
        out.Add(node.matching->include);
        out.Add(node.matching->fill_left);
        out.Add(node.matching->fill_right);
      }
      break;
    case NodeKind::kNegate:
    case NodeKind::kOnce:
    case NodeKind::kShared:
      break;
  }
  for (const PlanKey& child : children) {
    out.AddInteger(child[0]);
    out.AddInteger(child[1]);
  }
  return out.Key();
}

PlanKey KeyOf(const Node& node) {
  std::vector<PlanKey> children;
  children.reserve(node.children.size());
  for (const NodePtr& child : node.children) children.push_back(KeyOf(*child));
  return KeyOf(node, children);
}

}  // namespace varve::query::plan
