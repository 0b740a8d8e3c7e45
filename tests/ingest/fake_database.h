#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "varve/database.h"

namespace varve::ingest {

/// A Database that keeps what it is given in maps, for tests of the decoders: references, stale
/// references, duplicates and partial batches behave as the contract says; nothing is stored.
class FakeDatabase final : public Database {
 public:
  struct Point {
    double value = 0;
    int64_t start_ms = kNoStartTime;
  };
  struct Series {
    Labels labels;
    std::map<int64_t, Point> samples;
    std::map<int64_t, Histogram> histograms;
    std::vector<Exemplar> exemplars;
  };

  using Database::Append;
  Result<AppendResult> Append(const WriteBatch& batch, const WriteOptions& options) override {
    absl::MutexLock lock(&mutex_);
    ++appends;
    if (!append_error.ok()) return append_error;
    AppendResult result;
    result.refs.resize(batch.series().size());
    std::vector<Series*> targets(batch.series().size());
    for (size_t i = 0; i < batch.series().size(); ++i) {
      const WriteBatch::Series& row = batch.series()[i];
      if (row.ref != 0) {
        ++by_ref;
        if (const auto at = refs_.find(row.ref); at != refs_.end()) {
          targets[i] = &series[at->second];
          result.refs[i] = row.ref;
        } else {
          result.stale_refs = true;
        }
        continue;
      }
      ++by_labels;
      const LabelsView labels = batch.labels(row);
      if (!IsCanonical(labels)) {
        return absl::InvalidArgumentError("labels are not canonical");
      }
      std::string key = ToString(labels);
      auto [at, fresh] = series.try_emplace(key);
      if (fresh) at->second.labels = Labels(labels);
      targets[i] = &at->second;
      if (!ref_of_.contains(key)) {
        ref_of_[key] = ++next_ref_;
        refs_[next_ref_] = key;
      }
      result.refs[i] = ref_of_[key];
    }
    if (result.stale_refs) return result;
    std::vector<std::pair<size_t, WriteBatch::Sample>> good;
    for (size_t i = 0; i < batch.samples().size(); ++i) {
      const WriteBatch::Sample& sample = batch.samples()[i];
      const auto at = targets[sample.series]->samples.find(sample.time_ms);
      if (at != targets[sample.series]->samples.end() &&
          std::bit_cast<uint64_t>(at->second.value) != std::bit_cast<uint64_t>(sample.value)) {
        if (!options.partial) return absl::AlreadyExistsError("duplicate sample for timestamp");
        ++result.rejected;
        result.rejections.push_back({Rejection::Row::kSample, static_cast<uint32_t>(i),
                                     sample.series, RejectReason::kDuplicate, sample.time_ms, ""});
        continue;
      }
      good.emplace_back(sample.series, sample);
    }
    for (const WriteBatch::HistogramSample& row : batch.histograms()) {
      if (const Status status = Validate(row.histogram); !status.ok()) {
        if (!options.partial) return status;
        ++result.rejected;
        result.rejections.push_back({Rejection::Row::kHistogram, 0, row.series,
                                     RejectReason::kInvalidHistogram, row.time_ms,
                                     std::string(status.message())});
        continue;
      }
      targets[row.series]->histograms[row.time_ms] = row.histogram;
      ++result.histograms;
    }
    for (const auto& [index, sample] : good) {
      targets[index]->samples[sample.time_ms] = {sample.value, sample.start_ms};
      ++result.samples;
    }
    for (const WriteBatch::SeriesExemplar& row : batch.exemplars()) {
      if (row.exemplar.labels.empty()) {
        ++result.exemplars_rejected;
        continue;
      }
      targets[row.series]->exemplars.push_back(row.exemplar);
      ++result.exemplars;
    }
    for (const WriteBatch::FamilyMetadata& row : batch.metadata()) {
      metadata[row.family] = row.metadata;
    }
    return result;
  }

  /// Makes every reference given out so far stale.
  void DropRefs() {
    absl::MutexLock lock(&mutex_);
    refs_.clear();
    ref_of_.clear();
  }
  size_t sample_count() const {
    size_t count = 0;
    for (const auto& [key, entry] : series) count += entry.samples.size();
    return count;
  }

  Status Sync() override { return absl::OkStatus(); }
  Result<std::shared_ptr<const Snapshot>> TakeSnapshot() const override {
    return absl::UnimplementedError("fake");
  }
  Result<std::unique_ptr<BulkLoader>> StartBulkLoad() override {
    return absl::UnimplementedError("fake");
  }
  Status DeleteSeries(std::span<const Matcher>, TimeRange) override { return absl::OkStatus(); }
  Status Flush() override { return absl::OkStatus(); }
  Status Compact() override { return absl::OkStatus(); }
  Status Maintain() override { return absl::OkStatus(); }
  Status Backup(const std::string&, const BackupOptions&) override { return absl::OkStatus(); }
  Result<std::vector<Status>> Verify() override { return std::vector<Status>(); }
  DatabaseStats Stats() const override { return {}; }
  const RecoveryReport& recovery() const override { return recovery_; }
  Status Close() override { return absl::OkStatus(); }

  std::map<std::string, Series> series;  // by their printed labels
  std::map<std::string, Metadata> metadata;
  Status append_error;
  uint64_t appends = 0;
  uint64_t by_ref = 0;
  uint64_t by_labels = 0;

 private:
  absl::Mutex mutex_;
  std::map<SeriesRef, std::string> refs_;
  std::map<std::string, SeriesRef> ref_of_;
  SeriesRef next_ref_ = 0;
  RecoveryReport recovery_;
};

/// A loader that keeps samples in maps by printed labels.
class FakeLoader final : public BulkLoader {
 public:
  Status AddSamples(LabelsView labels, std::span<const int64_t> times_ms,
                    std::span<const double> values) override {
    if (!IsCanonical(labels)) return absl::InvalidArgumentError("labels are not canonical");
    if (times_ms.size() != values.size()) return absl::InternalError("lengths differ");
    auto& out = samples[ToString(labels)];
    for (size_t i = 0; i < times_ms.size(); ++i) {
      if (i > 0 && times_ms[i] <= times_ms[i - 1])
        return absl::InternalError("times not ascending");
      out.try_emplace(times_ms[i], std::bit_cast<uint64_t>(values[i]));
    }
    return absl::OkStatus();
  }
  Status AddHistograms(LabelsView labels, std::span<const int64_t> times_ms,
                       std::span<const Histogram> rows) override {
    if (!IsCanonical(labels)) return absl::InvalidArgumentError("labels are not canonical");
    if (times_ms.size() != rows.size()) return absl::InternalError("lengths differ");
    auto& out = histograms[ToString(labels)];
    for (size_t i = 0; i < times_ms.size(); ++i) {
      if (i > 0 && times_ms[i] <= times_ms[i - 1])
        return absl::InternalError("times not ascending");
      if (!Validate(rows[i]).ok()) return absl::InternalError("a bad histogram");
      out.try_emplace(times_ms[i], rows[i]);
    }
    return absl::OkStatus();
  }
  Status AddMetadata(std::string_view family, const Metadata& row) override {
    metadata[std::string(family)] = row;
    return absl::OkStatus();
  }
  Status Finish() override { return absl::OkStatus(); }

  std::map<std::string, std::map<int64_t, uint64_t>> samples;  // bits
  std::map<std::string, std::map<int64_t, Histogram>> histograms;
  std::map<std::string, Metadata> metadata;
};

}  // namespace varve::ingest
