#include "tools/ingest/prometheus_index.h"

#include <algorithm>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/crc32c.h"

namespace varve::ingest {
namespace {

constexpr uint32_t kIndexMagic = 0xbaaad700;
constexpr uint32_t kChunksMagic = 0x85bd40dd;
constexpr uint32_t kTombstonesMagic = 0x0130ba30;
constexpr size_t kTocBytes = 6 * 8 + 4;
constexpr size_t kLabelsMax = 65536;

}  // namespace

Status PrometheusIndex::Corrupt(uint64_t offset, std::string_view what) const {
  return DataLossError(*path_, offset, what);
}

Result<PrometheusIndex> PrometheusIndex::Open(std::string_view bytes, const std::string& path) {
  PrometheusIndex index(bytes, path);
  VARVE_RETURN_IF_ERROR(index.Load());
  return index;
}

Result<std::string_view> PrometheusIndex::Section(uint64_t offset, std::string_view name) const {
  if (offset > bytes_.size() || bytes_.size() - offset < 8) {
    return Corrupt(offset, Concat(name, " begins past the end of the file"));
  }
  PrometheusReader in(bytes_.substr(offset));
  const uint32_t size = in.U32();
  const std::string_view body = in.Bytes(size);
  const uint32_t checksum = in.U32();
  if (!in.ok()) return Corrupt(offset, Concat(name, " runs past the end of the file"));
  if (Crc32c(body) != checksum) return Corrupt(offset, Concat(name, ": checksum mismatch"));
  return body;
}

Status PrometheusIndex::Load() {
  PrometheusReader header(bytes_);
  if (header.U32() != kIndexMagic || !header.ok()) return Corrupt(0, "not a Prometheus index");
  version_ = header.Byte();
  if (version_ < 1 || version_ > 3) {
    return MakeStatus(StatusCode::kUnimplemented,
                      Concat(*path_, ":4: index version ", static_cast<int>(version_),
                             " is not known; 1 to 3 are"));
  }
  if (bytes_.size() < 5 + kTocBytes) return Corrupt(bytes_.size(), "index without contents");
  const uint64_t toc_at = bytes_.size() - kTocBytes;
  PrometheusReader toc(bytes_.substr(toc_at));
  if (Crc32c(bytes_.substr(toc_at, kTocBytes - 4)) !=
      PrometheusReader(bytes_.substr(bytes_.size() - 4)).U32()) {
    return Corrupt(toc_at, "table of contents: checksum mismatch");
  }
  const uint64_t symbols_at = toc.U64();
  toc.U64();  // series: found through postings
  toc.U64();  // label indices: no longer used
  toc.U64();
  toc.U64();  // postings
  const uint64_t postings_table_at = toc.U64();

  VARVE_ASSIGN_OR_RETURN(const std::string_view symbols, Section(symbols_at, "symbol table"));
  if (version_ >= 2) {
    PrometheusReader in(symbols);
    const uint32_t count = in.U32();
    if (count > in.left()) return Corrupt(symbols_at, "symbol table: impossible count");
    symbols_.reserve(count);
    for (uint32_t i = 0; i < count; ++i) symbols_.push_back(in.String());
    if (!in.ok()) return Corrupt(symbols_at, "symbol table: truncated");
  }

  // The postings of the pair of empty strings list all series.
  VARVE_ASSIGN_OR_RETURN(const std::string_view table,
                         Section(postings_table_at, "postings offset table"));
  PrometheusReader in(table);
  const uint32_t entries = in.U32();
  for (uint32_t i = 0; i < entries; ++i) {
    const uint64_t keys = in.Uvarint();
    if (keys != 2) return Corrupt(postings_table_at, "postings offset table: malformed entry");
    const std::string_view name = in.String();
    const std::string_view value = in.String();
    const uint64_t offset = in.Uvarint();
    if (!in.ok()) return Corrupt(postings_table_at, "postings offset table: truncated");
    if (!name.empty() || !value.empty()) continue;
    VARVE_ASSIGN_OR_RETURN(const std::string_view postings, Section(offset, "postings"));
    PrometheusReader list(postings);
    const uint32_t count = list.U32();
    if (count > list.left() / 4) return Corrupt(offset, "postings: impossible count");
    series_.reserve(count);
    for (uint32_t s = 0; s < count; ++s) series_.push_back(list.U32());
    return absl::OkStatus();
  }
  if (entries == 0) return absl::OkStatus();
  return Corrupt(postings_table_at, "no postings list all series");
}

Result<std::string_view> PrometheusIndex::Symbol(uint64_t ref, uint64_t where) const {
  if (version_ >= 2) {
    if (ref >= symbols_.size()) return Corrupt(where, Concat("symbol ", ref, " does not exist"));
    return symbols_[ref];
  }
  // In version 1 a symbol is named by the place of its string in the file.
  if (ref >= bytes_.size()) return Corrupt(where, Concat("symbol at ", ref, " does not exist"));
  PrometheusReader in(bytes_.substr(ref));
  const std::string_view symbol = in.String();
  if (!in.ok()) return Corrupt(ref, "symbol runs past the end of the file");
  return symbol;
}

Status PrometheusIndex::ReadSeries(size_t i, std::vector<LabelView>* labels,
                                   std::vector<ChunkRef>* chunks) const {
  labels->clear();
  chunks->clear();
  const uint64_t offset = version_ >= 2 ? series_[i] * 16 : series_[i];
  if (offset >= bytes_.size()) return Corrupt(offset, "series begins past the end of the file");
  PrometheusReader outer(bytes_.substr(offset));
  const std::string_view body = outer.String();
  const uint32_t checksum = outer.U32();
  if (!outer.ok()) return Corrupt(offset, "series runs past the end of the file");
  if (Crc32c(body) != checksum) return Corrupt(offset, "series: checksum mismatch");
  PrometheusReader in(body);
  const uint64_t label_count = in.Count(2);
  if (label_count > kLabelsMax) return Corrupt(offset, "series: too many labels");
  for (uint64_t l = 0; l < label_count; ++l) {
    LabelView label;
    VARVE_ASSIGN_OR_RETURN(label.name, Symbol(in.Uvarint(), offset));
    VARVE_ASSIGN_OR_RETURN(label.value, Symbol(in.Uvarint(), offset));
    labels->push_back(label);
  }
  const uint64_t chunk_count = in.Count(3);
  ChunkRef chunk;
  for (uint64_t c = 0; c < chunk_count; ++c) {
    const auto add = [](int64_t a, uint64_t b) {
      return static_cast<int64_t>(static_cast<uint64_t>(a) + b);
    };
    if (c == 0) {
      chunk.min_time_ms = in.Varint();
      chunk.max_time_ms = add(chunk.min_time_ms, in.Uvarint());
      chunk.ref = in.Uvarint();
    } else {
      chunk.min_time_ms = add(chunk.max_time_ms, in.Uvarint());
      chunk.max_time_ms = add(chunk.min_time_ms, in.Uvarint());
      chunk.ref += static_cast<uint64_t>(in.Varint());
    }
    chunks->push_back(chunk);
  }
  if (!in.ok()) return Corrupt(offset, "series: truncated entry");
  // Sorted already, unless a label had no value.
  std::sort(labels->begin(), labels->end());
  std::erase_if(*labels, [](const LabelView& label) { return label.value.empty(); });
  if (!IsCanonical(*labels)) return Corrupt(offset, "series: repeated or empty label name");
  return absl::OkStatus();
}

Result<std::vector<PrometheusTombstone>> ReadPrometheusTombstones(std::string_view bytes,
                                                                  const std::string& path) {
  std::vector<PrometheusTombstone> out;
  PrometheusReader header(bytes);
  if (header.U32() != kTombstonesMagic || !header.ok()) {
    return DataLossError(path, 0, "not a tombstones file");
  }
  if (bytes.size() < 9) return DataLossError(path, bytes.size(), "truncated tombstones file");
  if (const uint8_t version = header.Byte(); version != 1) {
    return MakeStatus(StatusCode::kUnimplemented,
                      Concat(path, ":4: tombstones version ", static_cast<int>(version)));
  }
  // The checksum covers the entries, not the version.
  const std::string_view checked = bytes.substr(5, bytes.size() - 9);
  if (Crc32c(checked) != PrometheusReader(bytes.substr(bytes.size() - 4)).U32()) {
    return DataLossError(path, bytes.size() - 4, "tombstones: checksum mismatch");
  }
  PrometheusReader in(checked);
  while (in.left() > 0) {
    PrometheusTombstone stone;
    stone.series = in.Uvarint();
    stone.min_time_ms = in.Varint();
    stone.max_time_ms = in.Varint();
    if (!in.ok()) {
      return DataLossError(path, static_cast<uint64_t>(in.at() - bytes.data()),
                           "tombstones: truncated entry");
    }
    out.push_back(stone);
  }
  return out;
}

Status CheckPrometheusSegment(std::string_view segment, const std::string& path) {
  PrometheusReader in(segment);
  if (in.U32() != kChunksMagic || !in.ok()) return DataLossError(path, 0, "not a chunk segment");
  if (const uint8_t version = in.Byte(); version != 1 || segment.size() < 8) {
    return MakeStatus(StatusCode::kUnimplemented,
                      Concat(path, ":4: chunk segment version ", static_cast<int>(version)));
  }
  return absl::OkStatus();
}

Result<std::pair<uint8_t, std::string_view>> FindPrometheusChunk(std::string_view segment,
                                                                 const std::string& path,
                                                                 uint32_t offset) {
  if (offset < 8 || offset >= segment.size()) {
    return DataLossError(path, offset, "chunk outside its segment");
  }
  PrometheusReader in(segment.substr(offset));
  const uint64_t size = in.Uvarint();
  const char* const begin = in.at();
  const uint8_t encoding = in.Byte();
  const std::string_view payload = in.Bytes(size);
  const uint32_t checksum = in.U32();
  if (!in.ok()) return DataLossError(path, offset, "chunk runs past the end of its segment");
  if (Crc32c({begin, payload.size() + 1}) != checksum) {
    return DataLossError(path, offset, "chunk: checksum mismatch");
  }
  return std::pair(encoding, payload);
}

}  // namespace varve::ingest
