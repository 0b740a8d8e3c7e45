#include "query/exec/selector.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/base/strings.h"
#include "query/exec/scan.h"
#include "query/exec/series_reader.h"
#include "query/functions/float_histogram.h"
#include "query/functions/go_format.h"

namespace varve::query {

std::string DescribeSelection(const Selection& s) {
  std::string out = "{";
  for (const Matcher& m : s.matchers) {
    if (out.size() > 1) out += ", ";
    out += ToString(m);
  }
  out += "}";
  if (s.edges == WindowEdges::kAnchored) out += " anchored";
  if (s.edges == WindowEdges::kSmoothed) out += " smoothed";
  if (s.offset_ms != 0) out += Concat(" offset ", s.offset_ms, "ms");
  if (s.at_ms) out += Concat(" @ ", *s.at_ms, "ms");
  return out;
}

namespace {

using Kind = AnnotationSink::Kind;

bool EndsWith(std::string_view text, std::string_view suffix) {
  return text.size() >= suffix.size() && text.substr(text.size() - suffix.size()) == suffix;
}

bool NamesCounter(std::string_view name) {
  return EndsWith(name, "_total") || EndsWith(name, "_sum") || EndsWith(name, "_count") ||
         EndsWith(name, "_bucket");
}

/// Adds what a series' windows had to say. `name` is the metric's.
void AddNotes(ExecContext& context, uint32_t notes, std::string_view name, std::string_view place,
              double bad_quantile) {
  const auto warn = [&](std::string_view text) {
    context.annotations.Add(Kind::kWarning, text, place);
  };
  const auto info = [&](std::string_view text) {
    context.annotations.Add(Kind::kInfo, text, place);
  };
  const std::string quoted = GoQuote(name);
  if (notes & kNoteMixedFloatsHistograms) {
    warn(Concat("encountered a mix of histograms and floats for metric name ", quoted));
  }
  if (notes & kNoteHistogramsIgnored) {
    info(
        Concat("ignored histograms in a range containing both floats and histograms for metric "
               "name ",
               quoted));
  }
  if (notes & kNoteNotCounter) {
    warn(Concat("this native histogram metric is not a counter: ", quoted));
  }
  if (notes & kNoteNotGauge) {
    warn(Concat("this native histogram metric is not a gauge: ", quoted));
  }
  if (notes & kNoteMixedSchemas) {
    warn(
        Concat("vector contains a mix of histograms with exponential and custom buckets schemas "
               "for metric name ",
               quoted));
  }
  if (notes & kNoteReconciledSubtraction) {
    info("mismatched custom buckets were reconciled during subtraction");
  }
  if (notes & kNoteReconciledAddition) {
    info("mismatched custom buckets were reconciled during addition");
  }
  if (notes & kNoteReconciledAggregation) {
    info("mismatched custom buckets were reconciled during aggregation");
  }
  if (notes & kNoteResetCollision) {
    warn("conflicting counter resets during histogram aggregation");
  }
  if (notes & kNoteBadQuantile) {
    warn(Concat("quantile value should be between 0 and 1, got ", GoFormatG(bad_quantile)));
  }
  if (notes & kNoteStartOverlap) {
    warn(Concat("sample has start time that overlaps with previous sample timestamp for metric ",
                quoted));
  }
}

// --- Instant selectors ---

class InstantSelectorOperator final : public ScanOperator {
 public:
  InstantSelectorOperator(ExecContext& context, const StepGrid& grid, Selection selection,
                          SelectorValue value)
      : ScanOperator(context, grid, std::move(selection)), value_(value) {
    plan_.reach_back_ms = context.lookback_ms;
    if (smoothed()) plan_.reach_ahead_ms = context.lookback_ms;
  }
  std::string Describe() const override {
    static constexpr std::string_view kWhat[] = {"select ", "timestamps of ", "timestamps of ",
                                                 "start timestamps of "};
    return Concat(kWhat[static_cast<size_t>(value_)], DescribeSelection(selection_));
  }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(Select());
    SeriesReader::Needs needs;
    needs.stale_markers = !smoothed();
    needs.newest_only = !smoothed();
    needs.starts = value_ == SelectorValue::kStartTimestamp;
    needs.track_resets = selection_.track_resets;
    MakeWorkers(needs);
    return absl::OkStatus();
  }

