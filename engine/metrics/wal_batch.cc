#include "engine/metrics/wal_batch.h"

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::metrics {
namespace {

constexpr uint8_t kHasStartTimes = 1;

void PutHistogram(std::string* out, const Histogram& h) {
  out->push_back(static_cast<char>(static_cast<uint8_t>(h.reset_hint) | (h.is_float ? 4 : 0)));
  PutSigned(out, h.schema);
  PutDouble(out, h.zero_threshold);
  PutDouble(out, h.sum);
  const auto spans = [out](const std::vector<BucketSpan>& list) {
    PutVarint(out, list.size());
    for (const BucketSpan& span : list) {
      PutSigned(out, span.offset);
      PutVarint(out, span.length);
    }
  };
  const auto doubles = [out](const std::vector<double>& list) {
    PutVarint(out, list.size());
    for (const double value : list) PutDouble(out, value);
  };
  const auto deltas = [out](const std::vector<int64_t>& list) {
    PutVarint(out, list.size());
    for (const int64_t value : list) PutSigned(out, value);
  };
  spans(h.positive_spans);
  spans(h.negative_spans);
  doubles(h.custom_values);
  if (h.is_float) {
    PutDouble(out, h.float_count);
    PutDouble(out, h.float_zero_count);
    doubles(h.positive_counts);
    doubles(h.negative_counts);
  } else {
    PutVarint(out, h.count);
    PutVarint(out, h.zero_count);
    deltas(h.positive_deltas);
    deltas(h.negative_deltas);
  }
}

Histogram GetHistogram(ByteReader* in) {
  Histogram h;
  const auto head = in->Fixed<uint8_t>();
  if (head > 7) in->Fail();
  h.reset_hint = static_cast<CounterResetHint>(head & 3);
  h.is_float = (head & 4) != 0;
  h.schema = static_cast<int32_t>(in->Signed());
  h.zero_threshold = in->Double();
  h.sum = in->Double();
  const auto spans = [in](std::vector<BucketSpan>* list) {
    list->resize(in->Count(2));
    for (BucketSpan& span : *list) {
      span.offset = static_cast<int32_t>(in->Signed());
      span.length = static_cast<uint32_t>(in->Varint());
    }
  };
  const auto doubles = [in](std::vector<double>* list) {
    list->resize(in->Count(8));
    for (double& value : *list) value = in->Double();
  };
  const auto deltas = [in](std::vector<int64_t>* list) {
    list->resize(in->Count());
    for (int64_t& value : *list) value = in->Signed();
  };
  spans(&h.positive_spans);
  spans(&h.negative_spans);
  doubles(&h.custom_values);
  if (h.is_float) {
    h.float_count = in->Double();
    h.float_zero_count = in->Double();
    doubles(&h.positive_counts);
    doubles(&h.negative_counts);
  } else {
    h.count = in->Varint();
    h.zero_count = in->Varint();
    deltas(&h.positive_deltas);
    deltas(&h.negative_deltas);
  }
  return h;
}

void PutLabels(std::string* out, LabelsView labels) {
  PutVarint(out, labels.size());
  for (const LabelView& label : labels) {
    PutString(out, label.name);
    PutString(out, label.value);
  }
}

void GetLabels(ByteReader* in, std::vector<LabelView>* out) {
  out->resize(in->Count(2));
  for (LabelView& label : *out) {
    label.name = in->String();
    label.value = in->String();
  }
}

Status Malformed(const ByteReader& in, std::string_view what) {
  return MakeStatus(StatusCode::kDataLoss,
                    Concat("metrics WAL batch: ", what, " (payload byte ", in.position(), ")"));
}

}  // namespace

void WalBatchEncoder::Clear() {
  for (std::string* bytes : {&head_, &series_bytes_, &sample_bytes_, &start_bytes_,
                             &histogram_bytes_, &exemplar_bytes_, &metadata_bytes_}) {
    bytes->clear();
  }
  series_ = samples_ = histograms_ = exemplars_ = metadata_ = 0;
  last_series_ = 0;
  last_time_ = 0;
  has_starts_ = false;
}

void WalBatchEncoder::AddSeries(uint32_t series, LabelsView labels) {
  ++series_;
  PutVarint(&series_bytes_, series);
  PutLabels(&series_bytes_, labels);
}

void WalBatchEncoder::AddSample(uint32_t series, int64_t time_ms, double value, int64_t start_ms) {
  ++samples_;
  // Three appends cost more than one; this runs a few million times a second.
  char buffer[32];
  size_t size = 0;
  const auto put = [&](uint64_t v) {
    while (v >= 0x80) {
      buffer[size++] = static_cast<char>(v | 0x80);
      v >>= 7;
    }
    buffer[size++] = static_cast<char>(v);
  };
  put(ZigZag(static_cast<int64_t>(series) - static_cast<int64_t>(last_series_)));
  put(ZigZag(WrapSub(time_ms, last_time_)));
  std::memcpy(buffer + size, &value, sizeof value);
  sample_bytes_.append(buffer, size + sizeof value);
  last_series_ = series;
  last_time_ = time_ms;
  if (start_ms == kNoStartTime && !has_starts_) return;
  // Most batches have none; the first one found fills in zeros for the samples before it.
  if (!has_starts_) start_bytes_.assign(samples_ - 1, '\0');
  has_starts_ = true;
  PutVarint(&start_bytes_, start_ms == kNoStartTime ? 0 : ZigZag(WrapSub(time_ms, start_ms)) + 1);
}

void WalBatchEncoder::AddHistogram(uint32_t series, int64_t time_ms, int64_t start_ms,
                                   const Histogram& histogram) {
  ++histograms_;
  PutVarint(&histogram_bytes_, series);
  PutSigned(&histogram_bytes_, time_ms);
  PutSigned(&histogram_bytes_, start_ms);
  PutHistogram(&histogram_bytes_, histogram);
}

void WalBatchEncoder::AddExemplar(uint32_t series, const Exemplar& exemplar) {
  ++exemplars_;
  PutVarint(&exemplar_bytes_, series);
  exemplar_bytes_.push_back(exemplar.has_time ? 1 : 0);
  PutSigned(&exemplar_bytes_, exemplar.time_ms);
  PutDouble(&exemplar_bytes_, exemplar.value);
  PutLabels(&exemplar_bytes_, exemplar.labels);
}

void WalBatchEncoder::AddMetadata(std::string_view family, const Metadata& metadata) {
  ++metadata_;
  PutString(&metadata_bytes_, family);
  metadata_bytes_.push_back(static_cast<char>(metadata.type));
  PutString(&metadata_bytes_, metadata.help);
  PutString(&metadata_bytes_, metadata.unit);
}

std::span<const std::string_view> WalBatchEncoder::Finish() {
  head_.clear();
  head_.push_back(static_cast<char>(has_starts_ ? kHasStartTimes : 0));
  for (const uint64_t count : {series_, samples_, histograms_, exemplars_, metadata_}) {
    PutVarint(&head_, count);
  }
  pieces_ = {head_, series_bytes_, sample_bytes_};
  if (has_starts_) pieces_.push_back(start_bytes_);
  pieces_.insert(pieces_.end(), {histogram_bytes_, exemplar_bytes_, metadata_bytes_});
  return pieces_;
}

Status DecodeWalBatch(std::string_view payload, WalBatchSink* sink) {
  ByteReader in(payload);
  const auto flags = in.Fixed<uint8_t>();
  if ((flags & ~kHasStartTimes) != 0) return Malformed(in, "unknown flags");
  const uint64_t series = in.Count(2);
  const uint64_t samples = in.Count(10);
  const uint64_t histograms = in.Count(20);
  const uint64_t exemplars = in.Count(10);
  const uint64_t metadata = in.Count(4);
  if (!in.ok()) return Malformed(in, "impossible counts");

  std::vector<LabelView> labels;
  for (uint64_t i = 0; i < series; ++i) {
    const uint64_t number = in.Varint();
    GetLabels(&in, &labels);
    if (!in.ok() || number > UINT32_MAX || !IsCanonical(labels)) {
      return Malformed(in, "bad series");
    }
    VARVE_RETURN_IF_ERROR(sink->OnSeries(static_cast<uint32_t>(number), labels));
  }

  // Start times follow all samples, so a second reader walks them in step.
  ByteReader starts = in;
  if ((flags & kHasStartTimes) != 0) {
    for (uint64_t i = 0; i < samples; ++i) {
      starts.Varint();
      starts.Varint();
      starts.Fixed<uint64_t>();
    }
  }
  int64_t number = 0;
  int64_t time = 0;
  for (uint64_t i = 0; i < samples; ++i) {
    number = WrapAdd(number, in.Signed());
    time = WrapAdd(time, in.Signed());
    const double value = in.Double();
    int64_t start = kNoStartTime;
    if ((flags & kHasStartTimes) != 0) {
      const uint64_t code = starts.Varint();
      if (code != 0) start = WrapSub(time, UnZigZag(code - 1));
    }
    if (!in.ok() || !starts.ok() || number < 0 || number > UINT32_MAX) {
      return Malformed(in, "bad sample");
    }
    VARVE_RETURN_IF_ERROR(sink->OnSample(static_cast<uint32_t>(number), time, value, start));
  }
  if ((flags & kHasStartTimes) != 0) in = starts;

  for (uint64_t i = 0; i < histograms; ++i) {
    const uint64_t at = in.Varint();
    const int64_t histogram_time = in.Signed();
    const int64_t start = in.Signed();
    Histogram histogram = GetHistogram(&in);
    if (!in.ok() || at > UINT32_MAX) return Malformed(in, "bad histogram");
    VARVE_RETURN_IF_ERROR(
        sink->OnHistogram(static_cast<uint32_t>(at), histogram_time, start, std::move(histogram)));
  }
  for (uint64_t i = 0; i < exemplars; ++i) {
    const uint64_t at = in.Varint();
    Exemplar exemplar;
    exemplar.has_time = in.Fixed<uint8_t>() != 0;
    exemplar.time_ms = in.Signed();
    exemplar.value = in.Double();
    GetLabels(&in, &labels);
    if (!in.ok() || at > UINT32_MAX) return Malformed(in, "bad exemplar");
    exemplar.labels = Labels(LabelsView(labels));
    VARVE_RETURN_IF_ERROR(sink->OnExemplar(static_cast<uint32_t>(at), std::move(exemplar)));
  }
  for (uint64_t i = 0; i < metadata; ++i) {
    const std::string_view family = in.String();
    const auto type = in.Fixed<uint8_t>();
    Metadata value;
    value.help = std::string(in.String());
    value.unit = std::string(in.String());
    if (!in.ok() || type > static_cast<uint8_t>(MetricType::kStateSet)) {
      return Malformed(in, "bad metadata");
    }
    value.type = static_cast<MetricType>(type);
    VARVE_RETURN_IF_ERROR(sink->OnMetadata(family, std::move(value)));
  }
  if (in.left() != 0) return Malformed(in, "bytes after the last row");
  return absl::OkStatus();
}

}  // namespace varve::metrics
