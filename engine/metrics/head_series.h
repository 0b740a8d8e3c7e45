#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/codec/gorilla.h"
#include "engine/codec/histogram_codec.h"
#include "engine/metrics/head.h"

/// What a head keeps of each series. Only the sources of Head include this.

namespace varve::metrics {

/// A chunk that takes no more samples: its bytes stay where they are until the head goes.
struct Head::ClosedChunk {
  std::string_view bytes() const {
    return kind == ChunkKind::kFloat ? floats.view() : std::string_view(histograms);
  }
  codec::SmallBuffer floats;
  std::string histograms;
  std::unique_ptr<std::vector<int64_t>> starts;
  int64_t min_time = 0;
  int64_t max_time = 0;
  double last_value = 0;  // of floats
  uint16_t count = 0;
  ChunkKind kind = ChunkKind::kFloat;
  uint8_t flags = 0;
};

/// Samples that came late, in arrival order.
struct Head::Late {
  struct Float {
    int64_t time;
    int64_t start;
    double value;
  };
  struct Histo {
    int64_t time;
    int64_t start;
    Histogram histogram;
  };
  std::vector<Float> floats;
  std::vector<Histo> histograms;
};

/// The counts of a series as any reader sees them whose sequence is at most `sequence` (and above
/// that of the mark before).
struct Head::Mark {
  uint64_t sequence;
  uint32_t in_order;
  uint32_t late_floats;
  uint32_t late_histograms;
};

/// What few series have.
struct Head::Rare {
  Late late;
  std::vector<Mark> marks;
  codec::HistogramChunk open_histograms;
  std::unique_ptr<std::vector<int64_t>> open_starts;
};

/// What every append touches comes first, in as few cache lines as it fits.
struct Head::Series {
  NewestSample newest;
  codec::GorillaChunk open;
  int64_t open_min_time = 0;
  int64_t min_time = kMaxTime;  // of all its samples
  int64_t max_time = kMinTime;
  uint64_t changed = 0;  // the sequence of the last append that changed it
  std::unique_ptr<Rare> rare;
  uint32_t in_order = 0;
  uint32_t batch_number = 0;  // which batch `batch_slot` belongs to
  uint32_t batch_slot = 0;
  uint16_t open_count = 0;
  ChunkKind open_kind = ChunkKind::kFloat;
  uint8_t open_flags = 0;
  bool logged = false;  // defined in the log since this head or process began
  bool asked = false;   // `newest` takes account of what blocks hold

  SeriesKey key;
  std::vector<ClosedChunk> closed;

  /// Asks for the cache lines that an append touches: those in front of `key`.
  void PrefetchToWrite() const {
    const char* at = reinterpret_cast<const char*>(this);
    for (size_t line = 0; line < 192; line += 64) __builtin_prefetch(at + line, 1);
  }
  void PrefetchToRead() const {
    const char* at = reinterpret_cast<const char*>(this);
    for (size_t line = 0; line < sizeof(Series); line += 64) __builtin_prefetch(at + line);
  }

  Rare& EnsureRare() {
    if (rare == nullptr) rare = std::make_unique<Rare>();
    return *rare;
  }
};

struct Head::Page {
  std::array<Series, kPageSeries> series;
};

/// One distinct series of the batch being appended, with its newest sample as of the last row.
struct Head::BatchSeries {
  uint32_t ordinal;
  NewestSample newest;
};

inline Head::Series& Head::At(uint32_t ordinal) const {
  return pages_[ordinal / kPageSeries]
      .load(std::memory_order_acquire)
      ->series[ordinal % kPageSeries];
}

}  // namespace varve::metrics
