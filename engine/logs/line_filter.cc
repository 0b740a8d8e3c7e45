#include "engine/logs/line_filter.h"

#include <algorithm>

#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/index/filters.h"

namespace varve::logs {
namespace {

constexpr int kFilterBits = 8;
constexpr uint64_t kMetadataSeed = 0x6d65746164617461;

}  // namespace

uint64_t MetadataKey(std::string_view name, std::string_view value) {
  return Hash64(value, Hash64(name, kMetadataSeed));
}

Status EncodeGroupFilter(std::vector<uint64_t> keys, const MetadataColumns& metadata,
                         std::string* out) {
  metadata.AddKeys(&keys);
  if (keys.empty()) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const index::BinaryFuse filter,
                         index::BinaryFuse::Build(std::move(keys), kFilterBits));
  filter.AppendTo(out);
  return absl::OkStatus();
}

bool FilterMayMatch(const index::BinaryFuse& filter, const LogScan& scan) {
  return std::all_of(scan.needed().begin(), scan.needed().end(), [&](const auto& alternatives) {
    return std::any_of(alternatives.begin(), alternatives.end(), [&](const auto& keys) {
      return std::all_of(keys.begin(), keys.end(),
                         [&](uint64_t key) { return filter.MayContain(key); });
    });
  });
}

}  // namespace varve::logs
