#include "engine/codec/value_column.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "engine/base/macros.h"
#include "engine/codec/bits.h"
#include "varve/sample.h"

namespace varve::codec {
namespace {

// The first byte of a column.
constexpr uint8_t kDomainMask = 3;
constexpr uint8_t kResidual = 1 << 2;
constexpr uint8_t kScaled = 1 << 3;  // numbers are y * step + rest
constexpr uint8_t kSparse = 1 << 4;
constexpr uint8_t kExceptions = 1 << 5;
constexpr uint8_t kConstant = 1 << 6;

enum class ExceptionForm : uint8_t { kStale = 0, kSame = 1, kEach = 2 };

constexpr uint32_t kExponentMax = 18;
constexpr std::array<double, kExponentMax + 1> kPowers = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,
                                                          1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13,
                                                          1e14, 1e15, 1e16, 1e17, 1e18};
constexpr std::array<double, kExponentMax + 1> kFactors = {
    1e0,   1e-1,  1e-2,  1e-3,  1e-4,  1e-5,  1e-6,  1e-7,  1e-8, 1e-9,
    1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15, 1e-16, 1e-17, 1e-18};
// Decimal numbers stay below 2^51, so that adding kMagic makes a double of them: its low 52 bits
// then count in ones. That conversion needs no instruction that baseline x86-64 lacks.
constexpr int64_t kDecimalMax = int64_t{1} << 51;
constexpr double kMagic = 6755399441055744.0;  // 2^52 + 2^51
constexpr uint64_t kMagicBits = std::bit_cast<uint64_t>(kMagic);
// Units in the last place that a sum may have drifted.
constexpr int64_t kResidualMax = 1 << 20;

uint64_t BitsOf(double value) { return std::bit_cast<uint64_t>(value); }

/// Turns one decimal number into the double that decoding gives. Exact on any machine: the
/// operands are exact and one IEEE operation rounds once.
double FromDecimal(int64_t number, ValueDomain domain, uint32_t exponent) {
  const double value = std::bit_cast<double>(static_cast<uint64_t>(number) + kMagicBits) - kMagic;
  return domain == ValueDomain::kProduct ? value * kFactors[exponent] : value / kPowers[exponent];
}
/// Rounds value * 10^exponent to a whole number; false outside of the decimal range.
bool NearestDecimal(double value, uint32_t exponent, int64_t* out) {
  const double scaled = value * kPowers[exponent];
  if (!(std::fabs(scaled) < static_cast<double>(kDecimalMax))) return false;
  *out = static_cast<int64_t>(BitsOf(scaled + kMagic) - kMagicBits);
  return *out < kDecimalMax && *out > -kDecimalMax;
}
bool ToDecimal(double value, ValueDomain domain, uint32_t exponent, int64_t* out) {
  return NearestDecimal(value, exponent, out) &&
         BitsOf(FromDecimal(*out, domain, exponent)) == BitsOf(value);
}

}  // namespace

std::string_view ToString(ColumnForm form) {
  static constexpr std::string_view kNames[] = {"constant", "affine", "packed",
                                                "delta",    "delta2", "dictionary"};
  return kNames[static_cast<size_t>(form)];
}
std::string_view ToString(ValueDomain domain) {
  static constexpr std::string_view kNames[] = {"bits", "decimal", "product"};
  return kNames[static_cast<size_t>(domain)];
}

void ValueColumnEncoder::Fill(std::span<const double> values) {
  filled_.assign(values.begin(), values.end());
  double last = 0;
  for (uint32_t i = 0; i < values.size(); ++i) {
    if (!exceptions_.Has(i)) {
      last = values[i];
      break;
    }
  }
  for (uint32_t i = 0; i < values.size(); ++i) {
    if (exceptions_.Has(i)) {
      filled_[i] = last;
    } else {
      last = filled_[i];
    }
  }
  changes_.Reset(static_cast<uint32_t>(values.size()));
  kept_.clear();
  uint64_t before = ~BitsOf(filled_[0]);
  for (uint32_t i = 0; i < filled_.size(); ++i) {
    const uint64_t bits = BitsOf(filled_[i]);
    if (bits == before) continue;
    kept_.push_back(filled_[i]);
    if (i > 0) changes_.Add(i);
    before = bits;
  }
}

