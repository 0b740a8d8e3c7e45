// Decodes any bytes, whole and in part, and takes the same bytes as values that must come back.

#include "engine/codec/value_column.h"
#include "fuzz/codec/fuzz_input.h"

namespace {

bool SameBits(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  const fuzz::Input input(data, size);
  if (input.count == 0) return 0;
  const uint32_t count = 1 + input.count % codec::kColumnValuesMax;
  std::vector<double> values(count);
  if (codec::DecodeValueColumn(input.bytes, count, 0, values)) {
    const uint32_t begin = count / 3;
    std::vector<double> part(count - begin - count / 4);
    fuzz::Expect(codec::DecodeValueColumn(input.bytes, count, begin, part));
    for (size_t i = 0; i < part.size(); ++i) fuzz::Expect(SameBits(part[i], values[begin + i]));
  }
  codec::ColumnSummary summary;
  (void)codec::DescribeValueColumn(input.bytes, count, &summary);

  const auto words = fuzz::Words(input.bytes);
  if (words.empty() || words.size() > codec::kColumnValuesMax) return 0;
  values.clear();
  for (const uint64_t word : words) {
    // Raw bits, whole numbers and decimals, by the lowest bits.
    const auto number = static_cast<double>(static_cast<int64_t>(word) >> (word >> 58));
    values.push_back(word % 4 == 0   ? std::bit_cast<double>(word)
                     : word % 4 == 1 ? number
                     : word % 4 == 2 ? number / 1000
                                     : number * 0.001);
  }
  codec::ValueColumnEncoder encoder;
  std::string bytes;
  encoder.Encode(values, &bytes);
  std::vector<double> got(values.size());
  fuzz::Expect(codec::DecodeValueColumn(bytes, static_cast<uint32_t>(values.size()), 0, got));
  for (size_t i = 0; i < got.size(); ++i) fuzz::Expect(SameBits(got[i], values[i]));
  return 0;
}
