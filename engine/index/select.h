#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/strings.h"
#include "engine/index/matchers.h"
#include "engine/index/postings.h"
#include "varve/scan.h"

namespace varve::index {

/// Answers matchers over any index that offers these (all const):
///   bool FindName(std::string_view name, uint32_t* id)
///   size_t ValueCount(uint32_t name)      values are 0 .. ValueCount - 1, in any order
///   Postings All(), WithName(uint32_t name)
///   Postings EqualTo(uint32_t name, std::string_view value)
///   void AcceptedValues(const CompiledMatcher&, uint32_t name, std::vector<uint32_t>* values)
///                                         ascending
///   Postings UnionOf(uint32_t name, std::span<const uint32_t> values)
///   std::string_view ValueOf(uint32_t ordinal, uint32_t name)   empty if absent
///   bool PreferDirect(uint32_t name, size_t candidates)
///                                         tests labels rather than make postings of a name
///   std::optional<Postings> Recall(const CompiledMatcher&) and
///   void Remember(const CompiledMatcher&, const Postings&)
///                                         for DifferingSet; may do nothing
/// Sets may be borrowed from the index; the result may be too.
template <typename Source>
class Selection {
 public:
  explicit Selection(const Source& source) : source_(source) {}

  Postings Run(std::span<const CompiledMatcher> matchers) {
    std::vector<Pending> listed;
    std::vector<Pending> scanned;
    for (const CompiledMatcher& matcher : matchers) {
      uint32_t name = 0;
      if (!source_.FindName(matcher.name(), &name)) {
        if (matcher.MatchesEmpty()) continue;
        return {};
      }
      if (matcher.accepts_all()) {
        if (matcher.negative()) return {};
        continue;
      }
      const std::vector<std::string>* literals = matcher.literals();
      const bool lookup =
          matcher.accepts_all_but_empty() || (literals && literals->size() <= kLookupsMax);
      (lookup ? listed : scanned).push_back({&matcher, name});
    }
    // Equalities narrow most and cost least; the metric name is the best of them.
    std::sort(listed.begin(), listed.end(), [](const Pending& a, const Pending& b) {
      return Rank(*a.matcher) < Rank(*b.matcher);
    });
    std::vector<Postings> include;
    std::vector<Postings> exclude;
    size_t smallest = SIZE_MAX;
    for (const Pending& pending : listed) {
      if (smallest != SIZE_MAX && source_.PreferDirect(pending.name, smallest)) {
        scanned.insert(scanned.begin(), pending);
        continue;
      }
      Postings set = Lookup(*pending.matcher, pending.name);
      if (pending.matcher->MatchesEmpty()) {
        exclude.push_back(std::move(set));
      } else {
        if (set.empty()) return {};
        smallest = std::min(smallest, set.size());
        include.push_back(std::move(set));
      }
    }
    bool all = include.empty() && exclude.empty();  // nothing has narrowed the candidates yet
    Postings candidates = include.empty() ? source_.All() : AndAll(std::move(include));
    for (const Postings& set : exclude) candidates = AndNot(candidates, set);
    for (const Pending& pending : scanned) {
      if (candidates.empty()) break;
      candidates = Restrict(std::move(candidates), all, *pending.matcher, pending.name);
      all = false;
    }
    return candidates;
  }

 private:
  struct Pending {
    const CompiledMatcher* matcher;
    uint32_t name;
  };
  static constexpr size_t kLookupsMax = 8;

  static int Rank(const CompiledMatcher& matcher) {
    if (matcher.MatchesEmpty()) return 3;
    if (matcher.literals() == nullptr) return 2;
    return matcher.name() == kMetricName ? 0 : 1;
  }

  /// Returns the series whose value is accepted otherwise than the empty one is. Those are what a
  /// matcher that rejects the empty value keeps, and what one that takes it removes.
  Postings DifferingSet(const CompiledMatcher& matcher, uint32_t name) {
    std::vector<uint32_t> values;
    source_.AcceptedValues(matcher, name, &values);
    const size_t count = source_.ValueCount(name);
    const bool invert = values.size() > count / 2;
    if (invert) {
      std::vector<uint32_t> others;
      others.reserve(count - values.size());
      size_t at = 0;
      for (uint32_t value = 0; value < count; ++value) {
        if (at < values.size() && values[at] == value) {
          ++at;
        } else {
          others.push_back(value);
        }
      }
      values = std::move(others);
    }
    Postings set = source_.UnionOf(name, values);
    return invert == matcher.accepts_empty() ? set : AndNot(source_.WithName(name), set);
  }

