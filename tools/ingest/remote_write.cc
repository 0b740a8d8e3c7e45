#include "tools/ingest/remote_write.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/compression.h"
#include "tools/ingest/histogram_wire.h"
#include "tools/ingest/http_status.h"
#include "tools/ingest/label_rules.h"
#include "tools/ingest/label_wire.h"
#include "tools/ingest/protobuf.h"
#include "tools/ingest/scratch.h"

namespace varve::ingest {
namespace {

// Bounds on the rows of one request. Without them a body of 2-byte messages would make us take
// twenty times its size.
constexpr size_t kSeriesMax = 2'000'000;
constexpr size_t kSamplesMax = 4'000'000;
constexpr size_t kHeavyRowsMax = 200'000;  // histograms, exemplars, metadata
constexpr size_t kSymbolsMax = 2'000'000;
constexpr size_t kLabelsMax = 4096;  // of one series or exemplar

// Two wire versions never share a key, whatever their bytes.
constexpr uint64_t kV2KeySalt = 0x9e3779b97f4a7c15;

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Reads a varint inside [at, end); null when it does not end there.
inline const char* ReadVarint(const char* at, const char* end, uint64_t* out) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && at != end; shift += 7) {
    const auto byte = static_cast<unsigned char>(*at++);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) {
      *out = value;
      return at;
    }
  }
  return nullptr;
}

std::string SeriesText(const std::vector<LabelView>& labels) {
  return ToString(LabelsView(labels));
}

using Slice = RemoteWriteBuffers::Slice;

/// Decodes one request in two passes. Scan splits the body into series and computes a cache key
/// for each. Build then writes the rows into a batch: series that the cache knew by reference, the
/// others by labels. Build may run again, when the database disowns references.
class Decoder {
 public:
  Decoder(IngestContext& context, RemoteWriteVersion version, std::string_view body,
          RemoteWriteBuffers* buffers)
      : slices_(buffers->slices),
        metadata_(buffers->metadata),
        symbols_(buffers->symbols),
        symbol_keys_(buffers->symbol_keys),
        label_refs_(buffers->label_refs),
        slice_of_(buffers->slice_of),
        context_(context),
        version_(version),
        body_(body),
        newest_ms_(context.NewestTimeMs()),
        errors_max_(context.options().errors_max) {
    buffers->Clear();
    fault_.body = body.data();
  }

  Status Scan(std::vector<SeriesKey>* keys) {
    const bool good = version_ == RemoteWriteVersion::kV1 ? ScanV1(keys) : ScanV2(keys);
    return good ? absl::OkStatus() : fault_.ToStatus();
  }

  /// Fills `batch`; refs[i] is what the cache knows of series i, 0 for nothing.
  Status Build(const std::vector<SeriesRef>& refs, WriteBatch* batch) {
    errors_.clear();
    error_count_ = 0;
    invalid_series_ = 0;
    slice_of_.clear();
    metadata_keys_.clear();
    last_metadata_ = {};
    batch->Clear();
    for (size_t i = 0; i < slices_.size(); ++i) {
      VARVE_RETURN_IF_ERROR(version_ == RemoteWriteVersion::kV1 ? BuildV1(i, refs[i], batch)
                                                                : BuildV2(i, refs[i], batch));
    }
    if (version_ == RemoteWriteVersion::kV1) VARVE_RETURN_IF_ERROR(BuildMetadataV1(batch));
    return absl::OkStatus();
  }

  /// Maps a series of the batch to its series of the request.
  const std::vector<uint32_t>& slice_of() const { return slice_of_; }
  size_t invalid_series() const { return invalid_series_; }
  size_t error_count() const { return error_count_; }
  const std::vector<SeriesKey>& metadata_keys() const { return metadata_keys_; }

  /// Adds an error of version 2.0's partial writes.
  void AddError(std::string text) {
    ++error_count_;
    if (errors_.size() < errors_max_) errors_.push_back(std::move(text));
  }
  /// Counts errors that nobody described.
  void CountErrors(uint64_t count) { error_count_ += count; }
  std::string JoinedErrors() const {
    std::string out;
    for (const std::string& error : errors_) {
      if (!out.empty()) out.push_back('\n');
      out += error;
    }
    if (error_count_ > errors_.size()) {
      out += Concat("\n... and ", error_count_ - errors_.size(), " more errors");
    }
    return out;
  }
  /// Prints the labels of series `slice` of the request.
  std::string LabelsText(uint32_t slice) {
    std::string problem;
    if (version_ == RemoteWriteVersion::kV1) {
      if (!ReadLabelsV1(slices_[slice])) return "{}";
    } else if (!ReadLabelsV2(slices_[slice].refs_begin, slices_[slice].refs_count, &problem)) {
      return "{}";
    }
    std::sort(labels_.begin(), labels_.end());
    return SeriesText(labels_);
  }

