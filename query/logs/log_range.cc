#include "query/logs/log_range.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/base/interrupt.h"
#include "engine/base/strings.h"
#include "query/lang/logql/print.h"

namespace varve::query {
namespace {

using logql::RangeOp;

struct Sample {
  int64_t time_ns;
  double value;
  uint32_t unit;  // orders samples of equal times
};

/// What one thread has found of one series.
struct PartialSeries {
  std::vector<Sample> samples;
  /// With many samples of an operation that adds whole numbers: the sum over [0, i] is what step i
  /// has. Empty: not in use.
  std::vector<double> sums;
  std::vector<int64_t> counts;
  bool errored = false;
};

void AppendText(std::string_view text, std::string* out) {
  const auto size = static_cast<uint32_t>(text.size());
  out->append(reinterpret_cast<const char*>(&size), sizeof size);
  *out += text;
}
std::string_view TakeText(std::string_view* bytes) {
  uint32_t size = 0;
  bytes->copy(reinterpret_cast<char*>(&size), sizeof size);
  const std::string_view text = bytes->substr(sizeof size, size);
  bytes->remove_prefix(sizeof size + size);
  return text;
}

double Quantile(double q, std::vector<double>& values) {
  if (values.empty() || std::isnan(q)) return std::numeric_limits<double>::quiet_NaN();
  if (q < 0) return -std::numeric_limits<double>::infinity();
  if (q > 1) return std::numeric_limits<double>::infinity();
  // NaN sorts first, as in Prometheus.
  std::sort(values.begin(), values.end(),
            [](double a, double b) { return std::isnan(a) ? !std::isnan(b) : a < b; });
  const auto n = static_cast<double>(values.size());
  const double rank = q * (n - 1);
  const double lower = std::max(0.0, std::floor(rank));
  const double upper = std::min(n - 1, lower + 1);
  const double weight = rank - std::floor(rank);
  return values[static_cast<size_t>(lower)] * (1 - weight) +
         values[static_cast<size_t>(upper)] * weight;
}

/// The rate of a counter over a window that ends at `end_ns`: the increase, extrapolated to the
/// window's edges as Prometheus does. 0 for less than two samples.
double CounterRate(const Sample* begin, const Sample* end, int64_t end_ns, int64_t range_ns) {
  const auto count = static_cast<size_t>(end - begin);
  if (count < 2) return 0;
  double increase = end[-1].value - begin->value;
  double last = 0;
  for (const Sample* sample = begin; sample != end; ++sample) {
    if (sample->value < last) increase += last;
    last = sample->value;
  }
  const auto seconds = [](int64_t ns) { return static_cast<double>(ns) / 1e9; };
  const double range = seconds(range_ns);
  const double sampled = seconds(end[-1].time_ns - begin->time_ns);
  const double average = sampled / static_cast<double>(count - 1);
  double to_start = range - seconds(end_ns - begin->time_ns);
  double to_end = seconds(end_ns - end[-1].time_ns);
  if (to_start >= average * 1.1) to_start = average / 2;
  if (to_end >= average * 1.1) to_end = average / 2;
  if (increase > 0 && begin->value >= 0) {
    // A counter was not below zero.
    to_start = std::min(to_start, sampled * (begin->value / increase));
  }
  const double extended = sampled + to_start + to_end;
  return increase * (extended / sampled) / range;
}

class LogRangeOperator final : public StoredOperator {
 public:
  LogRangeOperator(LogContext& context, const StepGrid& grid, const LogSteps& steps,
                   LogRangeSpec spec, std::shared_ptr<const Pipeline> pipeline)
      : StoredOperator(context.exec, grid),
        log_(context),
        steps_(steps),
        spec_(std::move(spec)),
        pipeline_(std::move(pipeline)),
        expr_(*spec_.expr),
        range_ns_(expr_.range_ns) {
    const bool unwrapped = pipeline_->unwrap() != nullptr;
    const RangeOp op = expr_.range_op;
    // Of absence the counts alone matter.
    additive_ = op == RangeOp::kAbsent ||
                (!unwrapped && (op == RangeOp::kCount || op == RangeOp::kRate ||
                                op == RangeOp::kBytes || op == RangeOp::kBytesRate));
    measures_bytes_ = op == RangeOp::kBytes || op == RangeOp::kBytesRate;
  }

