#include "engine/logs/page.h"

#include <lz4.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/index/value_scan.h"

namespace varve::logs {
namespace {

// These values live on disk: add, never renumber.
constexpr uint8_t kRaw = 0;
constexpr uint8_t kLz4 = 1;
constexpr uint8_t kOneStream = 1;
constexpr uint8_t kHasMetadata = 2;

/// Smaller pages are not worth the call.
constexpr size_t kCompressBytesMin = 256;
/// LZ4 cannot inflate by more.
constexpr uint64_t kLz4Factor = 255;

Status Malformed(std::string_view what) { return DataLossError("log page", 0, what); }

constexpr size_t kVarintBytesMax = 10;

/// Writes into room that was made for all of it, so that nothing is tested per value.
class RawPage {
 public:
  /// Forgets what was written and makes room for this many bytes.
  void Begin(size_t bytes_max) {
    bytes_max += kSlack;
    // One that was moved from has no room, whatever it knows of it.
    if (room_ == nullptr || capacity_ < bytes_max) {
      room_ = std::make_unique_for_overwrite<char[]>(bytes_max);
      capacity_ = bytes_max;
    }
    at_ = room_.get();
  }
  void Byte(uint8_t value) { *at_++ = static_cast<char>(value); }
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) *at_++ = static_cast<char>(value | 0x80);
    *at_++ = static_cast<char>(value);
  }
  void Bytes(std::string_view bytes) {
    if (!bytes.empty()) std::memcpy(at_, bytes.data(), bytes.size());
    at_ += bytes.size();
  }
  void String(std::string_view bytes) {
    Varint(bytes.size());
    Bytes(bytes);
  }
  /// Writes again what stands in [from, size()).
  void Repeat(size_t from) {
    const size_t bytes = size() - from;
    if (bytes <= kSlack) {
      // Of one size, and so without a call: what is too much is written over.
      char copy[kSlack];
      std::memcpy(copy, at_ - bytes, kSlack);
      std::memcpy(at_, copy, kSlack);
    } else {
      std::memcpy(at_, at_ - bytes, bytes);
    }
    at_ += bytes;
  }
  size_t size() const { return static_cast<size_t>(at_ - room_.get()); }
  std::string_view view() const { return {room_.get(), size()}; }

 private:
  static constexpr size_t kSlack = 32;
  std::unique_ptr<char[]> room_;
  size_t capacity_ = 0;
  char* at_ = nullptr;
};

// Tests for the same bytes at the same places: constants, which detection adds to entry after
// entry.
bool SameViews(LabelsView a, LabelsView b) {
  const auto same = [](std::string_view x, std::string_view y) {
    return x.data() == y.data() && x.size() == y.size();
  };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [same](const LabelView& x, const LabelView& y) {
                      return same(x.name, y.name) && same(x.value, y.value);
                    });
}

void WriteMetadata(std::span<const EntryView> entries, RawPage* raw) {
  size_t last_at = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    const LabelsView metadata = entries[i].metadata;
    if (i > 0 && SameViews(metadata, entries[i - 1].metadata)) {
      const size_t at = raw->size();
      raw->Repeat(last_at);
      last_at = at;
      continue;
    }
    last_at = raw->size();
    raw->Varint(metadata.size());
    for (const LabelView& label : metadata) {
      raw->String(label.name);
      raw->String(label.value);
    }
  }
}

}  // namespace

void EncodePage(std::span<const EntryView> entries, bool one_stream, std::string* out) {
  // Large buffers are costly to get anew for every batch.
  static thread_local RawPage buffer;
  // Held here while it is written: a thread's variable is looked up anew for each byte.
  RawPage raw = std::move(buffer);
  const absl::Cleanup keep = [&raw] { buffer = std::move(raw); };
  static thread_local std::string packed;
  size_t bytes_max = 1 + kVarintBytesMax;
  bool has_metadata = false;
  for (const EntryView& entry : entries) {
    bytes_max += entry.line.size() + 4 * kVarintBytesMax;
    has_metadata = has_metadata || !entry.metadata.empty();
    for (const LabelView& label : entry.metadata) {
      bytes_max += label.name.size() + label.value.size() + 2 * kVarintBytesMax;
    }
  }
  raw.Begin(bytes_max);
  raw.Byte((one_stream ? kOneStream : 0) | (has_metadata ? kHasMetadata : 0));
  raw.Varint(entries.size());
  if (!one_stream) {
    for (const EntryView& entry : entries) raw.Varint(entry.stream);
  }
  int64_t last = 0;
  for (const EntryView& entry : entries) {
    raw.Varint(ZigZag(WrapSub(entry.time_ns, last)));
    last = entry.time_ns;
  }
  for (const EntryView& entry : entries) raw.Varint(entry.line.size());
  if (has_metadata) WriteMetadata(entries, &raw);
  for (const EntryView& entry : entries) raw.Bytes(entry.line);

  if (raw.size() >= kCompressBytesMin && raw.size() <= LZ4_MAX_INPUT_SIZE) {
    packed.resize(static_cast<size_t>(LZ4_compressBound(static_cast<int>(raw.size()))));
    const int size =
        LZ4_compress_default(raw.view().data(), packed.data(), static_cast<int>(raw.size()),
                             static_cast<int>(packed.size()));
    if (size > 0 && static_cast<size_t>(size) < raw.size()) {
      out->reserve(out->size() + static_cast<size_t>(size) + 8);
      out->push_back(static_cast<char>(kLz4));
      PutVarint(out, raw.size());
      out->append(packed.data(), static_cast<size_t>(size));
      return;
    }
  }
  out->push_back(static_cast<char>(kRaw));
  PutVarint(out, raw.size());
  out->append(raw.view());
}

