#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/span_batch.h"
#include "varve/status.h"

namespace varve::traces {

class Head;
struct HeadAttributes;

/// Types of the records in wal/traces. These values live on disk: add, never renumber.
/// Spec: engine/docs/format/traces-wal.md.
enum class WalRecord : uint8_t {
  kBatch = 1,  // one batch, whole; needs no other record to be read
};
inline constexpr uint8_t kWalBatchVersion = 1;

/// Encodes rows that a head has staged as the payload of one kBatch record. The head's numbers of
/// texts become numbers of the record, each text written once.
class WalBatchEncoder {
 public:
  /// Returns the payload in pieces, to be written one after the other; valid until the next call.
  std::span<const std::string_view> Encode(const Head& head, uint32_t begin, uint32_t end);

 private:
  /// Numbers what a batch refers to in the order of first use, without clearing between batches.
  class Numbers {
   public:
    void Start() {
      ++batch_;
      count_ = 0;
    }
    /// Returns the batch's number of `global`; `*fresh` if this is its first use.
    uint32_t Of(uint32_t global, bool* fresh);
    uint32_t count() const { return count_; }

   private:
    struct Slot {
      uint64_t batch = 0;
      uint32_t local = 0;
    };
    std::vector<Slot> slots_;
    uint64_t batch_ = 0;
    uint32_t count_ = 0;
  };

  uint32_t String(uint32_t global);
  uint32_t Key(uint32_t global);
  uint32_t Scope(uint32_t global);
  void PutAttributes(const HeadAttributes& attributes, std::string* out);

  const Head* head_ = nullptr;
  Numbers strings_, keys_, resources_, scopes_;
  uint32_t texts_ = 0;
  std::vector<uint32_t> key_texts_, string_texts_;  // by number: place among the texts
  std::string head_bytes_, text_bytes_, resource_bytes_, scope_bytes_, scope_head_, span_bytes_;
  std::vector<std::string_view> pieces_;
};

/// Decodes the payload of a kBatch record into `out`, whose texts then point into `payload`. Safe
/// on any bytes. Errors: kDataLoss that says what does not fit.
Status DecodeWalBatch(std::string_view payload, SpanBatch* out);

}  // namespace varve::traces
