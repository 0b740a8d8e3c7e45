#include "engine/metrics/block_split.h"

#include <algorithm>
#include <bit>
#include <limits>

namespace varve::metrics {
namespace {

/// The widths of the grid: eight steps to each doubling, in ms.
uint64_t GridWidth(uint32_t step) { return uint64_t{8 + step % 8} << (step / 8); }

/// Cuts at the lines of a grid. Returns false if a chunk would be too long.
bool CutAt(std::span<const int64_t> times, size_t samples_max, int64_t origin, uint64_t width,
           std::vector<size_t>* ends) {
  ends->clear();
  for (size_t begin = 0; begin < times.size();) {
    // Distances from the origin rounded down, in 128 bits: times may be anything.
    const __int128 distance = static_cast<__int128>(times[begin]) - origin;
    __int128 cell = distance / static_cast<__int128>(width);
    if (distance < 0 && cell * static_cast<__int128>(width) != distance) --cell;
    const __int128 line = (cell + 1) * static_cast<__int128>(width) + origin;
    const size_t end =
        line > std::numeric_limits<int64_t>::max()
            ? times.size()
            : static_cast<size_t>(std::lower_bound(times.begin() + static_cast<ptrdiff_t>(begin),
                                                   times.end(), static_cast<int64_t>(line)) -
                                  times.begin());
    if (end - begin > samples_max) return false;
    ends->push_back(end);
    begin = end;
  }
  return true;
}

}  // namespace

std::vector<size_t> SplitRun(std::span<const int64_t> times, size_t samples_max,
                             int64_t origin_ms) {
  std::vector<size_t> ends;
  const size_t count = times.size();
  if (count == 0) return ends;
  if (count <= samples_max) return {count};
  const auto span = static_cast<uint64_t>(times.back()) - static_cast<uint64_t>(times.front());
  // Evenly spread samples fit a width a little below samples_max intervals; bursts need less.
  const uint64_t want = span / (count - 1) * samples_max + samples_max;
  uint32_t step = 0;
  while (step < 8 * 59 && GridWidth(step + 1) <= want) ++step;
  const size_t fewest = (count + samples_max - 1) / samples_max;
  for (uint32_t tries = 0; tries < 12; ++tries) {
    if (CutAt(times, samples_max, origin_ms, GridWidth(step), &ends)) {
      if (ends.size() <= 2 * fewest + 1) return ends;
      break;
    }
    if (step == 0) break;
    --step;
  }
  // Too uneven for a grid.
  ends.clear();
  for (size_t i = 1; i <= fewest; ++i) ends.push_back(count * i / fewest);
  return ends;
}

}  // namespace varve::metrics
