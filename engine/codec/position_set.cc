#include "engine/codec/position_set.h"

#include <algorithm>
#include <cstring>

namespace varve::codec {
namespace {

enum class SetForm : uint8_t { kLast = 0, kBitmap = 1, kGaps = 2 };

}  // namespace

void PutPositions(const PositionSet& set, IntStreamEncoder* encoder, std::string* out) {
  const uint32_t count = set.Count();
  if (count == 1 && set.Has(set.size() - 1)) {
    out->push_back(static_cast<char>(SetForm::kLast));
    return;
  }
  const size_t start = out->size();
  const size_t bitmap_bytes = 1 + (set.size() + 7) / 8;
  out->push_back(static_cast<char>(SetForm::kGaps));
  PutVarint(out, count);
  std::vector<int64_t> gaps;
  gaps.reserve(count);
  int64_t next = 0;
  set.ForEach(0, set.size(), [&](uint32_t at) {
    gaps.push_back(at - next);
    next = int64_t{at} + 1;
  });
  encoder->Encode(gaps, out);
  // A bitmap is read many times faster, so gaps must earn it.
  if ((out->size() - start) * 3 <= bitmap_bytes * 2) return;
  out->resize(start);
  out->push_back(static_cast<char>(SetForm::kBitmap));
  for (uint32_t byte = 0; byte < (set.size() + 7) / 8; ++byte) {
    out->push_back(static_cast<char>(set.word(byte / 8) >> (byte % 8 * 8)));
  }
}

bool ReadPositions(ByteReader* in, std::string_view bytes, uint32_t size, PositionSet* out) {
  out->Reset(size);
  switch (static_cast<SetForm>(in->Fixed<uint8_t>())) {
    case SetForm::kLast:
      if (!in->ok()) return false;
      out->Add(size - 1);
      return true;
    case SetForm::kBitmap: {
      const std::string_view bitmap = in->Bytes((size + 7) / 8);
      if (!in->ok()) return false;
      if (size % 8 != 0 && static_cast<uint8_t>(bitmap.back()) >> (size % 8) != 0) return false;
      uint64_t any = 0;
      for (uint32_t w = 0; w < out->words(); ++w) {
        uint64_t word = 0;
        std::memcpy(&word, bitmap.data() + w * 8, std::min<size_t>(8, bitmap.size() - w * 8));
        out->set_word(w, word);
        any |= word;
      }
      return any != 0;
    }
    case SetForm::kGaps: {
      const uint64_t count = in->Varint();
      if (!in->ok() || count == 0 || count > size) return false;
      IntStreamReader stream;
      int64_t gaps[kColumnValuesMax];
      if (!stream.Open(in, bytes, static_cast<uint32_t>(count)) ||
          !stream.Decode(0, static_cast<uint32_t>(count), gaps)) {
        return false;
      }
      uint64_t next = 0;
      for (uint64_t i = 0; i < count; ++i) {
        if (static_cast<uint64_t>(gaps[i]) >= size - next) return false;
        next += static_cast<uint64_t>(gaps[i]);
        out->Add(static_cast<uint32_t>(next));
        if (++next == size && i + 1 < count) return false;
      }
      return true;
    }
  }
  return false;
}

}  // namespace varve::codec
