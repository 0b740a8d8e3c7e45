#include "query/exec/group_fold.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "engine/base/strings.h"
#include "query/functions/go_format.h"
#include "query/functions/kahan.h"

namespace varve::query {
namespace {

using Kind = AnnotationSink::Kind;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

bool KeepsValue(Aggregation a) { return a != Aggregation::kCount && a != Aggregation::kGroup; }
bool IsMoment(Aggregation a) {
  return a == Aggregation::kAvg || a == Aggregation::kStddev || a == Aggregation::kStdvar;
}
bool KeepsSecond(Aggregation a) { return a == Aggregation::kSum || IsMoment(a); }
bool KeepsCount(Aggregation a) { return a == Aggregation::kCount || IsMoment(a); }

}  // namespace

GroupFold::GroupFold(ExecContext& context, Aggregation aggregation, uint32_t steps,
                     std::string place)
    : context_(context),
      aggregation_(aggregation),
      steps_(steps),
      words_(BitWords(steps)),
      place_(std::move(place)) {}

GroupFold::~GroupFold() { context_.budget.Give(charged_cells_, charged_bytes_); }

Status GroupFold::Start(size_t groups) {
  VARVE_CHECK(aggregation_ != Aggregation::kQuantile);
  const uint64_t cells = uint64_t{steps_} * groups;
  const uint64_t columns =
      KeepsValue(aggregation_) + KeepsSecond(aggregation_) + KeepsCount(aggregation_);
  charged_cells_ = cells;
  charged_bytes_ =
      cells * 8 * columns + groups * (uint64_t{words_} * 8 + sizeof(std::vector<Rare>));
  VARVE_RETURN_IF_ERROR(context_.budget.Take(charged_cells_, charged_bytes_));
  seen_.resize(groups * words_);
  rare_.resize(groups);
  if (KeepsValue(aggregation_)) value_ = std::make_unique_for_overwrite<double[]>(cells);
  if (KeepsSecond(aggregation_)) c_ = std::make_unique_for_overwrite<double[]>(cells);
  if (KeepsCount(aggregation_)) count_ = std::make_unique_for_overwrite<double[]>(cells);
  return absl::OkStatus();
}

GroupFold::Cells GroupFold::At(size_t group) {
  const auto column = [at = group * steps_](const std::unique_ptr<double[]>& all) {
    return all == nullptr ? nullptr : all.get() + at;
  };
  return {seen_.data() + group * words_, column(value_), column(c_), column(count_), &rare_[group]};
}

void GroupFold::Add(size_t group, const Tile& tile, uint32_t row, uint32_t word_begin,
                    uint32_t word_end) {
  const Cells g = At(group);
  if (!tile.has_histograms(row)) {
    for (uint32_t w = word_begin; w < word_end; ++w) {
      AddWord(tile.values(row) + w * 64, tile.valid(row)[w], g, w);
    }
    return;
  }
  const uint32_t end = std::min(steps_, word_end * 64);
  for (uint32_t s = word_begin * 64; s < end; ++s) {
    if (const FloatHistogram* h = tile.histogram(row, s); h != nullptr) {
      AddHistogram(g, s, *h);
    } else if (tile.has_float(row, s)) {
      AddFloat(g, s, tile.values(row)[s]);
    }
  }
}

/// Takes up to 64 floats of one row.
void GroupFold::AddWord(const double* values, uint64_t bits, const Cells& g, uint32_t word) {
  if (bits == 0) return;
  const uint32_t base = word * 64;
  const uint32_t width = std::min(64u, steps_ - base);
  const uint64_t all = width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1;
  if (g.rare->empty() && bits == all && g.seen[word] == all) {
    // Every cell has a value and a predecessor: loops without questions.
    double* value = g.value + base;
    switch (aggregation_) {
      case Aggregation::kSum: {
        double* c = g.c + base;
        for (uint32_t i = 0; i < width; ++i) KahanAddLoose(values[i], value[i], c[i]);
        return;
      }
      case Aggregation::kMax:
        for (uint32_t i = 0; i < width; ++i) {
          value[i] = value[i] < values[i] || value[i] != value[i] ? values[i] : value[i];
        }
        return;
      case Aggregation::kMin:
        for (uint32_t i = 0; i < width; ++i) {
          value[i] = value[i] > values[i] || value[i] != value[i] ? values[i] : value[i];
        }
        return;
      case Aggregation::kCount:
        for (uint32_t i = 0; i < width; ++i) g.count[base + i] += 1;
        return;
      case Aggregation::kGroup:
        return;
      default:
        break;
    }
  }
  ForEachBit(&bits, 1, [&](uint32_t i) { AddFloat(g, base + i, values[i]); });
}

void GroupFold::AddFloat(const Cells& g, uint32_t s, double f) {
  const bool first = !GetBit(g.seen, s);
  if (first) SetBit(g.seen, s);
  Rare* rare = g.rare->empty() ? nullptr : &(*g.rare)[s];
  if (rare != nullptr) {
    if (rare->incompatible) return;
    rare->has_float = true;
  }
  switch (aggregation_) {
    case Aggregation::kSum:
      if (first) {
        g.value[s] = f;
        g.c[s] = 0;
      } else {
        KahanAdd(f, g.value[s], g.c[s]);
      }
      return;
    case Aggregation::kAvg:
      AddToMean(g, s, f, first);
      return;
    case Aggregation::kCount:
      g.count[s] = first ? 1 : g.count[s] + 1;
      return;
    case Aggregation::kMin:
      if (first || g.value[s] > f || std::isnan(g.value[s])) g.value[s] = f;
      return;
    case Aggregation::kMax:
      if (first || g.value[s] < f || std::isnan(g.value[s])) g.value[s] = f;
      return;
    case Aggregation::kStddev:
    case Aggregation::kStdvar: {
      if (first) {
        g.count[s] = 1;
        g.c[s] = f;
        g.value[s] = std::isnan(f) || std::isinf(f) ? kNan : 0;
        return;
      }
      // Welford's method, plain.
      g.count[s] += 1;
      const double delta = f - g.c[s];
      g.c[s] += delta / g.count[s];
      g.value[s] += delta * (f - g.c[s]);
      return;
    }
    case Aggregation::kGroup:
    case Aggregation::kQuantile:
      return;
  }
}

/// Sums directly as long as that does not overflow, then carries the mean.
void GroupFold::AddToMean(const Cells& g, uint32_t s, double f, bool first) {
  g.count[s] = first ? 1 : g.count[s] + 1;
  if (first) {
    g.value[s] = f;
    g.c[s] = 0;
    return;
  }
  const double count = g.count[s];
  if (g.rare->empty() || !(*g.rare)[s].incremental) {
    double sum = g.value[s];
    double c = g.c[s];
    KahanAdd(f, sum, c);
    if (!std::isinf(sum)) {
      g.value[s] = sum;
      g.c[s] = c;
      return;
    }
    // The sum overflows; the mean does not have to.
    if (g.rare->empty()) MakeRare(g);
    (*g.rare)[s].incremental = true;
    (*g.rare)[s].mean = g.value[s] / (count - 1);
    g.c[s] /= count - 1;
  }
  Rare& rare = (*g.rare)[s];
  const double q = (count - 1) / count;
  double mean = q * rare.mean;
  double c = q * g.c[s];
  KahanAdd(f / count, mean, c);
  rare.mean = mean;
  g.c[s] = c;
}

/// Turns a group into one that can hold histograms and means. Never runs in parallel.
void GroupFold::MakeRare(const Cells& g) const {
  std::vector<Rare> rare(steps_);
  for (uint32_t s = 0; s < steps_; ++s) rare[s].has_float = GetBit(g.seen, s);
  *g.rare = std::move(rare);
}

void GroupFold::AddHistogram(const Cells& g, uint32_t s, const FloatHistogram& h) {
  switch (aggregation_) {
    case Aggregation::kCount:
    case Aggregation::kGroup:
      AddFloat(g, s, 0);  // a member like any other
      return;
    case Aggregation::kSum:
    case Aggregation::kAvg:
      break;
    default:
      Note(Kind::kInfo, Concat("ignored histogram in ", ToString(aggregation_), " aggregation"));
      return;
  }
  if (g.rare->empty()) MakeRare(g);
  Rare& rare = (*g.rare)[s];
  const bool first = !GetBit(g.seen, s);
  SetBit(g.seen, s);
  if (rare.incompatible) return;
  rare.has_histogram = true;
  rare.reset_seen |= h.reset_hint == CounterResetHint::kReset;
  rare.not_reset_seen |= h.reset_hint == CounterResetHint::kNotReset;
  if (aggregation_ == Aggregation::kAvg) g.count[s] = first ? 1 : g.count[s] + 1;
  if (first) {
    rare.histogram = std::make_unique<HistogramSum>(h);
    return;
  }
  // After a float the result is lost anyway.
  if (rare.histogram == nullptr) return;
  const CombineNotes notes = aggregation_ == Aggregation::kSum ? rare.histogram->Add(h)
                                                               : AddToAverage(rare, h, g.count[s]);
  if (notes.incompatible) rare.incompatible = true;
  if (notes.bounds_reconciled) {
    Note(Kind::kInfo, "mismatched custom buckets were reconciled during aggregation");
  }
}

CombineNotes GroupFold::AddToAverage(Rare& rare, const FloatHistogram& h, double count) {
  if (!rare.incremental_histogram) {
    HistogramSum next = *rare.histogram;
    const CombineNotes notes = next.Add(h);
    if (notes.incompatible) return notes;
    if (!next.overflowed()) {
      *rare.histogram = std::move(next);
      return notes;
    }
    rare.incremental_histogram = true;
    rare.histogram->Divide(count - 1);
  }
  rare.histogram->Scale((count - 1) / count);
  FloatHistogram part = h;
  Divide(part, count);
  return rare.histogram->Add(part);
}

void GroupFold::Finish(size_t group, absl::FunctionRef<std::string_view()> first_name, Tile& tile,
                       uint32_t row) {
  const Cells g = At(group);
  if (!g.rare->empty()) {
    FinishRare(g, first_name, tile, row);
    return;
  }
  double* out = tile.values(row);
  std::copy_n(g.seen, words_, tile.valid(row));
  ForEachBit(g.seen, words_, [&](uint32_t s) {
    switch (aggregation_) {
      case Aggregation::kSum:
        out[s] = KahanTotal(g.value[s], g.c[s]);
        break;
      case Aggregation::kAvg:
        out[s] = g.value[s] / g.count[s] + g.c[s] / g.count[s];
        break;
      case Aggregation::kCount:
        out[s] = g.count[s];
        break;
      case Aggregation::kGroup:
        out[s] = 1;
        break;
      case Aggregation::kStdvar:
        out[s] = g.value[s] / g.count[s];
        break;
      case Aggregation::kStddev:
        out[s] = std::sqrt(g.value[s] / g.count[s]);
        break;
      default:
        out[s] = g.value[s];
        break;
    }
  });
}

void GroupFold::FinishRare(const Cells& g, absl::FunctionRef<std::string_view()> first_name,
                           Tile& tile, uint32_t row) {
  ForEachBit(g.seen, words_, [&](uint32_t s) {
    Rare& rare = (*g.rare)[s];
    if (rare.has_float && rare.has_histogram) {
      Note(Kind::kWarning, "encountered a mix of histograms and floats for aggregation");
      return;
    }
    if (rare.incompatible) {
      Note(Kind::kWarning,
           Concat("vector contains a mix of histograms with exponential and custom buckets schemas "
                  "for metric name ",
                  GoQuote(first_name())));
      return;
    }
    if (rare.reset_seen && rare.not_reset_seen) {
      Note(Kind::kWarning, "conflicting counter resets during histogram aggregation");
    }
    if (rare.has_histogram) {
      if (aggregation_ == Aggregation::kAvg && !rare.incremental_histogram) {
        rare.histogram->Divide(g.count[s]);
      }
      tile.histograms(row)[s] =
          std::make_shared<const FloatHistogram>(Compact(rare.histogram->Total(), 0));
    } else if (aggregation_ == Aggregation::kSum) {
      tile.SetFloat(row, s, KahanTotal(g.value[s], g.c[s]));
    } else if (rare.incremental) {
      tile.SetFloat(row, s, rare.mean + g.c[s]);
    } else {
      tile.SetFloat(row, s, g.value[s] / g.count[s] + g.c[s] / g.count[s]);
    }
  });
}

}  // namespace varve::query
