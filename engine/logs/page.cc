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

// Replaces `out` by what a page inflates to and index::kScanPadding zeros behind it.
Status InflatePage(std::string_view page, std::string* out) {
  ByteReader head(page);
  const auto codec = head.Fixed<uint8_t>();
  const uint64_t raw_bytes = head.Varint();
  const std::string_view rest = head.Bytes(head.left());
  if (!head.ok() || codec > kLz4) return Malformed("no page head");
  if (codec == kRaw) {
    if (raw_bytes != rest.size()) return Malformed("size does not fit");
    out->assign(rest);
  } else {
    if (raw_bytes > kPageRawBytesMax || raw_bytes > rest.size() * kLz4Factor + 64 ||
        rest.size() > LZ4_MAX_INPUT_SIZE) {
      return Malformed("inflated size is impossible");
    }
    out->resize(raw_bytes);
    const int size = LZ4_decompress_safe(rest.data(), out->data(), static_cast<int>(rest.size()),
                                         static_cast<int>(raw_bytes));
    if (size < 0 || static_cast<uint64_t>(size) != raw_bytes) return Malformed("bad LZ4 bytes");
  }
  out->append(index::kScanPadding, '\0');
  return absl::OkStatus();
}

/// Reads an inflated page: bytes that may be anything, with readable zeros behind them, where any
/// varint ends. So that is looked for but once a value. Fails as ByteReader does.
class PageReader {
 public:
  explicit PageReader(std::string_view raw) : at_(raw.data()), end_(raw.data() + raw.size()) {}

  bool ok() const { return ok_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  void Fail() {
    ok_ = false;
    at_ = end_;
  }
  uint8_t Byte() {
    const auto byte = static_cast<uint8_t>(*at_);
    Advance(1);
    return byte;
  }
  uint64_t Varint() {
    static_assert(kVarintBytesMax <= index::kScanPadding);
    uint64_t value = 0;
    for (size_t i = 0; i < kVarintBytesMax; ++i) {
      const auto byte = static_cast<uint8_t>(at_[i]);
      value |= static_cast<uint64_t>(byte & 0x7f) << 7 * i;
      if (byte < 0x80) {
        if (i == kVarintBytesMax - 1 && byte > 1) break;
        return Advance(i + 1) ? value : 0;
      }
    }
    Fail();
    return 0;
  }
  std::string_view Bytes(uint64_t size) {
    const char* const begin = at_;
    return size <= left() && Advance(size) ? std::string_view(begin, size) : std::string_view();
  }

 private:
  bool Advance(size_t bytes) {
    at_ += bytes;
    if (at_ > end_) Fail();
    return ok_;
  }

  const char* at_;
  const char* const end_;
  bool ok_ = true;
};

// Reads the metadata of `count` entries, which views of `bytes` become.
Status ReadMetadata(std::string_view bytes, uint64_t count, Rows* rows) {
  std::vector<LabelView>& pairs = rows->metadata;
  rows->metadata_begin.reserve(count + 1);
  ByteReader in(bytes);
  std::string_view last;  // the bytes of the entry before
  size_t last_begin = 0;  // and its pairs
  for (uint64_t i = 0; i < count; ++i) {
    const size_t begin = pairs.size();
    rows->metadata_begin.push_back(static_cast<uint32_t>(begin));
    const std::string_view left = bytes.substr(in.position());
    if (!last.empty() && left.starts_with(last)) {
      // Most entries have what the one before has.
      in.Bytes(last.size());
      for (size_t k = last_begin; k < begin; ++k) pairs.push_back(LabelView(pairs[k]));
    } else {
      const uint64_t labels = in.Count(2);
      for (uint64_t k = 0; k < labels; ++k) {
        const std::string_view name = in.String();
        const std::string_view value = in.String();
        pairs.push_back({name, value});
      }
      if (!in.ok()) return Malformed("bad metadata");
      last = left.substr(0, left.size() - in.left());
    }
    last_begin = begin;
  }
  rows->metadata_begin.push_back(static_cast<uint32_t>(pairs.size()));
  return in.left() == 0 ? absl::OkStatus() : Malformed("metadata does not fit");
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

std::string_view BlockOfPage(std::string_view page) {
  ByteReader head(page);
  const auto codec = head.Fixed<uint8_t>();
  head.Varint();
  return codec == kLz4 ? head.Bytes(head.left()) : std::string_view();
}

Status DecodePage(std::string_view page, Rows* rows, std::vector<uint32_t>* streams) {
  // Inflated to where it stays. What the text holds from before is written over: to empty it first
  // would have all of it filled with zeros.
  std::string text = std::move(rows->text);
  rows->Clear();
  streams->clear();
  VARVE_RETURN_IF_ERROR(InflatePage(page, &text));
  rows->text = std::move(text);
  const std::string_view raw(rows->text.data(), rows->text.size() - index::kScanPadding);

  PageReader in(raw);
  const uint8_t flags = in.Byte();
  if (flags > (kOneStream | kHasMetadata)) return Malformed("unknown flags");
  const uint64_t count = in.Varint();
  // Each entry has a time and a size.
  if (in.left() / 2 < count || count > UINT32_MAX / 2) {
    return Malformed("impossible number of entries");
  }
  if ((flags & kOneStream) == 0) {
    streams->resize(count);
    for (uint32_t& stream : *streams) {
      const uint64_t value = in.Varint();
      if (value > UINT32_MAX) in.Fail();
      stream = static_cast<uint32_t>(value);
    }
  }
  rows->times.resize(count);
  int64_t last = INT64_MIN;
  int64_t time = 0;
  bool ascending = true;
  for (int64_t& out : rows->times) {
    time = WrapAdd(time, UnZigZag(in.Varint()));
    ascending = ascending && time >= last;
    out = last = time;
  }
  rows->ascending = ascending;
  // Sizes first, which tell where the first line begins.
  std::vector<uint32_t>& begins = rows->line_begin;
  begins.resize(count + 1);
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t size = in.Varint();
    if (size > raw.size()) in.Fail();
    bytes += size;
    begins[i] = static_cast<uint32_t>(size);
  }
  if (in.left() < bytes) return Malformed("lines do not fit");
  auto at = static_cast<uint32_t>(raw.size() - bytes);
  for (uint32_t& begin : begins) at += std::exchange(begin, at);
  if ((flags & kHasMetadata) != 0) {
    VARVE_RETURN_IF_ERROR(ReadMetadata(in.Bytes(in.left() - bytes), count, rows));
  }
  if (!in.ok() || in.left() != bytes) return Malformed("columns do not fit");
  return absl::OkStatus();
}

}  // namespace varve::logs
