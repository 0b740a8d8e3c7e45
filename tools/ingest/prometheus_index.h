#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "varve/labels.h"
#include "varve/status.h"

namespace varve::ingest {

/// Reads big-endian numbers, varints and strings from untrusted bytes, as Prometheus writes them.
/// After the first read past the end ok() is false and every read yields zero or nothing.
class PrometheusReader {
 public:
  explicit PrometheusReader(std::string_view bytes)
      : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}
  bool ok() const { return ok_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  const char* at() const { return at_; }

  uint8_t Byte() { return static_cast<uint8_t>(BigEndian(1)); }
  uint32_t U32() { return static_cast<uint32_t>(BigEndian(4)); }
  uint64_t U64() { return BigEndian(8); }
  uint64_t Uvarint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const auto byte = static_cast<unsigned char>(*at_++);
      value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    Fail();
    return 0;
  }
  int64_t Varint() {
    const uint64_t raw = Uvarint();
    return static_cast<int64_t>(raw >> 1) ^ -static_cast<int64_t>(raw & 1);
  }
  std::string_view Bytes(uint64_t size) {
    if (size > left()) {
      Fail();
      return {};
    }
    const std::string_view out(at_, size);
    at_ += size;
    return out;
  }
  std::string_view String() { return Bytes(Uvarint()); }
  /// Reads a count of things that take at least `item_bytes` each of what is left.
  uint64_t Count(size_t item_bytes) {
    const uint64_t count = Uvarint();
    if (count > left() / item_bytes) {
      Fail();
      return 0;
    }
    return count;
  }
  void Fail() {
    ok_ = false;
    at_ = end_;
  }

 private:
  uint64_t BigEndian(size_t size) {
    if (left() < size) {
      Fail();
      return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value = value << 8 | static_cast<unsigned char>(*at_++);
    return value;
  }

  const char* at_;
  const char* end_;
  bool ok_ = true;
};

/// Reads the index file of a Prometheus block (tsdb/docs/format/index.md), versions 1 to 3; the
/// sections that are read here did not change between 2 and 3. Every section and entry that is
/// read has its CRC-32C checked.
class PrometheusIndex {
 public:
  struct ChunkRef {
    int64_t min_time_ms = 0;
    int64_t max_time_ms = 0;
    uint64_t ref = 0;  // segment number << 32 | offset in the segment file
  };

  /// `bytes` and `path`, which errors name, must outlive the index. Errors: kDataLoss with offset,
  /// kUnimplemented for another version.
  static Result<PrometheusIndex> Open(std::string_view bytes, const std::string& path);

  size_t series_count() const { return series_.size(); }
  /// Returns the reference by which tombstones name series `i`.
  uint64_t SeriesRef(size_t i) const { return series_[i]; }
  /// Replaces `labels` (canonical; bytes of the file) and `chunks` by those of series `i`, in
  /// label order. Errors: kDataLoss.
  Status ReadSeries(size_t i, std::vector<LabelView>* labels, std::vector<ChunkRef>* chunks) const;

 private:
  PrometheusIndex(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(&path) {}
  Status Load();
  Status Corrupt(uint64_t offset, std::string_view what) const;
  /// Checks and returns a section: u32 length, bytes, u32 checksum.
  Result<std::string_view> Section(uint64_t offset, std::string_view name) const;
  Result<std::string_view> Symbol(uint64_t ref, uint64_t where) const;

  std::string_view bytes_;
  const std::string* path_;
  uint8_t version_ = 0;
  std::vector<std::string_view> symbols_;  // version 2
  std::vector<uint64_t> series_;           // references, ascending
};

/// Reads the tombstones file of a block into (series reference, first and last deleted time)
/// entries. Errors: kDataLoss with offset.
struct PrometheusTombstone {
  uint64_t series = 0;
  int64_t min_time_ms = 0;
  int64_t max_time_ms = 0;
};
Result<std::vector<PrometheusTombstone>> ReadPrometheusTombstones(std::string_view bytes,
                                                                  const std::string& path);

/// Finds a chunk in a segment file of a block, checks it, and returns encoding and payload.
/// Errors: kDataLoss with offset.
Result<std::pair<uint8_t, std::string_view>> FindPrometheusChunk(std::string_view segment,
                                                                 const std::string& path,
                                                                 uint32_t offset);
/// Checks the header of a chunk segment file.
Status CheckPrometheusSegment(std::string_view segment, const std::string& path);

}  // namespace varve::ingest
