#include "engine/metrics/snapshot.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::metrics {
namespace {

class MergedSeriesSet final : public SeriesSet {
 public:
  explicit MergedSeriesSet(MergedSeries series) : series_(std::move(series)) {}
  size_t size() const override { return series_.size(); }
  void GetLabels(size_t i, std::vector<LabelView>* out) const override {
    series_.GetLabels(i, out);
  }
  std::string_view GetLabel(size_t i, std::string_view name) const override {
    return series_.GetLabel(i, name);
  }
  Status GetChunks(size_t i, TimeRange range, std::vector<Chunk>* out) const override {
    out->clear();
    VARVE_RETURN_IF_ERROR(series_.GetChunks(i, range, out));
    // A merged run may reach further than its parts that overlapped the range.
    std::erase_if(*out, [&](const Chunk& chunk) { return !chunk.range().Overlaps(range); });
    return absl::OkStatus();
  }

 private:
  MergedSeries series_;
};

void SortUnique(std::vector<std::string>* values) {
  std::sort(values->begin(), values->end());
  values->erase(std::unique(values->begin(), values->end()), values->end());
}

class MergedSnapshot final : public Snapshot, public StableSnapshot {
 public:
  MergedSnapshot(std::vector<SourcePtr> sources, const Stability& stability,
                 std::shared_ptr<const AppendTimes> append_times)
      : sources_(std::move(sources)),
        stability_(stability),
        append_times_(std::move(append_times)) {}

  Stability stability() const override { return stability_; }
  int64_t UnchangedBefore(const Stability& other) const override {
    // Either may be the older one. Appends after both count as well, which only makes the answer
    // more careful.
    const int64_t settled = std::min(other.settled_before_ms, stability_.settled_before_ms);
    if (append_times_ == nullptr) return settled;
    return std::max(settled,
                    append_times_->OldestSince(std::min(other.appends, stability_.appends)));
  }

  Result<std::unique_ptr<SeriesSet>> Select(std::span<const Matcher> matchers,
                                            TimeRange range) const override {
    VARVE_ASSIGN_OR_RETURN(MergedSeries merged, SelectMerged(matchers, range));
    return std::make_unique<MergedSeriesSet>(std::move(merged));
  }

  Result<LookupResult> LabelNames(std::span<const Matcher> matchers, TimeRange range,
                                  LookupLimit limit) const override {
    return Lookup(matchers, range, limit,
                  [](const Source& source, const std::vector<uint32_t>* within, size_t most,
                     std::vector<std::string>* out) { source.LabelNames(within, most, out); });
  }
  Result<LookupResult> LabelValues(std::string_view name, std::span<const Matcher> matchers,
                                   TimeRange range, LookupLimit limit) const override {
    return Lookup(
        matchers, range, limit,
        [name](const Source& source, const std::vector<uint32_t>* within, size_t most,
               std::vector<std::string>* out) { source.LabelValues(name, within, most, out); });
  }

  Result<std::vector<SeriesExemplars>> Exemplars(std::span<const Matcher> matchers,
                                                 TimeRange range) const override {
    // An exemplar may stand beside samples of another time, so series are not cut by time.
    VARVE_ASSIGN_OR_RETURN(const MergedSeries merged, SelectMerged(matchers, TimeRange{}));
    std::vector<std::vector<Exemplar>> found(merged.size());
    for (uint32_t s = 0; s < merged.sources().size(); ++s) {
      std::vector<uint32_t> series;
      std::vector<size_t> entries;
      for (size_t i = 0; i < merged.size(); ++i) {
        for (const MergedSeries::Member& member : merged.members(i)) {
          if (member.source != s) continue;
          series.push_back(member.series);
          entries.push_back(i);
        }
      }
      std::vector<std::pair<uint32_t, Exemplar>> part;
      VARVE_RETURN_IF_ERROR(merged.sources()[s]->GetExemplars(series, range, &part));
      for (auto& [position, exemplar] : part) {
        found[entries[position]].push_back(std::move(exemplar));
      }
    }
    std::vector<SeriesExemplars> out;
    std::vector<LabelView> labels;
    for (size_t i = 0; i < merged.size(); ++i) {
      if (found[i].empty()) continue;
      std::stable_sort(found[i].begin(), found[i].end(),
                       [](const Exemplar& a, const Exemplar& b) { return a.time_ms < b.time_ms; });
      const auto same = [](const Exemplar& a, const Exemplar& b) {
        return a.time_ms == b.time_ms && a.labels == b.labels &&
               std::bit_cast<uint64_t>(a.value) == std::bit_cast<uint64_t>(b.value);
      };
      found[i].erase(std::unique(found[i].begin(), found[i].end(), same), found[i].end());
      merged.GetLabels(i, &labels);
      out.push_back({Labels(LabelsView(labels)), std::move(found[i])});
    }
    return out;
  }

