#include "engine/codec/time_axis.h"

#include <algorithm>

#include "engine/base/coding.h"
#include "engine/base/macros.h"

namespace varve::codec {

void TimeAxisEncoder::Encode(std::span<const int64_t> times, std::string* out) {
  VARVE_CHECK(!times.empty());
  PutSigned(out, times[0]);
  const size_t count = times.size();
  if (count == 1) return;
  scratch_.resize(count - 1);
  for (size_t i = 1; i < count; ++i) scratch_[i - 1] = WrapSub(times[i], times[i - 1]);
  const auto middle = scratch_.begin() + static_cast<ptrdiff_t>((count - 1) / 2);
  std::nth_element(scratch_.begin(), middle, scratch_.end());
  const int64_t interval = *middle;
  PutSigned(out, interval);
  int64_t grid = times[0];
  for (size_t i = 1; i < count; ++i) {
    grid = WrapAdd(grid, interval);
    scratch_[i - 1] = WrapSub(times[i], grid);
  }
  streams_.Encode(scratch_, out);
}

bool DecodeTimeAxis(std::string_view bytes, std::span<int64_t> out) {
  ByteReader in(bytes);
  out[0] = in.Signed();
  if (out.size() > 1) {
    const int64_t interval = in.Signed();
    IntStreamReader stream;
    const auto count = static_cast<uint32_t>(out.size() - 1);
    if (!stream.Open(&in, bytes, count) || !stream.Decode(0, count, out.data() + 1)) return false;
    int64_t grid = out[0];
    bool ascending = true;
    for (size_t i = 1; i < out.size(); ++i) {
      grid = WrapAdd(grid, interval);
      out[i] = WrapAdd(out[i], grid);
      ascending &= out[i] > out[i - 1];
    }
    if (!ascending) return false;
  }
  return in.ok() && in.left() == 0;
}

}  // namespace varve::codec