  bool drops_names() const override {
    return value_ == SelectorValue::kTimestamp || value_ == SelectorValue::kStartTimestamp;
  }

  Status EvaluateRow(Worker& worker, Tile& tile, uint32_t row, uint32_t* notes) override {
    if (smoothed()) return EvaluateSmoothed(worker, tile, row, notes);
    const SeriesColumns& c = worker.columns;
    double* out = tile.values(row);
    uint64_t* valid = tile.valid(row);
    if (c.floats() && c.histograms.empty() && value_ == SelectorValue::kSample) {
      uint64_t points = 0;
      const Axis& axis = *c.axis;
      const double* values = c.values.data();
      for (uint32_t base = 0; base < grid_.count; base += 64) {
        const uint32_t stop = std::min(grid_.count, base + 64);
        uint64_t bits = 0;
        for (uint32_t i = base; i < stop; ++i) {
          if (axis.begin[i] == axis.end[i]) continue;
          const double v = values[axis.end[i] - 1];
          if (IsStaleNan(v)) continue;
          out[i] = v;
          bits |= uint64_t{1} << (i & 63);
        }
        valid[base >> 6] = bits;
        points += std::popcount(bits);
      }
      if (worker.samples.per_step()) {
        ForEachBit(valid, tile.words(), [&](uint32_t i) { worker.samples.Add(i, 1); });
      } else {
        worker.samples.AddTotal(points);
      }
      return absl::OkStatus();
    }
    size_t h = 0;  // histograms at or before the step
    for (uint32_t i = 0; i < grid_.count; ++i) {
      const int64_t at = plan_.EndAt(i);
      while (h < c.histogram_times.size() && c.histogram_times[h] <= at) ++h;
      const bool have_histogram = h > 0 && c.histogram_times[h - 1] > at - plan_.reach_back_ms;
      const bool have_float = c.floats() && c.axis->begin[i] < c.axis->end[i];
      if (!have_histogram && !have_float) continue;
      const uint32_t f = have_float ? c.axis->end[i] - 1 : 0;
      const bool take_float =
          have_float && (!have_histogram || c.axis->times[f] > c.histogram_times[h - 1]);
      const int64_t time = take_float ? c.axis->times[f] : c.histogram_times[h - 1];
      if (take_float ? IsStaleNan(c.values[f]) : IsStaleNan(c.histograms[h - 1]->sum)) continue;
      uint64_t weight = 1;
      switch (value_) {
        case SelectorValue::kSample:
          if (take_float) {
            tile.SetFloat(row, i, c.values[f]);
          } else {
            tile.histograms(row)[i] = c.histograms[h - 1];
            weight = SampleWeight(*c.histograms[h - 1]);
          }
          break;
        case SelectorValue::kTimestamp:
          tile.SetFloat(row, i, static_cast<double>(time) / 1000);
          break;
        case SelectorValue::kTimestampMillis:
          if (!take_float)
            return ExecutionError("this should be an info metric, with float samples");
          tile.SetFloat(row, i, static_cast<double>(time));
          break;
        case SelectorValue::kStartTimestamp: {
          int64_t start = kNoStartTime;
          if (take_float && !c.starts.empty()) start = c.starts[f];
          if (!take_float && !c.histogram_starts.empty()) start = c.histogram_starts[h - 1];
          tile.SetFloat(row, i, static_cast<double>(start) / 1000);
          break;
        }
      }
      worker.samples.Add(i, weight);
    }
    return absl::OkStatus();
  }

  void NoteRows(const Tile& tile, size_t first, const std::vector<uint32_t>& notes) override {
    for (size_t r = 0; r < notes.size(); ++r) {
      if (notes[r] != 0) AddNotes(context_, notes[r], NameOf(first + r), selection_.place, 0);
    }
  }