bool ValueColumnEncoder::FindDecimal(std::span<const double> values, Mapping* mapping,
                                     uint32_t* misfits) {
  const auto count = static_cast<uint32_t>(values.size());
  constexpr uint32_t kSamples = 24;
  const uint32_t samples = std::min(count, kSamples);
  const uint32_t allowed = count / 8;
  uint32_t best = allowed + 1;
  int64_t number;
  for (const ValueDomain domain : {ValueDomain::kQuotient, ValueDomain::kProduct}) {
    for (uint32_t e = domain == ValueDomain::kProduct ? 1 : 0; e <= kExponentMax; ++e) {
      uint32_t bad = 0;
      for (uint32_t i = 0; i < samples && bad <= samples / 6; ++i) {
        bad += !ToDecimal(values[uint64_t{i} * count / samples], domain, e, &number);
      }
      if (bad > samples / 6) continue;
      bad = 0;
      for (uint32_t i = 0; i < count && bad < best; ++i) {
        bad += !ToDecimal(values[i], domain, e, &number);
      }
      if (bad >= best) continue;
      best = bad;
      *mapping = {.domain = domain, .exponent = e};
      if (best == 0) break;
    }
    if (best == 0) break;
  }
  *misfits = best;
  return best <= allowed;
}

bool ValueColumnEncoder::FindResidual(std::span<const double> values, Mapping* mapping) {
  const auto count = static_cast<uint32_t>(values.size());
  uint64_t best = std::numeric_limits<uint64_t>::max();
  for (uint32_t e = 1; e <= 12; ++e) {
    int64_t last_number = 0;
    int64_t last_residual = 0;
    uint64_t cost = 0;
    bool fits = true;
    for (uint32_t i = 0; i < count && fits; ++i) {
      int64_t number;
      fits = NearestDecimal(values[i], e, &number);
      if (!fits) break;
      const auto residual = static_cast<int64_t>(
          BitsOf(values[i]) - BitsOf(FromDecimal(number, ValueDomain::kQuotient, e)));
      fits = residual > -kResidualMax && residual < kResidualMax;
      if (i > 0) {
        cost += BitWidth(ZigZag(number - last_number)) + BitWidth(ZigZag(residual - last_residual));
      }
      if (cost >= best) break;
      last_number = number;
      last_residual = residual;
    }
    if (!fits || cost >= best) continue;
    best = cost;
    *mapping = {.domain = ValueDomain::kQuotient, .exponent = e, .residual = true};
  }
  return best != std::numeric_limits<uint64_t>::max();
}

void ValueColumnEncoder::AppendBody(std::span<const double> kept, const Mapping& mapping,
                                    std::string* out) {
  const size_t count = kept.size();
  numbers_.resize(count);
  if (mapping.domain == ValueDomain::kBits) {
    for (size_t i = 0; i < count; ++i) numbers_[i] = static_cast<int64_t>(BitsOf(kept[i]));
  } else {
    for (size_t i = 0; i < count; ++i) {
      VARVE_CHECK(NearestDecimal(kept[i], mapping.exponent, &numbers_[i]));
    }
  }
  if (mapping.residual) {
    residuals_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      residuals_[i] = static_cast<int64_t>(
          BitsOf(kept[i]) - BitsOf(FromDecimal(numbers_[i], mapping.domain, mapping.exponent)));
    }
  }
  // All differences are multiples of `step`.
  uint64_t step = 0;
  for (size_t i = 1; i < count && step != 1; ++i) {
    const int64_t difference = WrapSub(numbers_[i], numbers_[i - 1]);
    const uint64_t distance =
        difference < 0 ? -static_cast<uint64_t>(difference) : static_cast<uint64_t>(difference);
    step = std::gcd(step, distance);
  }
  int64_t rest = 0;
  if (step > 1 && step <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    const auto divisor = static_cast<int64_t>(step);
    rest = numbers_[0] % divisor;
    if (rest < 0) rest += divisor;
    // A difference that wrapped says nothing about the rest.
    for (const int64_t number : numbers_) {
      const int64_t shifted = WrapSub(number, rest);
      if (shifted > number || shifted % divisor != 0) step = 1;
    }
  } else {
    step = 1;
  }
  uint8_t head = 0;
  if (step > 1) {
    for (int64_t& number : numbers_) number = (number - rest) / static_cast<int64_t>(step);
    PutVarint(out, step);
    PutVarint(out, static_cast<uint64_t>(rest));
    head |= kScaled;
  }
  streams_.Encode(numbers_, out);
  if (mapping.residual) streams_.Encode(residuals_, out);
  (*out)[0] = static_cast<char>((*out)[0] | head);
}

