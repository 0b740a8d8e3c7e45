#include "engine/io/record_log.h"

#include <cstring>
#include <random>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::io {
namespace {

/// What the format can hold, and what a reader believes: the distance is room for records that
/// follow a forged or unlikely number.
constexpr uint64_t kSequenceLimit = 1ull << 56;
constexpr uint64_t kSequenceReadMax = 1ull << 55;

uint32_t HeaderChecksum(const char* header, uint64_t tag, uint64_t offset) {
  return static_cast<uint32_t>(
      Hash64(std::string_view(header + 4, kRecordHeaderBytes - 4), tag + offset));
}

template <typename T>
T Load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename T>
void Store(char* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

}  // namespace

std::string EncodeLogHeader(std::string_view magic, const LogHeader& header) {
  VARVE_CHECK(magic.size() == 8);
  std::string out;
  for (int copy = 0; copy < 2; ++copy) {
    const size_t begin = out.size();
    out.append(magic);
    PutFixed<uint32_t>(&out, header.version);
    PutFixed<uint32_t>(&out, 0);
    PutFixed<uint64_t>(&out, header.number);
    PutFixed<uint64_t>(&out, header.tag);
    PutFixed<uint64_t>(&out, header.first_sequence);
    // The seed tells the copies apart, so that one is not taken for the other.
    const uint64_t checksum = Hash64(std::string_view(out).substr(begin), begin);
    PutFixed<uint64_t>(&out, checksum);
  }
  return out;
}

Result<DecodedLogHeader> DecodeLogHeader(std::string_view bytes, std::string_view magic,
                                         uint32_t version_max, std::string_view file) {
  DecodedLogHeader out;
  bool found = false;
  for (uint64_t begin = 0; begin < kLogHeaderBytes; begin += kLogHeaderCopyBytes) {
    bool good = false;
    if (bytes.size() >= begin + kLogHeaderCopyBytes) {
      const std::string_view copy = bytes.substr(begin, kLogHeaderCopyBytes);
      ByteReader reader(copy.substr(8));
      LogHeader header;
      header.version = reader.Fixed<uint32_t>();
      const auto reserved = reader.Fixed<uint32_t>();
      header.number = reader.Fixed<uint64_t>();
      header.tag = reader.Fixed<uint64_t>();
      header.first_sequence = reader.Fixed<uint64_t>();
      const auto checksum = reader.Fixed<uint64_t>();
      good = copy.starts_with(magic) &&
             checksum == Hash64(copy.substr(0, kLogHeaderCopyBytes - 8), begin);
      if (good && (header.version > version_max || header.version == 0)) {
        return MakeStatus(
            StatusCode::kUnimplemented,
            Concat(file, ": format version ", header.version, ", this build reads ", version_max));
      }
      good = good && reserved == 0 && header.first_sequence > 0 &&
             header.first_sequence <= kSequenceReadMax;
      if (good && !found) out.header = header;
    }
    if (good) {
      found = true;
    } else {
      out.copy_damaged = true;
      out.damaged_offset = begin;
    }
  }
  if (!found) return DataLossError(file, 0, "file header is damaged, both copies");
  return out;
}

uint64_t PayloadChecksum(std::span<const std::string_view> pieces) {
  constexpr char kZeros[8] = {};
  if (pieces.size() == 1 && pieces[0].size() % 8 == 0) return Hash64(pieces[0]);
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  uint64_t bytes = 0;
  for (const std::string_view piece : pieces) {
    XXH3_64bits_update(&state, piece.data(), piece.size());
    bytes += piece.size();
  }
  XXH3_64bits_update(&state, kZeros, (8 - bytes % 8) % 8);
  return XXH3_64bits_digest(&state);
}

void AppendRecord(std::span<const std::string_view> pieces, uint64_t payload_bytes,
                  uint64_t checksum, uint64_t tag, uint64_t offset, uint8_t type, uint64_t sequence,
                  uint64_t durable_sequence, std::string* out) {
  VARVE_CHECK(payload_bytes <= kRecordPayloadBytesMax && sequence < kSequenceLimit);
  char header[kRecordHeaderBytes];
  Store<uint32_t>(header + 4, static_cast<uint32_t>(payload_bytes));
  Store<uint64_t>(header + 8, sequence << 8 | type);
  Store<uint64_t>(header + 16, durable_sequence);
  Store<uint64_t>(header + 24, checksum);
  Store<uint32_t>(header, HeaderChecksum(header, tag, offset));
  out->append(header, sizeof header);
  for (const std::string_view piece : pieces) out->append(piece);
  out->append((8 - payload_bytes % 8) % 8, '\0');
}

RecordScanner::Check RecordScanner::CheckAt(uint64_t offset, RecordView* record,
                                            std::string_view* reason) const {
  if (file_.size() - offset < kRecordHeaderBytes) {
    *reason = "record header is cut off";
    return Check::kBadHeader;
  }
  const char* header = file_.data() + offset;
  const auto payload_bytes = Load<uint32_t>(header + 4);
  const uint64_t room = file_.size() - offset - kRecordHeaderBytes;
  // Cheap tests first: this runs at every 8th byte behind damage.
  if (payload_bytes > kRecordPayloadBytesMax ||
      Load<uint32_t>(header) != HeaderChecksum(header, tag_, offset)) {
    *reason = "record header is damaged";
    return Check::kBadHeader;
  }
  const uint64_t padded = (payload_bytes + 7ull) / 8 * 8;
  if (padded > room) {
    *reason = "record is cut off";
    return Check::kBadHeader;
  }
  record->offset = offset;
  record->end = offset + kRecordHeaderBytes + padded;
  const auto word = Load<uint64_t>(header + 8);
  record->type = static_cast<uint8_t>(word);
  record->sequence = word >> 8;
  record->durable_sequence = Load<uint64_t>(header + 16);
  if (record->sequence == 0 || record->sequence >= kSequenceReadMax) {
    *reason = "record header makes no sense";
    return Check::kBadHeader;
  }
  record->payload = file_.substr(offset + kRecordHeaderBytes, payload_bytes);
  const std::string_view stored = file_.substr(offset + kRecordHeaderBytes, padded);
  // The checksum covers the padding, and padding is zero: both, or a writer could hide bytes there.
  if (Load<uint64_t>(header + 24) != Hash64(stored) || !AllZero(stored.substr(payload_bytes))) {
    *reason = "record payload is damaged";
    return Check::kBadPayload;
  }
  return Check::kGood;
}

RecordScanner::Step RecordScanner::Next() {
  if (at_ >= file_.size()) return Step::kEnd;
  Check check = CheckAt(at_, &record_, &reason_);
  if (check == Check::kGood) {
    at_ = record_.end;
    return Step::kRecord;
  }
  if (AllZero(file_.substr(at_))) {
    at_ = file_.size();
    return Step::kEnd;
  }
  damage_begin_ = at_;
  uint64_t at = at_;
  while (true) {
    // A good header tells where the record ends, whatever became of its payload.
    at = check == Check::kBadPayload ? record_.end : at + 8;
    if (at >= file_.size()) {
      at = file_.size();
      break;
    }
    std::string_view ignored;
    check = CheckAt(at, &record_, &ignored);
    if (check == Check::kGood) break;
  }
  at_ = at;
  damage_end_ = at;
  return Step::kDamage;
}

bool AllZero(std::string_view bytes) {
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    if (Load<uint64_t>(bytes.data() + at) != 0) return false;
  }
  for (; at < bytes.size(); ++at) {
    if (bytes[at] != 0) return false;
  }
  return true;
}

uint64_t RandomTag() {
  std::random_device device;
  uint64_t tag = 0;
  while (tag == 0) tag = uint64_t{device()} << 32 | device();
  return tag;
}

}  // namespace varve::io
