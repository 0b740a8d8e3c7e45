#include <algorithm>
#include <bit>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "engine/metrics/fingerprint.h"
#include "engine/metrics/head.h"
#include "engine/metrics/head_series.h"

/// How a batch comes into a head: its series are found or made, each row is judged and what is
/// accepted encoded, the record is logged, and only then are the samples applied.

namespace varve::metrics {
namespace {

/// How many rows ahead memory is asked for: series of a batch lie anywhere.
constexpr size_t kPrefetchAhead = 12;

/// Prometheus's rule for exemplars (OpenMetrics 1.0): at most this many characters of labels.
constexpr size_t kExemplarLabelRunesMax = 128;

size_t CountRunes(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

size_t CountRunes(LabelsView labels) {
  size_t runes = 0;
  for (const LabelView& label : labels) runes += CountRunes(label.name) + CountRunes(label.value);
  return runes;
}

Histogram StaleHistogram() {
  Histogram stale;
  stale.sum = StaleNan();
  return stale;
}

StatusCode CodeOf(RejectReason reason) {
  switch (reason) {
    case RejectReason::kDuplicate:
      return StatusCode::kAlreadyExists;
    case RejectReason::kInvalidHistogram:
    case RejectReason::kInvalidLabels:
      return StatusCode::kInvalidArgument;
    default:
      return StatusCode::kOutOfRange;
  }
}

}  // namespace

void Head::AskSealed(BatchSeries* entry) {
  Series& series = At(entry->ordinal);
  if (series.asked) return;
  series.asked = true;
  std::vector<LabelView> labels;
  GetLabels(entry->ordinal, &labels);
  // Samples before what is settled are refused whatever the blocks hold.
  const NewestSample found = sealed_.find(labels, settled_before_ms());
  if (!found.known || (series.newest.known && found.time_ms < series.newest.time_ms)) return;
  entry->newest = found;
  absl::MutexLock lock(&StripeOf(entry->ordinal));
  CloseChunk(series);  // an open chunk ends at `newest`
  series.newest = found;
}

bool Head::Judge(const NewestSample& newest, int64_t time_ms, uint64_t value_bits, ChunkKind kind,
                 int64_t min_valid_ms, Route* route, RejectReason* reason) const {
  if (time_ms >= min_valid_ms) {
    if (!newest.known || time_ms > newest.time_ms) {
      *route = Route::kInOrder;
      return true;
    }
    if (time_ms == newest.time_ms) {
      if (kind == newest.kind && value_bits == newest.value_bits) {
        *route = Route::kSkip;
        return true;
      }
      *reason = RejectReason::kDuplicate;
      return false;
    }
  }
  const int64_t window = options_.out_of_order_window_ms;
  const int64_t newest_of_all = newest_time_ms_.load(std::memory_order_relaxed);
  if (window > 0 && (newest_of_all == kMinTime || time_ms >= newest_of_all - window)) {
    *route = Route::kLate;
    return true;
  }
  *reason = window > 0               ? RejectReason::kTooOld
            : time_ms < min_valid_ms ? RejectReason::kOutOfBounds
                                     : RejectReason::kOutOfOrder;
  return false;
}

/// One batch on its way in. The steps run in the order in which they are declared.
class Head::Appender {
 public:
  Appender(Head* head, const WriteBatch& batch, const WriteOptions& options)
      : head_(*head),
        batch_(batch),
        options_(options),
        newest_(head->newest_time_ms_.load(std::memory_order_relaxed)),
        min_valid_(newest_ == kMinTime ? kMinTime : newest_ - head->options_.block_range_ms / 2),
        sealed_newest_(head->sealed_.newest_time_ms ? head->sealed_.newest_time_ms() : kMinTime) {}

  Result<AppendResult> Run(const LogFn& log) {
    VARVE_RETURN_IF_ERROR(FindSeries());
    if (result_.stale_refs) return std::move(result_);
    if (Status status = JudgeAndLog(log); !status.ok()) {
      for (const uint32_t ordinal : defined_) head_.At(ordinal).logged = false;
      return status;
    }
    if (!head_.encoder_.empty()) Apply();
    return std::move(result_);
  }