 private:
  // --- Pass one ---

  bool ScanV1(std::vector<SeriesKey>* keys) {
    WireReader reader(body_, &fault_, "WriteRequest");
    while (reader.Next()) {
      if (reader.field() == 1) {
        Slice slice;
        if (!reader.Bytes(&slice.message)) return false;
        if (slices_.size() >= kSeriesMax) return reader.Fail("too many series in one request");
        if (!SplitV1(&slice)) return false;
        keys->push_back(Hash128(slice.labels));
        slices_.push_back(slice);
      } else if (reader.field() == 3) {
        std::string_view bytes;
        if (!reader.Bytes(&bytes)) return false;
        if (metadata_.size() >= kHeavyRowsMax) return reader.Fail("too much metadata");
        metadata_.push_back(bytes);
      } else if (!reader.Skip()) {
        return false;
      }
    }
    return fault_.ok();
  }

  /// Finds the run of label fields at the start of a TimeSeries, where every encoder puts it.
  /// Labels that come elsewhere too are gathered into one run of our own.
  bool SplitV1(Slice* slice) {
    const char* const begin = slice->message.data();
    const char* const end = begin + slice->message.size();
    const char* at = begin;
    while (end - at >= 2 && *at == 0x0a) {
      uint64_t size = static_cast<unsigned char>(at[1]);
      const char* value = at + 2;
      if (size >= 0x80) [[unlikely]] {
        value = ReadVarint(at + 1, end, &size);
        if (value == nullptr) return fault_.Set(at, "TimeSeries field 1: truncated length");
      }
      if (size > static_cast<uint64_t>(end - value)) [[unlikely]] {
        return fault_.Set(at, Concat("TimeSeries field 1: length ", size, " runs past the end, ",
                                     end - value, " bytes are left"));
      }
      at = value + size;
    }
    slice->labels = std::string_view(begin, static_cast<size_t>(at - begin));
    WireReader rest(std::string_view(at, static_cast<size_t>(end - at)), &fault_, "TimeSeries");
    bool scattered = false;
    while (rest.Next()) {
      scattered |= rest.field() == 1;
      if (!rest.Skip()) return false;
    }
    if (scattered) [[unlikely]]
      GatherLabels(slice);
    return fault_.ok();
  }

  void GatherLabels(Slice* slice) {
    std::string gathered;
    WireReader reader(slice->message, &fault_, "TimeSeries");
    while (reader.Next()) {
      if (!reader.Skip()) return;
      if (reader.field() == 1) {
        gathered.append(reader.field_at(), static_cast<size_t>(reader.at() - reader.field_at()));
      }
    }
    slice->labels = arena_.Copy(gathered);
  }

  bool ScanV2(std::vector<SeriesKey>* keys) {
    WireReader reader(body_, &fault_, "Request");
    while (reader.Next()) {
      if (reader.field() == 4) {
        std::string_view symbol;
        if (!reader.Bytes(&symbol)) return false;
        if (symbols_.size() >= kSymbolsMax) return reader.Fail("too many symbols");
        symbols_.push_back(symbol);
      } else if (reader.field() == 5) {
        Slice slice;
        if (!reader.Bytes(&slice.message)) return false;
        if (slices_.size() >= kSeriesMax) return reader.Fail("too many series in one request");
        if (!CollectRefs(&slice)) return false;
        slices_.push_back(slice);
      } else if (reader.field() == 1) {
        return reader.Fail("this is a remote write 1.0 message; its content type says 2.0");
      } else if (!reader.Skip()) {
        return false;
      }
    }
    if (!fault_.ok()) return false;
    symbol_keys_.reserve(symbols_.size());
    for (const std::string_view symbol : symbols_) symbol_keys_.push_back(Hash128(symbol));
    for (const Slice& slice : slices_) keys->push_back(KeyV2(slice));
    return true;
  }

  bool CollectRefs(Slice* slice) {
    slice->refs_begin = static_cast<uint32_t>(label_refs_.size());
    WireReader reader(slice->message, &fault_, "TimeSeries");
    while (reader.Next()) {
      if (reader.field() != 1) {
        if (!reader.Skip()) return false;
        continue;
      }
      const bool good = reader.RepeatedVarint([&](uint64_t value) {
        if (value > 0xffffffffu) [[unlikely]] {
          return reader.Fail("symbol reference over 32 bits");
        }
        if (label_refs_.size() - slice->refs_begin >= 2 * kLabelsMax) {
          return reader.Fail("too many labels");
        }
        label_refs_.push_back(static_cast<uint32_t>(value));
        return true;
      });
      if (!good) return false;
    }
    slice->refs_count = static_cast<uint32_t>(label_refs_.size() - slice->refs_begin);
    return fault_.ok();
  }

