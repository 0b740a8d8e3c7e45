#include <algorithm>
#include <bit>
#include <cmath>

#include "engine/base/arena.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/exposition_internal.h"
#include "tools/ingest/histogram_wire.h"
#include "tools/ingest/label_rules.h"
#include "tools/ingest/label_wire.h"
#include "tools/ingest/protobuf.h"

namespace varve::ingest {
namespace {

// io.prometheus.client.MetricType
enum class WireMetricType : uint64_t {
  kCounter = 0,
  kGauge = 1,
  kSummary = 2,
  kUntyped = 3,
  kHistogram = 4,
  kGaugeHistogram = 5,
};

MetricType FromWire(uint64_t type) {
  switch (static_cast<WireMetricType>(type)) {
    case WireMetricType::kCounter:
      return MetricType::kCounter;
    case WireMetricType::kGauge:
      return MetricType::kGauge;
    case WireMetricType::kSummary:
      return MetricType::kSummary;
    case WireMetricType::kHistogram:
      return MetricType::kHistogram;
    case WireMetricType::kGaugeHistogram:
      return MetricType::kGaugeHistogram;
    default:
      return MetricType::kUnknown;
  }
}

/// Reads length-delimited MetricFamily messages. A metric is decoded as a whole into rows, which
/// Next then hands out one by one; families are walked in place.
class ProtobufParser final : public ExpositionParser {
 public:
  ProtobufParser(std::string_view body, bool classic_too)
      : body_(body), rest_(body), classic_too_(classic_too) {
    fault_.body = body.data();
  }

  Result<bool> Next(ExpositionItem* item) override {
    for (;;) {
      if (next_row_ < rows_.size()) {
        const Status status = Emit(rows_[next_row_++], item);
        if (status.ok()) return true;
        done_ = true;
        rows_.clear();
        next_row_ = 0;
        return status;
      }
      if (done_) return false;
      rows_.clear();
      next_row_ = 0;
      arena_.Clear();
      histograms_.clear();
      const Status status = Refill();
      if (!status.ok()) {
        done_ = true;
        rows_.clear();
        return status;
      }
    }
  }

 private:
  struct Row {
    ExpositionItem::Kind kind = ExpositionItem::Kind::kSample;
    std::string_view text;
    std::string_view suffix;
    LabelView extra;  // le or quantile; name empty if none
    double value = 0;
    size_t histogram = 0;  // index into histograms_
    std::vector<Exemplar> exemplars;
  };

  Status Invalid(std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("metric family ", GoQuote(family_), " at byte ",
                             family_message_.data() - body_.data(), ": ", what));
  }