  std::string Describe() const override {
    std::string out =
        Concat("range ", logql::ToString(expr_.range_op), " ",
               logql::Print(expr_.children[0]->matchers), " [", expr_.range_ns / 1'000'000, " ms]");
    for (const std::string& stage : pipeline_->Describe()) out += Concat("; ", stage);
    return out;
  }

 protected:
  Status OpenImpl() override {
    const logql::Expr& log = *expr_.children[0];
    NsRange range;
    const int64_t first = WindowEnd(0);
    const int64_t last = WindowEnd(steps_.count - 1);
    range.min_ns = SaturatingSubtract(std::min(first, last), range_ns_);
    if (range.min_ns != std::numeric_limits<int64_t>::max()) ++range.min_ns;
    range.max_ns = std::max(first, last);
    VARVE_ASSIGN_OR_RETURN(ScanPlan plan, PlanScan(log_, log.matchers, *pipeline_, range,
                                                   measures_bytes_ ? LogScanSpec::Lines::kLengths
                                                                   : LogScanSpec::Lines::kNone));
    std::vector<Worker> workers(context_.pool->threads());
    if (!plan.units.empty()) {
      context_.pool->For(static_cast<uint32_t>(plan.units.size()), Grain(plan),
                         [&](uint32_t begin, uint32_t end, uint32_t index) {
                           Worker& worker = workers[index];
                           if (worker.entry == nullptr) {
                             worker.entry = std::make_unique<EntryContext>();
                             pipeline_->Prepare(*worker.entry, log_.analyze);
                           }
                           for (uint32_t i = begin; i < end && worker.status.ok(); ++i) {
                             worker.status = ReadUnit(plan, i, worker);
                           }
                         });
    }
    for (Worker& worker : workers) {
      VARVE_RETURN_IF_ERROR(worker.status);
      log_.samples.fetch_add(worker.samples, std::memory_order_relaxed);
    }
    if (log_.analyze) {
      ScanCounts counts;
      for (const Worker& worker : workers) counts.Add(worker.scan, worker.entry.get());
      log_.operator_stages.emplace_back(this, StagesOf(plan, *pipeline_, counts, 0));
    }
    if (expr_.range_op == RangeOp::kAbsent) return FinishAbsent(workers);
    return Finish(workers);
  }

 private:
  struct Worker {
    std::unique_ptr<EntryContext> entry;
    LogRows rows;
    absl::flat_hash_map<std::string, uint32_t, StringHash, StringEqual> index;
    std::vector<PartialSeries> series;
    std::vector<LabelView> scratch;
    std::string key;
    std::string last_key;
    uint32_t last_series = 0;
    uint32_t stream_series =
        UINT32_MAX;  // of entries that no stage touched and that have no metadata
    uint64_t samples = 0;
    uint64_t uncharged = 0;
    LogScanStats scan;
    Status status;
  };

  static int64_t SaturatingSubtract(int64_t a, int64_t b) {
    int64_t out = 0;
    if (__builtin_sub_overflow(a, b, &out)) {
      return b > 0 ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
    }
    return out;
  }
  int64_t WindowEnd(uint32_t step) const {
    return SaturatingSubtract(expr_.at_ns ? *expr_.at_ns : steps_.At(step), expr_.offset_ns);
  }
  uint32_t Grain(const ScanPlan& plan) const {
    // Neighbours share row groups; large runs keep a group on one thread.
    return static_cast<uint32_t>(
        std::clamp<size_t>(plan.units.size() / (context_.pool->threads() * 8), 1, 64));
  }