 private:
  Status FindSeries() {
    const std::vector<WriteBatch::Series>& rows = batch_.series();
    ++head_.batch_number_;
    head_.batch_series_.clear();
    slots_.assign(rows.size(), kNoSeries);
    result_.refs.assign(rows.size(), 0);
    for (uint32_t row = 0; row < rows.size(); ++row) {
      if (row + kPrefetchAhead < rows.size()) {
        const uint32_t ahead = OrdinalOf(rows[row + kPrefetchAhead].ref);
        if (ahead != kNoSeries) head_.At(ahead).PrefetchToWrite();
      }
      uint32_t ordinal = kNoSeries;
      if (rows[row].ref != 0) {
        ordinal = OrdinalOf(rows[row].ref);
        if (ordinal == kNoSeries) result_.stale_refs = true;
      } else {
        VARVE_RETURN_IF_ERROR(FindOrCreate(row, &ordinal));
      }
      if (ordinal != kNoSeries) Enter(row, ordinal);
    }
    return absl::OkStatus();
  }

  /// Returns the series that a reference names; kNoSeries if it is of another head, or zero.
  uint32_t OrdinalOf(SeriesRef ref) const {
    const uint64_t slot = ref & UINT32_MAX;
    const bool known = ref >> 32 == head_.id_ && slot != 0 &&
                       slot <= head_.series_count_.load(std::memory_order_relaxed);
    return known ? static_cast<uint32_t>(slot - 1) : kNoSeries;
  }

  /// Leaves kNoSeries where the labels of a row are refused and the batch may come in partially.
  Status FindOrCreate(uint32_t row, uint32_t* ordinal) {
    const LabelsView labels = batch_.labels(batch_.series()[row]);
    const SeriesKey key = KeyOf(labels);
    *ordinal = head_.Find(key);
    if (*ordinal != kNoSeries) return absl::OkStatus();
    Status status = head_.CheckLabels(labels);
    RejectReason reason = RejectReason::kInvalidLabels;
    const uint64_t series_max = head_.options_.limits.head_series_max;
    if (status.ok() && head_.series_count_.load(std::memory_order_relaxed) >= series_max) {
      reason = RejectReason::kSeriesLimit;
      status = MakeStatus(StatusCode::kResourceExhausted,
                          Concat("series limit of ", series_max, " reached: ", ToString(labels)));
    }
    if (status.ok()) {
      *ordinal = head_.Create(key, labels);
      return absl::OkStatus();
    }
    if (!options_.partial) return status;
    if (result_.rejections.size() < options_.rejections_max) {
      result_.rejections.push_back(
          {Rejection::Row::kSeries, row, row, reason, 0, std::string(ToStd(status.message()))});
    }
    return absl::OkStatus();
  }

  /// Makes a series one of the batch, once, however many rows name it.
  void Enter(uint32_t row, uint32_t ordinal) {
    Series& series = head_.At(ordinal);
    if (series.batch_number != head_.batch_number_) {
      series.batch_number = head_.batch_number_;
      series.batch_slot = static_cast<uint32_t>(head_.batch_series_.size());
      head_.batch_series_.push_back({ordinal, series.newest});
    }
    slots_[row] = series.batch_slot;
    result_.refs[row] = static_cast<uint64_t>(head_.id_) << 32 | (ordinal + 1);
  }

  Status JudgeAndLog(const LogFn& log) {
    head_.encoder_.Clear();
    VARVE_RETURN_IF_ERROR(JudgeSamples());
    VARVE_RETURN_IF_ERROR(JudgeHistograms());
    JudgeExemplars();
    JudgeMetadata();
    return head_.encoder_.empty() ? absl::OkStatus() : log(head_.encoder_.Finish());
  }

  /// Returns the series of a row; nullptr if it was refused.
  BatchSeries* EntryOf(uint32_t row) {
    VARVE_CHECK(row < slots_.size());
    return slots_[row] == kNoSeries ? nullptr : &head_.batch_series_[slots_[row]];
  }

  /// Most samples are newer than every block, and need no look into one. The others need it unless
  /// the series already has a newer one.
  void AskSealed(BatchSeries* entry, int64_t time_ms) {
    if (time_ms > sealed_newest_) return;
    if (!entry->newest.known || time_ms > entry->newest.time_ms) head_.AskSealed(entry);
  }

  /// Gives a series to the log before its first row.
  void Define(uint32_t ordinal) {
    Series& series = head_.At(ordinal);
    if (series.logged) return;
    series.logged = true;
    defined_.push_back(ordinal);
    std::vector<LabelView> labels;
    head_.GetLabels(ordinal, &labels);
    head_.encoder_.AddSeries(ordinal, labels);
  }

  /// Notes that a row is not taken. An error, naming the row, where batches come in whole.
  Status Refuse(Rejection rejection) {
    ++result_.rejected;
    const bool listed = result_.rejections.size() < options_.rejections_max;
    if (options_.partial && !listed) return absl::OkStatus();
    std::vector<LabelView> labels;
    head_.GetLabels(head_.batch_series_[slots_[rejection.series]].ordinal, &labels);
    rejection.detail =
        Concat(rejection.detail.empty() ? ToString(rejection.reason) : rejection.detail, ": ",
               ToString(labels), " at ", rejection.time_ms);
    if (!options_.partial) return MakeStatus(CodeOf(rejection.reason), rejection.detail);
    result_.rejections.push_back(std::move(rejection));
    return absl::OkStatus();
  }

