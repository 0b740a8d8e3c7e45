#include "bindings/core/store.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <limits>

#include "bindings/core/histograms.h"
#include "bindings/core/samples.h"
#include "bindings/python/src/common.h"
#include "bindings/python/src/values.h"

namespace varve::python {

using bindings::MetricResult;
using bindings::Store;

Labels LabelsOf(nb::handle mapping) {
  if (!PyDict_Check(mapping.ptr())) {
    const std::string message =
        std::string("labels must be a dict of str to str, not ") + Py_TYPE(mapping.ptr())->tp_name;
    throw nb::type_error(message.c_str());
  }
  std::vector<std::string> texts;
  texts.reserve(static_cast<size_t>(PyDict_Size(mapping.ptr())) * 2);
  PyObject* name = nullptr;
  PyObject* value = nullptr;
  for (Py_ssize_t at = 0; PyDict_Next(mapping.ptr(), &at, &name, &value) != 0;) {
    texts.push_back(BytesOf(name, "a label's name"));
    texts.push_back(BytesOf(value, "a label's value"));
  }
  std::vector<LabelView> views;
  for (size_t i = 0; i < texts.size(); i += 2) views.push_back({texts[i], texts[i + 1]});
  return ValueOrRaise(Labels::Make(std::move(views)));
}

WriteOptions WriteOptionsOf(std::optional<bool> durable, bool partial) {
  WriteOptions out;
  out.partial = partial;
  if (durable.has_value()) {
    out.durability = *durable ? Durability::kDurable : Durability::kProcessCrash;
  }
  return out;
}

namespace {

template <typename T>
using Input = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

using bindings::kTimeMsMax;
using bindings::kTimeMsMin;

// Rows and bytes of one atomic batch. A record of the log holds 64 MiB; a float takes up to about
// 20 bytes, a histogram as many as it has.
constexpr size_t kBatchRows = 1'000'000;
constexpr size_t kBatchBytes = 32u << 20;

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

// Turns times in units of multiply / divide milliseconds into milliseconds, rounding down.
Result<std::vector<int64_t>> ToMilliseconds(const int64_t* times, size_t count, int64_t multiply,
                                            int64_t divide) {
  std::vector<int64_t> out(count);
  for (size_t i = 0; i < count; ++i) {
    int64_t product = 0;
    const bool overflow = __builtin_mul_overflow(times[i], multiply, &product);
    out[i] = overflow ? 0 : FloorDivide(product, divide);
    if (overflow || out[i] < kTimeMsMin || out[i] > kTimeMsMax) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        "row " + std::to_string(i) + ": the time " + std::to_string(times[i]) +
                            " is not between the years 1 and 9999; is its unit right?");
    }
  }
  return out;
}

// The rows of a call: times, values and histograms by number of a series. A row with a histogram
// has no value.
struct Rows {
  std::vector<Labels> series;
  const uint32_t* numbers = nullptr;  // null: the only one
  std::vector<int64_t> times_ms;
  const double* values = nullptr;
  const bindings::Histograms* histograms = nullptr;  // null: none

  uint32_t number(size_t row) const { return numbers == nullptr ? 0 : numbers[row]; }
  const query::FloatHistogram* histogram(size_t row) const {
    return histograms == nullptr ? nullptr : histograms->rows[row].get();
  }
};

Status OfRow(size_t row, const Status& status) {
  return MakeStatus(status.code(),
                    "row " + std::to_string(row) + ": " +
                        std::string(status.message().data(), status.message().size()));
}

Status CheckNumbers(const Rows& rows) {
  for (size_t i = 0; rows.numbers != nullptr && i < rows.times_ms.size(); ++i) {
    if (rows.numbers[i] < rows.series.size()) continue;
    return OfRow(i, MakeStatus(StatusCode::kInvalidArgument,
                               "there is no series number " + std::to_string(rows.numbers[i])));
  }
  return absl::OkStatus();
}

