#include "query/traces/span_series.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <utility>

#include "engine/base/macros.h"

namespace varve::query {
namespace {

using traceql::Function;

constexpr double kNanosecondsPerSecond = 1e9;

/// Gives the number that a value counts as: durations in seconds.
double NumberOf(const Val& value) {
  return value.type == Val::Type::kDuration
             ? static_cast<double>(value.integer) / kNanosecondsPerSecond
             : value.as_double();
}

}  // namespace

void ExactSum::Add(double value) {
  if (!std::isfinite(value)) {
    special_ += value;
    return;
  }
  size_t kept = 0;
  for (double part : parts_) {
    if (std::fabs(value) < std::fabs(part)) std::swap(value, part);
    const double high = value + part;
    const double low = part - (high - value);
    if (low != 0) parts_[kept++] = low;
    value = high;
  }
  parts_.resize(kept);
  parts_.push_back(value);
}

double ExactSum::Total() const {
  if (special_ != 0) return special_;
  // Durations alone are divided once, as a single one is.
  if (parts_.empty() && whole_ == 0) {
    return static_cast<double>(nanoseconds_) / kNanosecondsPerSecond;
  }
  ExactSum all;
  all.parts_ = parts_;
  const auto add_whole = [&](__int128 value) {
    // A 128-bit integer is three doubles at most, exactly.
    while (value != 0) {
      const double high = static_cast<double>(value);
      all.Add(high);
      value -= static_cast<__int128>(high);
    }
  };
  add_whole(whole_);
  if (nanoseconds_ != 0) {
    all.Add(static_cast<double>(nanoseconds_) / kNanosecondsPerSecond);
  }
  // The parts do not overlap and grow: summed from the largest down, the first rest decides the
  // rounding, except where it is exactly half and the next one tips it.
  double total = 0;
  size_t i = all.parts_.size();
  double low = 0;
  if (i > 0) total = all.parts_[--i];
  while (i > 0) {
    const double before = total;
    const double part = all.parts_[--i];
    total = before + part;
    low = part - (total - before);
    if (low != 0) break;
  }
  if (i > 0 && ((low < 0 && all.parts_[i - 1] < 0) || (low > 0 && all.parts_[i - 1] > 0))) {
    const double twice = low * 2;
    const double moved = total + twice;
    if (twice == moved - total) total = moved;
  }
  return total;
}

std::optional<double> Log2Bucket(const Val& value) {
  double bound = 0;
  if (value.is_integer()) {
    if (value.integer <= 0) return std::nullopt;
    const auto bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(value.integer) - 1));
    bound = std::ldexp(1.0, bits);
    if (value.type == Val::Type::kDuration) bound /= kNanosecondsPerSecond;
    return bound;
  }
  if (value.type != Val::Type::kDouble || !(value.number > 0) || std::isinf(value.number)) {
    return std::nullopt;
  }
  int exponent = 0;
  const double fraction = std::frexp(value.number, &exponent);  // in [0.5, 1)
  if (fraction == 0.5) --exponent;
  // Enough for anything that is measured, and it bounds the number of buckets.
  exponent = std::clamp(exponent, -64, 64);
  return std::ldexp(1.0, exponent);
}

double Log2Quantile(double quantile, const std::vector<double>& bounds,
                    const std::vector<uint64_t>& counts) {
  uint64_t all = 0;
  for (const uint64_t count : counts) all += count;
  if (all == 0) return std::numeric_limits<double>::quiet_NaN();
  const auto wanted =
      std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(quantile * static_cast<double>(all))));
  uint64_t below = 0;
  for (size_t i = 0; i < bounds.size(); ++i) {
    if (counts[i] == 0) continue;
    if (below + counts[i] < wanted) {
      below += counts[i];
      continue;
    }
    // The bucket ends at its bound and starts at half of it.
    const double part = static_cast<double>(wanted - below) / static_cast<double>(counts[i]);
    return part == 1 ? bounds[i] : bounds[i] * std::exp2(part - 1);
  }
  return bounds.back();
}

std::string LabelText(const Val& value) {
  if (value.is_nil()) return "nil";
  std::string out = PrintVal(value);
  if (out.empty()) out = "<empty>";
  return out;
}

