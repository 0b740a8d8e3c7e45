// Streams that a server feeds: Python reads its answers a page at a time, and they leave as Arrow
// with the columns of a local stream.

#include <charconv>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "bindings/core/arrow.h"
#include "bindings/core/logs.h"
#include "bindings/core/samples.h"
#include "bindings/core/spans.h"
#include "bindings/python/src/common.h"
#include "bindings/python/src/values.h"
#include "varve/sample.h"

namespace varve::python {
namespace {

using Columns = std::vector<arrow::ArrayPtr>;

// Pulls pages from a callable, which gives None at the end. What it raises ends the stream with
// its text.
class PageSource final : public arrow::Source {
 public:
  using Read = void (*)(nb::handle page, Columns* columns);

  PageSource(std::vector<arrow::Field> fields, Read read, nb::object next)
      : fields_(std::move(fields)), read_(read), next_(std::move(next)) {}
  ~PageSource() override {
    if (Py_IsInitialized() == 0) {  // a stream that outlives the interpreter keeps the callable
      next_.release();
      return;
    }
    const nb::gil_scoped_acquire acquire;
    next_.reset();
  }

  const std::vector<arrow::Field>& fields() const override { return fields_; }

  Result<bool> Next(Columns* columns) override {
    const nb::gil_scoped_acquire acquire;
    try {
      const nb::object page = next_();
      if (page.is_none()) return false;
      read_(page, columns);
      return true;
    } catch (nb::python_error& error) {
      // The consumer would swallow it: once back in Python, the interpreter raises it again.
      if (error.matches(PyExc_KeyboardInterrupt)) PyErr_SetInterrupt();
      const nb::str text(error.value());
      return MakeStatus(StatusCode::kUnavailable, text.c_str());
    } catch (const std::exception& error) {
      return MakeStatus(
          StatusCode::kInvalidArgument,
          std::string("the server's answer is not what was asked for: ") + error.what());
    }
  }

 private:
  const std::vector<arrow::Field> fields_;
  const Read read_;
  nb::object next_;
};

// A page of samples is a list of (labels, times in ms, values or None, histograms or None).
void ReadSamples(nb::handle page, Columns* columns) {
  bindings::SampleRows rows;
  std::deque<Labels> kept;
  std::vector<LabelView> labels;
  for (const nb::handle item : nb::cast<nb::list>(page)) {
    const auto run = nb::cast<nb::tuple>(item);
    const Labels& all = kept.emplace_back(LabelsOf(run[0]));
    labels.clear();
    for (const LabelView& label : all) {
      if (label.name != kMetricName) labels.push_back(label);
    }
    const auto times = nb::cast<nb::list>(run[1]);
    const bool floats = !run[2].is_none();
    const auto points = nb::cast<nb::list>(floats ? run[2] : run[3]);
    if (points.size() != times.size()) throw nb::value_error("times and values differ in length");
    for (size_t i = 0; i < times.size(); ++i) {
      const auto time_ms = nb::cast<int64_t>(times[i]);
      if (floats) {
        rows.Append(all.metric_name(), labels, time_ms, NumberOf(points[i], "a value"));
      } else {
        rows.Append(all.metric_name(), labels, time_ms, HistogramOf(points[i]));
      }
    }
  }
  rows.Finish(columns);
}

// A page of log entries is a list of (labels, entries), each entry as Loki prints it:
// [nanoseconds as text, line, metadata if there is any].
void ReadLogs(nb::handle page, Columns* columns) {
  bindings::LogEntryRows rows;
  for (const nb::handle item : nb::cast<nb::list>(page)) {
    const auto run = nb::cast<nb::tuple>(item);
    const Labels labels = LabelsOf(run[0]);
    for (const nb::handle entry : nb::cast<nb::list>(run[1])) {
      const auto parts = nb::cast<nb::list>(entry);
      const std::string time = BytesOf(parts[0], "a time");
      int64_t time_ns = 0;
      if (std::from_chars(time.data(), time.data() + time.size(), time_ns).ec != std::errc()) {
        throw nb::value_error("a time is not a number");
      }
      const Labels metadata = parts.size() > 2 ? LabelsOf(parts[2]) : Labels();
      rows.Append(time_ns, BytesOf(parts[1], "a line"), labels.view(), metadata.view());
    }
  }
  rows.Finish(columns);
}

// A page of spans is (resources, spans), as Store.append_spans takes them.
void ReadSpans(nb::handle page, Columns* columns) {
  const auto parts = nb::cast<nb::tuple>(page);
  SpanBatch batch;
  AddSpans(nb::cast<nb::list>(parts[0]), nb::cast<nb::list>(parts[1]), &batch);
  bindings::AppendSpanColumns(batch, NsRange(), columns);
}

}  // namespace

void RegisterPages(nb::module_& module) {
  module.def(
      "sample_pages",
      [](nb::object next) {
        return StreamCapsule(
            std::make_unique<PageSource>(bindings::SampleFields(), ReadSamples, std::move(next)));
      },
      nb::arg("next"));
  module.def(
      "log_pages",
      [](nb::object next) {
        return StreamCapsule(
            std::make_unique<PageSource>(bindings::LogEntryFields(), ReadLogs, std::move(next)));
      },
      nb::arg("next"));
  module.def(
      "span_pages",
      [](nb::object next) {
        return StreamCapsule(
            std::make_unique<PageSource>(bindings::SpanFields(), ReadSpans, std::move(next)));
      },
      nb::arg("next"));
}

}  // namespace varve::python