 private:
  bool smoothed() const { return selection_.edges == WindowEdges::kSmoothed; }

  /// Interpolates between the samples around each step.
  Status EvaluateSmoothed(Worker& worker, Tile& tile, uint32_t row, uint32_t* notes) {
    const SeriesColumns& c = worker.columns;
    for (uint32_t i = 0; i < grid_.count; ++i) {
      const int64_t at = plan_.EndAt(i);
      const bool floats = c.floats() && c.axis->begin[i] < c.axis->end[i];
      const auto first_h = std::upper_bound(c.histogram_times.begin(), c.histogram_times.end(),
                                            at - plan_.reach_back_ms);
      const auto end_h =
          std::upper_bound(first_h, c.histogram_times.end(), at + plan_.reach_ahead_ms);
      if (floats && first_h != end_h) {
        *notes |= kNoteMixedFloatsHistograms;
        continue;
      }
      if (floats) {
        const int64_t* begin = c.axis->times.data() + c.axis->begin[i];
        const int64_t* end = c.axis->times.data() + c.axis->end[i];
        const int64_t* next = std::lower_bound(begin, end, at);
        const double* values = c.values.data() + c.axis->begin[i];
        const size_t k = next - begin;
        if (next != end && *next == at) {
          tile.SetFloat(row, i, values[k]);
        } else if (k > 0 && next != end) {
          tile.SetFloat(
              row, i,
              InterpolateFloat(begin[k - 1], values[k - 1], begin[k], values[k], at, false));
        } else if (k > 0) {
          tile.SetFloat(row, i, values[k - 1]);
        }
      } else if (first_h != end_h) {
        const auto next = std::lower_bound(first_h, end_h, at);
        const size_t k = next - c.histogram_times.begin();
        HistogramPtr value;
        if (next != end_h && *next == at) {
          value = c.histograms[k];
        } else if (next != first_h && next != end_h) {
          const FloatHistogram& a = *c.histograms[k - 1];
          const FloatHistogram& b = *c.histograms[k];
          value = InterpolateHistogram(
              c.histogram_times[k - 1], a, c.histogram_times[k], b, at,
              b.reset_hint != CounterResetHint::kGauge && a.reset_hint != CounterResetHint::kGauge);
          if (value == nullptr) *notes |= kNoteMixedSchemas;
        } else if (next != first_h) {
          value = c.histograms[k - 1];
        }
        if (value != nullptr) tile.histograms(row)[i] = std::move(value);
      }
    }
    for (uint32_t i = 0; i < grid_.count; ++i) {
      if (tile.has_any(row, i)) worker.samples.Add(i, 1);
    }
    return absl::OkStatus();
  }

  const SelectorValue value_;
};

// --- Window functions ---

/// Slides the windows of a call over the columns of one series.
class WindowEvaluator {
 public:
  WindowEvaluator(ExecContext& context, const StepGrid& grid, WindowCall call)
      : context_(context), grid_(grid), call_(std::move(call)) {}

  WindowCall& call() { return call_; }
  const WindowCall& call() const { return call_; }

  Status OpenParameters(WindowParameters& parameters) {
    for (int p = 0; p < 2; ++p) {
      if (parameters.operators[p] == nullptr) continue;
      VARVE_RETURN_IF_ERROR(parameters.operators[p]->Open());
      VARVE_RETURN_IF_ERROR(ReadScalar(*parameters.operators[p], &call_.parameters[p]));
    }
    return absl::OkStatus();
  }
  /// Smoothing factors outside (0, 1) fail the query as soon as there is a window.
  Status CheckParameters() const {
    if (call_.spec.function != WindowFunction::kSmoothing) return absl::OkStatus();
    for (uint32_t i = 0; i < grid_.count; ++i) {
      const double sf = call_.parameters[0][i];
      const double tf = call_.parameters[1][i];
      if (sf <= 0 || sf >= 1) {
        return ExecutionError(
            Concat("invalid smoothing factor. Expected: 0 < sf < 1, got: ", GoFormatFixed(sf)));
      }
      if (tf <= 0 || tf >= 1) {
        return ExecutionError(
            Concat("invalid trend factor. Expected: 0 < tf < 1, got: ", GoFormatFixed(tf)));
      }
    }
    return absl::OkStatus();
  }

