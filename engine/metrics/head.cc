#include "engine/metrics/head.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <optional>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/metrics/chunk_merge.h"
#include "engine/metrics/fingerprint.h"
#include "engine/metrics/head_series.h"

namespace varve::metrics {
namespace {

constexpr uint32_t kFlagsOfAny =
    kChunkHasNoNan | kChunkHasNoStale | kChunkNonDecreasing | kChunkConstant;

}  // namespace

Head::Head(uint32_t id, const HeadOptions& options, int64_t newest_time_ms, SealedSamples sealed,
           std::shared_ptr<const Head> previous)
    : id_(id),
      options_(options),
      sealed_(std::move(sealed)),
      previous_(std::move(previous)),
      append_times_(previous_ == nullptr ? std::make_shared<AppendTimes>()
                                         : previous_->append_times_),
      newest_time_ms_(newest_time_ms) {
  VARVE_CHECK(id > 0);
  const uint64_t pages = options_.limits.head_series_max / kPageSeries + 1;
  VARVE_CHECK(pages < (1u << 22));
  pages_ = std::unique_ptr<std::atomic<Page*>[]>(new std::atomic<Page*>[pages]());
}

Head::~Head() {
  const uint64_t series = series_count_.load();
  for (uint64_t page = 0; page * kPageSeries < series; ++page) delete pages_[page].load();
}

uint32_t Head::Find(const SeriesKey& key) const {
  const auto at = by_key_.find(key);
  return at == by_key_.end() ? kNoSeries : at->second;
}

uint32_t Head::FindOrCreate(LabelsView labels) {
  const SeriesKey key = KeyOf(labels);
  const uint32_t ordinal = Find(key);
  return ordinal == kNoSeries ? Create(key, labels) : ordinal;
}

Status Head::CheckLabels(LabelsView labels) const {
  const auto invalid = [&](std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat(what, ": ", ToString(labels)));
  };
  if (labels.empty()) return MakeStatus(StatusCode::kInvalidArgument, "series without labels");
  if (labels.size() > options_.limits.labels_per_series_max) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("series has ", labels.size(), " labels, the limit is ",
                             options_.limits.labels_per_series_max));
  }
  for (const LabelView& label : labels) {
    if (label.name.size() > options_.limits.label_name_bytes_max) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("label name of ", label.name.size(), " bytes, the limit is ",
                               options_.limits.label_name_bytes_max));
    }
    if (label.value.size() > options_.limits.label_value_bytes_max) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("value of label ", GoQuote(label.name), " has ", label.value.size(),
                               " bytes, the limit is ", options_.limits.label_value_bytes_max));
    }
  }
  if (!IsCanonical(labels)) {
    return invalid("labels are not sorted, or one is empty or repeated");
  }
  return absl::OkStatus();
}

uint32_t Head::Create(const SeriesKey& key, LabelsView labels) {
  const auto ordinal = static_cast<uint32_t>(series_count_.load(std::memory_order_relaxed));
  std::atomic<Page*>& page = pages_[ordinal / kPageSeries];
  if (page.load(std::memory_order_relaxed) == nullptr) {
    page.store(new Page(), std::memory_order_release);
  }
  Series& series = At(ordinal);
  series.key = key;
  if (previous_ != nullptr) series.newest = previous_->NewestOf(key);
  by_key_.emplace(key, ordinal);
  {
    absl::WriterMutexLock lock(&index_mutex_);
    VARVE_CHECK(index_.Add(labels) == ordinal);
  }
  series_count_.store(ordinal + 1, std::memory_order_release);
  return ordinal;
}

NewestSample Head::NewestOf(const SeriesKey& key) const {
  if (const uint32_t ordinal = Find(key); ordinal != kNoSeries) return At(ordinal).newest;
  return previous_ == nullptr ? NewestSample() : previous_->NewestOf(key);
}

