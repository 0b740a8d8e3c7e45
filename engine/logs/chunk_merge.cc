#include "engine/logs/chunk_merge.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "engine/base/macros.h"
#include "engine/logs/log_scan.h"
#include "engine/logs/rows.h"

namespace varve::logs {
namespace {

/// What one slice of an overlap aims at, in bytes of lines. Parts that overlap as a whole are cut
/// by time less finely, since each slice reads them again.
constexpr uint64_t kSliceBytes = 4ull << 20;
constexpr uint64_t kDenseSliceBytes = 64ull << 20;

class MergedChunk final : public LogChunk::Impl {
 public:
  MergedChunk(std::vector<LogChunk> parts, NsRange slice)
      : parts_(std::move(parts)), slice_(slice) {}

  Status Read(uint32_t, const LogScan& asked, LogRows* out, LogScanStats* stats) const override {
    // Equal entries pass or fail the filters together, so filtering first is the same.
    RowStorage* storage = StorageOf(out);
    std::vector<LogRows>& read = storage->parts;
    if (read.size() < parts_.size()) read.resize(parts_.size());
    const LogScan& scan = asked.whole();
    const uint64_t matched_before = stats->entries_matched;
    size_t total = 0;
    for (size_t i = 0; i < parts_.size(); ++i) {
      VARVE_RETURN_IF_ERROR(parts_[i].Read(scan, &read[i], stats));
      total += read[i].size();
    }
    struct Place {
      int64_t time_ns;
      uint32_t part;
      uint32_t row;
    };
    std::vector<Place> places;
    places.reserve(total);
    for (uint32_t p = 0; p < parts_.size(); ++p) {
      for (uint32_t row = 0; row < read[p].size(); ++row) {
        const int64_t time = read[p].times_ns[row];
        if (slice_.Contains(time)) places.push_back({time, p, row});
      }
    }
    // Parts are in order of precedence and rows of a part in order already.
    std::stable_sort(places.begin(), places.end(),
                     [](const Place& a, const Place& b) { return a.time_ns < b.time_ns; });
    const auto same = [&](const Place& a, const Place& b) {
      return read[a.part].lines[a.row] == read[b.part].lines[b.row] &&
             SameMetadata(read[a.part].metadata_of(a.row), read[b.part].metadata_of(b.row));
    };
    size_t kept = 0;
    absl::flat_hash_map<uint64_t, std::vector<Place>> seen;
    for (size_t i = 0; i < places.size();) {
      size_t end = i + 1;
      while (end < places.size() && places[end].time_ns == places[i].time_ns) ++end;
      const size_t run = kept;
      const bool hashed = end - i > 16;
      if (hashed) seen.clear();
      for (; i < end; ++i) {
        const Place place = places[i];
        bool repeated = false;
        if (hashed) {
          std::vector<Place>& others = seen[EntryHash(read[place.part].lines[place.row],
                                                      read[place.part].metadata_of(place.row))];
          repeated = std::any_of(others.begin(), others.end(),
                                 [&](const Place& other) { return same(other, place); });
          if (!repeated) others.push_back(place);
        } else {
          for (size_t k = run; k < kept && !repeated; ++k) repeated = same(places[k], place);
        }
        if (!repeated) places[kept++] = place;
      }
    }
    places.resize(kept);
    stats->entries_matched = matched_before + kept;

    const LogScanSpec& spec = asked.spec();
    out->times_ns.clear();
    out->lines.clear();
    out->line_lengths.clear();
    out->metadata_begin.clear();
    out->metadata.clear();
    if (spec.with_metadata) out->metadata_begin.push_back(0);
    for (const Place& place : places) {
      out->times_ns.push_back(place.time_ns);
      const std::string_view line = read[place.part].lines[place.row];
      if (spec.lines == LogScanSpec::Lines::kBytes) out->lines.push_back(line);
      if (spec.lines == LogScanSpec::Lines::kLengths) {
        out->line_lengths.push_back(static_cast<uint32_t>(line.size()));
      }
      if (!spec.with_metadata) continue;
      for (const LabelView& label : read[place.part].metadata_of(place.row)) {
        if (!spec.metadata_names.empty() &&
            std::find(spec.metadata_names.begin(), spec.metadata_names.end(), label.name) ==
                spec.metadata_names.end()) {
          continue;
        }
        out->metadata.push_back(label);
      }
      out->metadata_begin.push_back(static_cast<uint32_t>(out->metadata.size()));
    }
    return absl::OkStatus();
  }

