#include "tests/support/shared_data.h"

#include <zstd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "engine/base/macros.h"

namespace varve::testing {
namespace {

std::string Decompress(const std::string& packed) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(),
                                                                     &ZSTD_freeDCtx);
  // These files were written with long windows.
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, 27);
  std::string out;
  std::string piece(ZSTD_DStreamOutSize(), '\0');
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  size_t rest = 0;
  do {
    ZSTD_outBuffer buffer{piece.data(), piece.size(), 0};
    rest = ZSTD_decompressStream(context.get(), &buffer, &in);
    VARVE_CHECK(!ZSTD_isError(rest));
    out.append(piece, 0, buffer.pos);
  } while (in.pos < in.size || rest != 0);
  return out;
}

}  // namespace

std::optional<std::string> SharedPath(std::string_view relative) {
  std::vector<std::filesystem::path> roots;
  if (const char* shared = std::getenv("VARVE_SHARED"); shared != nullptr && *shared != '\0') {
    roots.emplace_back(shared);
  } else if (const char* source = std::getenv("VARVE_SOURCE"); source != nullptr) {
    roots.emplace_back(std::filesystem::path(source) / "../shared");
  }
  for (const auto& root : roots) {
    const auto path = root / relative;
    if (std::filesystem::exists(path)) return path.lexically_normal().string();
  }
  return std::nullopt;
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  VARVE_CHECK(in.good());
  std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  return path.ends_with(".zst") ? Decompress(bytes) : bytes;
}

std::vector<std::string_view> SplitLines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

}  // namespace varve::testing
