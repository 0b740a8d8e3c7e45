#include "tests/exec/random_query.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "engine/base/strings.h"
#include "tests/support/memory_snapshot.h"
#include "varve/stability.h"
#include "varve/write_batch.h"

namespace varve::testing {
namespace {

constexpr int64_t kStep = 15'000;

double RandomValue(Choices& c, double before) {
  switch (c.Below(12)) {
    case 0:
      return std::numeric_limits<double>::quiet_NaN();
    case 1:
      return StaleNan();
    case 2:
      return c.Below(2) ? std::numeric_limits<double>::infinity()
                        : -std::numeric_limits<double>::infinity();
    case 3:
      return 0;
    case 4:
      return -0.0;
    case 5:
      return 1e308;
    default:
      return (std::isfinite(before) && before < 1e300 ? before : 0) + c.Below(100) * 0.1;
  }
}

Histogram RandomHistogram(Choices& c) {
  Histogram h;
  h.is_float = true;
  const bool custom = c.Below(4) == 0;
  h.schema = custom ? kCustomBucketsSchema : static_cast<int32_t>(c.Below(4)) - 1;
  if (custom) {
    for (uint32_t i = 0, n = c.Below(4); i < n; ++i)
      h.custom_values.push_back(i * 2.0 + c.Below(2));
  } else {
    h.zero_threshold = c.Below(3) * 0.01;
    h.float_zero_count = c.Below(5);
  }
  const uint32_t positive =
      custom ? c.Below(static_cast<uint32_t>(h.custom_values.size()) + 2) : c.Below(4);
  if (positive > 0) {
    h.positive_spans.push_back({custom ? 0 : static_cast<int32_t>(c.Below(6)) - 3, positive});
    for (uint32_t i = 0; i < positive; ++i) h.positive_counts.push_back(c.Below(20));
  }
  const uint32_t negative = custom ? 0 : c.Below(3);
  if (negative > 0) {
    h.negative_spans.push_back({static_cast<int32_t>(c.Below(6)) - 3, negative});
    for (uint32_t i = 0; i < negative; ++i) h.negative_counts.push_back(c.Below(20));
  }
  h.float_count = h.float_zero_count;
  for (const double v : h.positive_counts) h.float_count += v;
  for (const double v : h.negative_counts) h.float_count += v;
  h.sum = c.Below(8) == 0 ? std::numeric_limits<double>::quiet_NaN() : c.Below(100);
  if (c.Below(10) == 0) h.sum = StaleNan();
  h.reset_hint = static_cast<CounterResetHint>(c.Below(4));
  return h;
}

constexpr std::string_view kMetrics[] = {"m_total", "g", "h", "mix", "b_bucket"};
constexpr std::string_view kRangeFunctions[] = {"rate",
                                                "increase",
                                                "delta",
                                                "irate",
                                                "idelta",
                                                "resets",
                                                "changes",
                                                "deriv",
                                                "avg_over_time",
                                                "min_over_time",
                                                "max_over_time",
                                                "sum_over_time",
                                                "count_over_time",
                                                "stddev_over_time",
                                                "last_over_time",
                                                "first_over_time",
                                                "present_over_time",
                                                "absent_over_time",
                                                "mad_over_time",
                                                "ts_of_max_over_time"};
constexpr std::string_view kFunctions[] = {"abs",           "sgn",    "exp", "sort",
                                           "timestamp",     "absent", "-",   "histogram_sum",
                                           "histogram_avg", "hour"};
constexpr std::string_view kAggregations[] = {"sum", "avg",   "count",  "min",
                                              "max", "group", "stddev", "stdvar"};
constexpr std::string_view kOperators[] = {"+", "-", "*",   "/",  "==",    "> bool",
                                           "<", "^", "and", "or", "unless"};

template <size_t N>
std::string Pick(Choices& c, const std::string_view (&from)[N]) {
  return std::string(from[c.Below(N)]);
}

std::string Duration(Choices& c) { return Concat(1 + c.Below(8) * 13, "s"); }

std::string Selector(Choices& c) {
  std::string out = Pick(c, kMetrics);
  if (c.Below(3) == 0) out += Concat("{l", c.Below(2) ? "=" : "!~", "\"", c.Below(3), "\"}");
  return out;
}
std::string Modifiers(Choices& c) {
  std::string out;
  if (c.Below(5) == 0) out += Concat(" offset ", c.Below(2) ? "-" : "", Duration(c));
  if (c.Below(8) == 0) out += Concat(" @ ", c.Below(200));
  return out;
}

std::string Vector(Choices& c, int depth) {
  if (depth <= 0 || c.empty()) return Selector(c) + Modifiers(c);
  const std::string inner = "(" + Vector(c, depth - 1) + ")";
  switch (c.Below(10)) {
    case 0:
    case 1: {
      std::string range;
      if (c.Below(4) == 0) {
        range = Concat(inner, "[", Duration(c), ":", Duration(c), "]");
      } else {
        range = Concat(Selector(c), "[", Duration(c), "]");
      }
      return Concat(Pick(c, kRangeFunctions), "(", range, Modifiers(c), ")");
    }
    case 2:
      return Concat(Pick(c, kFunctions), inner);
    case 3:
    case 4: {
      const std::string op = Pick(c, kAggregations);
      const uint32_t by = c.Below(3);
      return Concat(op, by == 0 ? "" : by == 1 ? " by (l) " : " without (l) ", inner);
    }
    case 5:
      return Concat(c.Below(2) ? "topk" : "bottomk", "(", c.Below(4), ", ", inner, ")");
    case 6:
      return Concat(c.Below(2) ? "quantile" : "histogram_quantile", "(0.", c.Below(10), ", ", inner,
                    ")");
    case 7: {
      const std::string op = Pick(c, kOperators);
      const uint32_t other = c.Below(4);
      // Sometimes the same once more, which is evaluated once.
      return Concat(inner, " ", op, " ",
                    other == 0   ? "vector(2)"
                    : other == 1 ? Concat("(sum by (l) ", inner, ")")
                    : other == 2 ? inner
                                 : "(" + Vector(c, depth - 1) + ")");
    }
    case 8:
      return Concat(c.Below(2) ? "count_values(\"v\", " : "limitk(2, ", inner, ")");
    default:
      return Concat("label_replace(", inner, ", \"l\", \"x$1\", \"l\", \"(.)\")");
  }
}

uint64_t Bits(double v) { return std::bit_cast<uint64_t>(v); }

/// A snapshot that says which of its samples another one of the same epoch may not have.
class SettledSnapshot final : public Snapshot, public StableSnapshot {
 public:
  SettledSnapshot(std::shared_ptr<const Snapshot> inner, const Stability& stability)
      : inner_(std::move(inner)), stability_(stability) {}
  Result<std::unique_ptr<SeriesSet>> Select(std::span<const Matcher> matchers,
                                            TimeRange range) const override {
    return inner_->Select(matchers, range);
  }
  Result<LookupResult> LabelNames(std::span<const Matcher> matchers, TimeRange range,
                                  LookupLimit limit) const override {
    return inner_->LabelNames(matchers, range, limit);
  }
  Result<LookupResult> LabelValues(std::string_view name, std::span<const Matcher> matchers,
                                   TimeRange range, LookupLimit limit) const override {
    return inner_->LabelValues(name, matchers, range, limit);
  }
  Result<std::vector<SeriesExemplars>> Exemplars(std::span<const Matcher> matchers,
                                                 TimeRange range) const override {
    return inner_->Exemplars(matchers, range);
  }
  std::map<std::string, std::vector<Metadata>> FamilyMetadata() const override {
    return inner_->FamilyMetadata();
  }
  Result<Cardinality> CardinalityStats(size_t top) const override {
    return inner_->CardinalityStats(top);
  }
  TimeRange time_range() const override { return inner_->time_range(); }
  Stability stability() const override { return stability_; }
  int64_t UnchangedBefore(const Stability& other) const override { return other.settled_before_ms; }