  Status ReadUnit(const ScanPlan& plan, uint32_t unit_index, Worker& worker) {
    const ScanUnit& unit = plan.units[unit_index];
    LogScanStats stats;
    const auto poll = [this] { return context_.Poll(); };
    const InterruptCheck check(poll);
    // The store may drop all that it reads.
    VARVE_RETURN_IF_ERROR(poll());
    VARVE_RETURN_IF_ERROR(unit.chunk.Read(*plan.scan, &worker.rows, &stats));
    worker.scan.Add(stats);
    VARVE_RETURN_IF_ERROR(log_.AddScan(stats));
    const LogRows& rows = worker.rows;
    EntryContext& entry = *worker.entry;
    entry.labels.SetStream(plan.streams[unit.stream]);
    worker.stream_series = UINT32_MAX;
    const bool with_lines = !rows.lines.empty();
    PollPace pace(*pipeline_);
    for (size_t row = 0; row < rows.size(); ++row) {
      if (pace.Due(with_lines ? rows.lines[row].size() : 0)) {
        VARVE_RETURN_IF_ERROR(context_.Poll());
      }
      entry.time_ns = rows.times_ns[row];
      entry.line = with_lines ? rows.lines[row] : std::string_view();
      const LabelsView metadata = rows.metadata_of(row);
      entry.labels.Reset(metadata);
      double value = 1;
      if (!pipeline_->Process(entry) ||
          (pipeline_->unwrap() != nullptr && !pipeline_->Unwrap(entry, &value))) {
        if (!entry.fault.ok()) [[unlikely]]
          return entry.fault;
        continue;
      }
      if (measures_bytes_) {
        value = static_cast<double>(with_lines ? entry.line.size() : rows.line_lengths[row]);
      }
      VARVE_RETURN_IF_ERROR(Add(entry, metadata.empty(), value, unit_index, worker));
    }
    log_.rows.fetch_add(rows.size(), std::memory_order_relaxed);
    return absl::OkStatus();
  }

  Status Add(const EntryContext& entry, bool no_metadata, double value, uint32_t unit,
             Worker& worker) {
    ++worker.samples;
    uint32_t series = 0;
    const bool plain = no_metadata && entry.labels.untouched();
    if (plain && worker.stream_series != UINT32_MAX) {
      series = worker.stream_series;
    } else {
      const bool errored = MakeKey(entry.labels, worker);
      if (!worker.series.empty() && worker.key == worker.last_key) {
        series = worker.last_series;
      } else {
        const auto found = worker.index.find(worker.key);
        if (found != worker.index.end()) {
          series = found->second;
        } else {
          series = static_cast<uint32_t>(worker.series.size());
          worker.index.emplace(worker.key, series);
          worker.series.emplace_back();
          worker.series.back().errored = errored;
          VARVE_RETURN_IF_ERROR(
              context_.budget.Take(1, worker.key.size() + sizeof(PartialSeries) + 64));
        }
        worker.last_key = worker.key;
        worker.last_series = series;
      }
      if (plain) worker.stream_series = series;
    }
    PartialSeries& out = worker.series[series];
    if (out.sums.empty()) {
      out.samples.push_back({entry.time_ns, value, unit});
      if (++worker.uncharged == kChargeEvery) {
        worker.uncharged = 0;
        VARVE_RETURN_IF_ERROR(context_.budget.Take(kChargeEvery, kChargeEvery * sizeof(Sample)));
      }
      if (additive_ && !expr_.at_ns && out.samples.size() > 2 * size_t{steps_.count} + 64) {
        VARVE_RETURN_IF_ERROR(context_.budget.Take(steps_.count, uint64_t{steps_.count} * 16));
        out.sums.assign(steps_.count + 1, 0);
        out.counts.assign(steps_.count + 1, 0);
        for (const Sample& sample : out.samples) AddToSums(sample.time_ns, sample.value, out);
        out.samples = {};
      }
    } else {
      AddToSums(entry.time_ns, value, out);
    }
    return absl::OkStatus();
  }