 private:
  std::vector<LogChunk> parts_;  // in order of precedence
  NsRange slice_;
};

void AddSlice(const std::vector<MergePiece>& pieces, const std::vector<uint32_t>& cluster,
              NsRange slice, std::vector<LogChunk>* out) {
  std::vector<uint32_t> members;
  for (const uint32_t i : cluster) {
    if (pieces[i].chunk.range().Overlaps(slice)) members.push_back(i);
  }
  if (members.empty()) return;
  std::sort(members.begin(), members.end());  // by precedence
  LogChunk merged;
  merged.min_time_ns = kMaxTime;
  merged.max_time_ns = kMinTime;
  std::vector<LogChunk> parts;
  uint64_t count = 0;
  for (const uint32_t i : members) {
    const LogChunk& chunk = pieces[i].chunk;
    merged.min_time_ns = std::min(merged.min_time_ns, chunk.min_time_ns);
    merged.max_time_ns = std::max(merged.max_time_ns, chunk.max_time_ns);
    count += chunk.count;
    merged.line_bytes += chunk.line_bytes;
    parts.push_back(chunk);
  }
  merged.min_time_ns = std::max(merged.min_time_ns, slice.min_ns);
  merged.max_time_ns = std::min(merged.max_time_ns, slice.max_ns);
  merged.count = static_cast<uint32_t>(std::min<uint64_t>(count, UINT32_MAX));
  merged.impl = std::make_shared<const MergedChunk>(std::move(parts), slice);
  out->push_back(std::move(merged));
}

void AddCluster(const std::vector<MergePiece>& pieces, const std::vector<uint32_t>& cluster,
                NsRange range, std::vector<LogChunk>* out) {
  if (cluster.size() == 1) {
    out->push_back(pieces[cluster[0]].chunk);
    return;
  }
  // Cuts go where a part begins, once enough has gathered; `cluster` is sorted by first time.
  std::vector<int64_t> cuts;
  uint64_t gathered = 0;
  uint64_t largest = 0;
  for (const uint32_t i : cluster) {
    const LogChunk& chunk = pieces[i].chunk;
    const int64_t last = cuts.empty() ? range.min_ns : cuts.back();
    if (gathered >= kSliceBytes && chunk.min_time_ns > last) {
      cuts.push_back(chunk.min_time_ns);
      largest = std::max(largest, gathered);
      gathered = 0;
    }
    gathered += chunk.line_bytes;
  }
  largest = std::max(largest, gathered);
  if (largest > kDenseSliceBytes) {
    const uint64_t slices = largest / kDenseSliceBytes + 1;
    const uint64_t length =
        static_cast<uint64_t>(range.max_ns) - static_cast<uint64_t>(range.min_ns);
    for (uint64_t k = 1; k < slices; ++k) {
      cuts.push_back(
          static_cast<int64_t>(static_cast<uint64_t>(range.min_ns) + length / slices * k));
    }
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  }
  int64_t from = range.min_ns;
  for (const int64_t cut : cuts) {
    if (cut <= from) continue;
    AddSlice(pieces, cluster, {from, cut - 1}, out);
    from = cut;
  }
  AddSlice(pieces, cluster, {from, range.max_ns}, out);
}

}  // namespace

void MergeChunks(std::vector<MergePiece> pieces, std::vector<LogChunk>* out) {
  std::vector<uint32_t> by_time(pieces.size());
  for (uint32_t i = 0; i < by_time.size(); ++i) by_time[i] = i;
  std::stable_sort(by_time.begin(), by_time.end(), [&](uint32_t a, uint32_t b) {
    return pieces[a].chunk.min_time_ns < pieces[b].chunk.min_time_ns;
  });
  std::vector<uint32_t> cluster;
  NsRange range;
  const MergePiece* last = nullptr;  // that which ends the cluster
  for (size_t at = 0; at < by_time.size(); ++at) {
    const uint32_t i = by_time[at];
    const MergePiece& piece = pieces[i];
    if (!cluster.empty()) {
      // Neighbours of one ordered source may touch: ties go on in the next. Unless another source
      // has entries of that time.
      bool touches = piece.chunk.min_time_ns == range.max_ns && cluster.size() == 1;
      for (size_t k = at; touches && k < by_time.size(); ++k) {
        const MergePiece& next = pieces[by_time[k]];
        if (next.chunk.min_time_ns != range.max_ns) break;
        touches = next.ordered && next.source == last->source;
      }
      if (piece.chunk.min_time_ns > range.max_ns || touches) {
        AddCluster(pieces, cluster, range, out);
        cluster.clear();
      }
    }
    if (cluster.empty()) {
      range = piece.chunk.range();
      last = &piece;
    } else if (piece.chunk.max_time_ns >= range.max_ns) {
      range.max_ns = piece.chunk.max_time_ns;
      last = &piece;
    }
    cluster.push_back(i);
  }
  if (!cluster.empty()) AddCluster(pieces, cluster, range, out);
}

}  // namespace varve::logs