 private:
  std::shared_ptr<const Snapshot> inner_;
  const Stability stability_;
};

/// Asks for growing and moving parts of a range, so that answers are put together from kept parts.
std::optional<std::string> CheckCached(query::Engine& plain, query::Engine& cached,
                                       std::shared_ptr<const Snapshot> inner,
                                       const std::string& text, const query::QueryRange& range,
                                       Choices& choices) {
  static uint64_t epoch = 0;  // each call has data of its own
  const int64_t span = range.end_ms - range.start_ms;
  const Stability stability{range.start_ms + span * choices.Below(12) / 8, ++epoch, 0};
  const auto snapshot = std::make_shared<const SettledSnapshot>(std::move(inner), stability);
  const int64_t steps = span / range.step_ms;
  for (int round = 0; round < 4; ++round) {
    query::QueryRange part = range;
    part.start_ms += steps * round / 8 * range.step_ms;
    part.end_ms = range.start_ms + steps * (round + 1) / 4 * range.step_ms;
    if (part.end_ms < part.start_ms) continue;
    const auto expected = plain.Range(snapshot, text, part);
    const auto actual = cached.Range(snapshot, text, part);
    if (auto difference = Difference(expected, actual)) {
      return Concat(text, ": cached, round ", round, ": ", *difference);
    }
  }
  return std::nullopt;
}

}  // namespace

WriteBatch RandomBatch(Choices& c) {
  WriteBatch batch;
  const uint32_t series_count = 2 + c.Below(8);
  for (uint32_t s = 0; s < series_count; ++s) {
    const std::string_view metric = kMetrics[c.Below(std::size(kMetrics))];
    const std::string l = std::to_string(s % 3);
    const std::string i = std::to_string(s);
    Labels labels({{kMetricName, metric}, {"i", i}, {"l", l}});
    if (metric == "b_bucket") labels = Labels({{kMetricName, metric}, {"l", l}, {"le", i}});
    const uint32_t series = batch.AddSeries(labels);
    double value = 0;
    for (uint32_t k = 0, n = 4 + c.Below(16); k < n; ++k) {
      if (c.Below(6) == 0) continue;
      const int64_t time = k * kStep + c.Below(3);
      const bool histogram = metric == "h" || (metric == "mix" && c.Below(2) == 0);
      if (histogram) {
        batch.AddHistogram(series, time, RandomHistogram(c));
      } else {
        value = RandomValue(c, value);
        batch.AddSample(series, time, value);
      }
    }
  }
  return batch;
}

std::shared_ptr<const Snapshot> RandomSnapshot(Choices& c) {
  MemoryStore store(1 + c.Below(7));
  const Status status = store.Append(RandomBatch(c));
  return status.ok() ? store.TakeSnapshot() : MemoryStore().TakeSnapshot();
}

std::string RandomQuery(Choices& choices) { return Vector(choices, 3); }

std::optional<std::string> Difference(const Result<query::QueryResult>& a,
                                      const Result<query::QueryResult>& b) {
  if (a.ok() != b.ok())
    return Concat("one fails: ",
                  a.ok() ? ToStd(b.status().message()) : ToStd(a.status().message()));
  if (!a.ok()) {
    if (a.status() != b.status()) return std::string("other errors");
    return std::nullopt;
  }
  if (a->annotations.warnings != b->annotations.warnings ||
      a->annotations.infos != b->annotations.infos) {
    return std::string("other annotations");
  }
  const auto* x = std::get_if<query::Matrix>(&a->value);
  const auto* y = std::get_if<query::Matrix>(&b->value);
  if (x == nullptr || y == nullptr || x->size() != y->size()) return std::string("other series");
  for (size_t i = 0; i < x->size(); ++i) {
    const query::Series& p = (*x)[i];
    const query::Series& q = (*y)[i];
    if (!(p.labels == q.labels) || p.times_ms != q.times_ms ||
        p.histogram_times_ms != q.histogram_times_ms) {
      return Concat("other points in ", ToString(p.labels));
    }
    for (size_t k = 0; k < p.values.size(); ++k) {
      const bool both_nan = std::isnan(p.values[k]) && std::isnan(q.values[k]);
      if (Bits(p.values[k]) != Bits(q.values[k]) && !both_nan) {
        return Concat("other value in ", ToString(p.labels));
      }
    }
    for (size_t k = 0; k < p.histograms.size(); ++k) {
      if (query::TestExpression(*p.histograms[k]) != query::TestExpression(*q.histograms[k])) {
        return Concat("other histogram in ", ToString(p.labels));
      }
    }
  }
  return std::nullopt;
}

std::string DescribeRandom(std::string_view bytes) {
  Choices choices(bytes);
  for (const uint32_t n : {70u, 40u, 100u}) choices.Below(n);
  return RandomQuery(choices);
}

std::optional<std::string> CheckRandom(std::string_view bytes) {
  static const auto* const kEngines = [] {
    auto* engines = new std::array<std::unique_ptr<query::Engine>, 4>();
    query::EngineOptions options;
    options.timeout = std::chrono::milliseconds(0);
    options.max_samples = 200'000;
    options.threads = 1;
    (*engines)[0] = query::Engine::Make(options);
    options.tile_series = 1;
    (*engines)[1] = query::Engine::Make(options);
    options.tile_series = 3;
    options.tile_steps = 7;
    options.threads = 2;
    (*engines)[2] = query::Engine::Make(options);
    options.result_cache_bytes = 1 << 20;
    (*engines)[3] = query::Engine::Make(options);
    return engines;
  }();
  Choices choices(bytes);
  const uint32_t steps = 1 + choices.Below(70);
  const int64_t step = 1'000 * (1 + choices.Below(40));
  const int64_t start = static_cast<int64_t>(choices.Below(100)) * 1'000;
  // The query comes first, so that short inputs still vary it.
  const std::string text = RandomQuery(choices);
  const auto snapshot = RandomSnapshot(choices);
  const query::QueryRange range{start, start + (steps - 1) * step, step};
  const auto expected = (*kEngines)[0]->Range(snapshot, text, range);
  for (size_t e = 1; e < kEngines->size(); ++e) {
    const auto actual = (*kEngines)[e]->Range(snapshot, text, range);
    if (auto difference = Difference(expected, actual)) {
      return Concat(text, ": engine ", e, ": ", *difference);
    }
  }
  return CheckCached(*(*kEngines)[0], *(*kEngines)[3], snapshot, text, range, choices);
}

}  // namespace varve::testing
