#include <algorithm>
#include <charconv>
#include <cmath>

#include "engine/base/strings.h"
#include "tools/ingest/histogram_wire.h"
#include "tools/otlp/decode_common.h"
#include "tools/otlp/label_names.h"
#include "tools/otlp/metrics.h"

namespace varve::otlp {
namespace {

// Prometheus repeats target_info at least twice in a lookback of five minutes.
constexpr int64_t kTargetInfoStepMs = 150'000;
constexpr int64_t kTargetInfoSamplesMax = 1000;
constexpr size_t kExemplarRunesMax = 128;
constexpr size_t kBucketsMax = ingest::kHistogramBucketsMax;
// Far more than the 20 that SDKs use; what is left of such buckets fits one.
constexpr int32_t kScaleMax = 1000;
// The bound below which Prometheus takes a value for zero when the sender names none.
constexpr double kZeroThreshold = 1e-128;

enum class Temporality : uint8_t { kUnspecified = 0, kDelta = 1, kCumulative = 2 };

int64_t Millis(uint64_t ns) { return TimeOf(ns) / 1'000'000; }

std::string BoundText(double bound) {
  if (std::isinf(bound)) return bound > 0 ? "+Inf" : "-Inf";
  if (std::isnan(bound)) return "NaN";
  char text[400];
  const auto [end, error] =
      std::to_chars(text, text + sizeof(text), bound, std::chars_format::fixed);
  return std::string(text, end);
}

struct ExemplarPoint {
  uint64_t time = 0;
  double value = 0;
  TraceId trace_id;
  SpanId span_id;
  std::vector<AttributeView> attributes;
};

// What the points of all kinds have.
struct Point {
  uint64_t start = 0;
  uint64_t time = 0;
  uint64_t flags = 0;
  std::vector<AttributeView> attributes;
  std::vector<ExemplarPoint> exemplars;

  bool has_value = false;  // a number
  double value = 0;
  uint64_t count = 0;
  bool has_sum = false;
  double sum = 0;
  std::vector<uint64_t> bucket_counts;
  std::vector<double> bounds;
  std::vector<std::pair<double, double>> quantiles;
  ExponentialPoint exponential;