  Status Evaluate(const WindowPlan& plan, const SeriesColumns& c, std::vector<uint32_t>* resets,
                  std::vector<double>* scratch, Tile& tile, uint32_t row, uint32_t* notes,
                  SampleCounter* samples) const {
    const bool plain_floats = c.histograms.empty() && c.starts.empty();
    if (plain_floats && !c.floats()) return absl::OkStatus();
    if (c.floats()) VARVE_RETURN_IF_ERROR(context_.budget.Check(c.axis->widest));
    if (plain_floats && call_.spec.edges == WindowEdges::kPlain &&
        HasRowKernel(call_.spec.function)) {
      if (samples->per_step()) {
        for (uint32_t i = 0; i < grid_.count; ++i) {
          samples->Add(i, c.axis->end[i] - c.axis->begin[i]);
        }
      } else {
        samples->AddTotal(c.axis->window_samples);
      }
      RowInput in;
      in.windows = {c.axis->times.data(), c.axis->times.size(), c.axis->begin.data(),
                    c.axis->end.data(), grid_.count};
      in.values = c.values.data();
      in.rate = c.axis->rate.data();
      in.range_seconds = static_cast<double>(call_.spec.range_ms) / 1000;
      in.scratch = scratch;
      resets->clear();
      if (NeedsResets(call_.spec.function) && !c.non_decreasing) {
        FindResets(c.values.data(), c.axis->need_begin, c.axis->need_end, resets);
      }
      in.resets = resets->data();
      in.resets_count = resets->size();
      if (!call_.parameters[0].empty()) in.parameter = call_.parameters[0].data();
      EvaluateRow(call_.spec.function, in, tile.values(row), tile.valid(row));
      if (call_.spec.function == WindowFunction::kQuantile) {
        ForEachBit(tile.valid(row), tile.words(), [&](uint32_t i) {
          if (!(in.parameter[i] >= 0 && in.parameter[i] <= 1)) *notes |= kNoteBadQuantile;
        });
      }
      return absl::OkStatus();
    }
    size_t hb = 0;
    size_t he = 0;
    for (uint32_t i = 0; i < grid_.count; ++i) {
      const int64_t end = plan.EndAt(i);
      WindowSamples s;
      if (c.floats()) {
        const uint32_t b = c.axis->begin[i];
        s.times = c.axis->times.data() + b;
        s.values = c.values.data() + b;
        if (!c.starts.empty()) s.starts = c.starts.data() + b;
        s.count = c.axis->end[i] - b;
      }
      const size_t n = c.histogram_times.size();
      while (hb < n && c.histogram_times[hb] <= end - plan.reach_back_ms) ++hb;
      while (he < n && c.histogram_times[he] <= end + plan.reach_ahead_ms) ++he;
      if (he > hb) {
        s.histogram_times = c.histogram_times.data() + hb;
        s.histograms = c.histograms.data() + hb;
        if (!c.histogram_starts.empty()) s.histogram_starts = c.histogram_starts.data() + hb;
        s.histogram_count = he - hb;
        for (size_t k = hb; k < he; ++k) samples->Add(i, SampleWeight(*c.histograms[k]));
      }
      samples->Add(i, s.count);
      if (s.count + s.histogram_count == 0) continue;
      const double parameters[2] = {Parameter(0, i), Parameter(1, i)};
      WindowResult result = EvaluateWindow(call_.spec, s, end, grid_.At(i), parameters, notes);
      if (!result.valid) continue;
      if (result.histogram != nullptr) {
        tile.histograms(row)[i] = std::move(result.histogram);
      } else {
        tile.SetFloat(row, i, result.value);
      }
    }
    return absl::OkStatus();
  }