  /// Adds a sample to all steps whose windows hold it: end - range < time <= end.
  void AddToSums(int64_t time, double value, PartialSeries& out) const {
    // The first step with At(i) - offset >= time, and the first with At(i) - offset >= time +
    // range.
    const uint32_t from = StepAtOrAfter(time);
    int64_t leave = 0;
    const uint32_t to =
        __builtin_add_overflow(time, range_ns_, &leave) ? steps_.count : StepAtOrAfter(leave);
    if (from >= to) return;
    out.sums[from] += value;
    out.sums[to] -= value;
    ++out.counts[from];
    --out.counts[to];
  }
  uint32_t StepAtOrAfter(int64_t end) const {
    const int64_t first = WindowEnd(0);
    if (end <= first) return 0;
    const auto distance = static_cast<uint64_t>(end) - static_cast<uint64_t>(first);
    const auto step = static_cast<uint64_t>(steps_.step_ns);
    const uint64_t index = distance / step + (distance % step != 0);
    return static_cast<uint32_t>(std::min<uint64_t>(index, steps_.count));
  }

  /// Writes the labels of the series that an entry belongs to. Returns whether the entry is in
  /// error and spoils the query.
  bool MakeKey(const EntryLabels& labels, Worker& worker) const {
    worker.key.clear();
    const bool in_error = labels.has_error();
    if (!in_error) {
      if (spec_.no_labels || expr_.range_op == RangeOp::kAbsent) return false;
      if (!spec_.groups.empty() && !spec_.without) {
        for (const std::string& name : spec_.groups) {
          const std::string_view value = labels.Value(name);
          if (value.empty()) continue;
          AppendText(name, &worker.key);
          AppendText(value, &worker.key);
        }
        return false;
      }
    }
    worker.scratch.clear();
    labels.ForEach([&](EntryLabels::Part, std::string_view name, std::string_view value) {
      if (value.empty()) return;
      if (!in_error) {
        if (pipeline_->unwrap() != nullptr && name == pipeline_->unwrap()->text) return;
        if (std::binary_search(spec_.groups.begin(), spec_.groups.end(), name)) return;
      }
      worker.scratch.push_back({name, value});
    });
    std::sort(worker.scratch.begin(), worker.scratch.end());
    for (const LabelView& label : worker.scratch) {
      AppendText(label.name, &worker.key);
      AppendText(label.value, &worker.key);
    }
    return in_error && labels.Value(kPreserveErrorLabel) != "true";
  }

  // --- Windows ---

  struct Merged {
    std::string_view key;
    std::vector<LabelView> labels;
    std::vector<PartialSeries*> parts;
  };

  Status Finish(std::vector<Worker>& workers) {
    absl::flat_hash_map<std::string_view, uint32_t, StringHash, StringEqual> index;
    std::vector<Merged> merged;
    for (Worker& worker : workers) {
      for (const auto& [key, series] : worker.index) {
        auto [found, added] = index.try_emplace(key, static_cast<uint32_t>(merged.size()));
        if (added) {
          merged.emplace_back();
          merged.back().key = key;
        }
        merged[found->second].parts.push_back(&worker.series[series]);
      }
    }
    for (Merged& series : merged) {
      std::string_view bytes = series.key;
      while (!bytes.empty()) {
        const std::string_view name = TakeText(&bytes);
        series.labels.push_back({name, TakeText(&bytes)});
      }
    }
    std::sort(merged.begin(), merged.end(), [](const Merged& a, const Merged& b) {
      return CompareLabels(a.labels, b.labels) < 0;
    });
    std::vector<Sample> samples;
    std::vector<double> scratch;
    RowStore::Row row;
    for (Merged& series : merged) {
      VARVE_RETURN_IF_ERROR(context_.Poll());
      row.values.assign(steps_.count, 0);
      row.valid.assign(BitWords(steps_.count), 0);
      if (additive_) {
        AddUp(series, row);
      } else {
        samples.clear();
        for (const PartialSeries* part : series.parts) {
          samples.insert(samples.end(), part->samples.begin(), part->samples.end());
        }
        const auto before = [](const Sample& a, const Sample& b) {
          return a.time_ns != b.time_ns ? a.time_ns < b.time_ns : a.unit < b.unit;
        };
        if (!std::is_sorted(samples.begin(), samples.end(), before)) {
          std::stable_sort(samples.begin(), samples.end(), before);
        }
        Slide(samples, scratch, row);
      }
      bool any = false;
      for (const uint64_t word : row.valid) any |= word != 0;
      if (!any) continue;
      if (series.parts[0]->errored) return PipelineError(series.labels);
      VARVE_RETURN_IF_ERROR(AddRow(series.labels, row));
    }
    return absl::OkStatus();
  }

