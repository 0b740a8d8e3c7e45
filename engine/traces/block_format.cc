#include "engine/traces/block_format.h"

#include <zstd.h>

#include <memory>

#include "engine/base/macros.h"

namespace varve::traces {
namespace {

constexpr int kLevel = 3;
/// No frame holds more than this many times its bytes, so that damage cannot ask for the moon.
constexpr uint64_t kRatioMax = 40'000;

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

}  // namespace

void Compress(std::string_view bytes, std::string* out) {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  const size_t before = out->size();
  out->resize(before + ZSTD_compressBound(bytes.size()));
  const size_t size = ZSTD_compressCCtx(context.get(), out->data() + before, out->size() - before,
                                        bytes.data(), bytes.size(), kLevel);
  VARVE_CHECK(!ZSTD_isError(size));
  out->resize(before + size);
}

bool Inflate(std::string_view frame, uint64_t raw_bytes, std::string* out) {
  thread_local const std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (raw_bytes > kRawBytesMax || raw_bytes > 4096 + frame.size() * kRatioMax) return false;
  out->resize(raw_bytes);
  const size_t size =
      ZSTD_decompressDCtx(context.get(), out->data(), out->size(), frame.data(), frame.size());
  return !ZSTD_isError(size) && size == raw_bytes;
}

}  // namespace varve::traces