  /// Tells that Note has nothing to say about the series of a metric whatever their values.
  bool NeverNotes(std::string_view name) const {
    if (call_.spec.function != WindowFunction::kRate &&
        call_.spec.function != WindowFunction::kIncrease) {
      return true;
    }
    return name.empty() || (!context_.options.type_and_unit_labels && NamesCounter(name));
  }
  /// Adds the notes of a row; `name` is that of the series before any label was dropped.
  void Note(const Tile& tile, uint32_t row, uint32_t notes, LabelsView labels) const {
    const std::string_view name = FindLabel(labels, kMetricName);
    if (notes != 0) {
      double bad = 0;
      if (notes & kNoteBadQuantile) {
        for (const double q : call_.parameters[0]) {
          if (!(q >= 0 && q <= 1)) bad = q;
        }
      }
      AddNotes(context_, notes, name, call_.place, bad);
    }
    if (call_.spec.function != WindowFunction::kRate &&
        call_.spec.function != WindowFunction::kIncrease) {
      return;
    }
    if (name.empty()) return;
    const uint64_t* valid = tile.valid(row);
    const bool any_float =
        std::any_of(valid, valid + tile.words(), [](uint64_t word) { return word != 0; });
    if (!any_float) return;
    if (context_.options.type_and_unit_labels) {
      const std::string_view type = FindLabel(labels, "__type__");
      if (type == "counter" || type == "histogram") return;
      context_.annotations.Add(
          Kind::kInfo,
          Concat("metric might not be a counter, __type__ label is not set to \"counter\" or "
                 "\"histogram\", got ",
                 GoQuote(type), ": ", GoQuote(name)),
          call_.place);
      return;
    }
    if (NamesCounter(name)) return;
    context_.annotations.Add(
        Kind::kInfo,
        Concat("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ",
               GoQuote(name)),
        call_.place);
  }

  /// Lists positions in (begin, end) whose value is below the one before.
  static void FindResets(const double* values, uint32_t begin, uint32_t end,
                         std::vector<uint32_t>* resets) {
    uint32_t i = begin + 1;
    for (; i + 8 <= end; i += 8) {
      bool any = false;
      for (uint32_t k = 0; k < 8; ++k) any |= values[i + k] < values[i + k - 1];
      if (!any) continue;
      for (uint32_t k = 0; k < 8; ++k) {
        if (values[i + k] < values[i + k - 1]) resets->push_back(i + k);
      }
    }
    for (; i < end; ++i) {
      if (values[i] < values[i - 1]) resets->push_back(i);
    }
  }

 private:
  double Parameter(int p, uint32_t step) const {
    return call_.parameters[p].empty() ? 0 : call_.parameters[p][step];
  }