void Head::MarkState(Series& series) {
  const uint64_t pin = newest_pin_.load(std::memory_order_acquire);
  // Pins are sequences plus one. Nothing pinned, or the series has changed since: no one needs
  // the state of now.
  if (pin == 0 || series.changed >= pin) return;
  Rare& rare = series.EnsureRare();
  if (rare.marks.size() >= 4) {
    absl::MutexLock lock(&side_mutex_);
    uint64_t below = 0;
    std::erase_if(rare.marks, [&](const Mark& mark) {
      side_mutex_.AssertHeld();
      const auto reader = pinned_.lower_bound(below + 1);
      const bool needed = reader != pinned_.end() && *reader <= mark.sequence;
      below = mark.sequence;
      return !needed;
    });
  }
  rare.marks.push_back({pin, series.in_order, static_cast<uint32_t>(rare.late.floats.size()),
                        static_cast<uint32_t>(rare.late.histograms.size())});
}

void Head::Touch(Series& series, int64_t time_ms) {
  series.changed = sequence_.load(std::memory_order_relaxed) + 1;
  if (series.min_time > series.max_time) ++series_with_samples_;
  series.min_time = std::min(series.min_time, time_ms);
  series.max_time = std::max(series.max_time, time_ms);
  NoteSample(time_ms);
}

