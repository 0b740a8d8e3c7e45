#pragma once

#include <zstd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace varve::ingest {

/// Finds the folder with real data that may lie beside the project; prints what is skipped
/// without it.
inline std::optional<std::filesystem::path> SharedData(std::string_view needed_for) {
  for (const char* variable : {"VARVE_SHARED", "VARVE_SOURCE"}) {
    const char* value = std::getenv(variable);
    if (value == nullptr || *value == 0) continue;
    std::filesystem::path path = value;
    if (std::string_view(variable) == "VARVE_SOURCE") path = path / ".." / "shared";
    if (std::filesystem::is_directory(path)) return path;
  }
  std::printf("skipped: %.*s (no shared data folder)\n", static_cast<int>(needed_for.size()),
              needed_for.data());
  return std::nullopt;
}

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

/// Decompresses a zstd file in pieces and hands them on; memory stays small.
inline void ReadZstd(const std::filesystem::path& path,
                     const std::function<void(std::string_view)>& sink) {
  std::ifstream in(path, std::ios::binary);
  std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, 31);
  std::string input(1 << 20, 0);
  std::string output(1 << 20, 0);
  while (in.read(input.data(), static_cast<std::streamsize>(input.size())) || in.gcount() > 0) {
    ZSTD_inBuffer from{input.data(), static_cast<size_t>(in.gcount()), 0};
    while (from.pos < from.size) {
      ZSTD_outBuffer to{output.data(), output.size(), 0};
      if (ZSTD_isError(ZSTD_decompressStream(context.get(), &to, &from))) return;
      sink({output.data(), to.pos});
    }
  }
}

/// Calls `sink` with each line of a zstd file.
inline void ReadZstdLines(const std::filesystem::path& path,
                          const std::function<void(std::string_view)>& sink) {
  std::string rest;
  ReadZstd(path, [&](std::string_view piece) {
    while (!piece.empty()) {
      const size_t newline = piece.find('\n');
      if (newline == std::string_view::npos) {
        rest += piece;
        return;
      }
      if (rest.empty()) {
        sink(piece.substr(0, newline));
      } else {
        rest += piece.substr(0, newline);
        sink(rest);
        rest.clear();
      }
      piece.remove_prefix(newline + 1);
    }
  });
  if (!rest.empty()) sink(rest);
}

/// Walks the files of a tar archive held in memory.
inline void ReadTar(std::string_view tar,
                    const std::function<void(const std::string&, std::string_view)>& sink) {
  size_t at = 0;
  std::string long_name;
  while (at + 512 <= tar.size() && tar[at] != 0) {
    const std::string_view header = tar.substr(at, 512);
    std::string name(header.substr(0, 100).data());
    if (header.substr(257, 5) == "ustar" && header[345] != 0) {
      name = std::string(header.substr(345, 155).data()) + "/" + name;
    }
    const size_t size = std::strtoull(std::string(header.substr(124, 12)).c_str(), nullptr, 8);
    const std::string_view bytes = tar.substr(at + 512, size);
    if (header[156] == 'L') {
      long_name = std::string(bytes.data());
    } else {
      if (!long_name.empty()) name = std::exchange(long_name, "");
      if (header[156] == '0' || header[156] == 0) sink(name, bytes);
    }
    at += 512 + (size + 511) / 512 * 512;
  }
}

}  // namespace varve::ingest
