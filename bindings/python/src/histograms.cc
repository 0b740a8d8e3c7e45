#include "bindings/core/histograms.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "bindings/python/src/common.h"
#include "bindings/python/src/values.h"
#include "varve/histogram_buckets.h"
#include "varve/sample.h"

namespace varve::python {
namespace {

constexpr const char* kFields[] = {"count",          "sum",           "buckets",   "schema",
                                   "zero_threshold", "custom_values", "reset_hint"};

[[noreturn]] void Bad(const std::string& message) {
  Raise(MakeStatus(StatusCode::kInvalidArgument, message));
}

// Gives a field of a dict; None if it is not there.
nb::object Field(nb::handle dict, const char* name) {
  PyObject* const found = PyDict_GetItemString(dict.ptr(), name);
  return found == nullptr ? nb::none() : nb::borrow(found);
}

double NeededNumber(nb::handle dict, const char* name) {
  const nb::object value = Field(dict, name);
  if (value.is_none()) Bad(std::string("a histogram has no \"") + name + "\"");
  return NumberOf(value, name);
}

// Reads (lower, upper, count), the same behind a rule, or a dict of the three.
query::HistogramBucket BucketOf(nb::handle given, bool* has_rule) {
  *has_rule = false;
  if (PyDict_Check(given.ptr())) {
    return {NeededNumber(given, "lower"), NeededNumber(given, "upper"),
            query::HistogramBucket::Rule::kOpenLeft, NeededNumber(given, "count")};
  }
  if (!PySequence_Check(given.ptr()) || PyUnicode_Check(given.ptr())) {
    const std::string message =
        std::string("a bucket must be (lower, upper, count), not ") + Py_TYPE(given.ptr())->tp_name;
    throw nb::type_error(message.c_str());
  }
  const size_t size = nb::len(given);
  if (size != 3 && size != 4) {
    Bad("a bucket has " + std::to_string(size) + " parts, not (lower, upper, count)");
  }
  query::HistogramBucket out;
  if (size == 4) {
    const double rule = NumberOf(given[0], "a bucket's rule");
    if (!(rule >= 0 && rule <= 3)) Bad("a bucket's rule is 0 to 3");
    out.rule = static_cast<query::HistogramBucket::Rule>(static_cast<int>(rule));
    *has_rule = true;
  }
  out.lower = NumberOf(given[size - 3], "a bucket's bound");
  out.upper = NumberOf(given[size - 2], "a bucket's bound");
  out.count = NumberOf(given[size - 1], "a bucket's count");
  return out;
}

void CheckFields(nb::handle dict) {
  for (const auto& [key, value] : nb::borrow<nb::dict>(dict)) {
    const std::string name = BytesOf(key, "a histogram's field");
    if (std::find(std::begin(kFields), std::end(kFields), name) == std::end(kFields)) {
      Bad("a histogram has no field \"" + name + "\"");
    }
  }
}

// A column of histograms of a table that is not Arrow's: dicts and None.
bindings::Histograms ReadColumn(nb::handle rows) {
  bindings::Histograms out;
  size_t row = 0;
  for (const nb::handle one : nb::borrow<nb::object>(rows)) {
    if (one.is_none()) {
      out.rows.push_back(nullptr);
    } else {
      if (!PyDict_Check(one.ptr())) {
        const std::string message = "row " + std::to_string(row) +
                                    ": a histogram must be a dict, not " +
                                    Py_TYPE(one.ptr())->tp_name;
        throw nb::type_error(message.c_str());
      }
      CheckFields(one);
      out.rows.push_back(HistogramOf(one));
    }
    ++row;
  }
  return out;
}

}  // namespace

double NumberOf(nb::handle value, const char* what) {
  if (!PyUnicode_Check(value.ptr())) {
    const double out = PyFloat_AsDouble(value.ptr());
    if (out == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      const std::string message =
          std::string(what) + " must be a number, not " + Py_TYPE(value.ptr())->tp_name;
      throw nb::type_error(message.c_str());
    }
    return out;
  }
  const std::string text = BytesOf(value, what);
  if (text == "StaleNaN") return StaleNan();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "+Inf") return std::numeric_limits<double>::infinity();
  if (text == "-Inf") return -std::numeric_limits<double>::infinity();
  double out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw nb::value_error((std::string(what) + ": \"" + text + "\" is not a number").c_str());
  }
  return out;
}

query::HistogramPtr HistogramOf(nb::handle histogram) {
  if (!PyDict_Check(histogram.ptr())) {
    const std::string message =
        std::string("a histogram must be a dict, not ") + Py_TYPE(histogram.ptr())->tp_name;
    throw nb::type_error(message.c_str());
  }
  query::HistogramShape shape;
  std::vector<query::HistogramBucket> buckets;
  if (const nb::object listed = Field(histogram, "buckets"); !listed.is_none()) {
    for (const nb::handle one : listed) {
      bool has_rule = false;
      buckets.push_back(BucketOf(one, &has_rule));
      shape.has_rules = shape.has_rules && has_rule;
    }
  }
  if (const nb::object schema = Field(histogram, "schema"); !schema.is_none()) {
    const double number = NumberOf(schema, "schema");
    if (!(number >= -1000 && number <= 1000)) Bad("a histogram's schema is out of range");
    shape.schema = static_cast<int32_t>(number);
  }
  if (const nb::object threshold = Field(histogram, "zero_threshold"); !threshold.is_none()) {
    shape.zero_threshold = NumberOf(threshold, "zero_threshold");
  }
  if (const nb::object bounds = Field(histogram, "custom_values"); !bounds.is_none()) {
    for (const nb::handle bound : bounds) {
      shape.custom_values.push_back(NumberOf(bound, "custom_values"));
    }
  }
  if (const nb::object hint = Field(histogram, "reset_hint"); !hint.is_none()) {
    const std::string name = BytesOf(hint, "reset_hint");
    const auto found = bindings::ResetHintOf(name);
    if (!found.has_value()) Bad("\"" + name + "\" is not a reset hint");
    shape.reset_hint = *found;
  }
  return std::make_shared<const query::FloatHistogram>(ValueOrRaise(query::HistogramOfBuckets(
      NeededNumber(histogram, "count"), NeededNumber(histogram, "sum"), buckets, shape)));
}

nb::dict HistogramDict(const query::FloatHistogram& histogram) {
  nb::dict out;
  out["count"] = histogram.count;
  out["sum"] = histogram.sum;
  nb::list buckets;
  for (const query::HistogramBucket& bucket : histogram.Buckets()) {
    buckets.append(nb::make_tuple(bucket.lower, bucket.upper, bucket.count));
  }
  out["buckets"] = buckets;
  out["schema"] = histogram.schema;
  out["zero_threshold"] = histogram.zero_threshold;
  nb::list bounds;
  for (const double bound : histogram.custom_values) bounds.append(bound);
  out["custom_values"] = bounds;
  out["reset_hint"] = Text(bindings::ToString(histogram.reset_hint));
  return out;
}

void RegisterHistograms(nb::module_& module) {
  nb::class_<bindings::Histograms>(module, "Histograms")
      .def_static("read", &ReadColumn, nb::arg("rows"))
      .def("__len__", [](const bindings::Histograms& self) { return self.rows.size(); })
      .def("__getitem__", [](const bindings::Histograms& self, size_t row) -> nb::object {
        if (row >= self.rows.size()) throw nb::index_error("no such row");
        if (self.rows[row] == nullptr) return nb::none();
        return HistogramDict(*self.rows[row]);
      });
}

}  // namespace varve::python
