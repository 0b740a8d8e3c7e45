#include "bindings/core/result.h"

#include <nanobind/ndarray.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "bindings/core/arrow.h"
#include "bindings/python/src/common.h"
#include "bindings/python/src/values.h"

namespace varve::python {

using bindings::MetricResult;
using ResultPtr = std::shared_ptr<const MetricResult>;

nb::capsule StreamCapsule(std::unique_ptr<arrow::Source> source) {
  auto stream = std::make_unique<ArrowArrayStream>();
  arrow::ExportStream(std::move(source), stream.get());
  // The consumer moves the struct out and clears `release`; what it leaves is freed here.
  return nb::capsule(stream.release(), "arrow_array_stream", [](void* pointer) noexcept {
    auto* const left = static_cast<ArrowArrayStream*>(pointer);
    if (left->release != nullptr) left->release(left);
    delete left;
  });
}

nb::dict LabelsDict(LabelsView labels) {
  nb::dict out;
  for (const LabelView& label : labels) out[Text(label.name)] = Text(label.value);
  return out;
}

namespace {

template <typename T>
using Column = nb::ndarray<nb::numpy, const T, nb::ndim<1>>;

void CheckIndex(const MetricResult& result, size_t index) {
  if (index >= result.series.size()) throw nb::index_error("no such series");
}

nb::dict StatisticsDict(const query::Statistics& statistics) {
  const auto seconds = [](std::chrono::nanoseconds time) {
    return std::chrono::duration<double>(time).count();
  };
  nb::dict out;
  out["series"] = statistics.series;
  out["samples_read"] = statistics.samples_read;
  out["samples_in_windows"] = statistics.total_samples;
  out["peak_samples"] = statistics.peak_samples;
  out["peak_bytes"] = statistics.peak_bytes;
  out["parse_seconds"] = seconds(statistics.parse_time);
  out["plan_seconds"] = seconds(statistics.plan_time);
  out["run_seconds"] = seconds(statistics.exec_time);
  out["total_seconds"] = seconds(statistics.total_time);
  return out;
}

// Adds histograms, each (time_ms, dict), to a series.
void AddHistograms(nb::handle items, query::Series* out) {
  for (const nb::handle item : nb::cast<nb::list>(items)) {
    const auto parts = nb::cast<nb::tuple>(item);
    if (parts.size() != 2) throw nb::value_error("a histogram has a time");
    out->histogram_times_ms.push_back(nb::cast<int64_t>(parts[0]));
    out->histograms.push_back(HistogramOf(parts[1]));
  }
}

// Builds a result from what a server answered.
ResultPtr FromParts(int kind, nb::list series, nb::list times_ms, nb::list values,
                    const std::string& text, std::vector<std::string> warnings,
                    std::vector<std::string> infos, nb::list histograms) {
  query::QueryResult result;
  result.annotations = {std::move(warnings), std::move(infos)};
  if (kind == static_cast<int>(bindings::Kind::kString)) {
    result.value = query::StringValue{0, text};
    return bindings::MakeColumns(std::move(result));
  }
  if (times_ms.size() != series.size() || values.size() != series.size()) {
    throw nb::value_error("series, times and values must have the same length");
  }
  query::Matrix matrix;
  for (size_t i = 0; i < series.size(); ++i) {
    query::Series& out = matrix.emplace_back();
    out.labels = LabelsOf(series[i]);
    out.times_ms = nb::cast<std::vector<int64_t>>(times_ms[i]);
    out.values = nb::cast<std::vector<double>>(values[i]);
    if (out.times_ms.size() != out.values.size()) {
      throw nb::value_error("times and values of a series must have the same length");
    }
    if (i < histograms.size()) AddHistograms(histograms[i], &out);
  }
  result.value = std::move(matrix);
  auto columns = bindings::MakeColumns(std::move(result));
  auto named = std::make_shared<MetricResult>(*columns);
  named->kind = static_cast<bindings::Kind>(kind);
  return named;
}

}  // namespace

void RegisterResult(nb::module_& module) {
  nb::class_<MetricResult>(module, "MetricResult")
      .def_static("from_parts", &FromParts, nb::arg("kind"), nb::arg("series"), nb::arg("times_ms"),
                  nb::arg("values"), nb::arg("text") = "", nb::arg("warnings") = nb::list(),
                  nb::arg("infos") = nb::list(), nb::arg("histograms") = nb::list())
      .def_prop_ro("kind", [](const MetricResult& self) { return static_cast<int>(self.kind); })
      .def_prop_ro("rows", &MetricResult::rows)
      .def_prop_ro("series_count", [](const MetricResult& self) { return self.series.size(); })
      .def_prop_ro("text", [](const MetricResult& self) { return Text(self.text); })
      .def_prop_ro("has_histograms",
                   [](const MetricResult& self) { return !self.histograms.empty(); })
      .def_prop_ro("warnings", [](const MetricResult& self) { return self.annotations.warnings; })
      .def_prop_ro("infos", [](const MetricResult& self) { return self.annotations.infos; })
      .def_prop_ro("statistics",
                   [](const MetricResult& self) { return StatisticsDict(self.statistics); })
      .def("analysis",
           [](const MetricResult& self) { return query::Engine::FormatAnalysis(self.statistics); })
      .def(
          "labels",
          [](const MetricResult& self, size_t index) {
            CheckIndex(self, index);
            return LabelsDict(self.series[index].view());
          },
          nb::arg("index"))
      .def(
          "span",
          [](const MetricResult& self, size_t index) {
            CheckIndex(self, index);
            return nb::make_tuple(self.offsets[index], self.offsets[index + 1]);
          },
          nb::arg("index"))
      .def("offsets",
           [](const ResultPtr& self) {
             return Column<uint64_t>(self->offsets.data(), {self->offsets.size()}, OwnerOf(self));
           })
      .def("times_ms",
           [](const ResultPtr& self) {
             return Column<int64_t>(self->times_ms.data(), {self->times_ms.size()}, OwnerOf(self));
           })
      .def("values",
           [](const ResultPtr& self) {
             return Column<double>(self->values.data(), {self->values.size()}, OwnerOf(self));
           })
      .def(
          "row",
          [](const MetricResult& self, uint64_t row) -> nb::tuple {
            if (row >= self.rows()) throw nb::index_error("no such row");
            if (!self.histograms.empty() && self.histograms[row] != nullptr) {
              return nb::make_tuple(self.times_ms[row], HistogramDict(*self.histograms[row]));
            }
            return nb::make_tuple(self.times_ms[row], self.values[row]);
          },
          nb::arg("row"))
      .def(
          "stream",
          [](const ResultPtr& self, int64_t rows) {
            return StreamCapsule(bindings::LongSource(self, rows));
          },
          nb::arg("rows"))
      .def("series_stream",
           [](const ResultPtr& self) { return StreamCapsule(bindings::SeriesSource(self)); });
}

}  // namespace varve::python