struct Appended {
  uint64_t samples = 0;
  uint64_t rejected = 0;
  std::vector<std::string> reasons;
};

Result<Appended> AppendRows(Store& store, const Rows& rows, std::optional<bool> durable,
                            bool partial) {
  Appended total;
  WriteBatch batch;
  std::vector<uint32_t> index_of(rows.series.size());
  std::vector<bool> in_batch(rows.series.size());
  const size_t count = rows.times_ms.size();
  for (size_t begin = 0; begin < count;) {
    batch.Clear();
    in_batch.assign(rows.series.size(), false);
    size_t end = begin;
    for (size_t bytes = 0; end < count && end - begin < kBatchRows && bytes < kBatchBytes; ++end) {
      const uint32_t number = rows.number(end);
      if (!in_batch[number]) {
        in_batch[number] = true;
        index_of[number] = batch.AddSeries(rows.series[number].view());
      }
      if (const query::FloatHistogram* const histogram = rows.histogram(end)) {
        Result<Histogram> stored = bindings::ToStored(*histogram);
        if (!stored.ok()) return OfRow(end, stored.status());
        bytes += bindings::StoredBytes(*stored);
        batch.AddHistogram(index_of[number], rows.times_ms[end], *std::move(stored));
      } else {
        batch.AddSample(index_of[number], rows.times_ms[end], rows.values[end]);
      }
    }
    WriteOptions options;
    options.partial = partial;
    const bool last = end == count;
    // Earlier batches of one call need no sync of their own: the last one syncs the log up to it.
    if (durable.has_value()) {
      options.durability = *durable && last ? Durability::kDurable : Durability::kProcessCrash;
    } else if (!last) {
      options.durability = Durability::kProcessCrash;
    }
    const Result<AppendResult> done =
        store.Call([&](Database& database) { return database.Append(batch, options); });
    if (!done.ok()) {
      if (begin == 0) return done.status();
      return MakeStatus(
          done.status().code(),
          std::string(done.status().message().data(), done.status().message().size()) +
              " (the first " + std::to_string(begin) + " rows are stored)");
    }
    total.samples += done->samples + done->histograms;
    total.rejected += done->rejected;
    for (const Rejection& rejection : done->rejections) {
      if (total.reasons.size() < 100) total.reasons.push_back(rejection.detail);
    }
    begin = end;
  }
  return total;
}

// Reads what Append and Load take. Times become milliseconds later, without the interpreter lock.
Rows RowsOf(nb::list series, const std::optional<Input<uint32_t>>& numbers,
            const Input<int64_t>& times, int64_t multiply, int64_t divide,
            const Input<double>& values, const bindings::Histograms* histograms) {
  if (times.size() != values.size()) {
    const std::string message =
        std::to_string(times.size()) + " times but " + std::to_string(values.size()) + " values";
    throw nb::value_error(message.c_str());
  }
  if ((numbers.has_value() && numbers->size() != times.size()) ||
      (histograms != nullptr && histograms->rows.size() != times.size())) {
    throw nb::value_error("series numbers, histograms and times differ in length");
  }
  if (multiply <= 0 || divide <= 0) throw nb::value_error("units must be positive");
  Rows out;
  out.series.reserve(series.size());
  for (const nb::handle set : series) out.series.push_back(LabelsOf(set));
  if (out.series.empty() && times.size() > 0) throw nb::value_error("no series");
  if (numbers.has_value()) out.numbers = numbers->data();
  out.values = values.data();
  out.histograms = histograms;
  return out;
}

Status SetTimes(const Input<int64_t>& times, int64_t multiply, int64_t divide, Rows* rows) {
  Result<std::vector<int64_t>> times_ms =
      ToMilliseconds(times.data(), times.size(), multiply, divide);
  if (!times_ms.ok()) return times_ms.status();
  rows->times_ms = *std::move(times_ms);
  return CheckNumbers(*rows);
}

