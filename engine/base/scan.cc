#include "varve/scan.h"

#include <algorithm>

#include "engine/base/macros.h"

namespace varve {

Status Chunk::Impl::DecodeFloats(uint32_t token, std::span<int64_t> times,
                                 std::span<double> values) const {
  VARVE_RETURN_IF_ERROR(DecodeTimes(token, times));
  return DecodeValues(token, 0, values);
}

Status Chunk::Impl::DecodeStartTimes(uint32_t token, std::span<int64_t> out) const {
  std::fill(out.begin(), out.end(), kNoStartTime);
  return absl::OkStatus();
}

Status Chunk::Impl::DecodeHistograms(uint32_t token, std::vector<Histogram>* out) const {
  return MakeStatus(StatusCode::kInternal, "chunk holds no histograms");
}

}  // namespace varve
