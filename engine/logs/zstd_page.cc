#include "engine/logs/zstd_page.h"

#include <zstd.h>

#include <memory>
#include <vector>

#include "engine/base/coding.h"
#include "engine/base/macros.h"

namespace varve::logs {
namespace {

// These values live on disk: add, never renumber.
constexpr uint8_t kStored = 0;
constexpr uint8_t kZstd = 1;

struct FreeCompressor {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};
struct FreeDecompressor {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

}  // namespace

void PutZstdPage(std::string_view raw, int level, std::string* out) {
  static thread_local std::unique_ptr<ZSTD_CCtx, FreeCompressor> context(ZSTD_createCCtx());
  VARVE_CHECK(context != nullptr);
  // Made once: room in `out` would be filled with zeros for each page.
  constexpr size_t kRoomKept = size_t{4} << 20;
  static thread_local std::vector<char> room;
  const size_t bound = ZSTD_compressBound(raw.size());
  if (room.size() < bound) room.resize(bound);
  const size_t size =
      ZSTD_compressCCtx(context.get(), room.data(), bound, raw.data(), raw.size(), level);
  const bool smaller = !ZSTD_isError(size) && size < raw.size();
  out->push_back(static_cast<char>(smaller ? kZstd : kStored));
  PutVarint(out, raw.size());
  out->append(smaller ? std::string_view(room.data(), size) : raw);
  if (room.size() > kRoomKept) room = {};
}

Status GetZstdPage(std::string_view page, uint64_t raw_bytes_max, std::string* out) {
  static thread_local std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context(ZSTD_createDCtx());
  VARVE_CHECK(context != nullptr);
  const auto malformed = [](std::string_view what) { return DataLossError("page", 0, what); };
  ByteReader in(page);
  const auto codec = in.Fixed<uint8_t>();
  const uint64_t raw_bytes = in.Varint();
  const std::string_view body = in.Bytes(in.left());
  if (!in.ok() || codec > kZstd || raw_bytes > raw_bytes_max) return malformed("bad head");
  if (codec == kStored) {
    if (raw_bytes != body.size()) return malformed("size does not fit");
    out->assign(body);
    return absl::OkStatus();
  }
  // The frame says its size as well: no allocation on the word of the head alone.
  if (ZSTD_getFrameContentSize(body.data(), body.size()) != raw_bytes) {
    return malformed("size does not fit");
  }
  out->resize(raw_bytes);
  const size_t size =
      ZSTD_decompressDCtx(context.get(), out->data(), raw_bytes, body.data(), body.size());
  if (ZSTD_isError(size) || size != raw_bytes) return malformed("bad Zstd bytes");
  return absl::OkStatus();
}

}  // namespace varve::logs
