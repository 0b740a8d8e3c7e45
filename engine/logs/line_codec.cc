#include "engine/logs/line_codec.h"

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/index/value_scan.h"
#include "engine/logs/block_format.h"
#include "engine/logs/zstd_page.h"

namespace varve::logs {
namespace {

// These values live on disk: add, never renumber.
constexpr uint8_t kPlain = 0;

constexpr int kPlainLevel = 3;

Status Malformed(std::string_view what) { return DataLossError("lines", 0, what); }

}  // namespace

void EncodeLines(std::span<const std::string_view> lines, std::string* out) {
  static thread_local std::string raw;
  raw.clear();
  for (const std::string_view line : lines) PutVarint(&raw, line.size());
  for (const std::string_view line : lines) raw.append(line);
  out->push_back(static_cast<char>(kPlain));
  PutZstdPage(raw, kPlainLevel, out);
}

Status DecodeLines(std::string_view bytes, uint32_t count, uint64_t text_bytes, Rows* rows) {
  rows->text.clear();
  rows->line_begin.clear();
  ByteReader in(bytes);
  const auto codec = in.Fixed<uint8_t>();
  if (!in.ok() || codec != kPlain) return Malformed("unknown encoding");
  static thread_local std::string raw;
  VARVE_RETURN_IF_ERROR(GetZstdPage(in.Bytes(in.left()), text_bytes + 5ull * count + 16, &raw));
  ByteReader lengths(raw);
  rows->line_begin.reserve(count + 1);
  uint64_t at = 0;
  for (uint32_t i = 0; i < count; ++i) {
    rows->line_begin.push_back(static_cast<uint32_t>(at));
    at += lengths.Varint();
    if (at > text_bytes) return Malformed("lines are longer than their group");
  }
  rows->line_begin.push_back(static_cast<uint32_t>(at));
  if (!lengths.ok() || at != text_bytes || lengths.left() != at) {
    return Malformed("lines do not fit");
  }
  rows->text.reserve(at + index::kScanPadding);
  rows->text.assign(raw, raw.size() - at, at);
  rows->text.append(index::kScanPadding, '\0');
  return absl::OkStatus();
}

}  // namespace varve::logs