  Status AddRow(const std::vector<LabelView>& labels, RowStore::Row& row) {
    std::vector<LabelView> kept;
    kept.reserve(labels.size());
    for (const LabelView& label : labels) {
      kept.push_back({context_.KeepBytes(label.name), context_.KeepBytes(label.value)});
    }
    series_.push_back({context_.KeepLabels(kept), false});
    VARVE_RETURN_IF_ERROR(rows_.AppendBlank(1));
    rows_[rows_.size() - 1].values = std::move(row.values);
    rows_[rows_.size() - 1].valid = std::move(row.valid);
    return absl::OkStatus();
  }

  static Status PipelineError(const std::vector<LabelView>& labels) {
    const std::string_view error = FindLabel(labels, kErrorLabel);
    return ExecutionError(Concat(
        "pipeline error: '", error, "' for series: '", ToString(LabelsView(labels)),
        "'.\nUse a label filter to intentionally skip this error. (e.g | __error__!=\"", error,
        "\").\nTo skip all potential errors you can match empty errors.(e.g __error__=\"\")\nThe "
        "label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" "
        ")\n"));
  }

  void AddUp(const Merged& series, RowStore::Row& row) const {
    std::vector<double> sums(steps_.count + 1, 0);
    std::vector<int64_t> counts(steps_.count + 1, 0);
    PartialSeries total;
    total.sums = std::move(sums);
    total.counts = std::move(counts);
    for (const PartialSeries* part : series.parts) {
      for (size_t i = 0; i < part->sums.size(); ++i) {
        total.sums[i] += part->sums[i];
        total.counts[i] += part->counts[i];
      }
      for (const Sample& sample : part->samples) {
        if (expr_.at_ns) {
          // One window for all steps.
          const int64_t end = WindowEnd(0);
          if (sample.time_ns > end || sample.time_ns <= SaturatingSubtract(end, range_ns_))
            continue;
          total.sums[0] += sample.value;
          total.sums[steps_.count] -= sample.value;
          ++total.counts[0];
          --total.counts[steps_.count];
        } else {
          AddToSums(sample.time_ns, sample.value, total);
        }
      }
    }
    const bool rate = expr_.range_op == RangeOp::kRate || expr_.range_op == RangeOp::kBytesRate;
    const double seconds = static_cast<double>(range_ns_) / 1e9;
    double sum = 0;
    int64_t count = 0;
    for (uint32_t i = 0; i < steps_.count; ++i) {
      sum += total.sums[i];
      count += total.counts[i];
      if (count == 0) continue;
      row.values[i] = rate ? sum / seconds : sum;
      SetBit(row.valid.data(), i);
    }
  }

  void Slide(const std::vector<Sample>& samples, std::vector<double>& scratch,
             RowStore::Row& row) const {
    size_t begin = 0;
    size_t end = 0;
    for (uint32_t i = 0; i < steps_.count; ++i) {
      const int64_t to = WindowEnd(i);
      const int64_t from = SaturatingSubtract(to, range_ns_);
      while (end < samples.size() && samples[end].time_ns <= to) ++end;
      while (begin < end && samples[begin].time_ns <= from) ++begin;
      if (begin == end) continue;
      row.values[i] = Evaluate(samples.data() + begin, samples.data() + end, to, scratch);
      SetBit(row.valid.data(), i);
    }
  }