  ExecContext& context_;
  const StepGrid grid_;
  WindowCall call_;
};

bool EdgesSuffice(WindowFunction f) {
  return f == WindowFunction::kRate || f == WindowFunction::kIncrease ||
         f == WindowFunction::kDelta || f == WindowFunction::kLast || f == WindowFunction::kFirst;
}

std::string DescribeCall(const WindowCall& call) {
  return Concat(ToString(call.spec.function), " over ", call.spec.range_ms, "ms");
}

class RangeFunctionOperator final : public ScanOperator {
 public:
  RangeFunctionOperator(ExecContext& context, const StepGrid& grid, Selection selection,
                        WindowCall call, WindowParameters parameters)
      : ScanOperator(context, grid, std::move(selection)),
        evaluator_(context, grid, std::move(call)),
        parameters_(std::move(parameters)) {
    const WindowSpec& spec = evaluator_.call().spec;
    plan_.reach_back_ms = spec.range_ms;
    if (spec.edges != WindowEdges::kPlain) plan_.reach_back_ms += context.lookback_ms;
    if (spec.edges == WindowEdges::kSmoothed) plan_.reach_ahead_ms = context.lookback_ms;
  }
  std::string Describe() const override {
    return Concat(DescribeCall(evaluator_.call()), " of ", DescribeSelection(selection_));
  }
  std::vector<Operator*> children() const override {
    std::vector<Operator*> out;
    for (const OperatorPtr& p : parameters_.operators) {
      if (p) out.push_back(p.get());
    }
    return out;
  }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(evaluator_.OpenParameters(parameters_));
    const WindowCall& call = evaluator_.call();
    VARVE_RETURN_IF_ERROR(Select());
    if (set_->size() > 0) VARVE_RETURN_IF_ERROR(evaluator_.CheckParameters());
    SeriesReader::Needs needs;
    needs.starts = call.start_timestamps;
    needs.track_resets = selection_.track_resets;
    needs.spec = call.spec;
    if (call.spec.edges == WindowEdges::kPlain) {
      needs.rate = call.spec.function == WindowFunction::kRate ||
                   call.spec.function == WindowFunction::kIncrease ||
                   call.spec.function == WindowFunction::kDelta;
      needs.edges_suffice = EdgesSuffice(call.spec.function);
      needs.values_unused = call.spec.function == WindowFunction::kCount ||
                            call.spec.function == WindowFunction::kPresent;
    }
    MakeWorkers(needs);
    return absl::OkStatus();
  }

  bool drops_names() const override { return !evaluator_.call().keeps_name; }
  Status EvaluateRow(Worker& worker, Tile& tile, uint32_t row, uint32_t* notes) override {
    return evaluator_.Evaluate(plan_, worker.columns, &worker.resets, &worker.scratch, tile, row,
                               notes, &worker.samples);
  }
  void NoteRows(const Tile& tile, size_t first, const std::vector<uint32_t>& notes) override {
    for (uint32_t r = 0; r < tile.rows(); ++r) {
      if (notes[r] == 0 && evaluator_.NeverNotes(NameOf(first + r))) continue;
      set_->GetLabels(first + r, &labels_);
      evaluator_.Note(tile, r, notes[r], labels_);
    }
  }

 private:
  WindowEvaluator evaluator_;
  WindowParameters parameters_;
  std::vector<LabelView> labels_;
};