  /// References mean nothing outside their request, so the key hashes the hashes of what they
  /// refer to. A reference to nowhere gets a key that is never remembered.
  SeriesKey KeyV2(const Slice& slice) {
    key_bytes_.clear();
    for (uint32_t i = 0; i < slice.refs_count; ++i) {
      const uint32_t ref = label_refs_[slice.refs_begin + i];
      if (ref < symbol_keys_.size()) key_bytes_.push_back(symbol_keys_[ref]);
    }
    SeriesKey key = Hash128(
        {reinterpret_cast<const char*>(key_bytes_.data()), key_bytes_.size() * sizeof(SeriesKey)});
    key.high ^= kV2KeySalt + key_bytes_.size() - slice.refs_count;
    return key;
  }

  // --- Labels ---

  /// Reads labels into labels_, as they come. False after a fault.
  bool ReadLabelsV1(const Slice& slice) {
    labels_.clear();
    WireReader reader(slice.labels, &fault_, "TimeSeries");
    while (reader.Next()) {
      if (!ReadLabel(&reader)) return false;
    }
    return fault_.ok();
  }
  bool ReadLabel(WireReader* field) {
    std::string_view bytes;
    if (!field->Bytes(&bytes)) return false;
    if (labels_.size() >= kLabelsMax) return field->Fail("too many labels");
    LabelView label;
    if (!ingest::ReadLabel(bytes, &fault_, "Label", &label)) return false;
    labels_.push_back(label);
    return true;
  }
  /// Resolves references into labels_. False, with a text, if they do not make pairs of symbols.
  bool ReadLabelsV2(uint32_t begin, uint32_t count, std::string* problem) {
    labels_.clear();
    if (count % 2 != 0) {
      *problem = Concat("invalid labelRefs length ", count);
      return false;
    }
    for (uint32_t i = 0; i < count; i += 2) {
      const uint32_t name = label_refs_[begin + i];
      const uint32_t value = label_refs_[begin + i + 1];
      if (name >= symbols_.size() || value >= symbols_.size()) {
        *problem = Concat("labelRefs ", i, " (name) = ", name, " or ", i + 1, " (value) = ", value,
                          " outside of symbols table (size ", symbols_.size(), ")");
        return false;
      }
      labels_.push_back({symbols_[name], symbols_[value]});
    }
    return true;
  }

  // --- Pass two, version 1.0 ---

  Status BuildV1(size_t index, SeriesRef ref, WriteBatch* batch) {
    const Slice& slice = slices_[index];
    bool keep = true;
    if (ref == 0) {
      if (!ReadLabelsV1(slice)) return fault_.ToStatus();
      const LabelVerdict verdict = Canonicalize(&labels_);
      switch (verdict.kind) {
        case LabelVerdict::kGood:
          break;
        case LabelVerdict::kNoName:
          // Prometheus drops these and accepts the rest.
          ++invalid_series_;
          keep = false;
          break;
        default:
          return MakeStatus(StatusCode::kInvalidArgument,
                            Concat("invalid labels for series ", index, " at byte ",
                                   slice.message.data() - body_.data(),
                                   " (field 1): ", verdict.text, ", labels ", SeriesText(labels_)));
      }
    }
    row_ = kNoRow;
    const std::string_view rest = slice.message;
    WireReader reader(rest, &fault_, "TimeSeries");
    const auto row = [&] {
      if (row_ == kNoRow) {
        row_ = ref != 0 ? batch->AddSeries(ref) : batch->AddSeries(LabelsView(labels_));
        slice_of_.push_back(static_cast<uint32_t>(index));
      }
      return row_;
    };
    // Labels in one run at the front need no second look; scattered ones are passed over below.
    if (slice.labels.data() == slice.message.data()) {
      reader = WireReader(rest.substr(slice.labels.size()), &fault_, "TimeSeries");
    }
    exemplars_.clear();
    while (reader.Next()) {
      switch (reader.field()) {
        case 2: {
          std::string_view bytes;
          if (!reader.Bytes(&bytes)) return fault_.ToStatus();
          int64_t time_ms = 0;
          int64_t start_ms = kNoStartTime;
          double value = 0;
          if (!ReadSample(bytes, &value, &time_ms, &start_ms)) return fault_.ToStatus();
          if (time_ms > newest_ms_) return TooFarAhead(time_ms, index);
          if (!keep) break;
          if (batch->samples().size() >= kSamplesMax) return TooManyRows("samples", kSamplesMax);
          batch->AddSample(row(), time_ms, value);
          break;
        }
        case 3: {
          std::string_view bytes;
          if (!reader.Bytes(&bytes)) return fault_.ToStatus();
          exemplars_.push_back(bytes);
          if (exemplars_.size() > kHeavyRowsMax) return TooManyRows("exemplars", kHeavyRowsMax);
          break;
        }
        case 4: {
          std::string_view bytes;
          if (!reader.Bytes(&bytes)) return fault_.ToStatus();
          Histogram histogram;
          int64_t time_ms = 0;
          int64_t start_ms = kNoStartTime;
          if (!ReadRemoteHistogram(bytes, &fault_, &histogram, &time_ms, &start_ms)) {
            return fault_.ToStatus();
          }
          if (time_ms > newest_ms_) return TooFarAhead(time_ms, index);
          if (!keep) break;
          if (batch->histograms().size() >= kHeavyRowsMax) {
            return TooManyRows("histograms", kHeavyRowsMax);
          }
          batch->AddHistogram(row(), time_ms, std::move(histogram));
          break;
        }
        default:
          if (!reader.Skip()) return fault_.ToStatus();
      }
    }
    if (!fault_.ok()) return fault_.ToStatus();
    for (const std::string_view bytes : exemplars_) {
      Exemplar exemplar;
      if (!ReadExemplarV1(bytes, &exemplar)) return fault_.ToStatus();
      // An exemplar without a sample beside it has no series that we would want to make.
      if (row_ != kNoRow) batch->AddExemplar(row_, std::move(exemplar));
      if (batch->exemplars().size() > kHeavyRowsMax) return TooManyRows("exemplars", kHeavyRowsMax);
    }
    return absl::OkStatus();
  }

