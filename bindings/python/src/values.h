#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "bindings/core/arrow.h"
#include "bindings/core/store.h"
#include "varve/labels.h"
#include "varve/query.h"
#include "varve/span_batch.h"
#include "varve/write_batch.h"

namespace varve::python {

namespace nb = nanobind;

/// Hands a source over as the PyCapsule of the Arrow PyCapsule interface.
nb::capsule StreamCapsule(std::unique_ptr<arrow::Source> source);
nb::dict LabelsDict(LabelsView labels);
/// Reads a number, or one of the texts that JSON has for numbers.
double NumberOf(nb::handle value, const char* what);
/// Reads a native histogram: a dict as HistogramDict makes it, or as Prometheus prints it.
query::HistogramPtr HistogramOf(nb::handle histogram);
nb::dict HistogramDict(const query::FloatHistogram& histogram);
/// Reads a mapping of str to str. Raises TypeError for others, InvalidArgumentError for bad labels.
Labels LabelsOf(nb::handle mapping);
/// Reads an int; raises ValueError if it does not fit.
int64_t Int64Of(nb::handle value);
WriteOptions WriteOptionsOf(std::optional<bool> durable, bool partial);
/// Adds spans, tuples as varve/_wings.py makes them, of `resources`, dicts of attributes.
void AddSpans(nb::list resources, nb::list spans, SpanBatch* batch);
/// Add what writes and reads logs and spans.
void RegisterLogs(nb::class_<bindings::Store>& store);
void RegisterSpans(nb::class_<bindings::Store>& store);

}  // namespace varve::python
