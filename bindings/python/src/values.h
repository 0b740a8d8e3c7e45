#pragma once

#include <nanobind/nanobind.h>

#include <memory>

#include "bindings/core/arrow.h"
#include "bindings/core/store.h"
#include "varve/labels.h"

namespace varve::python {

namespace nb = nanobind;

/// Hands a source over as the PyCapsule of the Arrow PyCapsule interface.
nb::capsule StreamCapsule(std::unique_ptr<arrow::Source> source);
nb::dict LabelsDict(LabelsView labels);
/// Reads a mapping of str to str. Raises TypeError for others, InvalidArgumentError for bad labels.
Labels LabelsOf(nb::handle mapping);
/// Adds what writes and reads logs and spans.
void RegisterWings(nb::class_<bindings::Store>& store);

}  // namespace varve::python