void Head::NoteSample(int64_t time_ms) {
  samples_.store(samples_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (time_ms < min_time_ms_.load(std::memory_order_relaxed)) {
    min_time_ms_.store(time_ms, std::memory_order_relaxed);
  }
  if (time_ms > max_time_ms_.load(std::memory_order_relaxed)) {
    max_time_ms_.store(time_ms, std::memory_order_relaxed);
  }
}

void Head::CloseChunk(Series& series) {
  if (series.open_count == 0) return;
  ClosedChunk chunk;
  chunk.kind = series.open_kind;
  chunk.count = static_cast<uint16_t>(series.open_count);
  chunk.flags = series.open_flags;
  chunk.min_time = series.open_min_time;
  chunk.max_time = series.newest.time_ms;
  if (series.open_kind == ChunkKind::kFloat) {
    chunk.last_value = std::bit_cast<double>(series.newest.value_bits);
    const auto before = static_cast<int64_t>(series.open.heap_bytes());
    chunk.floats.Reserve(static_cast<uint32_t>(series.open.bytes().size()));
    std::memcpy(chunk.floats.data(), series.open.bytes().data(), series.open.bytes().size());
    chunk.floats.set_size(static_cast<uint32_t>(series.open.bytes().size()));
    chunk.floats.ShrinkToFit();
    series.open.Clear();
    chunk_bytes_ += static_cast<int64_t>(chunk.floats.capacity()) - before +
                    static_cast<int64_t>(sizeof(ClosedChunk));
  } else {
    const auto before = static_cast<int64_t>(series.rare->open_histograms.heap_bytes());
    chunk.histograms = std::string(series.rare->open_histograms.bytes());
    series.rare->open_histograms.Clear();
    chunk_bytes_ += static_cast<int64_t>(chunk.histograms.capacity()) - before +
                    static_cast<int64_t>(sizeof(ClosedChunk));
  }
  if (series.rare != nullptr) chunk.starts = std::move(series.rare->open_starts);
  series.closed.push_back(std::move(chunk));
  series.open_count = 0;
}

void Head::ApplyFloat(Series& series, int64_t time_ms, double value, int64_t start_ms,
                      Route route) {
  MarkState(series);
  if (route == Route::kLate) {
    series.EnsureRare().late.floats.push_back({time_ms, start_ms, value});
    chunk_bytes_.fetch_add(sizeof(Late::Float), std::memory_order_relaxed);
    Touch(series, time_ms);
    return;
  }
  if (series.open_count > 0 &&
      (series.open_kind != ChunkKind::kFloat || series.open_count >= kChunkSamples)) {
    CloseChunk(series);
  }
  const auto bits = std::bit_cast<uint64_t>(value);
  if (series.open_count == 0) {
    series.open_kind = ChunkKind::kFloat;
    series.open_min_time = time_ms;
    series.open_flags = kFlagsOfAny;
    chunks_.store(chunks_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  } else {
    if (bits != series.newest.value_bits) series.open_flags &= ~kChunkConstant;
    if (!(value >= std::bit_cast<double>(series.newest.value_bits))) {
      series.open_flags &= ~kChunkNonDecreasing;
    }
  }
  if (std::isnan(value)) {
    series.open_flags &= ~(kChunkHasNoNan | kChunkNonDecreasing);
    if (bits == kStaleNanBits) series.open_flags &= ~kChunkHasNoStale;
  }
  const size_t before = series.open.heap_bytes();
  series.open.Append(time_ms, value);
  if (const size_t after = series.open.heap_bytes(); after != before) {
    chunk_bytes_.fetch_add(static_cast<int64_t>(after - before), std::memory_order_relaxed);
  }
  if (start_ms != kNoStartTime || (series.rare != nullptr && series.rare->open_starts != nullptr)) {
    Rare& rare = series.EnsureRare();
    if (rare.open_starts == nullptr) {
      rare.open_starts = std::make_unique<std::vector<int64_t>>(series.open_count, kNoStartTime);
    }
    rare.open_starts->push_back(start_ms);
  }
  ++series.open_count;
  ++series.in_order;
  series.newest = {time_ms, bits, ChunkKind::kFloat, true};
  Touch(series, time_ms);
}

void Head::ApplyHistogram(Series& series, int64_t time_ms, const Histogram& histogram,
                          int64_t start_ms, Route route) {
  Rare& rare = series.EnsureRare();
  MarkState(series);
  if (route == Route::kLate) {
    rare.late.histograms.push_back({time_ms, start_ms, histogram});
    chunk_bytes_.fetch_add(sizeof(Late::Histo) + 8 * (histogram.positive_deltas.size() +
                                                      histogram.positive_counts.size()),
                           std::memory_order_relaxed);
    Touch(series, time_ms);
    return;
  }
  if (series.open_count > 0 &&
      (series.open_kind != ChunkKind::kHistogram || series.open_count >= kChunkSamples)) {
    CloseChunk(series);
  }
  if (series.open_count == 0) {
    series.open_kind = ChunkKind::kHistogram;
    series.open_min_time = time_ms;
    series.open_flags = 0;
    chunks_.store(chunks_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  const size_t before = rare.open_histograms.heap_bytes();
  rare.open_histograms.Append(time_ms, histogram);
  chunk_bytes_.fetch_add(
      static_cast<int64_t>(rare.open_histograms.heap_bytes()) - static_cast<int64_t>(before),
      std::memory_order_relaxed);
  if (start_ms != kNoStartTime || rare.open_starts != nullptr) {
    if (rare.open_starts == nullptr) {
      rare.open_starts = std::make_unique<std::vector<int64_t>>(series.open_count, kNoStartTime);
    }
    rare.open_starts->push_back(start_ms);
  }
  ++series.open_count;
  ++series.in_order;
  series.newest = {time_ms, Fingerprint(histogram), ChunkKind::kHistogram, true};
  Touch(series, time_ms);
}

void Head::ApplyExemplar(uint32_t ordinal, Exemplar exemplar) {
  absl::MutexLock lock(&side_mutex_);
  exemplars_.push_back(
      {sequence_.load(std::memory_order_relaxed) + 1, ordinal, std::move(exemplar)});
  if (exemplars_.size() > options_.limits.exemplars_max) exemplars_.pop_front();
}

void Head::ApplyMetadata(std::string_view family, const Metadata& metadata) {
  absl::MutexLock lock(&side_mutex_);
  auto at = metadata_.find(family);
  if (at == metadata_.end())
    at = metadata_.emplace(std::string(family), std::vector<Metadata>()).first;
  if (std::find(at->second.begin(), at->second.end(), metadata) == at->second.end()) {
    at->second.push_back(metadata);
  }
}

// --- Replay and bulk load ---

/// Applies rows as they were judged when they were first appended: what was newer than its series
/// then is newer now, because the log has the same order.
class Head::ReplaySink final : public WalBatchSink {
 public:
  explicit ReplaySink(Head* head) : head_(head) {}

  Status OnSeries(uint32_t number, LabelsView labels) override {
    std::vector<uint32_t>& map = head_->replay_series_;
    // Numbers are dense; a damaged one must not make the map huge.
    if (number > head_->options_.limits.head_series_max) {
      return MakeStatus(StatusCode::kDataLoss, "metrics WAL batch: series number too large");
    }
    if (number >= map.size()) map.resize(number + 1 + number / 2, kNoSeries);
    map[number] = head_->FindOrCreate(labels);
    return absl::OkStatus();
  }
  Status OnSample(uint32_t number, int64_t time_ms, double value, int64_t start_ms) override {
    Series* series = Find(number);
    if (series == nullptr) return Unknown(number);
    Route route;
    if (Place(*series, time_ms, std::bit_cast<uint64_t>(value), ChunkKind::kFloat, &route)) {
      head_->ApplyFloat(*series, time_ms, value, start_ms, route);
      Count(time_ms);
    }
    return absl::OkStatus();
  }
  Status OnHistogram(uint32_t number, int64_t time_ms, int64_t start_ms,
                     Histogram histogram) override {
    Series* series = Find(number);
    if (series == nullptr) return Unknown(number);
    Route route;
    if (Place(*series, time_ms, Fingerprint(histogram), ChunkKind::kHistogram, &route)) {
      head_->ApplyHistogram(*series, time_ms, histogram, start_ms, route);
      Count(time_ms);
    }
    return absl::OkStatus();
  }
  Status OnExemplar(uint32_t number, Exemplar exemplar) override {
    if (Find(number) == nullptr) return Unknown(number);
    head_->ApplyExemplar(head_->replay_series_[number], std::move(exemplar));
    return absl::OkStatus();
  }
  Status OnMetadata(std::string_view family, Metadata metadata) override {
    head_->ApplyMetadata(family, metadata);
    return absl::OkStatus();
  }

 private:
  Series* Find(uint32_t number) const {
    const std::vector<uint32_t>& map = head_->replay_series_;
    if (number >= map.size() || map[number] == kNoSeries) return nullptr;
    return &head_->At(map[number]);
  }
  static Status Unknown(uint32_t number) {
    return MakeStatus(StatusCode::kDataLoss, Concat("metrics WAL batch: sample of series ", number,
                                                    ", whose definition is missing"));
  }
  static bool Place(const Series& series, int64_t time_ms, uint64_t bits, ChunkKind kind,
                    Route* route) {
    const NewestSample& newest = series.newest;
    if (newest.known && newest.time_ms == time_ms && newest.kind == kind &&
        newest.value_bits == bits) {
      return false;
    }
    *route = !newest.known || time_ms > newest.time_ms ? Route::kInOrder : Route::kLate;
    return true;
  }
  void Count(int64_t time_ms) {
    ++head_->replayed_samples_;
    if (time_ms > head_->newest_time_ms_.load(std::memory_order_relaxed)) {
      head_->newest_time_ms_.store(time_ms, std::memory_order_relaxed);
    }
  }

  Head* head_;
};

void Head::ReplayEpoch() { replay_series_.clear(); }

Status Head::ReplayBatch(std::string_view payload) {
  ReplaySink sink(this);
  Status status = DecodeWalBatch(payload, &sink);
  sequence_.fetch_add(1, std::memory_order_release);
  return status;
}

void Head::LoadSamples(LabelsView labels, std::span<const int64_t> times_ms,
                       std::span<const double> values) {
  VARVE_CHECK(times_ms.size() == values.size());
  Series& series = At(FindOrCreate(labels));
  for (size_t i = 0; i < times_ms.size(); ++i) {
    const bool in_order = !series.newest.known || times_ms[i] > series.newest.time_ms;
    ApplyFloat(series, times_ms[i], values[i], kNoStartTime,
               in_order ? Route::kInOrder : Route::kLate);
  }
  sequence_.fetch_add(1, std::memory_order_release);
}

void Head::LoadHistograms(LabelsView labels, std::span<const int64_t> times_ms,
                          std::span<const Histogram> histograms) {
  VARVE_CHECK(times_ms.size() == histograms.size());
  Series& series = At(FindOrCreate(labels));
  for (size_t i = 0; i < times_ms.size(); ++i) {
    const bool in_order = !series.newest.known || times_ms[i] > series.newest.time_ms;
    ApplyHistogram(series, times_ms[i], histograms[i], kNoStartTime,
                   in_order ? Route::kInOrder : Route::kLate);
  }
  sequence_.fetch_add(1, std::memory_order_release);
}

void Head::LoadMetadata(std::string_view family, const Metadata& metadata) {
  ApplyMetadata(family, metadata);
}

// --- Reading ---

TimeRange Head::range() const {
  return {min_time_ms_.load(std::memory_order_relaxed),
          max_time_ms_.load(std::memory_order_relaxed)};
}

int64_t Head::settled_before_ms() const {
  const int64_t newest = newest_time_ms();
  // Judge takes late samples within the window, and new series within half a block.
  const int64_t reach = std::max(options_.out_of_order_window_ms, options_.block_range_ms / 2);
  return newest < kMinTime + reach ? kMinTime : newest - reach;
}

uint64_t Head::exemplar_count() const {
  absl::MutexLock lock(&side_mutex_);
  return exemplars_.size();
}

void Head::SealedChanged() {
  const uint64_t count = series_count();
  for (uint32_t i = 0; i < count; ++i) {
    absl::MutexLock lock(&StripeOf(i));
    Series& series = At(i);
    series.asked = false;
    if (!series.newest.known || series.newest.time_ms <= series.max_time) continue;  // its own
    if (series.in_order == 0) {
      series.newest = previous_ == nullptr ? NewestSample() : previous_->NewestOf(series.key);
    } else {
      // What it was is forgotten, but not where the samples in order end.
      series.newest = {series.max_time, 0, ChunkKind::kFloat, true};
    }
  }
}

uint64_t Head::approximate_bytes() const {
  constexpr uint64_t kIndexBytesPerSeries = 200;
  return series_count() * (sizeof(Series) + sizeof(SeriesKey) + kIndexBytesPerSeries) +
         static_cast<uint64_t>(std::max<int64_t>(0, chunk_bytes_.load(std::memory_order_relaxed)));
}

bool Head::empty() const {
  if (samples() > 0) return false;
  absl::MutexLock lock(&side_mutex_);
  return exemplars_.empty() && metadata_.empty();
}

uint64_t Head::bytes() const {
  const uint64_t series = series_count();
  const uint64_t pages = (series + kPageSeries - 1) / kPageSeries;
  uint64_t index_bytes = 0;
  {
    absl::ReaderMutexLock lock(&index_mutex_);
    index_bytes = index_.stats().memory_bytes;
  }
  return pages * sizeof(Page) + series * (sizeof(SeriesKey) + 8) * 3 / 2 + index_bytes +
         static_cast<uint64_t>(std::max<int64_t>(0, chunk_bytes_.load()));
}

uint64_t Head::Pin() const {
  absl::MutexLock lock(&side_mutex_);
  // Plus one, so that a pin of the empty head is not zero: "nothing pinned".
  const uint64_t pin = sequence() + 1;
  pinned_.insert(pin);
  newest_pin_.store(*pinned_.rbegin(), std::memory_order_release);
  return pin;
}

void Head::Unpin(uint64_t pin) const {
  absl::MutexLock lock(&side_mutex_);
  pinned_.erase(pinned_.find(pin));
  newest_pin_.store(pinned_.empty() ? 0 : *pinned_.rbegin(), std::memory_order_release);
}

TimeRange Head::SeriesRange(uint32_t ordinal) const {
  absl::MutexLock lock(&StripeOf(ordinal));
  const Series& series = At(ordinal);
  return {series.min_time, series.max_time};
}

std::vector<uint32_t> Head::Select(std::span<const index::CompiledMatcher> matchers,
                                   TimeRange range) const {
  std::vector<uint32_t> found;
  {
    absl::MutexLock lock(&index_mutex_);
    index_.Select(matchers).ToVector(&found);
    label_order_.Sort(index_, &found);
  }
  // Series of one selection lie far apart: each would be waited for.
  constexpr size_t kAhead = 16;
  size_t kept = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    if (i + kAhead < found.size()) Prefetch(found[i + kAhead]);
    const TimeRange own = SeriesRange(found[i]);
    if (own.min_ms <= own.max_ms && own.Overlaps(range)) found[kept++] = found[i];
  }
  found.resize(kept);
  return found;
}

void Head::Prefetch(uint32_t series) const { At(series).PrefetchToRead(); }

std::vector<uint32_t> Head::AllSeries() const { return Select({}, TimeRange{}); }

void Head::GetLabels(uint32_t series,
                     std::vector<LabelView>* out) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
  // Labels of a series that exists never change: see MemoryIndex.
  index_.GetLabels(series, out);
}

std::string_view Head::GetLabel(uint32_t series,
                                std::string_view name) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
  return index_.GetLabel(series, name);
}

void Head::WithIndex(const std::function<void(const index::MemoryIndex&)>& use) const {
  absl::ReaderMutexLock lock(&index_mutex_);
  use(index_);
}

/// The chunks of one series as one reader sees them. Closed chunks are borrowed from the head,
/// which it holds; the open one is a copy.
class HeadChunkData final : public Chunk::Impl {
 public:
  struct Piece {
    std::string_view bytes;
    const std::vector<int64_t>* starts = nullptr;
    uint32_t count = 0;
    bool is_histogram = false;
    std::optional<double> last;  // the last value, where it is known without decoding
  };

  explicit HeadChunkData(std::shared_ptr<const Head> head) : head_(std::move(head)) {}

  Status DecodeTimes(uint32_t token, std::span<int64_t> out) const override {
    const Piece& piece = pieces_[token];
    std::vector<double> values(piece.count);
    return Decode(piece, out, values);
  }
  Status DecodeValues(uint32_t token, uint32_t begin, std::span<double> out) const override {
    const Piece& piece = pieces_[token];
    if (piece.last.has_value() && out.size() == 1 && begin + 1 == piece.count) {
      out[0] = *piece.last;
      return absl::OkStatus();
    }
    std::vector<int64_t> times(piece.count);
    if (begin == 0 && out.size() == piece.count) return Decode(piece, times, out);
    std::vector<double> values(piece.count);
    if (Status status = Decode(piece, times, values); !status.ok()) return status;
    std::copy_n(values.begin() + begin, out.size(), out.begin());
    return absl::OkStatus();
  }
  Status DecodeFloats(uint32_t token, std::span<int64_t> times,
                      std::span<double> values) const override {
    return Decode(pieces_[token], times, values);
  }
  Status DecodeStartTimes(uint32_t token, std::span<int64_t> out) const override {
    const Piece& piece = pieces_[token];
    if (piece.starts == nullptr) {
      std::fill(out.begin(), out.end(), kNoStartTime);
    } else {
      std::copy_n(piece.starts->begin(), out.size(), out.begin());
    }
    return absl::OkStatus();
  }
  Status DecodeHistograms(uint32_t token, std::vector<Histogram>* out) const override {
    std::vector<int64_t> times(pieces_[token].count);
    return DecodeHistogramPiece(pieces_[token], times, out);
  }

  std::vector<Piece> pieces_;
  std::string open_bytes_;
  std::vector<int64_t> open_starts_;

 private:
  static Status Broken() { return MakeStatus(StatusCode::kInternal, "head chunk does not decode"); }
  Status Decode(const Piece& piece, std::span<int64_t> times, std::span<double> values) const {
    if (piece.is_histogram) {
      std::vector<Histogram> histograms;
      return DecodeHistogramPiece(piece, times, &histograms);
    }
    return codec::DecodeGorilla(piece.bytes, times, values) ? absl::OkStatus() : Broken();
  }
  static Status DecodeHistogramPiece(const Piece& piece, std::span<int64_t> times,
                                     std::vector<Histogram>* out) {
    return codec::DecodeHistogramChunk(piece.bytes, times, out) ? absl::OkStatus() : Broken();
  }

  std::shared_ptr<const Head> head_;
};

Status Head::GetChunks(uint32_t ordinal, uint64_t pin, TimeRange range,
                       std::vector<Chunk>* out) const {
  auto data = std::make_shared<HeadChunkData>(shared_from_this());
  std::vector<Chunk> own;
  // Where nothing is late, which is usual, what is found is the answer.
  std::vector<Chunk>& chunks = out->empty() ? *out : own;
  std::vector<Late::Float> late_floats;
  std::vector<Late::Histo> late_histograms;
  bool last_is_cut = false;  // the reader sees less of the last chunk than there is
  {
    absl::MutexLock lock(&StripeOf(ordinal));
    const Series& series = At(ordinal);
    uint32_t in_order = series.in_order;
    uint32_t late_float_count = 0;
    uint32_t late_histogram_count = 0;
    if (series.rare != nullptr) {
      late_float_count = static_cast<uint32_t>(series.rare->late.floats.size());
      late_histogram_count = static_cast<uint32_t>(series.rare->late.histograms.size());
      const std::vector<Mark>& marks = series.rare->marks;
      const auto mark = std::find_if(marks.begin(), marks.end(),
                                     [pin](const Mark& m) { return m.sequence >= pin; });
      // A mark holds for readers that had pinned when it was made, and the series has changed
      // since for all of them.
      if (mark != marks.end() && series.changed >= pin) {
        in_order = mark->in_order;
        late_float_count = mark->late_floats;
        late_histogram_count = mark->late_histograms;
      }
    }
    const auto add = [&](ChunkKind kind, uint32_t flags, uint32_t count, int64_t min_time,
                         int64_t max_time, std::string_view bytes,
                         const std::vector<int64_t>* starts, std::optional<double> last) {
      Chunk chunk;
      chunk.kind = kind;
      chunk.flags = flags;
      if (starts != nullptr) chunk.flags |= kChunkHasStartTimes;
      chunk.count = count;
      chunk.min_time_ms = min_time;
      chunk.max_time_ms = max_time;
      chunk.impl = data;
      chunk.token = static_cast<uint32_t>(data->pieces_.size());
      // The reader will want all of them, one after the other.
      __builtin_prefetch(bytes.data());
      const bool is_histogram = kind == ChunkKind::kHistogram;
      if (is_histogram) last.reset();
      data->pieces_.push_back({bytes, starts, count, is_histogram, last});
      chunks.push_back(std::move(chunk));
    };
    data->pieces_.reserve(std::min<size_t>(series.closed.size() + 1, 8));
    uint32_t left = in_order;
    for (const ClosedChunk& closed : series.closed) {
      if (left == 0) break;
      const uint32_t count = std::min<uint32_t>(left, closed.count);
      left -= count;
      if (closed.min_time > range.max_ms || closed.max_time < range.min_ms) continue;
      add(closed.kind, closed.flags, count, closed.min_time, closed.max_time, closed.bytes(),
          closed.starts.get(),
          count == closed.count ? std::optional<double>(closed.last_value) : std::nullopt);
      last_is_cut = count < closed.count;
    }
    if (left > 0 && series.open_count > 0) {
      const uint32_t count = std::min<uint32_t>(left, series.open_count);
      if (series.open_min_time <= range.max_ms && series.newest.time_ms >= range.min_ms) {
        data->open_bytes_ = std::string(series.open_kind == ChunkKind::kFloat
                                            ? series.open.bytes()
                                            : series.rare->open_histograms.bytes());
        const std::vector<int64_t>* starts = nullptr;
        if (series.rare != nullptr && series.rare->open_starts != nullptr) {
          data->open_starts_ = *series.rare->open_starts;
          starts = &data->open_starts_;
        }
        add(series.open_kind, series.open_flags, count, series.open_min_time, series.newest.time_ms,
            data->open_bytes_, starts,
            count == series.open_count
                ? std::optional<double>(std::bit_cast<double>(series.newest.value_bits))
                : std::nullopt);
        last_is_cut = count < series.open_count;
      }
    }
    for (uint32_t i = 0; i < late_float_count; ++i) {
      late_floats.push_back(series.rare->late.floats[i]);
    }
    for (uint32_t i = 0; i < late_histogram_count; ++i) {
      late_histograms.push_back(series.rare->late.histograms[i]);
    }
  }
  if (last_is_cut && !chunks.empty()) {
    Chunk& last = chunks.back();
    std::vector<int64_t> times(last.count);
    VARVE_RETURN_IF_ERROR(last.DecodeTimes(times));
    last.max_time_ms = times.back();
    if (last.max_time_ms < range.min_ms) chunks.pop_back();
  }
  if (&chunks == out && late_floats.empty() && late_histograms.empty()) return absl::OkStatus();
  std::vector<std::vector<Chunk>> sources;
  sources.push_back(std::move(chunks));
  if (&chunks == out) out->clear();
  if (!late_floats.empty() || !late_histograms.empty()) {
    std::stable_sort(late_floats.begin(), late_floats.end(),
                     [](const auto& a, const auto& b) { return a.time < b.time; });
    std::stable_sort(late_histograms.begin(), late_histograms.end(),
                     [](const auto& a, const auto& b) { return a.time < b.time; });
    SampleRun floats;
    for (const Late::Float& late : late_floats) {
      if (!range.Contains(late.time)) continue;
      if (!floats.times.empty() && floats.times.back() == late.time) continue;
      floats.times.push_back(late.time);
      floats.values.push_back(late.value);
      floats.starts.push_back(late.start);
    }
    SampleRun histograms;
    histograms.kind = ChunkKind::kHistogram;
    for (Late::Histo& late : late_histograms) {
      if (!range.Contains(late.time)) continue;
      if (!histograms.times.empty() && histograms.times.back() == late.time) continue;
      histograms.times.push_back(late.time);
      histograms.histograms.push_back(std::move(late.histogram));
      histograms.starts.push_back(late.start);
    }
    for (SampleRun* run : {&floats, &histograms}) {
      if (!run->times.empty()) sources.push_back({MakeChunk(std::move(*run))});
    }
  }
  return MergeChunks(std::move(sources), out);
}

std::vector<std::pair<uint32_t, Exemplar>> Head::Exemplars(uint64_t pin) const {
  std::vector<std::pair<uint32_t, Exemplar>> out;
  absl::MutexLock lock(&side_mutex_);
  for (const StoredExemplar& stored : exemplars_) {
    if (stored.sequence < pin) out.emplace_back(stored.series, stored.exemplar);
  }
  return out;
}

std::map<std::string, std::vector<Metadata>> Head::AllMetadata() const {
  std::map<std::string, std::vector<Metadata>> out;
  absl::MutexLock lock(&side_mutex_);
  for (const auto& [family, list] : metadata_) out.emplace(family, list);
  return out;
}

}  // namespace varve::metrics
