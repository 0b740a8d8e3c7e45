#include "tools/ingest/exposition_batch.h"

#include <cmath>

#include "engine/base/strings.h"

namespace varve::ingest {
namespace {

// Keeps keys of canonical label sets apart from those of raw wire bytes.
constexpr uint64_t kCanonicalKeySalt = 0xd6e8feb86659fd93;

bool MayHaveCreated(MetricType type) {
  return type == MetricType::kCounter || type == MetricType::kHistogram ||
         type == MetricType::kSummary;
}

}  // namespace

ExpositionBatch::ExpositionBatch(IngestContext& context, WriteBatch* batch, bool use_cache)
    : context_(context), batch_(batch), use_cache_(use_cache), newest_ms_(context.NewestTimeMs()) {
  batch_->Clear();
}

bool ExpositionBatch::AddRow(const ExpositionItem& item, LabelsView labels,
                             int64_t default_time_ms) {
  const int64_t time_ms = item.time_ms.value_or(default_time_ms);
  if (time_ms > newest_ms_) return false;
  SeriesKey key = KeyOf(labels);
  key.high ^= kCanonicalKeySalt;
  SeriesRef ref = 0;
  if (use_cache_) context_.series_cache().Find(std::span(&key, 1), std::span(&ref, 1));
  const uint32_t series = ref != 0 ? batch_->AddSeries(ref) : batch_->AddSeries(labels);
  rows_.push_back({key, item.place.line});
  for (const Exemplar& exemplar : item.exemplars) {
    Exemplar copy = exemplar;
    if (!copy.has_time) copy.time_ms = time_ms;
    batch_->AddExemplar(series, std::move(copy));
  }
  if (item.kind == ExpositionItem::Kind::kHistogram) {
    batch_->AddHistogram(series, time_ms, *item.histogram, item.start_ms);
    return true;
  }
  // Only text has families whose start is told apart from the samples.
  if (item.start_ms != kNoStartTime || item.place.line == 0 || item.family.empty() ||
      !MayHaveCreated(item.type)) {
    batch_->AddSample(series, time_ms, item.value, item.start_ms);
    return true;
  }
  if (item.family != family_) {
    FlushFamily();
    family_ = item.family;
  }
  group_labels_.clear();
  bool created = false;
  for (const LabelView& label : labels) {
    if (label.name == kMetricName) {
      created = label.value.size() == family_.size() + 8 && label.value.ends_with("_created");
    } else if (label.name != "le" && label.name != "quantile") {
      group_labels_.push_back(label);
    }
  }
  const SeriesKey group = KeyOf(group_labels_);
  if (created) {
    const double ms = item.value * 1000;
    if (std::isfinite(ms) && std::abs(ms) < 9e15) {
      created_ms_[group] = static_cast<int64_t>(ms);
    }
    batch_->AddSample(series, time_ms, item.value);
    return true;
  }
  waiting_.push_back({series, time_ms, item.value, group});
  return true;
}

void ExpositionBatch::FlushFamily() {
  for (const Waiting& row : waiting_) {
    int64_t start_ms = kNoStartTime;
    if (!created_ms_.empty()) {
      if (const auto at = created_ms_.find(row.group); at != created_ms_.end()) {
        start_ms = at->second;
      }
    }
    batch_->AddSample(row.series, row.time_ms, row.value, start_ms);
  }
  waiting_.clear();
  created_ms_.clear();
}

void ExpositionBatch::AddMetadata(const ExpositionItem& item) {
  if (item.family != metadata_family_) {
    FlushMetadata();
    metadata_family_ = item.family;
  }
  switch (item.kind) {
    case ExpositionItem::Kind::kType:
      metadata_.type = item.type;
      break;
    case ExpositionItem::Kind::kHelp:
      metadata_.help = item.text;
      break;
    case ExpositionItem::Kind::kUnit:
      metadata_.unit = item.text;
      break;
    default:
      break;
  }
}

void ExpositionBatch::FlushMetadata() {
  if (!metadata_family_.empty() && metadata_ != Metadata()) {
    const SeriesKey key = MetadataSeen::KeyOf(
        metadata_family_, static_cast<uint64_t>(metadata_.type), metadata_.help, metadata_.unit);
    if (!context_.metadata_seen().Contains(key)) {
      batch_->AddMetadata(metadata_family_, metadata_);
      metadata_keys_.push_back(key);
    }
  }
  metadata_family_.clear();
  metadata_ = Metadata();
}

void ExpositionBatch::Finish() {
  FlushFamily();
  FlushMetadata();
}

void ExpositionBatch::Remember(const AppendResult& result) {
  std::vector<SeriesKey> keys;
  std::vector<SeriesRef> refs;
  for (size_t i = 0; i < rows_.size() && i < result.refs.size(); ++i) {
    if (batch_->series()[i].ref != 0 || result.refs[i] == 0) continue;
    keys.push_back(rows_[i].key);
    refs.push_back(result.refs[i]);
  }
  if (!keys.empty()) context_.series_cache().Put(keys, refs);
  for (const SeriesKey& key : metadata_keys_) context_.metadata_seen().Add(key);
}

}  // namespace varve::ingest
