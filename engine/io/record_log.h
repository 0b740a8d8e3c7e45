#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "varve/status.h"

namespace varve::io {

/// The framing that WAL segments and manifest files share: a header, then checksummed records at
/// multiples of 8 bytes. Spec: engine/docs/format/wal.md, "Record log"; change both or neither.
///
/// Every checksum depends on a random tag of the file and on the place in it, so bytes of another
/// file, old bytes of a reused disk block, or a payload that imitates records never pass for a
/// record when a reader searches for the next good one behind damage.

/// The file header is stored twice in a row, so that a damaged copy costs nothing.
inline constexpr uint64_t kLogHeaderCopyBytes = 48;
inline constexpr uint64_t kLogHeaderBytes = 2 * kLogHeaderCopyBytes;
inline constexpr uint64_t kRecordHeaderBytes = 32;
inline constexpr uint64_t kRecordPayloadBytesMax = 64ull << 20;

struct LogHeader {
  uint32_t version = 1;
  uint64_t number = 0;          // of the file, as in its name
  uint64_t tag = 0;             // random
  uint64_t first_sequence = 1;  // of its first record; all earlier records are durable elsewhere
};

/// Returns both copies. `magic` has 8 bytes.
std::string EncodeLogHeader(std::string_view magic, const LogHeader& header);

struct DecodedLogHeader {
  LogHeader header;
  bool copy_damaged = false;
  uint64_t damaged_offset = 0;
};
/// Reads the header of `file` from its first bytes. Errors: kDataLoss if neither copy is good;
/// kUnimplemented for a version above `version_max`.
Result<DecodedLogHeader> DecodeLogHeader(std::string_view bytes, std::string_view magic,
                                         uint32_t version_max, std::string_view file);

/// Returns the bytes a record takes in a file.
inline uint64_t RecordBytes(uint64_t payload_bytes) {
  return kRecordHeaderBytes + (payload_bytes + 7) / 8 * 8;
}

/// Hashes the concatenation of `pieces` and the zeros that pad it to a multiple of 8: XXH3-64.
uint64_t PayloadChecksum(std::span<const std::string_view> pieces);

struct RecordView {
  uint64_t offset = 0;
  uint64_t end = 0;
  uint8_t type = 0;
  uint64_t sequence = 0;          // 1, 2, 3 ...; below 2^56
  uint64_t durable_sequence = 0;  // every record up to this was on disk when this one was made
  std::string_view payload;
};

/// Appends a record that will stand at `offset`. `checksum` is PayloadChecksum(pieces).
void AppendRecord(std::span<const std::string_view> pieces, uint64_t payload_bytes,
                  uint64_t checksum, uint64_t tag, uint64_t offset, uint8_t type, uint64_t sequence,
                  uint64_t durable_sequence, std::string* out);

/// Reads the records of one file; after damage it goes on with the next good one.
class RecordScanner {
 public:
  enum class Step : uint8_t { kRecord, kDamage, kEnd };

  /// Starts at `offset`, a multiple of 8. `file` is the whole content and outlives this.
  RecordScanner(std::string_view file, uint64_t tag, uint64_t offset)
      : file_(file), tag_(tag), at_(offset) {}

  /// kRecord: record() is good. kDamage: [damage_begin(), damage_end()) holds no good record.
  /// kEnd: the rest is empty or zero. Costs a pass over the bytes, a hash every 8 bytes in damage.
  Step Next();

  const RecordView& record() const { return record_; }
  uint64_t damage_begin() const { return damage_begin_; }
  uint64_t damage_end() const { return damage_end_; }
  /// Says what is wrong at damage_begin().
  std::string_view damage_reason() const { return reason_; }
  uint64_t position() const { return at_; }

 private:
  enum class Check : uint8_t { kGood, kBadHeader, kBadPayload };
  Check CheckAt(uint64_t offset, RecordView* record, std::string_view* reason) const;

  std::string_view file_;
  uint64_t tag_;
  uint64_t at_;
  RecordView record_;
  uint64_t damage_begin_ = 0;
  uint64_t damage_end_ = 0;
  std::string_view reason_;
};

/// Tests for zeros; true for no bytes.
bool AllZero(std::string_view bytes);
/// Draws a tag that is not zero.
uint64_t RandomTag();

}  // namespace varve::io