  bool stale() const { return (flags & 1) != 0; }
};

size_t RunesOf(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

// Sparse spans of what is dense; a gap of up to two empty buckets is cheaper than a new span.
void ToSpans(const ExponentialBuckets& buckets, std::vector<BucketSpan>* spans,
             std::vector<int64_t>* deltas) {
  int64_t before = 0;
  int64_t next = 0;  // the bucket after the last one written
  for (size_t i = 0; i < buckets.counts.size(); ++i) {
    if (buckets.counts[i] == 0) continue;
    // Prometheus's bucket i ends at base^i, OTLP's begins there.
    const int64_t at = static_cast<int64_t>(buckets.offset) + static_cast<int64_t>(i) + 1;
    if (spans->empty() || at - next > 2) {
      spans->push_back({static_cast<int32_t>(spans->empty() ? at : at - next), 0});
    } else {
      for (; next < at; ++next) {
        deltas->push_back(-before);
        before = 0;
        ++spans->back().length;
      }
    }
    const auto count = static_cast<int64_t>(buckets.counts[i]);
    deltas->push_back(count - before);
    before = count;
    ++spans->back().length;
    next = at + 1;
  }
}

class MetricDecoder {
 public:
  MetricDecoder(const MetricOptions& options, int64_t newest_ms, DeltaStreams::Transaction* deltas,
                WriteBatch* out, MetricReport* report, WireFault* fault)
      : options_(options),
        newest_ms_(newest_ms),
        deltas_(*deltas),
        out_(*out),
        report_(*report),
        fault_(fault) {}

  bool Request(std::string_view wire) {
    return ForEachMessage(wire, fault_, "ExportMetricsServiceRequest", 1,
                          [&](std::string_view message) { return ResourceMetrics(message); });
  }

 private:
  // --- Resource and scope ---

  bool ResourceMetrics(std::string_view wire) {
    resource_.Clear();
    std::string_view schema_url;  // stored nowhere
    if (!ReadLevel(wire, fault_, "ResourceMetrics", &schema_url, [&](std::string_view bytes) {
          return ReadResource(bytes, fault_, &resource_);
        })) {
      return false;
    }
    SetResource();
    if (!ForEachMessage(wire, fault_, "ResourceMetrics", 2,
                        [&](std::string_view message) { return ScopeMetrics(message); })) {
      return false;
    }
    AddTargetInfo();
    return true;
  }

  void SetResource() {
    job_.clear();
    instance_.clear();
    resource_labels_.clear();
    oldest_point_ms_ = kMaxTime;
    newest_point_ms_ = kMinTime;
    const auto text = [&](std::string_view key) {
      const ValueView* const value = FindAttribute(resource_.attributes, key);
      return value == nullptr ? std::string() : ToString(*value);
    };
    job_ = text("service.name");
    if (!job_.empty() && FindAttribute(resource_.attributes, "service.namespace") != nullptr) {
      job_ = Concat(text("service.namespace"), "/", job_);
    }
    instance_ = text("service.instance.id");
    for (const AttributeView& attribute : resource_.attributes) {
      const auto named_in = [&](const std::vector<std::string>& names) {
        return std::ranges::find(names, attribute.key) != names.end();
      };
      const bool promoted = options_.promote_all_attributes
                                ? !named_in(options_.unpromoted_attributes)
                                : named_in(options_.promote_attributes);
      if (promoted) {
        resource_labels_.emplace_back(LabelName(attribute.key, options_.translation),
                                      ToString(attribute.value));
      }
    }
  }

  void AddTargetInfo() {
    if (newest_point_ms_ == kMinTime || (job_.empty() && instance_.empty())) return;
    Pairs pairs;
    for (const AttributeView& attribute : resource_.attributes) {
      const bool identifies = attribute.key == "service.name" ||
                              attribute.key == "service.namespace" ||
                              attribute.key == "service.instance.id";
      if (identifies && !options_.keep_identifying_attributes) continue;
      pairs.emplace_back(attribute.key, ToString(attribute.value));
    }
    if (pairs.empty()) return;
    MakeLabels(std::move(pairs), false);
    const uint32_t series = AddSeries("target_info", {});
    const int64_t oldest =
        std::max(oldest_point_ms_, newest_point_ms_ - kTargetInfoStepMs * kTargetInfoSamplesMax);
    for (int64_t time = oldest; time < newest_point_ms_; time += kTargetInfoStepMs) {
      out_.AddSample(series, time, 1);
    }
    out_.AddSample(series, newest_point_ms_, 1);
    if (!info_described_) {
      info_described_ = true;
      out_.AddMetadata("target_info", {MetricType::kGauge, "Target metadata", ""});
    }
  }

  bool ScopeMetrics(std::string_view wire) {
    scope_.Clear();
    if (!ReadLevel(wire, fault_, "ScopeMetrics", &scope_schema_,
                   [&](std::string_view bytes) { return ReadScope(bytes, fault_, &scope_); })) {
      return false;
    }
    return ForEachMessage(wire, fault_, "ScopeMetrics", 2,
                          [&](std::string_view message) { return Metric(message); });
  }

  // --- One metric ---

  bool Metric(std::string_view wire) {
    std::string_view name;
    std::string_view description;
    std::string_view unit;
    uint32_t kind = 0;
    std::string_view data;
    WireReader reader(wire, fault_, "Metric");
    while (reader.Next()) {
      switch (reader.field()) {
        case 1:
          if (!reader.Bytes(&name)) return false;
          break;
        case 2:
          if (!reader.Bytes(&description)) return false;
          break;
        case 3:
          if (!reader.Bytes(&unit)) return false;
          break;
        case 5:
        case 7:
        case 9:
        case 10:
        case 11:
          kind = reader.field();
          if (!reader.Bytes(&data)) return false;
          break;
        default:
          if (!reader.Skip()) return false;
      }
    }
    if (!fault_->ok() || kind == 0) return fault_->ok();

    // The fields beside the points are numbered alike in all five kinds.
    uint64_t temporality = 0;
    uint64_t monotonic = 0;
    WireReader first(data, fault_, "Metric data");
    while (first.Next()) {
      if (first.field() == 2) {
        if (!first.Varint(&temporality)) return false;
      } else if (first.field() == 3) {
        if (!first.Varint(&monotonic)) return false;
      } else if (!first.Skip()) {
        return false;
      }
    }
    if (!fault_->ok()) return false;
    kind_ = kind;
    delta_ = temporality == static_cast<uint64_t>(Temporality::kDelta) && kind != 5 && kind != 11;
    const bool counter = kind == 7 && monotonic != 0;
    const bool known_temporality = kind == 5 || kind == 11 || temporality == 1 || temporality == 2;
    family_ = MetricName(name, unit,
                         counter     ? NameKind::kCounter
                         : kind == 5 ? NameKind::kGauge
                                     : NameKind::kOther,
                         options_.translation);
    bool described = false;
    WireReader second(data, fault_, "Metric data");
    while (second.Next()) {
      std::string_view message;
      if (second.field() != 1) {
        if (!second.Skip()) return false;
        continue;
      }
      if (!second.Bytes(&message) || !ReadPoint(message)) return false;
      ++report_.points;
      if (family_.empty()) {
        Reject("a metric without a name");
        continue;
      }
      if (!known_temporality) {
        Reject(Concat("metric \"", name, "\": invalid temporality"));
        continue;
      }
      if (!AddPoint(name)) continue;
      described = true;
    }
    if (!fault_->ok()) return false;
    if (described) {
      const MetricType type = kind == 5               ? MetricType::kGauge
                              : kind == 7 && !counter ? MetricType::kGauge
                              : kind == 7             ? MetricType::kCounter
                              : kind == 11            ? MetricType::kSummary
                                                      : MetricType::kHistogram;
      out_.AddMetadata(family_, {type, std::string(description), std::string(unit)});
    }
    return true;
  }

  bool ReadPoint(std::string_view wire) {
    switch (kind_) {
      case 5:
      case 7:
        return ReadNumber(wire);
      case 9:
        return ReadHistogram(wire);
      case 10:
        return ReadExponential(wire);
      default:
        return ReadSummary(wire);
    }
  }

  void ClearPoint() {
    point_.start = point_.time = point_.flags = point_.count = 0;
    point_.attributes.clear();
    point_.exemplars.clear();
    point_.has_value = point_.has_sum = false;
    point_.value = point_.sum = 0;
    point_.bucket_counts.clear();
    point_.bounds.clear();
    point_.quantiles.clear();
    point_.exponential = {};
  }

  bool ReadPointAttribute(WireReader* reader) {
    std::string_view message;
    if (!reader->Bytes(&message)) return false;
    if (++elements_ > kElementsMax) return reader->Fail("too many attributes");
    return ReadAttribute(message, fault_, &point_.attributes.emplace_back());
  }

  // A fixed-width integer where a number may be one of either kind.
  static bool ReadInteger(WireReader* reader, double* out) {
    uint64_t bits;
    if (!reader->Fixed64(&bits)) return false;
    *out = static_cast<double>(static_cast<int64_t>(bits));
    return true;
  }

  template <typename T>
  static bool Push(WireReader* reader, T value, std::vector<T>* out) {
    if (out->size() >= kBucketsMax) return reader->Fail("too many buckets");
    out->push_back(value);
    return true;
  }

  bool ReadNumber(std::string_view wire) {
    ClearPoint();
    return ForEachField(wire, fault_, "NumberDataPoint", [&](WireReader& reader) {
      switch (reader.field()) {
        case 2:
          return reader.Fixed64(&point_.start);
        case 3:
          return reader.Fixed64(&point_.time);
        case 4:
          point_.has_value = true;
          return reader.Double(&point_.value);
        case 5:
          return ReadExemplar(&reader);
        case 6:
          point_.has_value = true;
          return ReadInteger(&reader, &point_.value);
        case 7:
          return ReadPointAttribute(&reader);
        case 8:
          return reader.Varint(&point_.flags);
        default:
          return reader.Skip();
      }
    });
  }

  bool ReadHistogram(std::string_view wire) {
    ClearPoint();
    return ForEachField(wire, fault_, "HistogramDataPoint", [&](WireReader& reader) {
      switch (reader.field()) {
        case 2:
          return reader.Fixed64(&point_.start);
        case 3:
          return reader.Fixed64(&point_.time);
        case 4:
          return reader.Fixed64(&point_.count);
        case 5:
          point_.has_sum = true;
          return reader.Double(&point_.sum);
        case 6:
          return reader.RepeatedFixed64(
              [&](uint64_t count) { return Push(&reader, count, &point_.bucket_counts); });
        case 7:
          return reader.RepeatedDouble(
              [&](double bound) { return Push(&reader, bound, &point_.bounds); });
        case 8:
          return ReadExemplar(&reader);
        case 9:
          return ReadPointAttribute(&reader);
        case 10:
          return reader.Varint(&point_.flags);
        default:
          return reader.Skip();
      }
    });
  }

  bool ReadBuckets(WireReader* outer, ExponentialBuckets* buckets) {
    std::string_view message;
    if (!outer->Bytes(&message)) return false;
    return ForEachField(message, fault_, "Buckets", [&](WireReader& reader) {
      if (reader.field() == 1) return reader.Sint32(&buckets->offset);
      if (reader.field() != 2) return reader.Skip();
      return reader.RepeatedVarint(
          [&](uint64_t count) { return Push(&reader, count, &buckets->counts); });
    });
  }

  bool ReadExponential(std::string_view wire) {
    ClearPoint();
    ExponentialPoint& histogram = point_.exponential;
    return ForEachField(wire, fault_, "ExponentialHistogramDataPoint", [&](WireReader& reader) {
      switch (reader.field()) {
        case 1:
          return ReadPointAttribute(&reader);
        case 2:
          return reader.Fixed64(&point_.start);
        case 3:
          return reader.Fixed64(&point_.time);
        case 4:
          return reader.Fixed64(&histogram.count);
        case 5:
          return reader.Double(&histogram.sum);
        case 6:
          return reader.Sint32(&histogram.scale);
        case 7:
          return reader.Fixed64(&histogram.zero_count);
        case 8:
          return ReadBuckets(&reader, &histogram.positive);
        case 9:
          return ReadBuckets(&reader, &histogram.negative);
        case 10:
          return reader.Varint(&point_.flags);
        case 11:
          return ReadExemplar(&reader);
        case 14:
          return reader.Double(&histogram.zero_threshold);
        default:
          return reader.Skip();
      }
    });
  }

  bool ReadQuantile(WireReader* outer) {
    std::string_view message;
    if (!outer->Bytes(&message)) return false;
    if (point_.quantiles.size() >= kBucketsMax) return outer->Fail("too many quantiles");
    auto& [quantile, value] = point_.quantiles.emplace_back();
    return ForEachField(message, fault_, "ValueAtQuantile", [&](WireReader& reader) {
      return reader.field() == 1   ? reader.Double(&quantile)
             : reader.field() == 2 ? reader.Double(&value)
                                   : reader.Skip();
    });
  }

  bool ReadSummary(std::string_view wire) {
    ClearPoint();
    return ForEachField(wire, fault_, "SummaryDataPoint", [&](WireReader& reader) {
      switch (reader.field()) {
        case 2:
          return reader.Fixed64(&point_.start);
        case 3:
          return reader.Fixed64(&point_.time);
        case 4:
          return reader.Fixed64(&point_.count);
        case 5:
          return reader.Double(&point_.sum);
        case 6:
          return ReadQuantile(&reader);
        case 7:
          return ReadPointAttribute(&reader);
        case 8:
          return reader.Varint(&point_.flags);
        default:
          return reader.Skip();
      }
    });
  }

  bool ReadExemplar(WireReader* outer) {
    std::string_view message;
    if (!outer->Bytes(&message)) return false;
    if (++elements_ > kElementsMax) return outer->Fail("too many exemplars");
    ExemplarPoint& exemplar = point_.exemplars.emplace_back();
    return ForEachField(message, fault_, "Exemplar", [&](WireReader& reader) {
      std::string_view attribute;
      switch (reader.field()) {
        case 2:
          return reader.Fixed64(&exemplar.time);
        case 3:
          return reader.Double(&exemplar.value);
        case 4:
          return ReadId(&reader, &exemplar.span_id);
        case 5:
          return ReadId(&reader, &exemplar.trace_id);
        case 6:
          return ReadInteger(&reader, &exemplar.value);
        case 7:
          if (++elements_ > kElementsMax) return reader.Fail("too many attributes");
          return reader.Bytes(&attribute) &&
                 ReadAttribute(attribute, fault_, &exemplar.attributes.emplace_back());
        default:
          return reader.Skip();
      }
    });
  }

  // --- Labels ---

  using Pairs = std::vector<std::pair<std::string_view, std::string>>;

  // Makes labels_ of attributes: sorted by key so that those whose names collide join their values
  // in a fixed order.
  void MakeLabels(Pairs attributes, bool with_promoted) {
    std::ranges::stable_sort(attributes, {}, &Pairs::value_type::first);
    labels_.clear();
    const auto find = [&](std::string_view name) {
      return std::ranges::find(labels_, name, &std::pair<std::string, std::string>::first);
    };
    const auto set = [&](std::string name, std::string value) {
      if (name.empty()) return;
      const auto found = find(name);
      if (found != labels_.end()) {
        found->second = std::move(value);
      } else {
        labels_.emplace_back(std::move(name), std::move(value));
      }
    };
    for (auto& [key, value] : attributes) {
      std::string name = LabelName(key, options_.translation);
      if (name.empty()) continue;
      const auto found = find(name);
      if (found != labels_.end() && !found->second.empty()) {
        found->second += Concat(";", value);
      } else {
        set(std::move(name), std::move(value));
      }
    }
    if (with_promoted) {
      for (const auto& [name, value] : resource_labels_) {
        if (find(name) == labels_.end()) set(name, value);
      }
      if (options_.promote_scope && !scope_.name.empty()) {
        for (const AttributeView& attribute : scope_.attributes) {
          set(LabelName(Concat("otel_scope_", attribute.key), options_.translation),
              ToString(attribute.value));
        }
        set("otel_scope_name", std::string(scope_.name));
        set("otel_scope_version", std::string(scope_.version));
        set("otel_scope_schema_url", std::string(scope_schema_));
      }
    }
    if (!job_.empty()) set("job", job_);
    if (!instance_.empty()) set("instance", instance_);
    std::erase_if(labels_, [](const auto& label) { return label.second.empty(); });
    std::ranges::sort(labels_);
  }

  // Fills views_ with labels_, the metric's name and one more label.
  void MakeViews(std::string_view name, LabelView extra) {
    views_.clear();
    for (const auto& [label, value] : labels_) {
      if (label != kMetricName && label != extra.name) views_.push_back({label, value});
    }
    const auto insert = [&](LabelView label) {
      views_.insert(std::ranges::lower_bound(views_, label.name, {}, &LabelView::name), label);
    };
    insert({kMetricName, name});
    if (!extra.name.empty() && !extra.value.empty()) insert(extra);
  }

  uint32_t AddSeries(std::string_view name, LabelView extra) {
    MakeViews(name, extra);
    return out_.AddSeries(views_);
  }

  // --- Points to rows ---

  void Reject(std::string message) {
    if (report_.rejected++ == 0) report_.message = std::move(message);
  }

  bool AddPoint(std::string_view name) {
    const int64_t time_ms = Millis(point_.time);
    if (time_ms > newest_ms_) {
      Reject(Concat("metric \"", name, "\": a point too far in the future"));
      return false;
    }
    Pairs pairs;
    pairs.reserve(point_.attributes.size());
    for (const AttributeView& attribute : point_.attributes) {
      pairs.emplace_back(attribute.key, ToString(attribute.value));
    }
    MakeLabels(std::move(pairs), true);
    int64_t start_ms = Millis(point_.start);
    if (delta_ && !SumUp(name, time_ms, &start_ms)) return false;
    switch (kind_) {
      case 5:
      case 7:
        AddNumber(time_ms, kind_ == 5 ? kNoStartTime : start_ms);
        break;
      case 9:
        if (!CheckHistogram(name)) return false;
        if (options_.explicit_as_native) {
          if (!AddCustomBuckets(name, time_ms, start_ms)) return false;
        } else {
          AddClassic(time_ms, start_ms);
        }
        break;
      case 10:
        if (!AddExponential(name, time_ms, start_ms)) return false;
        break;
      default:
        AddSummary(time_ms, start_ms);
    }
    oldest_point_ms_ = std::min(oldest_point_ms_, time_ms);
    newest_point_ms_ = std::max(newest_point_ms_, time_ms);
    return true;
  }

  // Replaces the delta in point_ by the sum so far.
  bool SumUp(std::string_view name, int64_t time_ms, int64_t* start_ms) {
    // A point without a value ends the series but adds nothing to it.
    if (point_.stale()) return true;
    MakeViews(family_, {});
    DeltaStreams::Stream* const stream = deltas_.Change(KeyOf(views_), time_ms);
    if (stream == nullptr) {
      Reject(Concat("metric \"", name, "\": too many streams of delta temporality"));
      return false;
    }
    const bool fresh = stream->last_ms == 0 || time_ms - stream->last_ms > DeltaStreams::kRestMs;
    if (!fresh && time_ms <= stream->last_ms) {
      // Senders repeat what they did not hear an answer to.
      Reject(Concat("metric \"", name, "\": a delta not newer than the one before"));
      return false;
    }
    if (fresh) {
      *stream = DeltaStreams::Stream{};
      stream->start_ms = *start_ms != 0 ? *start_ms : time_ms;
    }
    stream->last_ms = time_ms;
    *start_ms = stream->start_ms;
    if (kind_ == 7) {
      stream->value += point_.value;
      point_.value = stream->value;
      return true;
    }
    if (kind_ == 10) {
      if (!CheckScale(name)) return false;
      if (stream->exponential == nullptr) {
        stream->exponential = std::make_unique<ExponentialPoint>(point_.exponential);
      } else {
        stream->exponential->Add(point_.exponential);
      }
      point_.exponential = *stream->exponential;
      return true;
    }
    if (!CheckHistogram(name)) return false;
    if (stream->counts.empty() || stream->bounds != point_.bounds ||
        stream->counts.size() != point_.bucket_counts.size()) {
      // Other buckets are another histogram: it starts anew.
      if (!fresh && !stream->counts.empty()) {
        *start_ms = stream->start_ms = Millis(point_.start);
        stream->count = 0;
        stream->value = 0;
      }
      stream->bounds = point_.bounds;
      stream->counts.assign(point_.bucket_counts.size(), 0);
    }
    for (size_t i = 0; i < stream->counts.size(); ++i) stream->counts[i] += point_.bucket_counts[i];
    stream->count += point_.count;
    stream->value += point_.sum;
    point_.bucket_counts = stream->counts;
    point_.count = stream->count;
    point_.sum = stream->value;
    return true;
  }

  bool CheckHistogram(std::string_view name) {
    if (point_.stale() || point_.bucket_counts.empty() ||
        point_.bucket_counts.size() == point_.bounds.size() + 1) {
      return true;
    }
    Reject(Concat("metric \"", name, "\": ", point_.bucket_counts.size(), " buckets with ",
                  point_.bounds.size(), " bounds"));
    return false;
  }

  bool CheckScale(std::string_view name) {
    if (point_.exponential.scale < kExponentialSchemaMin) {
      Reject(Concat("metric \"", name, "\": exponential scale ", point_.exponential.scale,
                    " is below ", kExponentialSchemaMin));
      return false;
    }
    if (point_.exponential.scale > kScaleMax) {
      Reject(Concat("metric \"", name, "\": exponential scale ", point_.exponential.scale,
                    " is out of range"));
      return false;
    }
    // Indices are of 32 bits; one that no double could reach would overflow sums below.
    constexpr int64_t kIndexMax = int64_t{1} << 30;
    for (const ExponentialBuckets* buckets :
         {&point_.exponential.positive, &point_.exponential.negative}) {
      if (buckets->offset > kIndexMax || buckets->offset < -kIndexMax) {
        Reject(
            Concat("metric \"", name, "\": bucket offset ", buckets->offset, " is out of range"));
        return false;
      }
    }
    return true;
  }

  void AddNumber(int64_t time_ms, int64_t start_ms) {
    if (!point_.has_value && !point_.stale()) point_.value = 0;
    const uint32_t series = AddSeries(family_, {});
    out_.AddSample(series, time_ms, point_.stale() ? StaleNan() : point_.value, start_ms);
    for (const ExemplarPoint& exemplar : point_.exemplars) AddExemplar(series, exemplar);
  }

  void AddClassic(int64_t time_ms, int64_t start_ms) {
    const auto value = [&](double number) { return point_.stale() ? StaleNan() : number; };
    const auto count = static_cast<double>(point_.count);
    if (point_.has_sum) {
      out_.AddSample(AddSeries(Concat(family_, "_sum"), {}), time_ms, value(point_.sum), start_ms);
    }
    out_.AddSample(AddSeries(Concat(family_, "_count"), {}), time_ms, value(count), start_ms);
    const std::string name = Concat(family_, "_bucket");
    std::ranges::stable_sort(point_.exemplars, {}, &ExemplarPoint::value);
    size_t next_exemplar = 0;
    uint64_t below = 0;
    for (size_t i = 0; i < point_.bounds.size() && i < point_.bucket_counts.size(); ++i) {
      below += point_.bucket_counts[i];
      const std::string bound = BoundText(point_.bounds[i]);
      const uint32_t series = AddSeries(name, {"le", bound});
      out_.AddSample(series, time_ms, value(static_cast<double>(below)), start_ms);
      while (next_exemplar < point_.exemplars.size() &&
             point_.exemplars[next_exemplar].value <= point_.bounds[i]) {
        AddExemplar(series, point_.exemplars[next_exemplar++]);
      }
    }
    const uint32_t series = AddSeries(name, {"le", "+Inf"});
    out_.AddSample(series, time_ms, value(count), start_ms);
    while (next_exemplar < point_.exemplars.size()) {
      AddExemplar(series, point_.exemplars[next_exemplar++]);
    }
  }

  bool AddCustomBuckets(std::string_view name, int64_t time_ms, int64_t start_ms) {
    Histogram histogram;
    histogram.schema = kCustomBucketsSchema;
    histogram.count = point_.count;
    histogram.sum = point_.stale() ? StaleNan() : point_.sum;
    histogram.custom_values = point_.bounds;
    // Custom buckets count from 0, exponential ones were shifted by one.
    ToSpans({-1, point_.bucket_counts}, &histogram.positive_spans, &histogram.positive_deltas);
    return AddNative(name, time_ms, start_ms, std::move(histogram));
  }

  bool AddExponential(std::string_view name, int64_t time_ms, int64_t start_ms) {
    if (!CheckScale(name)) return false;
    ExponentialPoint& point = point_.exponential;
    if (point.scale > kExponentialSchemaMax) {
      point.Downscale(static_cast<uint32_t>(point.scale - kExponentialSchemaMax));
    }
    Histogram histogram;
    histogram.schema = point.scale;
    histogram.zero_threshold = point.zero_threshold > 0 ? point.zero_threshold : kZeroThreshold;
    histogram.zero_count = point.zero_count;
    histogram.count = point.count;
    histogram.sum = point.sum;
    ToSpans(point.positive, &histogram.positive_spans, &histogram.positive_deltas);
    ToSpans(point.negative, &histogram.negative_spans, &histogram.negative_deltas);
    if (point_.stale()) {
      histogram = Histogram{};
      histogram.sum = StaleNan();
    }
    return AddNative(name, time_ms, start_ms, std::move(histogram));
  }

  bool AddNative(std::string_view name, int64_t time_ms, int64_t start_ms, Histogram histogram) {
    if (!histogram.is_stale()) {
      if (const Status status = Validate(histogram); !status.ok()) {
        Reject(Concat("metric \"", name, "\": ", ToStd(status.message())));
        return false;
      }
    }
    const uint32_t series = AddSeries(family_, {});
    out_.AddHistogram(series, time_ms, std::move(histogram), start_ms);
    for (const ExemplarPoint& exemplar : point_.exemplars) AddExemplar(series, exemplar);
    return true;
  }

  void AddSummary(int64_t time_ms, int64_t start_ms) {
    const auto value = [&](double number) { return point_.stale() ? StaleNan() : number; };
    out_.AddSample(AddSeries(Concat(family_, "_sum"), {}), time_ms, value(point_.sum), start_ms);
    out_.AddSample(AddSeries(Concat(family_, "_count"), {}), time_ms,
                   value(static_cast<double>(point_.count)), start_ms);
    for (const auto& [quantile, number] : point_.quantiles) {
      const std::string text = BoundText(quantile);
      out_.AddSample(AddSeries(family_, {"quantile", text}), time_ms, value(number), start_ms);
    }
  }

  void AddExemplar(uint32_t series, const ExemplarPoint& point) {
    std::vector<std::pair<std::string, std::string>> labels;
    size_t runes = 0;
    if (!point.trace_id.empty()) labels.emplace_back("trace_id", ToString(point.trace_id));
    if (!point.span_id.empty()) labels.emplace_back("span_id", ToString(point.span_id));
    const size_t ids = labels.size();
    for (const AttributeView& attribute : point.attributes) {
      labels.emplace_back(attribute.key, ToString(attribute.value));
    }
    for (const auto& [name, value] : labels) runes += RunesOf(name) + RunesOf(value);
    if (runes > kExemplarRunesMax) labels.resize(ids);
    std::vector<LabelView> views;
    for (const auto& [name, value] : labels) views.push_back({name, value});
    Exemplar exemplar;
    exemplar.labels = CanonicalLabels(std::move(views));
    exemplar.value = point.value;
    exemplar.time_ms = Millis(point.time);
    exemplar.has_time = point.time != 0;
    out_.AddExemplar(series, std::move(exemplar));
  }

  const MetricOptions& options_;
  const int64_t newest_ms_;
  DeltaStreams::Transaction& deltas_;
  WriteBatch& out_;
  MetricReport& report_;
  WireFault* const fault_;
  size_t elements_ = 0;

  ResourceParts resource_;
  std::string job_;
  std::string instance_;
  std::vector<std::pair<std::string, std::string>> resource_labels_;  // promoted
  int64_t oldest_point_ms_ = 0;
  int64_t newest_point_ms_ = 0;
  bool info_described_ = false;
  ScopeParts scope_;
  std::string_view scope_schema_;

  uint32_t kind_ = 0;  // the field of Metric: 5 gauge, 7 sum, 9, 10 histograms, 11 summary
  bool delta_ = false;
  std::string family_;
  Point point_;
  std::vector<std::pair<std::string, std::string>> labels_;  // of the point, sorted
  std::vector<LabelView> views_;                             // of one series
};

}  // namespace

Status DecodeMetrics(std::string_view wire, const MetricOptions& options, int64_t newest_ms,
                     DeltaStreams::Transaction* deltas, WriteBatch* out, MetricReport* report) {
  WireFault fault;
  fault.body = wire.data();
  MetricDecoder decoder(options, newest_ms, deltas, out, report, &fault);
  if (decoder.Request(wire)) return absl::OkStatus();
  return StatusOf(fault);
}

}  // namespace varve::otlp
