#include "absl/synchronization/mutex.h"
#include "bindings/python/src/common.h"
#include "varve/selector.h"

namespace varve::python {
namespace {

unsigned long main_thread = 0;  // set once, at import

}  // namespace

bool OnMainThread() { return PyThread_get_thread_ident() == main_thread; }

void Raise(const Status& status, std::optional<std::string_view> text) {
  nb::object query_text = nb::none();
  if (text.has_value()) query_text = Text(*text);
  nb::object line = nb::none();
  nb::object column = nb::none();
  nb::object file = nb::none();
  nb::object offset = nb::none();
  std::string message(status.message().data(), status.message().size());
  std::string rendered = message;
  if (const auto place = TextPlaceOf(status)) {
    line = nb::int_(place->line);
    column = nb::int_(place->column);
    if (text.has_value()) rendered = query::RenderError(*text, status);
  }
  if (const auto place = FilePlaceOf(status)) {
    file = Text(place->file);
    offset = nb::int_(place->offset);
  }
  const nb::object exception =
      nb::module_::import_("varve.errors")
          .attr("_make")(static_cast<int>(status.code()), Text(message), Text(rendered), query_text,
                         line, column, file, offset);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw nb::python_error();
}

std::string BytesOf(nb::handle text, const char* what) {
  if (PyBytes_Check(text.ptr())) {
    return std::string(PyBytes_AS_STRING(text.ptr()),
                       static_cast<size_t>(PyBytes_GET_SIZE(text.ptr())));
  }
  if (!PyUnicode_Check(text.ptr())) {
    const std::string message =
        std::string(what) + " must be str, not " + Py_TYPE(text.ptr())->tp_name;
    throw nb::type_error(message.c_str());
  }
  const nb::object bytes =
      nb::steal(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogateescape"));
  if (!bytes.is_valid()) throw nb::python_error();
  return std::string(PyBytes_AS_STRING(bytes.ptr()),
                     static_cast<size_t>(PyBytes_GET_SIZE(bytes.ptr())));
}

NB_MODULE(_varve, module) {
  module.doc() = "The engine of the varve package. Use the package; this module may change.";
  // Debian builds abseil with the deadlock detector of debug builds, which follows every lock.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  main_thread = nb::cast<unsigned long>(
      nb::module_::import_("threading").attr("main_thread")().attr("ident"));
  module.attr("__version__") = VARVE_VERSION;
  RegisterHistograms(module);
  RegisterResult(module);
  RegisterTable(module);
  RegisterSearch(module);
  RegisterStore(module);
  RegisterPages(module);
}

}  // namespace varve::python