  /// The same for matchers whose accepted values are known beforehand.
  Postings Lookup(const CompiledMatcher& matcher, uint32_t name) {
    if (matcher.accepts_all_but_empty()) return source_.WithName(name);
    const std::vector<std::string>& literals = *matcher.literals();
    Postings set;
    if (literals.size() == 1) {
      if (!literals[0].empty()) set = source_.EqualTo(name, literals[0]);
    } else {
      PostingsUnion all;
      for (const std::string& literal : literals) {
        if (!literal.empty()) all.Add(source_.EqualTo(name, literal));
      }
      set = all.Finish();
    }
    return matcher.accepts_empty() ? AndNot(source_.WithName(name), set) : set;
  }

  /// Keeps the candidates, which are `all` series or some, that a matcher takes.
  Postings Restrict(Postings candidates, bool all, const CompiledMatcher& matcher, uint32_t name) {
    std::optional<Postings> set = source_.Recall(matcher);
    if (!set && (candidates.size() <= source_.ValueCount(name) / 4 + 64 ||
                 source_.PreferDirect(name, candidates.size()))) {
      return TestEach(candidates, matcher, name);
    }
    if (!set) {
      set = DifferingSet(matcher, name);
      source_.Remember(matcher, *set);
    }
    if (matcher.MatchesEmpty()) return AndNot(candidates, *set);
    return all ? *std::move(set) : And(candidates, *set);
  }

  Postings TestEach(const Postings& candidates, const CompiledMatcher& matcher, uint32_t name) {
    std::vector<uint32_t> kept;
    // Neighbours often share a value: the same bytes, not only equal ones.
    const char* last = nullptr;
    bool last_matches = matcher.MatchesEmpty();
    candidates.ForEach([&](uint32_t ordinal) {
      const std::string_view value = source_.ValueOf(ordinal, name);
      const char* bytes = value.empty() ? nullptr : value.data();
      if (bytes != last) {
        last = bytes;
        last_matches = bytes == nullptr ? matcher.MatchesEmpty() : matcher.Matches(value);
      }
      if (last_matches) kept.push_back(ordinal);
    });
    return Postings::FromUnsorted(std::move(kept));
  }

  const Source& source_;
};

/// Keeps the `top` largest of what it is shown (0: all), largest first, then by name.
class TopCounts {
 public:
  explicit TopCounts(size_t top) : top_(top) {}
  template <typename MakeName>
  void Add(uint64_t value, MakeName&& make_name) {
    if (top_ != 0 && entries_.size() >= top_ && value < least_) return;
    entries_.push_back({make_name(), value});
    if (top_ != 0 && entries_.size() >= 4 * top_ + 64) Trim();
  }
  std::vector<CardinalityEntry> Take() {
    Trim();
    return std::move(entries_);
  }

 private:
  void Trim() {
    std::sort(entries_.begin(), entries_.end(),
              [](const CardinalityEntry& a, const CardinalityEntry& b) {
                return a.value != b.value ? a.value > b.value : a.name < b.name;
              });
    if (top_ == 0) return;
    if (entries_.size() > top_) entries_.resize(top_);
    if (entries_.size() == top_) least_ = entries_.back().value;
  }
  size_t top_;
  uint64_t least_ = 0;
  std::vector<CardinalityEntry> entries_;
};

/// Gathers a Cardinality from all label pairs in use, shown name by name.
class CardinalityCounter {
 public:
  explicit CardinalityCounter(size_t top) : metrics_(top), values_(top), bytes_(top), pairs_(top) {}

  void BeginName(std::string_view name) {
    EndName();
    name_ = name;
  }
  void AddValue(std::string_view value, uint64_t series) {
    ++name_values_;
    name_bytes_ += value.size() * series;
    const auto make = [&] { return std::string(value); };
    if (name_ == kMetricName) metrics_.Add(series, make);
    pairs_.Add(series, [&] { return Concat(name_, "=", value); });
  }
  Cardinality Finish(uint64_t series) {
    EndName();
    Cardinality out;
    out.series = series;
    out.label_pairs = all_values_;
    out.series_by_metric = metrics_.Take();
    out.values_by_label = values_.Take();
    out.bytes_by_label = bytes_.Take();
    out.series_by_label_pair = pairs_.Take();
    return out;
  }

 private:
  void EndName() {
    if (name_values_ > 0) {
      const auto make = [&] { return std::string(name_); };
      values_.Add(name_values_, make);
      bytes_.Add(name_bytes_, make);
      all_values_ += name_values_;
    }
    name_values_ = 0;
    name_bytes_ = 0;
  }
  std::string_view name_;
  uint64_t name_values_ = 0;
  uint64_t name_bytes_ = 0;
  uint64_t all_values_ = 0;
  TopCounts metrics_;
  TopCounts values_;
  TopCounts bytes_;
  TopCounts pairs_;
};

}  // namespace varve::index