  /// Counts a row in that the log is to get next.
  void Accept(BatchSeries* entry, int64_t time_ms, uint64_t value_bits, ChunkKind kind,
              Route route) {
    if (route == Route::kInOrder) entry->newest = {time_ms, value_bits, kind, true};
    newest_ = std::max(newest_, time_ms);
    oldest_of_batch_ = std::min(oldest_of_batch_, time_ms);
    Define(entry->ordinal);
  }

  Status JudgeSamples() {
    std::vector<Route>& routes = head_.routes_;
    routes.assign(batch_.samples().size(), Route::kSkip);
    for (uint32_t i = 0; i < routes.size(); ++i) {
      const WriteBatch::Sample& sample = batch_.samples()[i];
      BatchSeries* entry = EntryOf(sample.series);
      if (entry == nullptr) {
        ++result_.rejected;
        continue;
      }
      AskSealed(entry, sample.time_ms);
      const auto bits = std::bit_cast<uint64_t>(sample.value);
      // A stale marker ends whatever kind of series there is.
      const ChunkKind kind =
          bits == kStaleNanBits && entry->newest.known ? entry->newest.kind : ChunkKind::kFloat;
      RejectReason reason;
      if (!head_.Judge(entry->newest, sample.time_ms, bits, kind, min_valid_, &routes[i],
                       &reason)) {
        VARVE_RETURN_IF_ERROR(
            Refuse({Rejection::Row::kSample, i, sample.series, reason, sample.time_ms, {}}));
        continue;
      }
      ++result_.samples;
      if (routes[i] == Route::kSkip) continue;
      Accept(entry, sample.time_ms, bits, kind, routes[i]);
      if (kind == ChunkKind::kFloat) {
        head_.encoder_.AddSample(entry->ordinal, sample.time_ms, sample.value, sample.start_ms);
      } else {
        head_.encoder_.AddHistogram(entry->ordinal, sample.time_ms, sample.start_ms,
                                    StaleHistogram());
      }
    }
    return absl::OkStatus();
  }

  Status CheckHistogram(const Histogram& h) const {
    VARVE_RETURN_IF_ERROR(Validate(h));
    const size_t buckets = h.positive_deltas.size() + h.negative_deltas.size() +
                           h.positive_counts.size() + h.negative_counts.size();
    const uint64_t buckets_max = head_.options_.limits.histogram_buckets_max;
    if (buckets <= buckets_max) return absl::OkStatus();
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("histogram: ", buckets, " buckets, the limit is ", buckets_max));
  }

  Status JudgeHistograms() {
    histogram_routes_.assign(batch_.histograms().size(), Route::kSkip);
    for (uint32_t i = 0; i < histogram_routes_.size(); ++i) {
      const WriteBatch::HistogramSample& sample = batch_.histograms()[i];
      Route& route = histogram_routes_[i];
      BatchSeries* entry = EntryOf(sample.series);
      if (entry == nullptr) {
        ++result_.rejected;
        continue;
      }
      AskSealed(entry, sample.time_ms);
      Rejection rejection{Rejection::Row::kHistogram,
                          i,
                          sample.series,
                          RejectReason::kInvalidHistogram,
                          sample.time_ms,
                          {}};
      uint64_t fingerprint = 0;
      bool good = false;
      if (Status valid = CheckHistogram(sample.histogram); valid.ok()) {
        fingerprint = Fingerprint(sample.histogram);
        good = head_.Judge(entry->newest, sample.time_ms, fingerprint, ChunkKind::kHistogram,
                           min_valid_, &route, &rejection.reason);
      } else {
        rejection.detail = ToStd(valid.message());
      }
      if (!good) {
        VARVE_RETURN_IF_ERROR(Refuse(std::move(rejection)));
        continue;
      }
      ++result_.histograms;
      if (route == Route::kSkip) continue;
      Accept(entry, sample.time_ms, fingerprint, ChunkKind::kHistogram, route);
      head_.encoder_.AddHistogram(entry->ordinal, sample.time_ms, sample.start_ms,
                                  sample.histogram);
    }
    return absl::OkStatus();
  }