  double Evaluate(const Sample* begin, const Sample* end, int64_t end_ns,
                  std::vector<double>& scratch) const {
    const auto count = static_cast<double>(end - begin);
    switch (expr_.range_op) {
      case RangeOp::kSum:
      case RangeOp::kRate: {
        double sum = 0;
        for (const Sample* s = begin; s != end; ++s) sum += s->value;
        return expr_.range_op == RangeOp::kRate ? sum / (static_cast<double>(range_ns_) / 1e9)
                                                : sum;
      }
      case RangeOp::kRateCounter:
        return CounterRate(begin, end, end_ns, range_ns_);
      case RangeOp::kAvg: {
        double mean = 0;
        double n = 0;
        for (const Sample* s = begin; s != end; ++s) {
          ++n;
          if (std::isinf(mean)) {
            if (std::isinf(s->value) && (mean > 0) == (s->value > 0)) continue;
            if (!std::isinf(s->value) && !std::isnan(s->value)) continue;
          }
          mean += s->value / n - mean / n;
        }
        return mean;
      }
      case RangeOp::kMin:
      case RangeOp::kMax: {
        double best = begin->value;
        for (const Sample* s = begin; s != end; ++s) {
          const bool better = expr_.range_op == RangeOp::kMax ? s->value > best : s->value < best;
          if (better || std::isnan(best)) best = s->value;
        }
        return best;
      }
      case RangeOp::kStddev:
      case RangeOp::kStdvar: {
        double aux = 0;
        double mean = 0;
        double n = 0;
        for (const Sample* s = begin; s != end; ++s) {
          ++n;
          const double delta = s->value - mean;
          mean += delta / n;
          aux += delta * (s->value - mean);
        }
        return expr_.range_op == RangeOp::kStdvar ? aux / n : std::sqrt(aux / n);
      }
      case RangeOp::kQuantile:
        scratch.clear();
        for (const Sample* s = begin; s != end; ++s) scratch.push_back(s->value);
        return Quantile(*expr_.parameter, scratch);
      case RangeOp::kFirst:
        return begin->value;
      case RangeOp::kLast:
        return end[-1].value;
      default:
        return count;
    }
  }

  /// Gives 1 at steps without samples, with the labels that the selector says.
  Status FinishAbsent(std::vector<Worker>& workers) {
    Merged all;
    for (Worker& worker : workers) {
      for (const auto& [key, series] : worker.index) {
        PartialSeries& part = worker.series[series];
        if (part.errored) {
          std::vector<LabelView> labels;
          std::string_view bytes = key;
          while (!bytes.empty()) {
            const std::string_view name = TakeText(&bytes);
            labels.push_back({name, TakeText(&bytes)});
          }
          return PipelineError(labels);
        }
        all.parts.push_back(&part);
      }
    }
    RowStore::Row present;
    present.values.assign(steps_.count, 0);
    present.valid.assign(BitWords(steps_.count), 0);
    AddUp(all, present);
    RowStore::Row row;
    row.values.assign(steps_.count, 0);
    row.valid.assign(BitWords(steps_.count), 0);
    bool any = false;
    for (uint32_t i = 0; i < steps_.count; ++i) {
      if (GetBit(present.valid.data(), i)) continue;
      row.values[i] = 1;
      SetBit(row.valid.data(), i);
      any = true;
    }
    if (!any) return absl::OkStatus();
    // Equalities name labels, unless two of them contradict.
    std::vector<LabelView> labels;
    const std::vector<Matcher>& matchers = expr_.children[0]->matchers;
    for (const Matcher& matcher : matchers) {
      if (matcher.type != MatchType::kEqual || matcher.value.empty()) continue;
      const auto same = std::count_if(matchers.begin(), matchers.end(), [&](const Matcher& other) {
        return other.name == matcher.name;
      });
      if (same == 1) labels.push_back({matcher.name, matcher.value});
    }
    std::sort(labels.begin(), labels.end());
    return AddRow(labels, row);
  }

  static constexpr uint64_t kChargeEvery = 4096;

  LogContext& log_;
  const LogSteps steps_;
  const LogRangeSpec spec_;
  const std::shared_ptr<const Pipeline> pipeline_;
  const logql::Expr& expr_;
  const int64_t range_ns_;
  bool additive_ = false;
  bool measures_bytes_ = false;
};

}  // namespace

OperatorPtr LogRange(LogContext& context, const StepGrid& grid, const LogSteps& steps,
                     LogRangeSpec spec, std::shared_ptr<const Pipeline> pipeline) {
  return std::make_unique<LogRangeOperator>(context, grid, steps, std::move(spec),
                                            std::move(pipeline));
}

}  // namespace varve::query