nb::tuple Append(Store& self, nb::list series, std::optional<Input<uint32_t>> numbers,
                 const Input<int64_t>& times, int64_t multiply, int64_t divide,
                 const Input<double>& values, const bindings::Histograms* histograms,
                 std::optional<bool> durable, bool partial) {
  Rows rows = RowsOf(series, numbers, times, multiply, divide, values, histograms);
  const Appended done = ValueOrRaise(Unlocked([&]() -> Result<Appended> {
    if (Status status = SetTimes(times, multiply, divide, &rows); !status.ok()) return status;
    return AppendRows(self, rows, durable, partial);
  }));
  return nb::make_tuple(done.samples, done.rejected, done.reasons);
}

// Hands the rows of one series over, by time; of equal times the first row counts.
Status LoadSeries(const Rows& rows, LabelsView labels, std::vector<size_t>* order,
                  BulkLoader* loader) {
  std::stable_sort(order->begin(), order->end(),
                   [&](size_t a, size_t b) { return rows.times_ms[a] < rows.times_ms[b]; });
  std::vector<int64_t> times, histogram_times;
  std::vector<double> values;
  std::vector<Histogram> histograms;
  for (size_t i = 0; i < order->size(); ++i) {
    const size_t row = (*order)[i];
    if (i > 0 && rows.times_ms[(*order)[i - 1]] == rows.times_ms[row]) continue;
    if (const query::FloatHistogram* const histogram = rows.histogram(row)) {
      Result<Histogram> stored = bindings::ToStored(*histogram);
      if (!stored.ok()) return OfRow(row, stored.status());
      histogram_times.push_back(rows.times_ms[row]);
      histograms.push_back(*std::move(stored));
    } else {
      times.push_back(rows.times_ms[row]);
      values.push_back(rows.values[row]);
    }
  }
  if (!times.empty()) {
    if (Status status = loader->AddSamples(labels, times, values); !status.ok()) return status;
  }
  if (histograms.empty()) return absl::OkStatus();
  return loader->AddHistograms(labels, histogram_times, histograms);
}

// Loads history past the out-of-order window, all at once.
nb::tuple Load(Store& self, nb::list series, std::optional<Input<uint32_t>> numbers,
               const Input<int64_t>& times, int64_t multiply, int64_t divide,
               const Input<double>& values, const bindings::Histograms* histograms) {
  Rows rows = RowsOf(series, numbers, times, multiply, divide, values, histograms);
  RaiseIfBad(Unlocked([&]() -> Status {
    if (Status status = SetTimes(times, multiply, divide, &rows); !status.ok()) return status;
    std::vector<std::vector<size_t>> order(rows.series.size());
    for (size_t i = 0; i < rows.times_ms.size(); ++i) order[rows.number(i)].push_back(i);
    return self.Call([&](Database& database) -> Status {
      auto loader = database.StartBulkLoad();
      if (!loader.ok()) return loader.status();
      for (size_t s = 0; s < rows.series.size(); ++s) {
        if (Status status = LoadSeries(rows, rows.series[s].view(), &order[s], loader->get());
            !status.ok()) {
          return status;
        }
      }
      return (*loader)->Finish();
    });
  }));
  return nb::make_tuple(times.size(), rows.series.size());
}

query::QueryOptions QueryOptionsOf(std::optional<int64_t> timeout_ms,
                                   std::optional<int64_t> lookback_ms,
                                   std::optional<uint64_t> samples_max,
                                   std::shared_ptr<query::Cancellation> cancellation) {
  query::QueryOptions out;
  if (timeout_ms.has_value()) out.timeout = std::chrono::milliseconds(*timeout_ms);
  if (lookback_ms.has_value()) out.lookback_delta = std::chrono::milliseconds(*lookback_ms);
  out.max_samples = samples_max;
  out.cancellation = std::move(cancellation);
  out.analyze = true;  // costs a few clock reads an operator
  return out;
}

