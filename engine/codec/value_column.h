#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/codec/int_stream.h"
#include "engine/codec/position_set.h"

namespace varve::codec {

/// What the numbers of a value column mean. On disk: add, never renumber.
enum class ValueDomain : uint8_t {
  kBits = 0,      // the 64 bits of a double, as a whole number
  kQuotient = 1,  // i / 10^e: what decimal text means
  kProduct = 2,   // i * 10^-e: what programs compute that scale by a factor
};

/// How a column was written, for statistics; ToString gives a short name.
enum class ColumnForm : uint8_t {
  kConstant,
  kAffine,
  kPacked,
  kDelta,
  kDelta2,
  kDictionary,
  kCount,
};
std::string_view ToString(ColumnForm form);
std::string_view ToString(ValueDomain domain);

struct ColumnSummary {
  ColumnForm form = ColumnForm::kConstant;
  ValueDomain domain = ValueDomain::kBits;
  bool sparse = false;    // only values that differ from the one before are stored
  bool residual = false;  // decimal numbers and how many units in the last place they are off
  uint32_t exceptions = 0;
};

/// Encodes the values of one chunk, any doubles, to the smallest of many forms. Holds scratch
/// memory for reuse; not thread-safe. Format: engine/docs/format/metrics-block.md, "Value columns".
///
/// Values are whole numbers or decimals wherever that gives back all 64 bits (ALP, Afroozeh et
/// al., SIGMOD 2023, section 3, with a second form that multiplies); sums of decimals carry their
/// rounding error as a small number beside; the rest is packed as bits. What does not fit
/// (NaN, infinities, -0 among decimals) is an exception with its position and its own 64 bits.
class ValueColumnEncoder {
 public:
  /// Appends the column of `values`, 1 to kColumnValuesMax. Cost: 20 to 100 ns for each value
  /// that differs from the one before, 2 ns for one that does not.
  ColumnSummary Encode(std::span<const double> values, std::string* out);

 private:
  struct Mapping {
    ValueDomain domain = ValueDomain::kBits;
    uint32_t exponent = 0;
    bool residual = false;
  };
  void Fill(std::span<const double> values);
  bool FindDecimal(std::span<const double> values, Mapping* mapping, uint32_t* misfits);
  bool FindResidual(std::span<const double> values, Mapping* mapping);
  void Append(std::span<const double> values, const Mapping& mapping, std::string* out);
  void AppendBody(std::span<const double> kept, const Mapping& mapping, std::string* out);

  IntStreamEncoder streams_;
  PositionSet exceptions_;
  PositionSet changes_;
  std::vector<double> filled_;  // the values, each exception replaced by the value before
  std::vector<double> kept_;    // those of filled_ that differ from the one before
  std::vector<int64_t> numbers_;
  std::vector<int64_t> residuals_;
  std::string sparse_;
  std::string dense_;
  std::string best_;
};

/// Decodes values [begin, begin + out.size()) of a column of `count` values (1 to
/// kColumnValuesMax) out of bytes that may be anything. Returns false if they are malformed; what
/// was filled then is unspecified. Cost: about 1 ns a value in chunks that change seldom, 1 to 4
/// in others. Precondition: the range lies inside the column.
[[nodiscard]] bool DecodeValueColumn(std::string_view bytes, uint32_t count, uint32_t begin,
                                     std::span<double> out);

/// Says how a column was written. Returns false if the bytes are malformed.
[[nodiscard]] bool DescribeValueColumn(std::string_view bytes, uint32_t count, ColumnSummary* out);

}  // namespace varve::codec