void ValueColumnEncoder::Append(std::span<const double> values, const Mapping& mapping,
                                std::string* out) {
  const bool constant = kept_.size() == 1;
  std::string prefix;
  uint8_t head = static_cast<uint8_t>(mapping.domain);
  if (mapping.residual) head |= kResidual;
  prefix.push_back(0);
  if (mapping.domain != ValueDomain::kBits) prefix.push_back(static_cast<char>(mapping.exponent));
  const uint32_t exceptions = exceptions_.Count();
  if (exceptions > 0) {
    head |= kExceptions;
    PutPositions(exceptions_, &streams_, &prefix);
    uint64_t first = 0;
    bool same = true;
    bool seen = false;
    exceptions_.ForEach(0, exceptions_.size(), [&](uint32_t at) {
      if (!seen) first = BitsOf(values[at]);
      seen = true;
      same &= BitsOf(values[at]) == first;
    });
    if (same && first == kStaleNanBits) {
      prefix.push_back(static_cast<char>(ExceptionForm::kStale));
    } else if (same) {
      prefix.push_back(static_cast<char>(ExceptionForm::kSame));
      PutFixed(&prefix, first);
    } else {
      prefix.push_back(static_cast<char>(ExceptionForm::kEach));
      exceptions_.ForEach(0, exceptions_.size(),
                          [&](uint32_t at) { PutDouble(&prefix, values[at]); });
    }
  }
  // All values, or only those that differ from the one before and where they stand.
  const size_t count = values.size();
  const bool try_dense = !constant && kept_.size() * 2 > count;
  const bool try_sparse = kept_.size() * 5 < count * 4 && !constant;
  if (constant || try_dense) {
    dense_ = prefix;
    dense_[0] = static_cast<char>(head | (constant ? kConstant : 0));
    AppendBody(constant ? std::span<const double>(kept_) : filled_, mapping, &dense_);
  }
  if (try_sparse) {
    sparse_ = prefix;
    sparse_[0] = static_cast<char>(head | kSparse);
    PutPositions(changes_, &streams_, &sparse_);
    AppendBody(kept_, mapping, &sparse_);
  }
  const bool dense = constant || !try_sparse || (try_dense && dense_.size() <= sparse_.size());
  out->append(dense ? dense_ : sparse_);
}

ColumnSummary ValueColumnEncoder::Encode(std::span<const double> values, std::string* out) {
  VARVE_CHECK(!values.empty() && values.size() <= kColumnValuesMax);
  const auto count = static_cast<uint32_t>(values.size());
  const auto is_special = [](double v) {
    return (BitsOf(v) & 0x7ff0000000000000) == 0x7ff0000000000000;
  };
  exceptions_.Reset(count);
  uint32_t specials = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (is_special(values[i])) {
      exceptions_.Add(i);
      ++specials;
    }
  }
  // Nothing but specials: their bits are the values.
  if (specials == count) exceptions_.Reset(count);
  Fill(values);

  best_.clear();
  uint32_t exceptions = specials == count ? 0 : specials;
  Mapping mapping;
  uint32_t misfits = 0;
  Mapping decimal;
  const bool has_decimal = specials < count && FindDecimal(kept_, &decimal, &misfits);
  if (has_decimal && misfits == 0) {
    Append(values, decimal, &best_);
  } else {
    const auto consider = [&](const Mapping& candidate, uint32_t with_exceptions) {
      std::string bytes;
      Append(values, candidate, &bytes);
      if (!best_.empty() && bytes.size() >= best_.size()) return;
      best_.swap(bytes);
      exceptions = with_exceptions;
    };
    consider(mapping, exceptions);
    Mapping residual;
    if (specials < count && FindResidual(kept_, &residual)) consider(residual, exceptions);
    if (has_decimal) {
      uint32_t total = exceptions;
      int64_t number;
      for (uint32_t i = 0; i < count; ++i) {
        if (exceptions_.Has(i) || ToDecimal(values[i], decimal.domain, decimal.exponent, &number)) {
          continue;
        }
        exceptions_.Add(i);
        ++total;
      }
      if (total < count) {
        Fill(values);
        consider(decimal, total);
      }
    }
  }
  ColumnSummary summary;
  VARVE_CHECK(DescribeValueColumn(best_, count, &summary));
  summary.exceptions = exceptions;
  out->append(best_);
  return summary;
}