std::shared_ptr<const MetricResult> Instant(Store& self, const std::string& text, int64_t time_ms,
                                            std::optional<int64_t> timeout_ms,
                                            std::optional<int64_t> lookback_ms,
                                            std::optional<uint64_t> samples_max) {
  const auto cancellation = std::make_shared<query::Cancellation>();
  const auto options = QueryOptionsOf(timeout_ms, lookback_ms, samples_max, cancellation);
  return ValueOrRaise(
      Interruptible(cancellation.get(), [&] { return self.Instant(text, time_ms, options); }),
      text);
}

std::shared_ptr<const MetricResult> Range(Store& self, const std::string& text, int64_t start_ms,
                                          int64_t end_ms, int64_t step_ms,
                                          std::optional<int64_t> timeout_ms,
                                          std::optional<int64_t> lookback_ms,
                                          std::optional<uint64_t> samples_max) {
  const auto cancellation = std::make_shared<query::Cancellation>();
  const auto options = QueryOptionsOf(timeout_ms, lookback_ms, samples_max, cancellation);
  return ValueOrRaise(
      Interruptible(cancellation.get(),
                    [&] { return self.Range(text, {start_ms, end_ms, step_ms}, options); }),
      text);
}

std::shared_ptr<Store> Open(const std::string& dir, bool create, bool read_only, bool durable,
                            int64_t out_of_order_ms, int64_t retention_ms, uint64_t retention_bytes,
                            uint64_t query_memory_bytes, uint64_t query_points,
                            uint32_t query_threads, bool background) {
  Options options;
  options.dir = dir;
  options.create_if_missing = create;
  options.read_only = read_only;
  options.durability = durable ? Durability::kDurable : Durability::kProcessCrash;
  options.out_of_order_window = std::chrono::milliseconds(out_of_order_ms);
  options.retention_time = std::chrono::milliseconds(retention_ms);
  options.retention_bytes = retention_bytes;
  options.background_threads = background ? 1 : 0;
  query::EngineOptions engine;
  engine.memory_bytes_max = query_memory_bytes;
  engine.max_points = query_points;
  engine.threads = query_threads;
  return ValueOrRaise(Unlocked([&] { return Store::Open(options, engine); }));
}

nb::list TextList(const std::vector<std::string>& texts) {
  nb::list out;
  for (const std::string& text : texts) out.append(Text(text));
  return out;
}

nb::dict Stats(Store& self) {
  const DatabaseStats stats = ValueOrRaise(Unlocked([&] {
    return self.Call([](Database& database) -> Result<DatabaseStats> { return database.Stats(); });
  }));
  nb::dict out;
  out["head_series"] = stats.head_series;
  out["head_samples"] = stats.head_samples;
  out["head_bytes"] = stats.head_bytes;
  out["wal_bytes"] = stats.wal_bytes;
  out["wal_syncs"] = stats.wal_syncs;
  out["samples_appended"] = stats.samples_appended;
  out["samples_rejected"] = stats.samples_rejected;
  out["series_created"] = stats.series_created;
  out["seals"] = stats.seals;
  out["compactions"] = stats.compactions;
  out["disk_bytes"] = stats.disk_bytes;
  out["read_only"] = stats.read_only;
  out["blocks"] = stats.blocks.size();
  uint64_t samples = 0;
  for (const BlockStats& block : stats.blocks) samples += block.samples;
  out["block_samples"] = samples;
  return out;
}

nb::list Recovery(Store& self) {
  nb::list out;
  const Status status = self.Call([&](Database& database) -> Status {
    for (const Status& damage : database.recovery().damage) {
      out.append(Text({damage.message().data(), damage.message().size()}));
    }
    for (const std::string& file : database.recovery().quarantined) {
      out.append(Text("set aside: " + file));
    }
    return absl::OkStatus();
  });
  RaiseIfBad(status);
  return out;
}

