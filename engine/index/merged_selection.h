#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/labels.h"

namespace varve::index {

/// Series (or streams) of several sources merged by labels: entry i is a list of (source, ordinal)
/// in the order of sources. A source offers `void GetLabels(uint32_t ordinal,
/// std::vector<LabelView>*) const` and `std::string_view GetLabel(uint32_t ordinal,
/// std::string_view name) const`.
template <typename SourcePtr>
class MergedSelection {
 public:
  struct Member {
    uint32_t source;
    uint32_t series;
  };
  MergedSelection() = default;
  /// `selected[s]` are ordinals of `sources[s]` in label order.
  MergedSelection(std::vector<SourcePtr> sources,
                  const std::vector<std::vector<uint32_t>>& selected);

  size_t size() const { return begins_.size() - 1; }
  std::span<const Member> members(size_t i) const {
    return std::span(members_).subspan(begins_[i], begins_[i + 1] - begins_[i]);
  }
  void GetLabels(size_t i, std::vector<LabelView>* out) const {
    const Member& first = members(i)[0];
    sources_[first.source]->GetLabels(first.series, out);
  }
  std::string_view GetLabel(size_t i, std::string_view name) const {
    const Member& first = members(i)[0];
    return sources_[first.source]->GetLabel(first.series, name);
  }
  const std::vector<SourcePtr>& sources() const { return sources_; }

 private:
  std::vector<SourcePtr> sources_;
  std::vector<Member> members_;
  std::vector<size_t> begins_{0};  // into members_, one more than there are entries
};

template <typename SourcePtr>
MergedSelection<SourcePtr>::MergedSelection(std::vector<SourcePtr> sources,
                                            const std::vector<std::vector<uint32_t>>& selected)
    : sources_(std::move(sources)) {
  const auto add = [this](Member member) { members_.push_back(member); };
  const auto end_entry = [this] { begins_.push_back(members_.size()); };
  size_t used = 0;
  uint32_t only = 0;
  for (uint32_t s = 0; s < selected.size(); ++s) {
    if (selected[s].empty()) continue;
    ++used;
    only = s;
  }
  if (used == 0) return;
  if (used == 1) {
    members_.reserve(selected[only].size());
    for (const uint32_t series : selected[only]) {
      add({only, series});
      end_entry();
    }
    return;
  }
  // Neighbouring blocks hold mostly the same series, so most steps take one from every source:
  // the cursors that equal the smallest are found by one comparison each.
  struct Cursor {
    uint32_t source;
    size_t at = 0;
    std::vector<LabelView> labels;
  };
  std::vector<Cursor> cursors;
  for (uint32_t s = 0; s < selected.size(); ++s) {
    if (selected[s].empty()) continue;
    cursors.push_back({s, 0, {}});
    sources_[s]->GetLabels(selected[s][0], &cursors.back().labels);
  }
  std::vector<size_t> smallest;
  while (!cursors.empty()) {
    smallest.assign(1, 0);
    for (size_t c = 1; c < cursors.size(); ++c) {
      const auto order = CompareLabels(cursors[c].labels, cursors[smallest[0]].labels);
      if (order < 0) {
        smallest.assign(1, c);
      } else if (order == 0) {
        smallest.push_back(c);
      }
    }
    for (const size_t c : smallest) {
      Cursor& cursor = cursors[c];
      add({cursor.source, selected[cursor.source][cursor.at]});
      if (++cursor.at < selected[cursor.source].size()) {
        sources_[cursor.source]->GetLabels(selected[cursor.source][cursor.at], &cursor.labels);
      }
    }
    end_entry();
    std::erase_if(
        cursors, [&](const Cursor& cursor) { return cursor.at >= selected[cursor.source].size(); });
  }
}

}  // namespace varve::index
