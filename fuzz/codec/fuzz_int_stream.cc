// Decodes any bytes, whole and in part, and takes the same bytes as numbers that must come back.

#include "engine/codec/int_stream.h"
#include "engine/codec/position_set.h"
#include "fuzz/codec/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  const fuzz::Input input(data, size);
  if (input.count == 0) return 0;
  std::vector<int64_t> out(input.count);
  {
    ByteReader in(input.bytes);
    codec::IntStreamReader stream;
    if (stream.Open(&in, input.bytes, input.count) && stream.Decode(0, input.count, out.data())) {
      const uint32_t begin = input.count / 3;
      const uint32_t end = input.count - input.count / 4;
      std::vector<int64_t> part(end - begin);
      fuzz::Expect(stream.Decode(begin, end, part.data()));
      fuzz::Expect(std::equal(part.begin(), part.end(), out.begin() + begin));
      std::vector<int64_t> single(input.count);
      const uint32_t place = input.count / 2;
      fuzz::Expect(stream.DecodeAt(std::span(&place, 1), single.data()));
      fuzz::Expect(single[place] == out[place]);
    }
  }
  {
    ByteReader in(input.bytes);
    codec::PositionSet set;
    const uint32_t positions = 1 + input.count % codec::kColumnValuesMax;
    if (codec::ReadPositions(&in, input.bytes, positions, &set)) {
      fuzz::Expect(set.Count() > 0 && set.Count() <= positions);
    }
  }
  const auto words = fuzz::Words(input.bytes);
  if (words.empty()) return 0;
  const std::vector<int64_t> values(words.begin(), words.end());
  codec::IntStreamEncoder encoder;
  std::string bytes;
  encoder.Encode(values, &bytes);
  ByteReader in(bytes);
  codec::IntStreamReader stream;
  const auto count = static_cast<uint32_t>(values.size());
  fuzz::Expect(stream.Open(&in, bytes, count) && in.left() == 0);
  out.assign(count, 0);
  fuzz::Expect(stream.Decode(0, count, out.data()) && out == values);
  return 0;
}
