#pragma once

#include <nanobind/nanobind.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "varve/query.h"
#include "varve/status.h"

/// Shared by the parts of the extension module: errors, the interpreter lock, signals.
namespace varve::python {

namespace nb = nanobind;

/// Raises the exception of varve.errors that fits `status`; `text` is the query it speaks of.
[[noreturn]] void Raise(const Status& status, std::optional<std::string_view> text = {});

inline void RaiseIfBad(const Status& status, std::optional<std::string_view> text = {}) {
  if (!status.ok()) Raise(status, text);
}
template <typename T>
T ValueOrRaise(Result<T> result, std::optional<std::string_view> text = {}) {
  if (!result.ok()) Raise(result.status(), text);
  return *std::move(result);
}

/// Runs `work` without the interpreter lock. `work` must not touch Python.
template <typename Work>
auto Unlocked(const Work& work) {
  const nb::gil_scoped_release release;
  return work();
}

/// Says whether this is the thread that gets Python's signals.
bool OnMainThread();

/// Runs `work` without the interpreter lock. On the main thread `work` gets a thread of its own,
/// and this one looks for signals meanwhile: a KeyboardInterrupt cancels `cancellation`, waits for
/// the work to stop, and is raised. (Python runs signal handlers on the main thread only.)
template <typename Work>
auto Interruptible(query::Cancellation* cancellation, const Work& work) {
  if (!OnMainThread()) return Unlocked(work);
  using Out = decltype(work());
  std::optional<Out> out;
  std::exception_ptr thrown;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  bool signalled = false;
  {
    const nb::gil_scoped_release release;
    std::thread worker([&] {
      try {
        out.emplace(work());
      } catch (...) {
        thrown = std::current_exception();
      }
      const std::lock_guard<std::mutex> lock(mutex);
      done = true;
      changed.notify_all();
    });
    {
      std::unique_lock<std::mutex> lock(mutex);
      while (!changed.wait_for(lock, std::chrono::milliseconds(20), [&] { return done; })) {
        if (signalled) continue;
        lock.unlock();
        {
          const nb::gil_scoped_acquire acquire;
          signalled = PyErr_CheckSignals() != 0;
        }
        if (signalled) cancellation->Cancel();
        lock.lock();
      }
    }
    worker.join();
  }
  if (signalled) throw nb::python_error();
  if (thrown) std::rethrow_exception(thrown);
  return *std::move(out);
}

/// Wraps a shared object as the owner that NumPy arrays keep.
template <typename T>
nb::capsule OwnerOf(std::shared_ptr<const T> object) {
  using Pointer = std::shared_ptr<const T>;
  return nb::capsule(new Pointer(std::move(object)),
                     [](void* pointer) noexcept { delete static_cast<Pointer*>(pointer); });
}

/// Decodes bytes as UTF-8; bytes that are not stay as lone surrogates (PEP 383), so that every
/// label makes the way back.
inline nb::object Text(std::string_view text) {
  return nb::steal(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape"));
}
/// Encodes a str that way; bytes are taken as they are. Raises TypeError naming `what` for others.
std::string BytesOf(nb::handle text, const char* what);

void RegisterResult(nb::module_& module);
void RegisterStore(nb::module_& module);
void RegisterTable(nb::module_& module);
void RegisterSearch(nb::module_& module);
void RegisterPages(nb::module_& module);
void RegisterHistograms(nb::module_& module);

}  // namespace varve::python
