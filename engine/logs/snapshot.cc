#include "engine/logs/snapshot.h"

#include <algorithm>
#include <utility>

#include "engine/base/macros.h"

namespace varve::logs {
namespace {

class MergedStreamSet final : public StreamSet {
 public:
  explicit MergedStreamSet(MergedStreams streams) : streams_(std::move(streams)) {}
  size_t size() const override { return streams_.size(); }
  void GetLabels(size_t i, std::vector<LabelView>* out) const override {
    streams_.GetLabels(i, out);
  }
  std::string_view GetLabel(size_t i, std::string_view name) const override {
    return streams_.GetLabel(i, name);
  }
  Status GetChunks(size_t i, NsRange range, std::vector<LogChunk>* out) const override {
    streams_.GetChunks(i, range, out);
    return absl::OkStatus();
  }

 private:
  MergedStreams streams_;
};

class MergedSnapshot final : public LogSnapshot {
 public:
  explicit MergedSnapshot(std::vector<SourcePtr> sources) : sources_(std::move(sources)) {}

  Result<std::unique_ptr<StreamSet>> Select(std::span<const Matcher> matchers, NsRange range,
                                            const LogScan* scan) const override {
    VARVE_ASSIGN_OR_RETURN(const std::vector<index::CompiledMatcher> compiled,
                           index::CompileMatchers(matchers));
    std::vector<std::vector<uint32_t>> selected;
    for (const SourcePtr& source : sources_) {
      selected.push_back(source->Select(compiled, range, scan));
    }
    return std::make_unique<MergedStreamSet>(MergedStreams(sources_, selected));
  }

  Result<LookupResult> LabelNames(std::span<const Matcher> matchers, NsRange range,
                                  LookupLimit limit) const override {
    return Lookup(matchers, range, limit,
                  [](const Source& source, const std::vector<uint32_t>* within, size_t most,
                     std::vector<std::string>* out) { source.LabelNames(within, most, out); });
  }
  Result<LookupResult> LabelValues(std::string_view name, std::span<const Matcher> matchers,
                                   NsRange range, LookupLimit limit) const override {
    return Lookup(
        matchers, range, limit,
        [name](const Source& source, const std::vector<uint32_t>* within, size_t most,
               std::vector<std::string>* out) { source.LabelValues(name, within, most, out); });
  }
  Result<LookupResult> MetadataNames(std::span<const Matcher> matchers, NsRange range,
                                     LookupLimit limit) const override {
    VARVE_ASSIGN_OR_RETURN(const std::vector<index::CompiledMatcher> compiled,
                           index::CompileMatchers(matchers));
    LookupResult out;
    for (const SourcePtr& source : sources_) {
      const std::vector<uint32_t> within = source->Select(compiled, range, nullptr);
      if (!within.empty()) source->MetadataNames(within, range, &out.values);
    }
    Cut(limit, &out);
    return out;
  }

  Result<LogVolume> Volume(std::span<const Matcher> matchers, NsRange range) const override {
    VARVE_ASSIGN_OR_RETURN(const std::vector<index::CompiledMatcher> compiled,
                           index::CompileMatchers(matchers));
    LogVolume out;
    std::vector<std::vector<uint32_t>> selected;
    for (const SourcePtr& source : sources_) {
      selected.push_back(source->Select(compiled, range, nullptr));
      for (const uint32_t stream : selected.back()) source->AddVolume(stream, range, &out);
    }
    out.streams = MergedStreams(sources_, selected).size();
    return out;
  }

  NsRange time_range() const override {
    NsRange all{kMaxTime, kMinTime};
    for (const SourcePtr& source : sources_) {
      const NsRange own = source->range();
      if (own.empty()) continue;
      all.min_ns = std::min(all.min_ns, own.min_ns);
      all.max_ns = std::max(all.max_ns, own.max_ns);
    }
    return all;
  }

 private:
  static void Cut(LookupLimit limit, LookupResult* out) {
    std::sort(out->values.begin(), out->values.end());
    out->values.erase(std::unique(out->values.begin(), out->values.end()), out->values.end());
    if (limit.values_max > 0 && out->values.size() > limit.values_max) {
      out->values.resize(limit.values_max);
      out->truncated = true;
    }
  }

  template <typename F>
  Result<LookupResult> Lookup(std::span<const Matcher> matchers, NsRange range, LookupLimit limit,
                              F&& lookup) const {
    VARVE_ASSIGN_OR_RETURN(const std::vector<index::CompiledMatcher> compiled,
                           index::CompileMatchers(matchers));
    // One more than asked for tells that something was left out.
    const size_t most = limit.values_max == 0 ? 0 : limit.values_max + 1;
    LookupResult out;
    for (const SourcePtr& source : sources_) {
      if (!source->range().Overlaps(range)) continue;
      if (compiled.empty() && !source->has_hidden_streams()) {
        lookup(*source, nullptr, most, &out.values);
        continue;
      }
      const std::vector<uint32_t> within = source->Select(compiled, range, nullptr);
      if (!within.empty()) lookup(*source, &within, most, &out.values);
    }
    Cut(limit, &out);
    return out;
  }

  std::vector<SourcePtr> sources_;
};

}  // namespace

std::shared_ptr<const LogSnapshot> MakeSnapshot(std::vector<SourcePtr> sources) {
  return std::make_shared<const MergedSnapshot>(std::move(sources));
}

}  // namespace varve::logs