std::optional<nb::tuple> TimeRangeOf(Store& self) {
  const TimeRange range = ValueOrRaise(Unlocked([&] {
    return self.Call([](Database& database) -> Result<TimeRange> {
      const auto snapshot = database.TakeSnapshot();
      if (!snapshot.ok()) return snapshot.status();
      return (*snapshot)->time_range();
    });
  }));
  if (range.min_ms > range.max_ms) return std::nullopt;
  return nb::make_tuple(range.min_ms, range.max_ms);
}

void AppendMetadata(Store& self, const std::string& family, const std::string& type,
                    const std::string& help, const std::string& unit) {
  Metadata metadata;
  metadata.help = help;
  metadata.unit = unit;
  bool known = false;
  for (uint8_t i = 0; !known && i <= static_cast<uint8_t>(MetricType::kStateSet); ++i) {
    known = ToString(static_cast<MetricType>(i)) == type;
    if (known) metadata.type = static_cast<MetricType>(i);
  }
  if (!known) throw nb::value_error(("\"" + type + "\" is not a metric type").c_str());
  WriteBatch batch;
  batch.AddMetadata(family, std::move(metadata));
  RaiseIfBad(Unlocked([&] {
               return self.Call([&](Database& database) { return database.Append(batch); });
             }).status());
}

nb::dict FamilyMetadata(Store& self) {
  const auto families = ValueOrRaise(Unlocked([&] {
    return self.Call(
        [](Database& database) -> Result<std::map<std::string, std::vector<Metadata>>> {
          const auto snapshot = database.TakeSnapshot();
          if (!snapshot.ok()) return snapshot.status();
          return (*snapshot)->FamilyMetadata();
        });
  }));
  nb::dict out;
  for (const auto& [name, all] : families) {
    if (all.empty()) continue;
    nb::dict one;
    one["type"] = Text(ToString(all.front().type));
    one["help"] = Text(all.front().help);
    one["unit"] = Text(all.front().unit);
    out[Text(name)] = one;
  }
  return out;
}

// Runs a call without arguments that gives a Status.
template <auto Method>
void Plain(Store& self) {
  RaiseIfBad(
      Unlocked([&] { return self.Call([](Database& database) { return (database.*Method)(); }); }));
}

}  // namespace