  std::map<std::string, std::vector<Metadata>> FamilyMetadata() const override {
    std::map<std::string, std::vector<Metadata>> out;
    // What cannot be read is missing here and reported by Verify; metadata is advice.
    for (const SourcePtr& source : sources_) source->AddMetadata(&out).IgnoreError();
    return out;
  }

  Result<Cardinality> CardinalityStats(size_t top) const override {
    // Sources share most series, so sums would count them often: each number is the largest that
    // any source has, and the union is counted for the total.
    VARVE_ASSIGN_OR_RETURN(const MergedSeries merged, SelectMerged({}, TimeRange{}));
    Cardinality out;
    out.min_time_ms = time_range().min_ms;
    out.max_time_ms = time_range().max_ms;
    std::map<std::string, uint64_t> by_metric, by_label, bytes, by_pair;
    const auto take = [](const std::vector<CardinalityEntry>& list,
                         std::map<std::string, uint64_t>* all) {
      for (const CardinalityEntry& entry : list) {
        uint64_t& value = (*all)[entry.name];
        value = std::max(value, entry.value);
      }
    };
    for (const SourcePtr& source : sources_) {
      const Cardinality one = source->CardinalityStats(0);
      out.chunks += one.chunks;
      take(one.series_by_metric, &by_metric);
      take(one.values_by_label, &by_label);
      take(one.bytes_by_label, &bytes);
      take(one.series_by_label_pair, &by_pair);
    }
    out.series = merged.size();
    out.label_pairs = by_pair.size();
    const auto give = [top](const std::map<std::string, uint64_t>& all) {
      std::vector<CardinalityEntry> list;
      for (const auto& [name, value] : all) list.push_back({name, value});
      std::stable_sort(list.begin(), list.end(),
                       [](const auto& a, const auto& b) { return a.value > b.value; });
      if (top > 0 && list.size() > top) list.resize(top);
      return list;
    };
    out.series_by_metric = give(by_metric);
    out.values_by_label = give(by_label);
    out.bytes_by_label = give(bytes);
    out.series_by_label_pair = give(by_pair);
    return out;
  }

  TimeRange time_range() const override {
    TimeRange all{kMaxTime, kMinTime};
    for (const SourcePtr& source : sources_) {
      const TimeRange own = source->range();
      if (own.min_ms > own.max_ms) continue;
      all.min_ms = std::min(all.min_ms, own.min_ms);
      all.max_ms = std::max(all.max_ms, own.max_ms);
    }
    return all;
  }

 private:
  Result<MergedSeries> SelectMerged(std::span<const Matcher> matchers, TimeRange range) const {
    VARVE_ASSIGN_OR_RETURN(const std::vector<index::CompiledMatcher> compiled,
                           index::CompileMatchers(matchers));
    std::vector<std::vector<uint32_t>> selected;
    for (const SourcePtr& source : sources_) {
      VARVE_ASSIGN_OR_RETURN(std::vector<uint32_t> series, source->Select(compiled, range));
      selected.push_back(std::move(series));
    }
    return MergedSeries::Merge(sources_, selected);
  }

  template <typename F>
  Result<LookupResult> Lookup(std::span<const Matcher> matchers, TimeRange range, LookupLimit limit,
                              F&& lookup) const {
    VARVE_ASSIGN_OR_RETURN(const std::vector<index::CompiledMatcher> compiled,
                           index::CompileMatchers(matchers));
    // One more than asked for tells that something was left out.
    const size_t most = limit.values_max == 0 ? 0 : limit.values_max + 1;
    LookupResult out;
    for (const SourcePtr& source : sources_) {
      if (!source->range().Overlaps(range)) continue;
      if (compiled.empty() && !source->has_hidden_series()) {
        lookup(*source, nullptr, most, &out.values);
        continue;
      }
      VARVE_ASSIGN_OR_RETURN(const std::vector<uint32_t> within, source->Select(compiled, range));
      if (!within.empty()) lookup(*source, &within, most, &out.values);
    }
    SortUnique(&out.values);
    if (limit.values_max > 0 && out.values.size() > limit.values_max) {
      out.values.resize(limit.values_max);
      out.truncated = true;
    }
    return out;
  }

  std::vector<SourcePtr> sources_;
  const Stability stability_;
  const std::shared_ptr<const AppendTimes> append_times_;
};

}  // namespace

std::shared_ptr<const Snapshot> MakeSnapshot(std::vector<SourcePtr> sources,
                                             const Stability& stability,
                                             std::shared_ptr<const AppendTimes> append_times) {
  return std::make_shared<const MergedSnapshot>(std::move(sources), stability,
                                                std::move(append_times));
}

}  // namespace varve::metrics