Status SpanSeries::Add(const std::vector<Val>& by, const Val& argument, uint32_t step) {
  const bool takes_number = function_ != Function::kRate && function_ != Function::kCountOverTime;
  double bucket = 0;
  if (takes_number && !argument.is_number()) return absl::OkStatus();
  if (has_buckets()) {
    const auto found = Log2Bucket(argument);
    if (!found) return absl::OkStatus();
    bucket = *found;
  }
  ++spans_;
  key_.clear();
  for (const Val& value : by) {
    // Texts, the usual case, are appended as they are.
    const bool plain = value.type == Val::Type::kString && !value.text.empty();
    const std::string made = plain ? std::string() : LabelText(value);
    const std::string_view text = plain ? value.text : std::string_view(made);
    const auto size = static_cast<uint32_t>(text.size());
    key_.append(reinterpret_cast<const char*>(&size), sizeof size);
    key_.append(text);
  }
  if (has_buckets()) {
    key_.append(reinterpret_cast<const char*>(&bucket), sizeof bucket);
  }
  const auto [found, fresh] = numbers_.try_emplace(key_, static_cast<uint32_t>(series_.size()));
  if (fresh) {
    if (series_.size() >= context_.options().series_max) {
      return MakeStatus(StatusCode::kResourceExhausted,
                        Concat("the query makes more than ", context_.options().series_max,
                               " series; group by fewer values"));
    }
    const bool sums = function_ == Function::kSumOverTime || function_ == Function::kAvgOverTime;
    const bool extremes =
        function_ == Function::kMinOverTime || function_ == Function::kMaxOverTime;
    VARVE_RETURN_IF_ERROR(charge_.Add(
        2 * key_.size() + sizeof(Series) +
        // The cells, and the row that Finish makes of them.
        steps_ * (sizeof(uint64_t) + 9 + (sums ? sizeof(ExactSum) : 0) + (extremes ? 8 : 0))));
    Series series;
    for (const Val& value : by) series.by.push_back(LabelText(value));
    series.bucket = bucket;
    series.counts.resize(steps_);
    if (sums) series.sums.resize(steps_);
    if (extremes) series.extremes.resize(steps_);
    series_.push_back(std::move(series));
  }
  Series& series = series_[found->second];
  uint64_t& count = series.counts[step];
  switch (function_) {
    case Function::kMinOverTime:
    case Function::kMaxOverTime: {
      const double number = NumberOf(argument);
      if (std::isnan(number)) return absl::OkStatus();
      double& extreme = series.extremes[step];
      const bool better = function_ == Function::kMinOverTime ? number < extreme : number > extreme;
      if (count == 0 || better) extreme = number;
      break;
    }
    case Function::kSumOverTime:
    case Function::kAvgOverTime:
      if (argument.type == Val::Type::kDuration) {
        series.sums[step].AddNanoseconds(argument.integer);
      } else if (argument.type == Val::Type::kInt) {
        series.sums[step].AddWhole(argument.integer);
      } else {
        series.sums[step].Add(argument.number);
      }
      break;
    default:
      break;
  }
  ++count;
  return absl::OkStatus();
}

std::vector<std::pair<std::string, std::string>> SpanSeries::LabelsOf(const Series& series) const {
  std::vector<std::pair<std::string, std::string>> out;
  for (size_t i = 0; i < by_.size(); ++i) out.emplace_back(by_[i], series.by[i]);
  if (by_.empty() && !has_buckets()) {
    out.emplace_back("__name__", std::string(traceql::ToString(function_)));
  }
  return out;
}

std::vector<SpanSeries::Row> SpanSeries::Finish(double step_seconds,
                                                const std::vector<double>& quantiles) const {
  std::vector<Row> out;
  if (function_ == Function::kQuantileOverTime) {
    // Buckets of one group come together, ascending.
    std::map<std::vector<std::string>, std::map<double, const Series*>> groups;
    for (const Series& series : series_) groups[series.by].emplace(series.bucket, &series);
    for (const auto& [by, buckets] : groups) {
      std::vector<double> bounds;
      for (const auto& [bound, series] : buckets) bounds.push_back(bound);
      std::vector<uint64_t> counts(bounds.size());
      for (const double quantile : quantiles) {
        Row row;
        row.labels = LabelsOf(*buckets.begin()->second);
        row.labels.emplace_back("p", PrintVal(Val::Double(quantile)));
        row.values.resize(steps_);
        row.present.resize(steps_);
        for (uint32_t step = 0; step < steps_; ++step) {
          size_t i = 0;
          for (const auto& [bound, series] : buckets) counts[i++] = series->counts[step];
          const double value = Log2Quantile(quantile, bounds, counts);
          row.present[step] = !std::isnan(value);
          row.values[step] = value;
        }
        out.push_back(std::move(row));
      }
    }
    return out;
  }
  for (const Series& series : series_) {
    Row row;
    row.labels = LabelsOf(series);
    if (has_buckets()) {
      row.labels.emplace_back("__bucket", PrintVal(Val::Double(series.bucket)));
    }
    row.values.resize(steps_);
    row.present.assign(steps_, 1);
    for (uint32_t step = 0; step < steps_; ++step) {
      const auto count = static_cast<double>(series.counts[step]);
      double& value = row.values[step];
      switch (function_) {
        case Function::kRate:
          value = count / step_seconds;
          break;
        case Function::kCountOverTime:
        case Function::kHistogramOverTime:
          value = count;
          break;
        case Function::kMinOverTime:
        case Function::kMaxOverTime:
          value = series.extremes[step];
          row.present[step] = count > 0;
          break;
        case Function::kSumOverTime:
          value = series.sums[step].Total();
          row.present[step] = count > 0;
          break;
        case Function::kAvgOverTime:
          value = series.sums[step].Total() / count;
          row.present[step] = count > 0;
          break;
        default:
          break;
      }
    }
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace varve::query
