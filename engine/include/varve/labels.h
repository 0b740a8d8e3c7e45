#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/status.h"

namespace varve {

/// The label that holds a metric's name.
inline constexpr std::string_view kMetricName = "__name__";

/// Refers to one label; the bytes belong to whoever made the view.
struct LabelView {
  std::string_view name;
  std::string_view value;
  friend bool operator==(const LabelView&, const LabelView&) = default;
  friend auto operator<=>(const LabelView&, const LabelView&) = default;
};

/// A label set in canonical form: sorted by name (bytewise), names unique, no empty value.
/// A span does not prove that; functions that need it say so, and IsCanonical tests it.
using LabelsView = std::span<const LabelView>;

/// Tests the canonical form. Cost: one pass.
bool IsCanonical(LabelsView labels);

/// Orders two canonical label sets as Prometheus does: label by label, name before value, a
/// prefix first.
std::strong_ordering CompareLabels(LabelsView a, LabelsView b);

/// Returns the value of `name`, or an empty view. An absent label and an empty one are the same.
std::string_view FindLabel(LabelsView labels, std::string_view name);

/// Identifies a series: XXH3-128 of its canonical label set, each name and value followed by
/// 0xff (a byte that UTF-8 never contains; the lengths are hashed as well, so that other bytes
/// cannot collide by shifting).
struct SeriesKey {
  uint64_t low = 0;
  uint64_t high = 0;
  friend bool operator==(const SeriesKey&, const SeriesKey&) = default;
  friend auto operator<=>(const SeriesKey&, const SeriesKey&) = default;
};
/// Hashes a canonical label set. Cost: about 20 ns for a usual one; no allocation.
SeriesKey KeyOf(LabelsView labels);

/// Owns a canonical label set in one buffer. Copying costs two allocations; a moved-from set is
/// empty. Views that it hands out live until it is changed, moved or destroyed.
class Labels {
 public:
  Labels() = default;
  /// Sorts, drops empty values, and keeps the last of two equal names. To refuse such input
  /// instead, use Make.
  Labels(std::initializer_list<std::pair<std::string_view, std::string_view>> labels);
  explicit Labels(LabelsView labels);
  Labels(const Labels& other);
  Labels(Labels&& other) noexcept;
  Labels& operator=(const Labels& other);
  Labels& operator=(Labels&& other) noexcept;
  ~Labels() = default;

  /// Sorts `labels`. Errors: kInvalidArgument for an empty or repeated name (the message names
  /// it). Empty values are dropped.
  static Result<Labels> Make(std::vector<LabelView> labels);

  LabelsView view() const { return views_; }
  operator LabelsView() const { return views_; }  // NOLINT(google-explicit-constructor)
  size_t size() const { return views_.size(); }
  bool empty() const { return views_.empty(); }
  const LabelView& operator[](size_t i) const { return views_[i]; }
  auto begin() const { return views_.begin(); }
  auto end() const { return views_.end(); }
  std::string_view Get(std::string_view name) const { return FindLabel(views_, name); }
  std::string_view metric_name() const { return Get(kMetricName); }
  SeriesKey key() const { return KeyOf(views_); }

  friend bool operator==(const Labels& a, const Labels& b) {
    return CompareLabels(a.views_, b.views_) == std::strong_ordering::equal;
  }
  friend std::strong_ordering operator<=>(const Labels& a, const Labels& b) {
    return CompareLabels(a.views_, b.views_);
  }

 private:
  void Assign(LabelsView labels);

  std::string bytes_;
  std::vector<LabelView> views_;  // into bytes_
};

/// Prints `{a="1", b="2"}` with Go's %q escapes, the metric name in front where there is one:
/// Prometheus's own form.
std::string ToString(LabelsView labels);

enum class MatchType : uint8_t { kEqual = 0, kNotEqual = 1, kRegex = 2, kNotRegex = 3 };

/// Selects series by one label. A series without the label has the empty value. Regular
/// expressions are RE2's, anchored at both ends, and the dot matches a newline.
struct Matcher {
  MatchType type = MatchType::kEqual;
  std::string name;
  std::string value;
  friend bool operator==(const Matcher&, const Matcher&) = default;
};
/// Prints `name=~"value"`.
std::string ToString(const Matcher& matcher);

}  // namespace varve