/// Windows over the points of a subquery.
class SubqueryFunctionOperator final : public Operator {
 public:
  SubqueryFunctionOperator(ExecContext& context, const StepGrid& grid, OperatorPtr input,
                           int64_t offset_ms, std::optional<int64_t> at_ms, WindowCall call,
                           WindowParameters parameters)
      : Operator(context, grid),
        account_(context.account),
        input_(std::move(input)),
        evaluator_(context, grid, std::move(call)),
        parameters_(std::move(parameters)) {
    plan_.grid = grid;
    plan_.offset_ms = offset_ms;
    plan_.has_at = at_ms.has_value();
    plan_.at_ms = at_ms.value_or(0);
    plan_.reach_back_ms = evaluator_.call().spec.range_ms;
  }
  std::string Describe() const override {
    return Concat(DescribeCall(evaluator_.call()), " of subquery, step ", input_->grid().step_ms,
                  "ms");
  }
  std::vector<Operator*> children() const override {
    std::vector<Operator*> out = {input_.get()};
    for (const OperatorPtr& p : parameters_.operators) {
      if (p) out.push_back(p.get());
    }
    return out;
  }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(evaluator_.OpenParameters(parameters_));
    VARVE_RETURN_IF_ERROR(input_->Open());
    if (!input_->series().empty()) VARVE_RETURN_IF_ERROR(evaluator_.CheckParameters());
    series_ = input_->series();
    if (!evaluator_.call().keeps_name) {
      for (SeriesHeader& header : series_) {
        if (context_.delayed_names) {
          header.drop_name = true;
        } else {
          header.labels = DropMetadata(context_, header.labels);
        }
      }
    }
    // Rows without gaps, which most are, share one axis.
    const StepGrid& inner = input_->grid();
    full_axis_.times.resize(inner.count);
    for (uint32_t i = 0; i < inner.count; ++i) full_axis_.times[i] = inner.At(i);
    Place(&full_axis_);
    workers_.resize(context_.pool->threads());
    for (Worker& worker : workers_) context_.StartCounter(account_, grid_, &worker.samples);
    return absl::OkStatus();
  }

  Status NextImpl(Tile& tile) override {
    if (inner_row_ >= inner_.rows()) {
      VARVE_RETURN_IF_ERROR(input_->Next(inner_));
      inner_row_ = 0;
    }
    const uint32_t rows = std::min(TileRows(), inner_.rows() - inner_row_);
    tile.Reset(rows, grid_.count);
    notes_.assign(rows, 0);
    absl::Mutex mutex;
    Status failed;
    context_.pool->For(rows, std::max(1u, rows / (context_.pool->threads() * 4)),
                       [&](uint32_t begin, uint32_t end, uint32_t w) {
                         for (uint32_t r = begin; r < end; ++r) {
                           Status status = context_.Poll();
                           if (status.ok()) status = EvaluateRow(workers_[w], tile, r);
                           if (!status.ok()) {
                             absl::MutexLock lock(&mutex);
                             failed = status;
                             return;
                           }
                         }
                       });
    VARVE_RETURN_IF_ERROR(failed);
    for (Worker& worker : workers_) context_.Count(account_, &worker.samples);
    for (uint32_t r = 0; r < rows; ++r) {
      evaluator_.Note(tile, r, notes_[r], input_->series()[next_ + r].labels);
    }
    next_ += rows;
    inner_row_ += rows;
    return absl::OkStatus();
  }

 private:
  struct Worker {
    SeriesColumns columns;
    std::vector<uint32_t> resets;
    std::vector<double> scratch;
    SampleCounter samples;
  };

  void Place(Axis* axis) const {
    axis->Place(plan_);
    const WindowSpec& spec = evaluator_.call().spec;
    std::vector<int64_t> ends(grid_.count);
    for (uint32_t i = 0; i < grid_.count; ++i) ends[i] = plan_.EndAt(i);
    PrepareRate(
        spec,
        {axis->times.data(), axis->times.size(), axis->begin.data(), axis->end.data(), grid_.count},
        ends.data(), false, &axis->rate);
  }

  Status EvaluateRow(Worker& worker, Tile& tile, uint32_t r) {
    const uint32_t from = inner_row_ + r;
    SeriesColumns& c = worker.columns;
    const StepGrid& inner = input_->grid();
    c.histogram_times.clear();
    c.histograms.clear();
    c.values.clear();
    const uint64_t* valid = inner_.valid(from);
    uint64_t floats = 0;
    for (uint32_t w = 0; w < inner_.words(); ++w) floats += std::popcount(valid[w]);
    if (floats == inner.count) {
      c.axis = &full_axis_;
      c.values.assign(inner_.values(from), inner_.values(from) + inner.count);
    } else {
      c.own_axis.times.clear();
      ForEachBit(valid, inner_.words(), [&](uint32_t i) {
        c.own_axis.times.push_back(inner.At(i));
        c.values.push_back(inner_.values(from)[i]);
      });
      Place(&c.own_axis);
      c.axis = &c.own_axis;
    }
    if (const HistogramPtr* column = inner_.histograms(from); column != nullptr) {
      for (uint32_t i = 0; i < inner.count; ++i) {
        if (column[i] == nullptr) continue;
        c.histogram_times.push_back(inner.At(i));
        // A subquery may skip samples or see one twice, so what a hint said about the sample
        // before holds no more.
        if (column[i]->reset_hint == CounterResetHint::kReset ||
            column[i]->reset_hint == CounterResetHint::kNotReset) {
          FloatHistogram copy = *column[i];
          copy.reset_hint = CounterResetHint::kUnknown;
          c.histograms.push_back(std::make_shared<const FloatHistogram>(std::move(copy)));
        } else {
          c.histograms.push_back(column[i]);
        }
      }
    }
    return evaluator_.Evaluate(plan_, c, &worker.resets, &worker.scratch, tile, r, &notes_[r],
                               &worker.samples);
  }

  const SampleAccount account_;
  OperatorPtr input_;
  WindowEvaluator evaluator_;
  WindowParameters parameters_;
  WindowPlan plan_;
  Axis full_axis_;
  Tile inner_;
  uint32_t inner_row_ = 0;
  std::vector<Worker> workers_;
  std::vector<uint32_t> notes_;
  size_t next_ = 0;
};

}  // namespace