namespace {

/// A parsed column. Refers to its bytes.
struct ParsedColumn {
  uint8_t head = 0;
  ValueDomain domain = ValueDomain::kBits;
  uint32_t exponent = 0;
  uint64_t step = 1;
  uint64_t rest = 0;
  uint32_t kept = 0;
  PositionSet exceptions;
  PositionSet changes;
  ExceptionForm exception_form = ExceptionForm::kStale;
  std::string_view exception_values;
  IntStreamReader numbers;
  IntStreamReader residuals;
};

bool Parse(std::string_view bytes, uint32_t count, ParsedColumn* column) {
  ByteReader in(bytes);
  const auto head = in.Fixed<uint8_t>();
  if (!in.ok() || count == 0 || count > kColumnValuesMax || head >> 7 != 0) return false;
  column->head = head;
  column->domain = static_cast<ValueDomain>(head & kDomainMask);
  if ((head & kDomainMask) > 2) return false;
  column->exponent = 0;
  if (column->domain != ValueDomain::kBits) {
    column->exponent = in.Fixed<uint8_t>();
    if (column->exponent > kExponentMax) return false;
  } else if ((head & kResidual) != 0) {
    return false;
  }
  if ((head & kExceptions) != 0) {
    if (!ReadPositions(&in, bytes, count, &column->exceptions)) return false;
    column->exception_form = static_cast<ExceptionForm>(in.Fixed<uint8_t>());
    switch (column->exception_form) {
      case ExceptionForm::kStale:
        column->exception_values = {};
        break;
      case ExceptionForm::kSame:
        column->exception_values = in.Bytes(8);
        break;
      case ExceptionForm::kEach:
        column->exception_values = in.Bytes(uint64_t{8} * column->exceptions.Count());
        break;
      default:
        return false;
    }
  }
  column->kept = count;
  if ((head & kConstant) != 0) {
    if ((head & kSparse) != 0) return false;
    column->kept = 1;
  } else if ((head & kSparse) != 0) {
    if (!ReadPositions(&in, bytes, count, &column->changes) || column->changes.Has(0)) return false;
    column->kept = column->changes.Count() + 1;
  }
  column->step = 1;
  column->rest = 0;
  if ((head & kScaled) != 0) {
    column->step = in.Varint();
    column->rest = in.Varint();
  }
  if (!in.ok() || !column->numbers.Open(&in, bytes, column->kept)) return false;
  if ((head & kResidual) != 0 && !column->residuals.Open(&in, bytes, column->kept)) return false;
  return in.ok() && in.left() == 0;
}

/// Turns numbers into doubles: `out` may be the same memory.
void Convert(const ParsedColumn& column, const int64_t* numbers, uint32_t count, double* out) {
  if (column.domain == ValueDomain::kBits) {
    if (column.step == 1) {
      std::memcpy(out, numbers, size_t{count} * 8);
      return;
    }
    for (uint32_t i = 0; i < count; ++i) {
      out[i] = std::bit_cast<double>(static_cast<uint64_t>(numbers[i]) * column.step + column.rest);
    }
    return;
  }
  const uint64_t step = column.step;
  const uint64_t shift = column.rest + kMagicBits;
  if (step == 1) {
    for (uint32_t i = 0; i < count; ++i) {
      out[i] = std::bit_cast<double>(static_cast<uint64_t>(numbers[i]) + shift) - kMagic;
    }
  } else {
    for (uint32_t i = 0; i < count; ++i) {
      out[i] = std::bit_cast<double>(static_cast<uint64_t>(numbers[i]) * step + shift) - kMagic;
    }
  }
  if (column.exponent == 0) return;
  if (column.domain == ValueDomain::kProduct) {
    const double factor = kFactors[column.exponent];
    for (uint32_t i = 0; i < count; ++i) out[i] *= factor;
  } else {
    const double power = kPowers[column.exponent];
    for (uint32_t i = 0; i < count; ++i) out[i] /= power;
  }
}

/// Decodes kept values [begin, end).
bool DecodeKept(const ParsedColumn& column, uint32_t begin, uint32_t end, double* out) {
  int64_t numbers[kColumnValuesMax];
  if (!column.numbers.Decode(begin, end, numbers)) return false;
  Convert(column, numbers, end - begin, out);
  if ((column.head & kResidual) != 0) {
    if (!column.residuals.Decode(begin, end, numbers)) return false;
    for (uint32_t i = 0; i < end - begin; ++i) {
      out[i] = std::bit_cast<double>(BitsOf(out[i]) + static_cast<uint64_t>(numbers[i]));
    }
  }
  return true;
}

/// Repeats each kept value until the next change; kept[0] belongs to position `begin`.
void Expand(const PositionSet& changes, const double* kept, uint32_t begin, std::span<double> out) {
  const auto end = static_cast<uint32_t>(begin + out.size());
  double* to = out.data();
  // The change at `begin` itself, if any, is what kept[0] is.
  uint32_t at = begin;
  bool first = true;
  while (at < end) {
    const uint32_t stop = std::min(end, (at / 64 + 1) * 64);
    uint64_t word = changes.word(at / 64) >> (at % 64);
    if (first) word &= ~uint64_t{1};
    first = false;
    const uint32_t n = stop - at;
    if (n < 64) word &= (uint64_t{1} << n) - 1;
    if (word == 0) {
      std::fill(to, to + n, *kept);
    } else {
      for (uint32_t i = 0; i < n; ++i, word >>= 1) {
        kept += word & 1;
        to[i] = *kept;
      }
    }
    to += n;
    at = stop;
  }
}

}  // namespace