void RegisterStore(nb::module_& module) {
  module.attr("TIME_MS_MIN") = kTimeMsMin;
  module.attr("TIME_MS_MAX") = kTimeMsMax;
  nb::class_<Store> store(module, "Store");
  store
      .def_static("open", &Open, nb::arg("dir"), nb::kw_only(), nb::arg("create"),
                  nb::arg("read_only"), nb::arg("durable"), nb::arg("out_of_order_ms"),
                  nb::arg("retention_ms"), nb::arg("retention_bytes"),
                  nb::arg("query_memory_bytes"), nb::arg("query_points"), nb::arg("query_threads"),
                  nb::arg("background"))
      .def("close", [](Store& self) { RaiseIfBad(Unlocked([&] { return self.Close(); })); })
      .def_prop_ro("closed", &Store::closed)
      .def_prop_ro("dir", &Store::dir)
      .def("append", &Append, nb::arg("series"), nb::arg("numbers").none().noconvert(),
           nb::arg("times").noconvert(), nb::arg("multiply"), nb::arg("divide"),
           nb::arg("values").noconvert(), nb::arg("histograms").none(), nb::arg("durable").none(),
           nb::arg("partial"))
      .def("load", &Load, nb::arg("series"), nb::arg("numbers").none().noconvert(),
           nb::arg("times").noconvert(), nb::arg("multiply"), nb::arg("divide"),
           nb::arg("values").noconvert(), nb::arg("histograms").none())
      .def("append_metadata", &AppendMetadata, nb::arg("family"), nb::arg("type"), nb::arg("help"),
           nb::arg("unit"))
      .def("metadata", &FamilyMetadata)
      .def("instant", &Instant, nb::arg("text"), nb::arg("time_ms"),
           nb::arg("timeout_ms") = nb::none(), nb::arg("lookback_ms") = nb::none(),
           nb::arg("samples_max") = nb::none())
      .def("range", &Range, nb::arg("text"), nb::arg("start_ms"), nb::arg("end_ms"),
           nb::arg("step_ms"), nb::arg("timeout_ms") = nb::none(),
           nb::arg("lookback_ms") = nb::none(), nb::arg("samples_max") = nb::none())
      .def(
          "explain",
          [](Store& self, const std::string& text, int64_t start_ms, int64_t end_ms,
             int64_t step_ms) {
            return ValueOrRaise(
                Unlocked([&] { return self.Explain(text, {start_ms, end_ms, step_ms}); }), text);
          },
          nb::arg("text"), nb::arg("start_ms"), nb::arg("end_ms"), nb::arg("step_ms"))
      .def(
          "label_names",
          [](Store& self, const std::string& selector, int64_t start_ms, int64_t end_ms) {
            return TextList(ValueOrRaise(
                Unlocked([&] { return self.LabelNames(selector, {start_ms, end_ms}); }), selector));
          },
          nb::arg("selector"), nb::arg("start_ms"), nb::arg("end_ms"))
      .def(
          "label_values",
          [](Store& self, const std::string& name, const std::string& selector, int64_t start_ms,
             int64_t end_ms) {
            return TextList(ValueOrRaise(
                Unlocked([&] { return self.LabelValues(name, selector, {start_ms, end_ms}); }),
                selector));
          },
          nb::arg("name"), nb::arg("selector"), nb::arg("start_ms"), nb::arg("end_ms"))
      .def(
          "series",
          [](Store& self, const std::string& selector, int64_t start_ms, int64_t end_ms) {
            nb::list out;
            for (const Labels& labels :
                 ValueOrRaise(Unlocked([&] { return self.Series(selector, {start_ms, end_ms}); }),
                              selector)) {
              out.append(LabelsDict(labels.view()));
            }
            return out;
          },
          nb::arg("selector"), nb::arg("start_ms"), nb::arg("end_ms"))
      .def(
          "samples",
          [](Store& self, const std::string& selector, int64_t start_ms, int64_t end_ms,
             int64_t rows) {
            return StreamCapsule(ValueOrRaise(
                Unlocked([&] { return self.Samples(selector, {start_ms, end_ms}, rows); }),
                selector));
          },
          nb::arg("selector"), nb::arg("start_ms"), nb::arg("end_ms"), nb::arg("rows"))
      .def(
          "delete_series",
          [](Store& self, const std::string& selector, int64_t start_ms, int64_t end_ms) {
            RaiseIfBad(Unlocked([&] { return self.DeleteSeries(selector, {start_ms, end_ms}); }),
                       selector);
          },
          nb::arg("selector"), nb::arg("start_ms"), nb::arg("end_ms"))
      .def("sync", &Plain<&Database::Sync>)
      .def("flush", &Plain<&Database::Flush>)
      .def("compact", &Plain<&Database::Compact>)
      .def("maintain", &Plain<&Database::Maintain>)
      .def(
          "backup",
          [](Store& self, const std::string& dir) {
            RaiseIfBad(Unlocked([&] {
              return self.Call([&](Database& database) { return database.Backup(dir); });
            }));
          },
          nb::arg("dir"))
      .def("verify",
           [](Store& self) {
             nb::list out;
             for (const Status& damage : ValueOrRaise(Unlocked([&] {
                    return self.Call([](Database& database) { return database.Verify(); });
                  }))) {
               out.append(Text({damage.message().data(), damage.message().size()}));
             }
             return out;
           })
      .def("stats", &Stats)
      .def("recovery", &Recovery)
      .def("time_range", &TimeRangeOf);
  RegisterLogs(store);
  RegisterSpans(store);
}

}  // namespace varve::python