ScanPtr InstantSelector(ExecContext& context, const StepGrid& grid, Selection selection,
                        SelectorValue value) {
  return std::make_unique<InstantSelectorOperator>(context, grid, std::move(selection), value);
}

ScanPtr RangeFunction(ExecContext& context, const StepGrid& grid, Selection selection,
                      WindowCall call, WindowParameters parameters) {
  return std::make_unique<RangeFunctionOperator>(context, grid, std::move(selection),
                                                 std::move(call), std::move(parameters));
}

OperatorPtr SubqueryFunction(ExecContext& context, const StepGrid& grid, OperatorPtr input,
                             int64_t offset_ms, std::optional<int64_t> at_ms, WindowCall call,
                             WindowParameters parameters) {
  return std::make_unique<SubqueryFunctionOperator>(context, grid, std::move(input), offset_ms,
                                                    at_ms, std::move(call), std::move(parameters));
}

Status ReadMatrix(ExecContext& context, const Selection& selection, int64_t time_ms,
                  int64_t range_ms, Matrix* out) {
  WindowPlan plan;
  plan.grid = {time_ms, 1, 1};
  plan.offset_ms = selection.offset_ms;
  plan.has_at = selection.at_ms.has_value();
  plan.at_ms = selection.at_ms.value_or(0);
  plan.reach_back_ms = range_ms;
  if (selection.edges != WindowEdges::kPlain) plan.reach_back_ms += context.lookback_ms;
  if (selection.edges == WindowEdges::kSmoothed) plan.reach_ahead_ms = context.lookback_ms;
  VARVE_ASSIGN_OR_RETURN(const auto set,
                         context.snapshot->Select(selection.matchers, plan.Covered()));
  context.series_selected += set->size();
  SeriesReader reader(plan, {});
  SeriesColumns c;
  std::vector<LabelView> labels;
  for (size_t i = 0; i < set->size(); ++i) {
    VARVE_RETURN_IF_ERROR(context.Poll());
    VARVE_RETURN_IF_ERROR(reader.Read(*set, i, &c));
    Series series;
    if (c.floats()) {
      const uint32_t b = c.axis->begin[0];
      const uint32_t e = c.axis->end[0];
      series.times_ms.assign(c.axis->times.begin() + b, c.axis->times.begin() + e);
      series.values.assign(c.values.begin() + b, c.values.begin() + e);
    }
    series.histogram_times_ms = c.histogram_times;
    series.histograms = c.histograms;
    if (selection.edges != WindowEdges::kPlain) {
      if (!series.histograms.empty()) {
        return ExecutionError("anchored modifier is not supported with histograms");
      }
      const int64_t end = plan.EndAt(0);
      ExtendToEdges(selection.edges, end - range_ms, end, &series.times_ms, &series.values);
    }
    uint64_t weight = series.values.size();
    for (const HistogramPtr& h : series.histograms) weight += SampleWeight(*h);
    if (weight == 0) continue;
    context.total_samples += weight;
    if (!context.samples_per_step.empty()) context.samples_per_step[0] += weight;
    context.samples_read += series.values.size() + series.histograms.size();
    VARVE_RETURN_IF_ERROR(
        context.budget.Take(weight, series.values.size() * 16 + series.histograms.size() * 256));
    set->GetLabels(i, &labels);
    series.labels = Labels(LabelsView(labels));
    out->push_back(std::move(series));
  }
  return absl::OkStatus();
}

}  // namespace varve::query
