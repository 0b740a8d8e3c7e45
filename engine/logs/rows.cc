#include "engine/logs/rows.h"

#include <algorithm>
#include <numeric>

#include "absl/container/flat_hash_map.h"
#include "engine/base/interrupt.h"
#include "engine/base/macros.h"
#include "engine/base/seeded_hash.h"

namespace varve::logs {

void Rows::Clear() {
  times.clear();
  text.clear();
  line_begin.clear();
  metadata_begin.clear();
  metadata.clear();
  metadata_text.clear();
  ascending = true;
}

RowStorage* StorageOf(LogRows* out) {
  if (out->storage == nullptr) out->storage = std::make_shared<RowStorage>();
  return static_cast<RowStorage*>(out->storage.get());
}

void ForgetGroup(RowStorage* storage) {
  storage->owner = nullptr;
  storage->rows.Clear();
  storage->has_lines = storage->has_metadata = storage->has_table = false;
  storage->matched_scan = 0;
}

Status SelectRows(const LogScan& scan, const Rows& rows, uint32_t begin, uint32_t end,
                  std::vector<uint32_t>* selected) {
  VARVE_RETURN_IF_ERROR(InterruptCheck::Interrupted());
  selected->clear();
  const NsRange range = scan.spec().range;
  if (rows.ascending) {
    const auto first = rows.times.begin();
    begin =
        static_cast<uint32_t>(std::lower_bound(first + begin, first + end, range.min_ns) - first);
    end = static_cast<uint32_t>(std::upper_bound(first + begin, first + end, range.max_ns) - first);
    selected->resize(end - begin);
    std::iota(selected->begin(), selected->end(), begin);
  } else {
    for (uint32_t row = begin; row < end; ++row) {
      if (range.Contains(rows.times[row])) selected->push_back(row);
    }
  }
  if (scan.tests_metadata()) {
    std::erase_if(*selected,
                  [&](uint32_t row) { return !scan.MatchesMetadata(rows.metadata_of(row)); });
  }
  if (!scan.tests_lines()) return absl::OkStatus();
  return scan.KeepMatchingLines(rows.text, rows.line_begin, selected);
}

void SortAndCollapse(const Rows& rows, std::vector<uint32_t>* selected) {
  if (!rows.ascending) {
    std::stable_sort(selected->begin(), selected->end(),
                     [&](uint32_t a, uint32_t b) { return rows.times[a] < rows.times[b]; });
  }
  // Most logs have no two entries of one time.
  const auto tie =
      std::adjacent_find(selected->begin(), selected->end(),
                         [&](uint32_t a, uint32_t b) { return rows.times[a] == rows.times[b]; });
  if (tie == selected->end()) return;
  // Runs of one time are short, or hashed where they are not.
  constexpr size_t kHashedRun = 16;
  auto kept = static_cast<size_t>(tie - selected->begin());
  absl::flat_hash_map<uint64_t, std::vector<uint32_t>> seen;
  const auto same = [&](uint32_t a, uint32_t b) {
    return rows.line(a) == rows.line(b) && SameMetadata(rows.metadata_of(a), rows.metadata_of(b));
  };
  for (size_t i = kept; i < selected->size();) {
    size_t end = i + 1;
    const int64_t time = rows.times[(*selected)[i]];
    while (end < selected->size() && rows.times[(*selected)[end]] == time) ++end;
    const size_t run = kept;
    const bool hashed = end - i > kHashedRun;
    if (hashed) seen.clear();
    for (; i < end; ++i) {
      const uint32_t row = (*selected)[i];
      bool repeated = false;
      if (hashed) {
        std::vector<uint32_t>& others = seen[EntryHash(rows.line(row), rows.metadata_of(row))];
        repeated = std::any_of(others.begin(), others.end(),
                               [&](uint32_t other) { return same(other, row); });
        if (!repeated) others.push_back(row);
      } else {
        for (size_t k = run; k < kept && !repeated; ++k) repeated = same((*selected)[k], row);
      }
      if (!repeated) (*selected)[kept++] = row;
    }
  }
  selected->resize(kept);
}

uint64_t EntryHash(std::string_view line, LabelsView metadata) {
  uint64_t hash = SeededHash64(line);
  for (const LabelView& label : metadata) {
    hash = SeededHash64(label.value, SeededHash64(label.name, hash));
  }
  return hash;
}

void EmitRows(const LogScan& scan, const Rows& rows, const std::vector<uint32_t>& selected,
              LogRows* out) {
  const LogScanSpec& spec = scan.spec();
  const auto fill = [&](auto* column, auto value_of) {
    column->resize(selected.size());
    for (size_t i = 0; i < selected.size(); ++i) (*column)[i] = value_of(selected[i]);
  };
  fill(&out->times_ns, [&](uint32_t row) { return rows.times[row]; });
  out->lines.clear();
  out->line_lengths.clear();
  if (spec.lines == LogScanSpec::Lines::kBytes) {
    fill(&out->lines, [&](uint32_t row) { return rows.line(row); });
  } else if (spec.lines == LogScanSpec::Lines::kLengths) {
    fill(&out->line_lengths, [&](uint32_t row) { return rows.bytes_of(row, row + 1); });
  }
  out->metadata_begin.clear();
  out->metadata.clear();
  if (!spec.with_metadata) return;
  const auto wanted = [&](const LabelView& label) {
    return std::find(spec.metadata_names.begin(), spec.metadata_names.end(), label.name) !=
           spec.metadata_names.end();
  };
  out->metadata_begin.resize(selected.size() + 1);
  for (size_t i = 0; i < selected.size(); ++i) {
    for (const LabelView& label : rows.metadata_of(selected[i])) {
      if (spec.metadata_names.empty() || wanted(label)) out->metadata.push_back(label);
    }
    out->metadata_begin[i + 1] = static_cast<uint32_t>(out->metadata.size());
  }
}

}  // namespace varve::logs