  void JudgeExemplars() {
    for (uint32_t i = 0; i < batch_.exemplars().size(); ++i) {
      const WriteBatch::SeriesExemplar& row = batch_.exemplars()[i];
      const BatchSeries* entry = EntryOf(row.series);
      if (entry == nullptr || CountRunes(row.exemplar.labels) > kExemplarLabelRunesMax) {
        ++result_.exemplars_rejected;
        continue;
      }
      Define(entry->ordinal);
      head_.encoder_.AddExemplar(entry->ordinal, row.exemplar);
      exemplars_.push_back(i);
      ++result_.exemplars;
    }
  }

  void JudgeMetadata() {
    if (batch_.metadata().empty()) return;
    absl::MutexLock lock(&head_.side_mutex_);
    for (uint32_t i = 0; i < batch_.metadata().size(); ++i) {
      const WriteBatch::FamilyMetadata& row = batch_.metadata()[i];
      const auto known = head_.metadata_.find(row.family);
      if (known != head_.metadata_.end() && std::find(known->second.begin(), known->second.end(),
                                                      row.metadata) != known->second.end()) {
        continue;
      }
      head_.encoder_.AddMetadata(row.family, row.metadata);
      metadata_.push_back(i);
    }
  }

  void Apply() {
    // Readers see the batch once its sequence is published, at the end.
    const uint64_t sequence = head_.sequence_.load(std::memory_order_relaxed) + 1;
    ApplySamples();
    for (size_t i = 0; i < histogram_routes_.size(); ++i) {
      if (histogram_routes_[i] == Route::kSkip) continue;
      const WriteBatch::HistogramSample& sample = batch_.histograms()[i];
      const uint32_t ordinal = EntryOf(sample.series)->ordinal;
      absl::MutexLock lock(&head_.StripeOf(ordinal));
      head_.ApplyHistogram(head_.At(ordinal), sample.time_ms, sample.histogram, sample.start_ms,
                           histogram_routes_[i]);
    }
    for (const uint32_t i : exemplars_) {
      const WriteBatch::SeriesExemplar& row = batch_.exemplars()[i];
      head_.ApplyExemplar(EntryOf(row.series)->ordinal, row.exemplar);
    }
    for (const uint32_t i : metadata_) {
      head_.ApplyMetadata(batch_.metadata()[i].family, batch_.metadata()[i].metadata);
    }
    if (newest_ != kMinTime) head_.newest_time_ms_.store(newest_, std::memory_order_relaxed);
    if (oldest_of_batch_ != kMaxTime) head_.append_times_->Note(oldest_of_batch_);
    head_.sequence_.store(sequence, std::memory_order_release);
  }

  void ApplySamples() {
    const std::vector<Route>& routes = head_.routes_;
    for (size_t i = 0; i < routes.size(); ++i) {
      if (i + kPrefetchAhead < routes.size() && routes[i + kPrefetchAhead] != Route::kSkip) {
        const WriteBatch::Sample& ahead = batch_.samples()[i + kPrefetchAhead];
        const std::string_view bytes = head_.At(EntryOf(ahead.series)->ordinal).open.bytes();
        __builtin_prefetch(bytes.data() + bytes.size(), 1);
      }
      if (routes[i] == Route::kSkip) continue;
      const WriteBatch::Sample& sample = batch_.samples()[i];
      const uint32_t ordinal = EntryOf(sample.series)->ordinal;
      Series& series = head_.At(ordinal);
      absl::MutexLock lock(&head_.StripeOf(ordinal));
      if (std::bit_cast<uint64_t>(sample.value) == kStaleNanBits && series.newest.known &&
          series.newest.kind == ChunkKind::kHistogram) {
        head_.ApplyHistogram(series, sample.time_ms, StaleHistogram(), sample.start_ms, routes[i]);
      } else {
        head_.ApplyFloat(series, sample.time_ms, sample.value, sample.start_ms, routes[i]);
      }
    }
  }

  Head& head_;
  const WriteBatch& batch_;
  const WriteOptions& options_;
  AppendResult result_;
  int64_t newest_;  // of all samples, this batch's included
  int64_t oldest_of_batch_ = kMaxTime;
  const int64_t min_valid_;  // in-order samples below are out of bounds
  const int64_t sealed_newest_;
  std::vector<uint32_t> slots_;  // by the batch's series: into batch_series_; kNoSeries if refused
  std::vector<uint32_t> defined_;  // by this batch; taken back if it does not come in
  std::vector<Route> histogram_routes_;
  std::vector<uint32_t> exemplars_;  // accepted
  std::vector<uint32_t> metadata_;   // new
};

Result<AppendResult> Head::Append(const WriteBatch& batch, const WriteOptions& options,
                                  const LogFn& log) {
  return Appender(this, batch, options).Run(log);
}

}  // namespace varve::metrics
