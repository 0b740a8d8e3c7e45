#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <unordered_map>

#include "bindings/core/histograms.h"
#include "bindings/core/import.h"
#include "bindings/python/src/common.h"
#include "bindings/python/src/values.h"

namespace varve::python {
namespace {

template <typename T>
nb::object Owned(std::vector<T> values) {
  auto owner = std::make_shared<const std::vector<T>>(std::move(values));
  const T* const data = owner->data();
  const size_t size = owner->size();
  return nb::cast(nb::ndarray<nb::memview, const T, nb::ndim<1>>(data, {size}, OwnerOf(owner)));
}

arrow::Table ReadTable(nb::handle capsule) {
  auto* const stream =
      static_cast<ArrowArrayStream*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_array_stream"));
  if (stream == nullptr) throw nb::python_error();
  if (stream->release == nullptr) throw nb::value_error("the Arrow stream was used before");
  // With the interpreter lock: the producer may be written in Python.
  return ValueOrRaise(arrow::Table::Read(stream));
}

// Numbers the distinct label sets that the given text columns make.
nb::tuple SeriesOf(const arrow::Table& table, nb::dict fixed, const std::vector<std::string>& names,
                   const std::vector<std::string>& columns, const std::string& map_column) {
  if (names.size() != columns.size()) throw nb::value_error("names and columns differ in length");
  std::vector<std::vector<std::string_view>> texts;
  for (const std::string& column : columns) texts.push_back(ValueOrRaise(table.Texts(column)));
  arrow::Table::Maps maps;
  if (!map_column.empty()) maps = ValueOrRaise(table.TextMaps(map_column));
  nb::list sets;
  std::vector<uint32_t> numbers(table.rows());
  std::unordered_map<std::string, uint32_t> known;
  std::string key;
  for (uint64_t row = 0; row < table.rows(); ++row) {
    key.clear();
    const auto add = [&key](std::string_view text) {
      const auto size = static_cast<uint32_t>(text.size());
      key.append(reinterpret_cast<const char*>(&size), sizeof(size)).append(text);
    };
    for (const auto& column : texts) add(column[row]);
    if (!map_column.empty()) {
      for (uint64_t e = maps.begin[row]; e < maps.begin[row + 1]; ++e) {
        add(maps.entries[e].name);
        add(maps.entries[e].value);
      }
    }
    const auto [entry, added] = known.emplace(key, static_cast<uint32_t>(known.size()));
    numbers[row] = entry->second;
    if (!added) continue;
    nb::dict labels = nb::cast<nb::dict>(fixed.attr("copy")());
    if (!map_column.empty()) {
      for (uint64_t e = maps.begin[row]; e < maps.begin[row + 1]; ++e) {
        labels[Text(maps.entries[e].name)] = Text(maps.entries[e].value);
      }
    }
    for (size_t c = 0; c < texts.size(); ++c) {
      if (!texts[c][row].empty()) labels[Text(names[c])] = Text(texts[c][row]);
    }
    sets.append(labels);
  }
  return nb::make_tuple(sets, Owned(std::move(numbers)));
}

}  // namespace

void RegisterTable(nb::module_& module) {
  nb::class_<arrow::Table>(module, "ArrowTable")
      .def_static("read", &ReadTable, nb::arg("stream"))
      .def_prop_ro("rows", &arrow::Table::rows)
      .def_prop_ro("names", &arrow::Table::names)
      .def("kind", &arrow::Table::KindOf, nb::arg("name"))
      .def(
          "integers",
          [](const arrow::Table& self, const std::string& name) {
            int64_t unit_ns = 0;
            std::vector<int64_t> values = ValueOrRaise(self.Integers(name, &unit_ns));
            return nb::make_tuple(Owned(std::move(values)), unit_ns);
          },
          nb::arg("name"))
      .def(
          "floats",
          [](const arrow::Table& self, const std::string& name) {
            return Owned(ValueOrRaise(self.Floats(name)));
          },
          nb::arg("name"))
      .def(
          "texts",
          [](const arrow::Table& self, const std::string& name) {
            nb::list out;
            for (const std::string_view text : ValueOrRaise(self.Texts(name))) {
              out.append(text.data() == nullptr ? nb::none() : Text(text));
            }
            return out;
          },
          nb::arg("name"))
      .def(
          "maps",
          [](const arrow::Table& self, const std::string& name) {
            const arrow::Table::Maps maps = ValueOrRaise(self.TextMaps(name));
            nb::list out;
            for (size_t row = 0; row + 1 < maps.begin.size(); ++row) {
              nb::dict entries;
              for (uint64_t e = maps.begin[row]; e < maps.begin[row + 1]; ++e) {
                entries[Text(maps.entries[e].name)] = Text(maps.entries[e].value);
              }
              out.append(entries);
            }
            return out;
          },
          nb::arg("name"))
      .def(
          "histograms",
          [](const arrow::Table& self, const std::string& name) {
            return ValueOrRaise(bindings::ReadHistograms(self, name));
          },
          nb::arg("name"))
      .def("series", &SeriesOf, nb::arg("fixed"), nb::arg("names"), nb::arg("columns"),
           nb::arg("map_column") = "");
}

}  // namespace varve::python
