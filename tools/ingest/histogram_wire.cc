#include "tools/ingest/histogram_wire.h"

namespace varve::ingest {
namespace {

template <typename T>
bool PushBounded(WireReader* reader, std::vector<T>* out, T value) {
  if (out->size() >= kHistogramBucketsMax) return reader->Fail("too many buckets");
  out->push_back(value);
  return true;
}

}  // namespace

bool ReadBucketSpan(WireReader* field, WireFault* fault, std::vector<BucketSpan>* spans) {
  std::string_view bytes;
  if (!field->Bytes(&bytes)) return false;
  BucketSpan span;
  WireReader reader(bytes, fault, "BucketSpan");
  while (reader.Next()) {
    switch (reader.field()) {
      case 1:
        if (!reader.Sint32(&span.offset)) return false;
        break;
      case 2:
        if (!reader.Uint32(&span.length)) return false;
        break;
      default:
        if (!reader.Skip()) return false;
    }
  }
  return fault->ok() && PushBounded(field, spans, span);
}

bool ReadRemoteHistogram(std::string_view bytes, WireFault* fault, Histogram* h, int64_t* time_ms,
                         int64_t* start_ms) {
  WireReader reader(bytes, fault, "Histogram");
  const auto delta = [&](std::vector<int64_t>* out) {
    return reader.RepeatedVarint([&](uint64_t value) {
      return PushBounded(&reader, out,
                         static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1));
    });
  };
  const auto doubles = [&](std::vector<double>* out) {
    return reader.RepeatedDouble([&](double value) { return PushBounded(&reader, out, value); });
  };
  uint64_t word = 0;
  while (reader.Next()) {
    bool good = true;
    switch (reader.field()) {
      case 1:
        good = reader.Varint(&h->count);
        h->is_float = false;
        break;
      case 2:
        good = reader.Double(&h->float_count);
        h->is_float = true;
        break;
      case 3:
        good = reader.Double(&h->sum);
        break;
      case 4:
        good = reader.Sint32(&h->schema);
        break;
      case 5:
        good = reader.Double(&h->zero_threshold);
        break;
      case 6:
        good = reader.Varint(&h->zero_count);
        break;
      case 7:
        good = reader.Double(&h->float_zero_count);
        break;
      case 8:
        good = ReadBucketSpan(&reader, fault, &h->negative_spans);
        break;
      case 9:
        good = delta(&h->negative_deltas);
        break;
      case 10:
        good = doubles(&h->negative_counts);
        break;
      case 11:
        good = ReadBucketSpan(&reader, fault, &h->positive_spans);
        break;
      case 12:
        good = delta(&h->positive_deltas);
        break;
      case 13:
        good = doubles(&h->positive_counts);
        break;
      case 14:
        good = reader.Varint(&word);
        h->reset_hint =
            word <= 3 ? static_cast<CounterResetHint>(word) : CounterResetHint::kUnknown;
        break;
      case 15:
        good = reader.Int64(time_ms);
        break;
      case 16:
        good = doubles(&h->custom_values);
        break;
      case 17:
        good = reader.Int64(start_ms);
        break;
      default:
        good = reader.Skip();
    }
    if (!good) return false;
  }
  return fault->ok();
}

}  // namespace varve::ingest