  bool ReadSample(std::string_view bytes, double* value, int64_t* time_ms, int64_t* start_ms) {
    // The shape that encoders write: double value = 1, int64 timestamp = 2 of six bytes.
    if (bytes.size() == 16 && bytes[0] == 0x09 && bytes[9] == 0x10) [[likely]] {
      const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
      if (p[10] >= 0x80 && p[11] >= 0x80 && p[12] >= 0x80 && p[13] >= 0x80 && p[14] >= 0x80 &&
          p[15] < 0x80) {
        std::memcpy(value, p + 1, 8);
        *time_ms = static_cast<int64_t>(
            (static_cast<uint64_t>(p[10] & 0x7f)) | (static_cast<uint64_t>(p[11] & 0x7f) << 7) |
            (static_cast<uint64_t>(p[12] & 0x7f) << 14) |
            (static_cast<uint64_t>(p[13] & 0x7f) << 21) |
            (static_cast<uint64_t>(p[14] & 0x7f) << 28) | (static_cast<uint64_t>(p[15]) << 35));
        return true;
      }
    }
    WireReader reader(bytes, &fault_, "Sample");
    while (reader.Next()) {
      bool good;
      switch (reader.field()) {
        case 1:
          good = reader.Double(value);
          break;
        case 2:
          good = reader.Int64(time_ms);
          break;
        case 3:
          good = version_ == RemoteWriteVersion::kV2 ? reader.Int64(start_ms) : reader.Skip();
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    return fault_.ok();
  }

  /// Leaves `exemplar` without labels when they are invalid; the store then refuses it alone.
  bool ReadExemplarV1(std::string_view bytes, Exemplar* exemplar) {
    exemplar_labels_.clear();
    std::swap(labels_, exemplar_labels_);  // ReadLabel fills labels_
    labels_.clear();
    WireReader reader(bytes, &fault_, "Exemplar");
    bool good = true;
    while (good && reader.Next()) {
      switch (reader.field()) {
        case 1:
          good = ReadLabel(&reader);
          break;
        case 2:
          good = reader.Double(&exemplar->value);
          break;
        case 3:
          good = reader.Int64(&exemplar->time_ms);
          break;
        default:
          good = reader.Skip();
      }
    }
    std::swap(labels_, exemplar_labels_);
    if (!good || !fault_.ok()) return false;
    SetExemplarLabels(exemplar);
    return true;
  }
  void SetExemplarLabels(Exemplar* exemplar) {
    if (auto labels = Labels::Make(exemplar_labels_); labels.ok()) {
      exemplar->labels = std::move(labels).value();
    }
  }

  Status BuildMetadataV1(WriteBatch* batch) {
    for (const std::string_view bytes : metadata_) {
      Metadata metadata;
      std::string_view family, help, unit;
      uint64_t type = 0;
      WireReader reader(bytes, &fault_, "MetricMetadata");
      while (reader.Next()) {
        bool good;
        switch (reader.field()) {
          case 1:
            good = reader.Varint(&type);
            break;
          case 2:
            good = reader.Bytes(&family);
            break;
          case 4:
            good = reader.Bytes(&help);
            break;
          case 5:
            good = reader.Bytes(&unit);
            break;
          default:
            good = reader.Skip();
        }
        if (!good) return fault_.ToStatus();
      }
      if (!fault_.ok()) return fault_.ToStatus();
      AddMetadata(family, type, help, unit, batch);
    }
    return absl::OkStatus();
  }

  void AddMetadata(std::string_view family, uint64_t type, std::string_view help,
                   std::string_view unit, WriteBatch* batch) {
    if (family.empty() || !IsValidUtf8(family) || !IsValidUtf8(help) || !IsValidUtf8(unit)) return;
    const SeriesKey key = context_.metadata_seen().KeyOf(family, type, help, unit);
    if (context_.metadata_seen().Contains(key)) return;
    Metadata metadata;
    metadata.type = type <= 7 ? static_cast<MetricType>(type) : MetricType::kUnknown;
    metadata.help = help;
    metadata.unit = unit;
    batch->AddMetadata(family, std::move(metadata));
    metadata_keys_.push_back(key);
  }

  // --- Pass two, version 2.0 ---

  struct MetadataRefs {
    uint64_t type = 0;
    uint32_t help = 0;
    uint32_t unit = 0;
    uint32_t name = 0xffffffff;
    friend bool operator==(const MetadataRefs&, const MetadataRefs&) = default;
  };

  Status BuildV2(size_t index, SeriesRef ref, WriteBatch* batch) {
    const Slice& slice = slices_[index];
    if (ref == 0) {
      std::string problem;
      if (!ReadLabelsV2(slice.refs_begin, slice.refs_count, &problem)) {
        ++invalid_series_;
        AddError(Concat("parsing labels for series ", index, ": ", problem));
        return CheckV2(slice);
      }
      const LabelVerdict verdict = Canonicalize(&labels_);
      if (!verdict.good()) {
        ++invalid_series_;
        AddError(verdict.kind == LabelVerdict::kDuplicate
                     ? Concat("invalid labels for series, labels ", SeriesText(labels_), ", ",
                              verdict.text)
                     : Concat("invalid metric name or labels, got ", SeriesText(labels_), ": ",
                              verdict.text));
        return CheckV2(slice);
      }
    }
    row_ = kNoRow;
    exemplars_.clear();
    histogram_rows_.clear();
    sample_rows_.clear();
    MetadataRefs metadata;
    bool has_metadata = false;
    int64_t created_ms = kNoStartTime;
    WireReader reader(slice.message, &fault_, "TimeSeries");
    while (reader.Next()) {
      std::string_view bytes;
      switch (reader.field()) {
        case 2:
          if (!reader.Bytes(&bytes)) return fault_.ToStatus();
          sample_rows_.push_back(bytes);
          break;
        case 3:
          if (!reader.Bytes(&bytes)) return fault_.ToStatus();
          histogram_rows_.push_back(bytes);
          break;
        case 4:
          if (!reader.Bytes(&bytes)) return fault_.ToStatus();
          exemplars_.push_back(bytes);
          break;
        case 5:
          if (!reader.Bytes(&bytes) || !ReadMetadataV2(bytes, &metadata)) return fault_.ToStatus();
          has_metadata = true;
          break;
        case 6:
          // The draft of 2.0 that Prometheus 3.0 to 3.6 speak dates the series, not the sample.
          if (!reader.Int64(&created_ms)) return fault_.ToStatus();
          break;
        default:
          if (!reader.Skip()) return fault_.ToStatus();
      }
    }
    if (!fault_.ok()) return fault_.ToStatus();
    if (sample_rows_.empty() && histogram_rows_.empty()) {
      AddError(Concat("TimeSeries must contain at least one sample or histogram for series ",
                      LabelsText(static_cast<uint32_t>(index))));
      return CheckExemplars();
    }
    if (batch->samples().size() + sample_rows_.size() > kSamplesMax) {
      return TooManyRows("samples", kSamplesMax);
    }
    if (batch->histograms().size() + histogram_rows_.size() > kHeavyRowsMax ||
        batch->exemplars().size() + exemplars_.size() > kHeavyRowsMax) {
      return TooManyRows("histograms or exemplars", kHeavyRowsMax);
    }
    row_ = ref != 0 ? batch->AddSeries(ref) : batch->AddSeries(LabelsView(labels_));
    slice_of_.push_back(static_cast<uint32_t>(index));
    for (const std::string_view row : sample_rows_) {
      int64_t time_ms = 0;
      int64_t start_ms = created_ms;
      double value = 0;
      if (!ReadSample(row, &value, &time_ms, &start_ms)) return fault_.ToStatus();
      if (time_ms > newest_ms_) {
        AddError(FarAheadText(time_ms, index));
        continue;
      }
      batch->AddSample(row_, time_ms, value, start_ms);
    }
    for (const std::string_view row : histogram_rows_) {
      int64_t time_ms = 0;
      int64_t start_ms = created_ms;
      Histogram histogram;
      if (!ReadRemoteHistogram(row, &fault_, &histogram, &time_ms, &start_ms)) {
        return fault_.ToStatus();
      }
      if (time_ms > newest_ms_) {
        AddError(FarAheadText(time_ms, index));
        continue;
      }
      batch->AddHistogram(row_, time_ms, std::move(histogram), start_ms);
    }
    for (const std::string_view row : exemplars_) {
      Exemplar exemplar;
      std::string problem;
      if (!ReadExemplarV2(row, &exemplar, &problem)) return fault_.ToStatus();
      if (!problem.empty()) {
        AddError(Concat("parsing exemplar for series ", LabelsText(static_cast<uint32_t>(index)),
                        ": ", problem));
        continue;
      }
      batch->AddExemplar(row_, std::move(exemplar));
    }
    if (has_metadata) AddMetadataV2(slice, metadata, batch);
    return absl::OkStatus();
  }

  /// Walks the rows of a series that is not stored: bytes that are no message at all fail the
  /// request, wherever they are.
  Status CheckV2(const Slice& slice) {
    WireReader reader(slice.message, &fault_, "TimeSeries");
    while (reader.Next()) {
      std::string_view bytes;
      double value;
      int64_t time_ms, start_ms;
      bool good;
      switch (reader.field()) {
        case 2:
          good = reader.Bytes(&bytes) && ReadSample(bytes, &value, &time_ms, &start_ms);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return fault_.ToStatus();
    }
    return fault_.ok() ? absl::OkStatus() : fault_.ToStatus();
  }
  Status CheckExemplars() {
    for (const std::string_view row : exemplars_) {
      Exemplar exemplar;
      std::string problem;
      if (!ReadExemplarV2(row, &exemplar, &problem)) return fault_.ToStatus();
    }
    return absl::OkStatus();
  }

  bool ReadExemplarV2(std::string_view bytes, Exemplar* exemplar, std::string* problem) {
    const auto begin = static_cast<uint32_t>(label_refs_.size());
    WireReader reader(bytes, &fault_, "Exemplar");
    while (reader.Next()) {
      bool good;
      switch (reader.field()) {
        case 1:
          good = reader.RepeatedVarint([&](uint64_t value) {
            if (label_refs_.size() - begin >= 2 * kLabelsMax) {
              return reader.Fail("too many labels");
            }
            label_refs_.push_back(static_cast<uint32_t>(std::min<uint64_t>(value, 0xffffffffu)));
            return true;
          });
          break;
        case 2:
          good = reader.Double(&exemplar->value);
          break;
        case 3:
          good = reader.Int64(&exemplar->time_ms);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    if (!fault_.ok()) return false;
    std::swap(labels_, exemplar_labels_);
    const bool resolved =
        ReadLabelsV2(begin, static_cast<uint32_t>(label_refs_.size() - begin), problem);
    std::swap(labels_, exemplar_labels_);
    label_refs_.resize(begin);
    if (resolved) SetExemplarLabels(exemplar);
    return true;
  }

  bool ReadMetadataV2(std::string_view bytes, MetadataRefs* out) {
    WireReader reader(bytes, &fault_, "Metadata");
    while (reader.Next()) {
      bool good;
      switch (reader.field()) {
        case 1:
          good = reader.Varint(&out->type);
          break;
        case 3:
          good = reader.Uint32(&out->help);
          break;
        case 4:
          good = reader.Uint32(&out->unit);
          break;
        default:
          good = reader.Skip();
      }
      if (!good) return false;
    }
    return fault_.ok();
  }

  /// Every series carries its family's metadata, so neighbours repeat it: that costs a comparison.
  void AddMetadataV2(const Slice& slice, MetadataRefs refs, WriteBatch* batch) {
    if (refs.type == 0 && refs.help == 0 && refs.unit == 0) return;
    if (refs.help >= symbols_.size() || refs.unit >= symbols_.size()) return;
    for (uint32_t i = 0; i + 1 < slice.refs_count; i += 2) {
      if (symbols_[label_refs_[slice.refs_begin + i]] == kMetricName) {
        refs.name = label_refs_[slice.refs_begin + i + 1];
        break;
      }
    }
    if (refs.name >= symbols_.size() || refs == last_metadata_) return;
    last_metadata_ = refs;
    AddMetadata(FamilyOf(symbols_[refs.name], refs.type), refs.type, symbols_[refs.help],
                symbols_[refs.unit], batch);
  }

  /// Removes the suffix by which a series of a composite type differs from its family.
  static std::string_view FamilyOf(std::string_view name, uint64_t type) {
    const auto strip = [&](std::string_view suffix) {
      if (name.size() > suffix.size() && name.ends_with(suffix)) {
        name.remove_suffix(suffix.size());
        return true;
      }
      return false;
    };
    switch (static_cast<MetricType>(type)) {
      case MetricType::kHistogram:
      case MetricType::kGaugeHistogram:
        static_cast<void>(strip("_bucket") || strip("_count") || strip("_sum"));
        break;
      case MetricType::kSummary:
        static_cast<void>(strip("_count") || strip("_sum"));
        break;
      default:
        break;
    }
    return name;
  }

  // --- Errors ---

  std::string FarAheadText(int64_t time_ms, size_t index) {
    return Concat("out of bounds: timestamp ", time_ms, " is too far in the future for series ",
                  LabelsText(static_cast<uint32_t>(index)));
  }
  Status TooFarAhead(int64_t time_ms, size_t index) {
    return MakeStatus(StatusCode::kOutOfRange, FarAheadText(time_ms, index));
  }
  static Status TooManyRows(std::string_view what, size_t limit) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("more than ", limit, " ", what, " in one request"));
  }

  static constexpr uint32_t kNoRow = 0xffffffff;

  std::vector<Slice>& slices_;
  std::vector<std::string_view>& metadata_;
  std::vector<std::string_view>& symbols_;
  std::vector<SeriesKey>& symbol_keys_;
  std::vector<uint32_t>& label_refs_;
  std::vector<uint32_t>& slice_of_;

  IngestContext& context_;
  const RemoteWriteVersion version_;
  const std::string_view body_;
  const int64_t newest_ms_;
  const size_t errors_max_;
  WireFault fault_;
  Arena arena_;

  std::vector<SeriesKey> key_bytes_;

  uint32_t row_ = kNoRow;
  std::vector<LabelView> labels_;
  std::vector<LabelView> exemplar_labels_;
  std::vector<std::string_view> sample_rows_, histogram_rows_, exemplars_;
  MetadataRefs last_metadata_;

  std::vector<SeriesKey> metadata_keys_;
  std::vector<std::string> errors_;
  size_t error_count_ = 0;
  size_t invalid_series_ = 0;
};

void AddWrittenHeaders(const AppendResult& result, HttpOutcome* outcome) {
  outcome->headers.emplace_back("X-Prometheus-Remote-Write-Samples-Written",
                                std::to_string(result.samples));
  outcome->headers.emplace_back("X-Prometheus-Remote-Write-Histograms-Written",
                                std::to_string(result.histograms));
  outcome->headers.emplace_back("X-Prometheus-Remote-Write-Exemplars-Written",
                                std::to_string(result.exemplars));
}

HttpOutcome Handle(IngestContext& context, const RemoteWriteRequest& request) {
  const Result<RemoteWriteVersion> version = ParseRemoteWriteContentType(request.content_type);
  if (!version.ok()) return ErrorOutcome(415, ToStd(version.status().message()));
  const bool v2 = *version == RemoteWriteVersion::kV2;
  Result<BodyEncoding> encoding = ParseContentEncoding(request.content_encoding);
  // Senders of the first days left the header out; they meant snappy.
  if (encoding.ok() && request.content_encoding.empty()) encoding = BodyEncoding::kSnappyBlock;
  if (!encoding.ok() ||
      (*encoding != BodyEncoding::kSnappyBlock && *encoding != BodyEncoding::kZstd)) {
    return ErrorOutcome(415, Concat(request.content_encoding,
                                    " encoding (compression) is not accepted by this server; only "
                                    "snappy and zstd are acceptable"));
  }
  IngestContext::Loan scratch(context);
  const Result<std::string_view> body =
      DecodeBody(*encoding, request.body, context.options().decoded_bytes_max, &scratch->decoded);
  if (!body.ok()) return OutcomeOfBodyError(body.status());
  IngestCounters& counters = context.counters();
  counters.bytes_decoded += body->size();

  Decoder decoder(context, *version, *body, &scratch->remote_write);
  std::vector<SeriesKey>& keys = scratch->keys;
  std::vector<SeriesRef>& refs = scratch->refs;
  keys.clear();
  if (const Status status = decoder.Scan(&keys); !status.ok()) return OutcomeOfStoreError(status);
  refs.assign(keys.size(), 0);
  context.series_cache().Find(keys, refs);

  WriteOptions options;
  options.durability = context.options().durability;
  options.partial = v2;
  options.rejections_max = context.options().errors_max;
  AppendResult result;
  constexpr int kAttempts = 4;
  for (int attempt = 1;; ++attempt) {
    if (const Status status = decoder.Build(refs, &scratch->batch); !status.ok()) {
      return OutcomeOfStoreError(status);
    }
    result = AppendResult();
    if (!scratch->batch.empty()) {
      Result<AppendResult> appended = context.database().Append(scratch->batch, options);
      if (!appended.ok()) {
        HttpOutcome outcome = OutcomeOfStoreError(appended.status());
        if (v2) AddWrittenHeaders(AppendResult(), &outcome);
        return outcome;
      }
      result = std::move(appended).value();
    }
    if (!result.stale_refs) break;
    ++counters.stale_ref_retries;
    if (attempt == kAttempts) {
      return OutcomeOfStoreError(
          MakeStatus(StatusCode::kUnavailable, "series references went stale again and again"));
    }
    if (attempt + 1 == kAttempts) {
      // Series leave the head as fast as we name them: send all of them by labels.
      std::fill(refs.begin(), refs.end(), 0);
    } else {
      for (size_t i = 0; i < result.refs.size() && i < decoder.slice_of().size(); ++i) {
        if (result.refs[i] == 0) refs[decoder.slice_of()[i]] = 0;
      }
    }
  }

  // Remember what went by labels.
  size_t fresh = 0;
  for (size_t i = 0; i < result.refs.size() && i < decoder.slice_of().size(); ++i) {
    const uint32_t slice = decoder.slice_of()[i];
    if (refs[slice] != 0 || result.refs[i] == 0) continue;
    keys[fresh] = keys[slice];
    refs[fresh] = result.refs[i];
    ++fresh;
  }
  if (fresh > 0) {
    context.series_cache().Put(std::span(keys).first(fresh), std::span(refs).first(fresh));
  }
  for (const SeriesKey& key : decoder.metadata_keys()) context.metadata_seen().Add(key);

  counters.samples += result.samples;
  counters.histograms += result.histograms;
  counters.exemplars += result.exemplars;
  counters.exemplars_rejected += result.exemplars_rejected;
  counters.rows_rejected += result.rejected;
  counters.series_invalid_labels += decoder.invalid_series();

  HttpOutcome outcome;
  if (v2) {
    uint64_t described = 0;
    for (const Rejection& rejection : result.rejections) {
      // Only an exemplar out of order is the sender's error; a repeated one is everyday.
      if (rejection.row == Rejection::Row::kExemplar &&
          rejection.reason != RejectReason::kOutOfOrder) {
        continue;
      }
      described += rejection.row != Rejection::Row::kExemplar;
      const std::string labels = rejection.series < decoder.slice_of().size()
                                     ? decoder.LabelsText(decoder.slice_of()[rejection.series])
                                     : std::string("{}");
      std::string text(ToString(rejection.reason));
      if (!rejection.detail.empty()) text += Concat(": ", rejection.detail);
      decoder.AddError(Concat(text, " for series ", labels, " at timestamp ", rejection.time_ms));
    }
    if (described < result.rejected) decoder.CountErrors(result.rejected - described);
    if (decoder.error_count() > 0) outcome = ErrorOutcome(400, decoder.JoinedErrors());
  }
  AddWrittenHeaders(result, &outcome);
  return outcome;
}

}  // namespace

Result<RemoteWriteVersion> ParseRemoteWriteContentType(std::string_view content_type) {
  constexpr std::string_view kProtobuf = "application/x-protobuf";
  content_type = Trim(content_type);
  if (content_type.empty()) return RemoteWriteVersion::kV1;
  std::string_view rest = content_type;
  const auto next_part = [&rest] {
    const size_t at = rest.find(';');
    const std::string_view part = Trim(rest.substr(0, at));
    rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
    return part;
  };
  if (const std::string_view media = next_part(); media != kProtobuf) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("expected ", kProtobuf, " as the first (media) part, got ",
                             content_type, " content-type"));
  }
  while (!rest.empty()) {
    const std::string_view part = next_part();
    const size_t equal = part.find('=');
    if (equal == std::string_view::npos || part.find('=', equal + 1) != std::string_view::npos) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("expected parameters to be key-values, got ", part, " in ",
                               content_type, " content-type"));
    }
    if (Trim(part.substr(0, equal)) != "proto") continue;
    const std::string_view proto = Trim(part.substr(equal + 1));
    if (proto == "prometheus.WriteRequest") return RemoteWriteVersion::kV1;
    if (proto == "io.prometheus.write.v2.Request") return RemoteWriteVersion::kV2;
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("got ", content_type,
                             " content type; unknown remote write protobuf "
                             "message ",
                             proto,
                             ", supported: prometheus.WriteRequest, "
                             "io.prometheus.write.v2.Request"));
  }
  return RemoteWriteVersion::kV1;
}

HttpOutcome HandleRemoteWrite(IngestContext& context, const RemoteWriteRequest& request) {
  IngestCounters& counters = context.counters();
  ++counters.requests;
  counters.bytes_received += request.body.size();
  HttpOutcome outcome = Handle(context, request);
  if (outcome.status >= 400) ++counters.requests_failed;
  return outcome;
}

}  // namespace varve::ingest