bool DecodeValueColumn(std::string_view bytes, uint32_t count, uint32_t begin,
                       std::span<double> out) {
  if (out.empty()) return true;
  ParsedColumn column;
  if (!Parse(bytes, count, &column)) return false;
  const auto end = static_cast<uint32_t>(begin + out.size());
  if ((column.head & kConstant) != 0) {
    double value;
    if (!DecodeKept(column, 0, 1, &value)) return false;
    std::fill(out.begin(), out.end(), value);
  } else if ((column.head & kSparse) != 0) {
    // Kept value k stands at the k-th change, value 0 before the first.
    const uint32_t first = column.changes.CountBelow(begin + 1);
    const uint32_t last = column.changes.CountBelow(end);
    double kept[kColumnValuesMax];
    if (!DecodeKept(column, first, last + 1, kept)) return false;
    Expand(column.changes, kept, begin, out);
  } else if (!DecodeKept(column, begin, end, out.data())) {
    return false;
  }
  if ((column.head & kExceptions) != 0) {
    const char* values = column.exception_values.data();
    switch (column.exception_form) {
      case ExceptionForm::kStale:
      case ExceptionForm::kSame: {
        const double value = column.exception_form == ExceptionForm::kStale
                                 ? StaleNan()
                                 : std::bit_cast<double>(Load64(values));
        column.exceptions.ForEach(begin, end, [&](uint32_t at) { out[at - begin] = value; });
        break;
      }
      case ExceptionForm::kEach: {
        uint32_t index = column.exceptions.CountBelow(begin);
        column.exceptions.ForEach(begin, end, [&](uint32_t at) {
          out[at - begin] = std::bit_cast<double>(Load64(values + size_t{8} * index++));
        });
        break;
      }
    }
  }
  return true;
}

bool DescribeValueColumn(std::string_view bytes, uint32_t count, ColumnSummary* out) {
  ParsedColumn column;
  if (!Parse(bytes, count, &column)) return false;
  out->domain = column.domain;
  out->sparse = (column.head & kSparse) != 0;
  out->residual = (column.head & kResidual) != 0;
  out->exceptions = (column.head & kExceptions) != 0 ? column.exceptions.Count() : 0;
  if ((column.head & kConstant) != 0) {
    out->form = ColumnForm::kConstant;
  } else if (column.numbers.coder() == StreamCoder::kDictionary) {
    out->form = ColumnForm::kDictionary;
  } else if (column.numbers.coder() == StreamCoder::kPacked && column.numbers.packed_width() == 0) {
    out->form = ColumnForm::kAffine;
  } else {
    static constexpr ColumnForm kForms[] = {ColumnForm::kPacked, ColumnForm::kDelta,
                                            ColumnForm::kDelta2};
    out->form = kForms[static_cast<size_t>(column.numbers.order())];
  }
  return true;
}

}  // namespace varve::codec