std::string_view BlockOfPage(std::string_view page, uint64_t* raw_bytes) {
  ByteReader head(page);
  const auto codec = head.Fixed<uint8_t>();
  *raw_bytes = head.Varint();
  return codec == kLz4 ? head.Bytes(head.left()) : std::string_view();
}

Status DecodePage(std::string_view page, Rows* rows, std::vector<uint32_t>* streams) {
  rows->Clear();
  streams->clear();
  ByteReader head(page);
  const auto codec = head.Fixed<uint8_t>();
  const uint64_t raw_bytes = head.Varint();
  const std::string_view rest = head.Bytes(head.left());
  if (!head.ok() || codec > kLz4) return Malformed("no page head");
  static thread_local std::string inflated;
  std::string_view raw = rest;
  if (codec == kLz4) {
    if (raw_bytes > kPageRawBytesMax || raw_bytes > rest.size() * kLz4Factor + 64 ||
        rest.size() > LZ4_MAX_INPUT_SIZE) {
      return Malformed("inflated size is impossible");
    }
    inflated.resize(raw_bytes);
    const int size = LZ4_decompress_safe(
        rest.data(), inflated.data(), static_cast<int>(rest.size()), static_cast<int>(raw_bytes));
    if (size < 0 || static_cast<uint64_t>(size) != raw_bytes) return Malformed("bad LZ4 bytes");
    raw = inflated;
  } else if (raw_bytes != rest.size()) {
    return Malformed("size does not fit");
  }

  ByteReader in(raw);
  const auto flags = in.Fixed<uint8_t>();
  if (flags > (kOneStream | kHasMetadata)) in.Fail();
  const uint64_t count = in.Count(2);
  if (count > UINT32_MAX / 2) in.Fail();
  if (!in.ok()) return Malformed("impossible number of entries");
  if ((flags & kOneStream) == 0) {
    streams->reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      const uint64_t stream = in.Varint();
      if (stream > UINT32_MAX) in.Fail();
      streams->push_back(static_cast<uint32_t>(stream));
    }
  }
  rows->times.reserve(count);
  int64_t time = 0;
  for (uint64_t i = 0; i < count; ++i) {
    time = WrapAdd(time, in.Signed());
    if (i > 0 && time < rows->times.back()) rows->ascending = false;
    rows->times.push_back(time);
  }
  rows->line_begin.reserve(count + 1);
  uint64_t at = 0;
  for (uint64_t i = 0; i < count; ++i) {
    rows->line_begin.push_back(static_cast<uint32_t>(at));
    const uint64_t size = in.Varint();
    if (size > raw.size()) in.Fail();
    at += size;
    if (at > raw.size()) in.Fail();
    if (!in.ok()) return Malformed("lines do not fit");
  }
  rows->line_begin.push_back(static_cast<uint32_t>(at));
  if ((flags & kHasMetadata) != 0) {
    // The strings are copied in one piece: views point at their places in it.
    const size_t begin = in.position();
    if (in.left() < at) return Malformed("lines do not fit");
    rows->metadata_text.assign(raw.substr(begin, in.left() - at));
    ByteReader pairs(rows->metadata_text);
    rows->metadata_begin.reserve(count + 1);
    for (uint64_t i = 0; i < count; ++i) {
      rows->metadata_begin.push_back(static_cast<uint32_t>(rows->metadata.size()));
      const uint64_t labels = pairs.Count(2);
      for (uint64_t k = 0; k < labels; ++k) {
        const std::string_view name = pairs.String();
        const std::string_view value = pairs.String();
        rows->metadata.push_back({name, value});
      }
      if (!pairs.ok()) return Malformed("bad metadata");
    }
    rows->metadata_begin.push_back(static_cast<uint32_t>(rows->metadata.size()));
    if (pairs.left() != 0) return Malformed("metadata does not fit");
    in.Bytes(rows->metadata_text.size());
  }
  if (!in.ok() || in.left() != at) return Malformed("columns do not fit");
  rows->text.reserve(at + index::kScanPadding);
  rows->text.assign(raw.substr(raw.size() - at));
  rows->text.append(index::kScanPadding, '\0');
  return absl::OkStatus();
}

}  // namespace varve::logs