  /// Decodes the next family header or the next metric of the current family.
  Status Refill() {
    if (!metrics_.empty()) {
      const std::string_view metric = metrics_.back();
      metrics_.pop_back();
      return DecodeMetric(metric);
    }
    if (rest_.empty()) {
      done_ = true;
      return absl::OkStatus();
    }
    const char* const at = rest_.data();
    uint64_t size = 0;
    size_t used = 0;
    for (unsigned shift = 0;; shift += 7) {
      if (used == rest_.size() || shift > 63) {
        fault_.Set(at, "truncated length of a MetricFamily");
        return fault_.ToStatus();
      }
      const auto byte = static_cast<unsigned char>(rest_[used++]);
      size |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (size > rest_.size() - used) {
      fault_.Set(at, Concat("MetricFamily of ", size, " bytes runs past the end, ",
                            rest_.size() - used, " bytes are left"));
      return fault_.ToStatus();
    }
    family_message_ = rest_.substr(used, size);
    rest_.remove_prefix(used + size);
    return DecodeFamily();
  }

  Status DecodeFamily() {
    family_ = help_ = unit_ = {};
    uint64_t type = 0;
    WireReader reader(family_message_, &fault_, "MetricFamily");
    while (reader.Next()) {
      bool good;
      std::string_view metric;
      switch (reader.field()) {
        case 1:
          good = reader.Bytes(&family_);
          break;
        case 2:
          good = reader.Bytes(&help_);
          break;
        case 3:
          good = reader.Varint(&type);
          break;
        case 4:
          good = reader.Bytes(&metric);
          if (good) metrics_.push_back(metric);
          break;
        case 5:
          good = reader.Bytes(&unit_);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return fault_.ToStatus();
    }
    if (!fault_.ok()) return fault_.ToStatus();
    if (family_.empty()) return Invalid("no name");
    if (!IsValidUtf8(family_) || !IsValidUtf8(help_) || !IsValidUtf8(unit_)) {
      return Invalid("name, help or unit is not UTF-8");
    }
    std::reverse(metrics_.begin(), metrics_.end());
    type_ = FromWire(type);
    Row row;
    row.kind = ExpositionItem::Kind::kType;
    rows_.push_back(row);
    if (!help_.empty()) {
      row.kind = ExpositionItem::Kind::kHelp;
      row.text = help_;
      rows_.push_back(row);
    }
    if (!unit_.empty()) {
      row.kind = ExpositionItem::Kind::kUnit;
      row.text = unit_;
      rows_.push_back(row);
    }
    return absl::OkStatus();
  }

  Status DecodeMetric(std::string_view bytes) {
    base_labels_.clear();
    time_ms_.reset();
    start_ms_ = kNoStartTime;
    std::string_view value_message;
    uint32_t value_field = 0;
    int64_t time_ms = 0;
    WireReader reader(bytes, &fault_, "Metric");
    while (reader.Next()) {
      bool good = true;
      switch (reader.field()) {
        case 1:
          good = ReadLabelPair(&reader, &base_labels_);
          break;
        case 2:
        case 3:
        case 4:
        case 5:
        case 7:
          value_field = reader.field();
          good = reader.Bytes(&value_message);
          break;
        case 6:
          good = reader.Int64(&time_ms);
          if (time_ms != 0) time_ms_ = time_ms;
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return fault_.ToStatus();
    }
    if (!fault_.ok()) return fault_.ToStatus();
    for (const LabelView& label : base_labels_) {
      if (label.name == kMetricName) return Invalid("a label named __name__");
    }
    bool good = true;
    switch (value_field) {
      case 2:
      case 5:
        good = ReadGauge(value_message);
        break;
      case 3:
        good = ReadCounter(value_message);
        break;
      case 4:
        good = ReadSummary(value_message);
        break;
      case 7:
        return ReadHistogram(value_message);
      default:
        return Invalid("a metric without a value");
    }
    return good ? absl::OkStatus() : fault_.ToStatus();
  }

  bool ReadLabelPair(WireReader* field, std::vector<LabelView>* labels) {
    std::string_view bytes;
    if (!field->Bytes(&bytes)) return false;
    if (labels->size() >= 4096) return field->Fail("too many labels");
    LabelView label;
    if (!ingest::ReadLabel(bytes, &fault_, "LabelPair", &label)) return false;
    labels->push_back(label);
    return true;
  }

  /// Reads a Timestamp into Unix milliseconds.
  bool ReadTimestamp(WireReader* field, int64_t* out_ms) {
    std::string_view bytes;
    if (!field->Bytes(&bytes)) return false;
    int64_t seconds = 0;
    int32_t nanos = 0;
    WireReader reader(bytes, &fault_, "Timestamp");
    while (reader.Next()) {
      bool good;
      switch (reader.field()) {
        case 1:
          good = reader.Int64(&seconds);
          break;
        case 2:
          good = reader.Int32(&nanos);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    if (!fault_.ok()) return false;
    if (seconds > 253'402'300'799 || seconds < -62'135'596'800) {
      return field->Fail("timestamp outside the years 1 to 9999");
    }
    *out_ms = seconds * 1000 + nanos / 1'000'000;
    return true;
  }

  bool ReadExemplar(WireReader* field, std::vector<Exemplar>* out) {
    std::string_view bytes;
    if (!field->Bytes(&bytes)) return false;
    Exemplar exemplar;
    exemplar.has_time = false;
    exemplar_labels_.clear();
    WireReader reader(bytes, &fault_, "Exemplar");
    while (reader.Next()) {
      bool good;
      switch (reader.field()) {
        case 1:
          good = ReadLabelPair(&reader, &exemplar_labels_);
          break;
        case 2:
          good = reader.Double(&exemplar.value);
          break;
        case 3:
          good = ReadTimestamp(&reader, &exemplar.time_ms);
          exemplar.has_time = true;
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    if (!fault_.ok()) return false;
    // Exemplars are extras: one with bad labels is left out, the sample stays.
    if (auto labels = Labels::Make(exemplar_labels_); labels.ok()) {
      exemplar.labels = std::move(labels).value();
      out->push_back(std::move(exemplar));
    }
    return true;
  }

  bool ReadGauge(std::string_view bytes) {
    Row row;
    WireReader reader(bytes, &fault_, "Gauge");
    while (reader.Next()) {
      if (!(reader.field() == 1 ? reader.Double(&row.value) : reader.Skip())) return false;
    }
    rows_.push_back(std::move(row));
    return fault_.ok();
  }

  bool ReadCounter(std::string_view bytes) {
    Row row;
    WireReader reader(bytes, &fault_, "Counter");
    while (reader.Next()) {
      bool good;
      switch (reader.field()) {
        case 1:
          good = reader.Double(&row.value);
          break;
        case 2:
          good = ReadExemplar(&reader, &row.exemplars);
          break;
        case 3:
          good = ReadTimestamp(&reader, &start_ms_);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    rows_.push_back(std::move(row));
    return fault_.ok();
  }

  bool ReadSummary(std::string_view bytes) {
    uint64_t count = 0;
    double sum = 0;
    std::vector<Row> quantiles;
    WireReader reader(bytes, &fault_, "Summary");
    while (reader.Next()) {
      bool good = true;
      switch (reader.field()) {
        case 1:
          good = reader.Varint(&count);
          break;
        case 2:
          good = reader.Double(&sum);
          break;
        case 3: {
          std::string_view pair;
          good = reader.Bytes(&pair);
          if (!good) break;
          double quantile = 0;
          Row row;
          WireReader inner(pair, &fault_, "Quantile");
          while (good && inner.Next()) {
            switch (inner.field()) {
              case 1:
                good = inner.Double(&quantile);
                break;
              case 2:
                good = inner.Double(&row.value);
                break;
              default:
                good = inner.Skip();
            }
          }
          good = good && fault_.ok();
          row.extra = {"quantile", arena_.Copy(FormatOpenMetricsFloat(quantile))};
          quantiles.push_back(std::move(row));
          break;
        }
        case 4:
          good = ReadTimestamp(&reader, &start_ms_);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    AddRow("_count", static_cast<double>(count));
    AddRow("_sum", sum);
    for (Row& row : quantiles) rows_.push_back(std::move(row));
    return fault_.ok();
  }

  void AddRow(std::string_view suffix, double value) {
    Row row;
    row.suffix = suffix;
    row.value = value;
    rows_.push_back(std::move(row));
  }

  struct Bucket {
    uint64_t count = 0;
    double float_count = 0;
    double bound = 0;
    std::vector<Exemplar> exemplars;
  };

  bool ReadBucket(WireReader* field, std::vector<Bucket>* out) {
    std::string_view bytes;
    if (!field->Bytes(&bytes)) return false;
    if (out->size() >= kHistogramBucketsMax) return field->Fail("too many buckets");
    Bucket bucket;
    WireReader reader(bytes, &fault_, "Bucket");
    while (reader.Next()) {
      bool good;
      switch (reader.field()) {
        case 1:
          good = reader.Varint(&bucket.count);
          break;
        case 2:
          good = reader.Double(&bucket.bound);
          break;
        case 3:
          good = ReadExemplar(&reader, &bucket.exemplars);
          break;
        case 4:
          good = reader.Double(&bucket.float_count);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    out->push_back(std::move(bucket));
    return fault_.ok();
  }

  Status ReadHistogram(std::string_view bytes) {
    Histogram h;
    double count_float = 0;
    double zero_count_float = 0;
    std::vector<Bucket> buckets;
    std::vector<Exemplar> exemplars;
    WireReader reader(bytes, &fault_, "Histogram");
    const auto deltas = [&](std::vector<int64_t>* out) {
      return reader.RepeatedVarint([&](uint64_t value) {
        if (out->size() >= kHistogramBucketsMax) return reader.Fail("too many buckets");
        out->push_back(static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1));
        return true;
      });
    };
    const auto counts = [&](std::vector<double>* out) {
      return reader.RepeatedDouble([&](double value) {
        if (out->size() >= kHistogramBucketsMax) return reader.Fail("too many buckets");
        out->push_back(value);
        return true;
      });
    };
    while (reader.Next()) {
      bool good = true;
      switch (reader.field()) {
        case 1:
          good = reader.Varint(&h.count);
          break;
        case 2:
          good = reader.Double(&h.sum);
          break;
        case 3:
          good = ReadBucket(&reader, &buckets);
          break;
        case 4:
          good = reader.Double(&count_float);
          break;
        case 5:
          good = reader.Sint32(&h.schema);
          break;
        case 6:
          good = reader.Double(&h.zero_threshold);
          break;
        case 7:
          good = reader.Varint(&h.zero_count);
          break;
        case 8:
          good = reader.Double(&zero_count_float);
          break;
        case 9:
          good = ReadBucketSpan(&reader, &fault_, &h.negative_spans);
          break;
        case 10:
          good = deltas(&h.negative_deltas);
          break;
        case 11:
          good = counts(&h.negative_counts);
          break;
        case 12:
          good = ReadBucketSpan(&reader, &fault_, &h.positive_spans);
          break;
        case 13:
          good = deltas(&h.positive_deltas);
          break;
        case 14:
          good = counts(&h.positive_counts);
          break;
        case 15:
          good = ReadTimestamp(&reader, &start_ms_);
          break;
        case 16:
          good = ReadExemplar(&reader, &exemplars);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return fault_.ToStatus();
    }
    if (!fault_.ok()) return fault_.ToStatus();

    const bool native = !h.positive_spans.empty() || !h.negative_spans.empty() ||
                        h.zero_threshold > 0 || h.zero_count > 0 || zero_count_float > 0;
    const double classic_count = count_float > 0 ? count_float : static_cast<double>(h.count);
    const double sum = h.sum;
    if (native) {
      h.is_float = count_float > 0 || zero_count_float > 0;
      if (h.is_float) {
        h.float_count = count_float;
        h.float_zero_count = zero_count_float;
        h.count = h.zero_count = 0;
        h.positive_deltas.clear();
        h.negative_deltas.clear();
      } else {
        h.positive_counts.clear();
        h.negative_counts.clear();
      }
      if (type_ == MetricType::kGaugeHistogram) h.reset_hint = CounterResetHint::kGauge;
      Row row;
      row.kind = ExpositionItem::Kind::kHistogram;
      row.histogram = histograms_.size();
      if (exemplars.empty()) {
        for (const Bucket& bucket : buckets) {
          exemplars.insert(exemplars.end(), bucket.exemplars.begin(), bucket.exemplars.end());
        }
      }
      // Among the buckets of one sample only time can tell exemplars apart.
      std::erase_if(exemplars, [](const Exemplar& exemplar) { return !exemplar.has_time; });
      row.exemplars = std::move(exemplars);
      histograms_.push_back(std::move(h));
      rows_.push_back(std::move(row));
      if (!classic_too_ || buckets.empty()) return absl::OkStatus();
    }
    AddRow("_count", classic_count);
    AddRow("_sum", sum);
    bool has_infinity = false;
    for (Bucket& bucket : buckets) {
      Row row;
      row.suffix = "_bucket";
      row.value = bucket.float_count > 0 ? bucket.float_count : static_cast<double>(bucket.count);
      row.extra = {"le", arena_.Copy(FormatOpenMetricsFloat(bucket.bound))};
      row.exemplars = std::move(bucket.exemplars);
      has_infinity |= std::isinf(bucket.bound) && bucket.bound > 0;
      rows_.push_back(std::move(row));
    }
    if (!has_infinity) {
      AddRow("_bucket", classic_count);
      rows_.back().extra = {"le", "+Inf"};
    }
    return absl::OkStatus();
  }

  Status Emit(Row& row, ExpositionItem* item) {
    item->kind = row.kind;
    item->family = family_;
    item->type = type_;
    item->text = row.text;
    item->histogram = nullptr;
    item->exemplars = row.exemplars;
    item->place = {};
    if (row.kind != ExpositionItem::Kind::kSample && row.kind != ExpositionItem::Kind::kHistogram) {
      return absl::OkStatus();
    }
    labels_ = base_labels_;
    std::string_view name = family_;
    if (!row.suffix.empty()) {
      name_ = Concat(family_, row.suffix);
      name = name_;
    }
    labels_.push_back({kMetricName, name});
    if (!row.extra.name.empty()) labels_.push_back(row.extra);
    // An exposition must not speak in stale markers.
    item->value = std::isnan(row.value) ? std::bit_cast<double>(kNormalNanBits) : row.value;
    item->time_ms = time_ms_;
    item->start_ms = start_ms_;
    if (row.kind == ExpositionItem::Kind::kHistogram) item->histogram = &histograms_[row.histogram];
    const LabelVerdict verdict = Canonicalize(&labels_);
    item->labels = labels_;
    return verdict.good() ? absl::OkStatus() : Invalid(verdict.text);
  }

  const std::string_view body_;
  std::string_view rest_;
  const bool classic_too_;
  WireFault fault_;
  bool done_ = false;

  std::string_view family_message_, family_, help_, unit_;
  MetricType type_ = MetricType::kUnknown;
  std::vector<std::string_view> metrics_;  // of the family, last first

  std::optional<int64_t> time_ms_;
  int64_t start_ms_ = kNoStartTime;
  std::vector<LabelView> base_labels_;
  std::vector<LabelView> exemplar_labels_;
  std::vector<Histogram> histograms_;
  std::vector<Row> rows_;
  size_t next_row_ = 0;
  Arena arena_;

  std::vector<LabelView> labels_;
  std::string name_;
};

}  // namespace

std::unique_ptr<ExpositionParser> MakeProtobufParser(std::string_view body, bool classic_too) {
  return std::make_unique<ProtobufParser>(body, classic_too);
}

}  // namespace varve::ingest
