#include "engine/block/block_meta.h"

#include <cstdio>

#include "engine/base/coding.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::block {
namespace {
constexpr std::string_view kBlockSuffix = ".varve";
}

void EncodeBlockMeta(const BlockMeta& meta, std::string* out) {
  VARVE_CHECK(meta.opaque.size() <= kOpaqueBytesMax && meta.sources.size() <= kSourcesMax);
  PutFixed<uint64_t>(out, meta.id);
  PutFixed<uint8_t>(out, static_cast<uint8_t>(meta.wing));
  out->append(3, '\0');
  PutFixed<uint32_t>(out, meta.level);
  PutFixed<int64_t>(out, meta.min_time);
  PutFixed<int64_t>(out, meta.max_time);
  PutFixed<uint64_t>(out, meta.bytes);
  PutFixed<uint64_t>(out, meta.rows);
  PutFixed<uint64_t>(out, meta.series);
  PutFixed<uint64_t>(out, meta.wal_floor);
  PutFixed<uint32_t>(out, static_cast<uint32_t>(meta.sources.size()));
  PutFixed<uint32_t>(out, static_cast<uint32_t>(meta.opaque.size()));
  for (const uint64_t source : meta.sources) PutFixed<uint64_t>(out, source);
  out->append(meta.opaque);
}

Result<BlockMeta> DecodeBlockMeta(std::string_view bytes) {
  ByteReader reader(bytes);
  BlockMeta meta;
  meta.id = reader.Fixed<uint64_t>();
  meta.wing = static_cast<Wing>(reader.Fixed<uint8_t>());
  const std::string_view reserved = reader.Bytes(3);
  meta.level = reader.Fixed<uint32_t>();
  meta.min_time = reader.Fixed<int64_t>();
  meta.max_time = reader.Fixed<int64_t>();
  meta.bytes = reader.Fixed<uint64_t>();
  meta.rows = reader.Fixed<uint64_t>();
  meta.series = reader.Fixed<uint64_t>();
  meta.wal_floor = reader.Fixed<uint64_t>();
  const auto sources = reader.Fixed<uint32_t>();
  const auto opaque_bytes = reader.Fixed<uint32_t>();
  if (!reader.ok() || reserved != std::string_view("\0\0\0", 3) || sources > kSourcesMax ||
      opaque_bytes > kOpaqueBytesMax ||
      reader.left() != uint64_t{sources} * sizeof(uint64_t) + opaque_bytes || meta.id == 0) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("block meta of ", bytes.size(), " bytes makes no sense"));
  }
  meta.sources.reserve(sources);
  for (uint32_t i = 0; i < sources; ++i) meta.sources.push_back(reader.Fixed<uint64_t>());
  meta.opaque = std::string(reader.Bytes(opaque_bytes));
  return meta;
}

std::string BlockFileName(uint64_t id) {
  char name[40];
  std::snprintf(name, sizeof name, "%06llu.varve", static_cast<unsigned long long>(id));
  return name;
}

uint64_t BlockIdOfFile(std::string_view name) {
  if (!name.ends_with(kBlockSuffix)) return 0;
  const std::string_view digits = name.substr(0, name.size() - kBlockSuffix.size());
  if (digits.size() < 6 || digits.size() > 18) return 0;
  uint64_t id = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return 0;
    id = id * 10 + static_cast<uint64_t>(c - '0');
  }
  return BlockFileName(id) == name ? id : 0;
}

}  // namespace varve::block
