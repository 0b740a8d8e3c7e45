#include "tools/ingest/prometheus_wal.h"

#include <bit>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/compression.h"
#include "tools/ingest/crc32c.h"
#include "tools/ingest/prometheus_index.h"

namespace varve::ingest {
namespace {

constexpr size_t kPageBytes = 32 * 1024;
constexpr size_t kFragmentHeaderBytes = 7;
constexpr uint8_t kSnappyFlag = 0x08;
constexpr uint8_t kZstdFlag = 0x10;
constexpr uint64_t kRecordBytesMax = 1ull << 30;

enum class Fragment : uint8_t { kPadding = 0, kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

// Types of records (tsdb/record).
enum class Record : uint8_t {
  kSeries = 1,
  kSamples = 2,
  kTombstones = 3,
  kExemplars = 4,
  kMmapMarkers = 5,
  kMetadata = 6,
  kHistograms = 7,
  kFloatHistograms = 8,
  kCustomHistograms = 9,
  kCustomFloatHistograms = 10,
};

bool ReadSpans(PrometheusReader* in, std::vector<BucketSpan>* out) {
  const uint64_t count = in->Count(2);
  for (uint64_t i = 0; i < count; ++i) {
    BucketSpan span;
    span.offset = static_cast<int32_t>(in->Varint());
    span.length = static_cast<uint32_t>(in->Uvarint());
    out->push_back(span);
  }
  return in->ok();
}

double ReadDouble(PrometheusReader* in) { return std::bit_cast<double>(in->U64()); }

bool ReadHistogram(PrometheusReader* in, bool is_float, Histogram* h) {
  h->is_float = is_float;
  h->reset_hint = static_cast<CounterResetHint>(in->Byte() & 3);
  h->schema = static_cast<int32_t>(in->Varint());
  h->zero_threshold = ReadDouble(in);
  if (is_float) {
    h->float_zero_count = ReadDouble(in);
    h->float_count = ReadDouble(in);
  } else {
    h->zero_count = in->Uvarint();
    h->count = in->Uvarint();
  }
  h->sum = ReadDouble(in);
  if (!ReadSpans(in, &h->positive_spans) || !ReadSpans(in, &h->negative_spans)) return false;
  for (const bool positive : {true, false}) {
    const uint64_t count = in->Count(is_float ? 8 : 1);
    for (uint64_t i = 0; i < count; ++i) {
      if (is_float) {
        (positive ? h->positive_counts : h->negative_counts).push_back(ReadDouble(in));
      } else {
        (positive ? h->positive_deltas : h->negative_deltas).push_back(in->Varint());
      }
    }
  }
  if (h->schema == kCustomBucketsSchema) {
    const uint64_t count = in->Count(8);
    for (uint64_t i = 0; i < count; ++i) h->custom_values.push_back(ReadDouble(in));
  }
  return in->ok();
}

int64_t Add(uint64_t base, int64_t delta) {
  return static_cast<int64_t>(base + static_cast<uint64_t>(delta));
}

}  // namespace

Status PrometheusWal::ReadSegment(std::string_view bytes, const std::string& path) {
  record_.clear();
  uint8_t flags = 0;
  bool in_record = false;
  uint64_t record_at = 0;
  size_t at = 0;
  while (at < bytes.size()) {
    const size_t page_left = kPageBytes - at % kPageBytes;
    const auto type_byte = static_cast<uint8_t>(bytes[at]);
    const auto type = static_cast<Fragment>(type_byte & 7);
    if (type == Fragment::kPadding || page_left < kFragmentHeaderBytes) {
      at += page_left;
      continue;
    }
    PrometheusReader in(bytes.substr(at + 1));
    const size_t size = static_cast<size_t>(in.Byte()) << 8;
    const size_t length = size | in.Byte();
    const uint32_t checksum = in.U32();
    const std::string_view data = in.Bytes(length);
    if (!in.ok() || kFragmentHeaderBytes + length > page_left) {
      return DataLossError(path, at, "record fragment runs past its page or the end of the file");
    }
    if (Crc32c(data) != checksum) {
      return DataLossError(path, at, "record fragment: checksum mismatch");
    }
    const bool begins = type == Fragment::kFull || type == Fragment::kFirst;
    if (begins == in_record || type > Fragment::kLast) {
      return DataLossError(path, at, "record fragments out of order");
    }
    if (begins) {
      record_.clear();
      record_at = at;
      flags = type_byte;
    }
    in_record = type == Fragment::kFirst || type == Fragment::kMiddle;
    if (type == Fragment::kFull) {
      VARVE_RETURN_IF_ERROR(ReadRecord(data, flags, path, record_at));
    } else {
      record_.append(data);
      if (type == Fragment::kLast) {
        VARVE_RETURN_IF_ERROR(ReadRecord(record_, flags, path, record_at));
      }
    }
    at += kFragmentHeaderBytes + length;
  }
  if (in_record) return DataLossError(path, record_at, "record without an end");
  return absl::OkStatus();
}

PrometheusWal::Series* PrometheusWal::Find(uint64_t ref) {
  const auto at = by_ref_.find(ref);
  if (at == by_ref_.end()) {
    ++orphans_;
    return nullptr;
  }
  return &series_[at->second];
}

Status PrometheusWal::ReadRecord(std::string_view record, uint8_t flags, const std::string& path,
                                 uint64_t offset) {
  if ((flags & (kSnappyFlag | kZstdFlag)) != 0) {
    const Result<std::string_view> decoded =
        DecodeBody((flags & kSnappyFlag) != 0 ? BodyEncoding::kSnappyBlock : BodyEncoding::kZstd,
                   record, kRecordBytesMax, &decoded_);
    if (!decoded.ok()) return DataLossError(path, offset, ToStd(decoded.status().message()));
    record = *decoded;
  }
  const auto malformed = [&](std::string_view what) {
    return DataLossError(path, offset, Concat("malformed ", what, " record"));
  };
  PrometheusReader in(record);
  const auto type = static_cast<Record>(in.Byte());
  if (!in.ok()) return absl::OkStatus();  // an empty record says nothing
  switch (type) {
    case Record::kSeries: {
      while (in.left() > 0) {
        const uint64_t ref = in.U64();
        const uint64_t count = in.Count(2);
        std::vector<LabelView> labels;
        for (uint64_t i = 0; i < count; ++i) {
          LabelView label;
          label.name = in.String();
          label.value = in.String();
          labels.push_back(label);
        }
        if (!in.ok()) return malformed("series");
        Result<Labels> made = Labels::Make(std::move(labels));
        if (!made.ok()) return malformed("series");
        const auto [at, fresh] =
            by_labels_.try_emplace(made->key(), static_cast<uint32_t>(series_.size()));
        if (fresh) series_.emplace_back().labels = std::move(made).value();
        by_ref_[ref] = at->second;
      }
      return absl::OkStatus();
    }
    case Record::kSamples: {
      if (in.left() == 0) return absl::OkStatus();
      const uint64_t base_ref = in.U64();
      const uint64_t base_time = in.U64();
      while (in.left() > 0) {
        const auto ref = static_cast<uint64_t>(Add(base_ref, in.Varint()));
        const int64_t time = Add(base_time, in.Varint());
        const double value = ReadDouble(&in);
        if (!in.ok()) return malformed("samples");
        if (Series* const series = Find(ref)) series->samples.emplace_back(time, value);
      }
      return in.ok() ? absl::OkStatus() : malformed("samples");
    }
    case Record::kTombstones: {
      while (in.left() > 0) {
        const uint64_t ref = in.U64();
        const int64_t from = in.Varint();
        const int64_t to = in.Varint();
        if (!in.ok()) return malformed("tombstones");
        if (const auto at = by_ref_.find(ref); at != by_ref_.end()) {
          // A deletion concerns what was logged before it.
          Series& series = series_[at->second];
          std::erase_if(series.samples,
                        [&](const auto& row) { return row.first >= from && row.first <= to; });
          std::erase_if(series.histograms,
                        [&](const auto& row) { return row.first >= from && row.first <= to; });
        }
      }
      return absl::OkStatus();
    }
    case Record::kHistograms:
    case Record::kFloatHistograms:
    case Record::kCustomHistograms:
    case Record::kCustomFloatHistograms: {
      const bool is_float =
          type == Record::kFloatHistograms || type == Record::kCustomFloatHistograms;
      if (in.left() == 0) return absl::OkStatus();
      const uint64_t base_ref = in.U64();
      const uint64_t base_time = in.U64();
      while (in.left() > 0) {
        const auto ref = static_cast<uint64_t>(Add(base_ref, in.Varint()));
        const int64_t time = Add(base_time, in.Varint());
        Histogram histogram;
        if (!ReadHistogram(&in, is_float, &histogram)) return malformed("histogram");
        if (Series* const series = Find(ref)) {
          series->histograms.emplace_back(time, std::move(histogram));
        }
      }
      return in.ok() ? absl::OkStatus() : malformed("histogram");
    }
    case Record::kExemplars:
    case Record::kMmapMarkers:
    case Record::kMetadata:
      return absl::OkStatus();
  }
  ++unknown_records_;
  return absl::OkStatus();
}

}  // namespace varve::ingest
