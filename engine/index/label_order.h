#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/index/memory_index.h"

namespace varve::index {

/// Keeps the ordinals of a MemoryIndex in label order, for heads: ordinals there follow arrival.
/// Not synchronised; guard it with the index.
class LabelOrder {
 public:
  /// Sorts `ordinals` of `index` by labels. Cost: one sort of the series that are new since the
  /// last call, then one of `ordinals` by number.
  void Sort(const MemoryIndex& index, std::vector<uint32_t>* ordinals) {
    Update(index);
    for (uint32_t& ordinal : *ordinals) ordinal = rank_[ordinal];
    std::sort(ordinals->begin(), ordinals->end());
    for (uint32_t& rank : *ordinals) rank = order_[rank];
  }

 private:
  void Update(const MemoryIndex& index) {
    const uint32_t slots = index.slots();
    if (order_.size() == slots) return;
    // New series are sorted among themselves and merged in.
    const size_t known = order_.size();
    std::vector<LabelView> a;
    std::vector<LabelView> b;
    const auto less = [&](uint32_t x, uint32_t y) {
      index.GetLabels(x, &a);
      index.GetLabels(y, &b);
      return CompareLabels(a, b) < 0;
    };
    for (uint32_t i = static_cast<uint32_t>(known); i < slots; ++i) order_.push_back(i);
    std::sort(order_.begin() + known, order_.end(), less);
    std::inplace_merge(order_.begin(), order_.begin() + known, order_.end(), less);
    rank_.resize(slots);
    for (uint32_t rank = 0; rank < slots; ++rank) rank_[order_[rank]] = rank;
  }

  std::vector<uint32_t> order_;
  std::vector<uint32_t> rank_;
};

}  // namespace varve::index
