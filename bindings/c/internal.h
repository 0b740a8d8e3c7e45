#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings/c/include/varve.h"
#include "bindings/core/ingest.h"
#include "bindings/core/store.h"
#include "varve/database.h"
#include "varve/query.h"
#include "varve/status.h"

/// What the parts of the C API share: handles, errors, and how arguments are read.

struct varve_error {
  varve_code code = VARVE_INTERNAL;
  std::string message;
  std::string rendered;
  std::string file;
  uint64_t offset = 0;
  uint32_t line = 0;
  uint32_t column = 0;
};
struct varve_database {
  std::shared_ptr<varve::bindings::Store> store;
};
struct varve_batch {
  varve::WriteBatch batch;
};
struct varve_cancellation {
  std::shared_ptr<varve::query::Cancellation> cancellation;
};
struct varve_list {
  std::vector<std::string> items;
};

namespace varve::c_api {

/// Describes `status` in `error`; out of memory leaves it NULL, and the code still says what is up.
varve_code Report(const Status& status, const char* query, varve_error** error);

/// Runs `work`, which returns a Status, and turns what it throws into one.
template <typename Work>
varve_code Run(const char* query, varve_error** error, const Work& work) {
  Status status;
  try {
    status = work();
  } catch (const std::bad_alloc&) {
    status = MakeStatus(StatusCode::kResourceExhausted, "out of memory");
  } catch (const std::exception& caught) {
    status = MakeStatus(StatusCode::kInternal, caught.what());
  }
  return Report(status, query, error);
}

Status Null(const char* what);

/// Reads a text as the header says, without looking at more than its bytes. Errors:
/// kInvalidArgument for NULL with a size, and for texts that no record could hold.
Result<std::string_view> TextOf(const char* text, size_t size, const char* what);
/// The same where the size is always exact.
Result<std::string_view> BytesOf(const char* bytes, size_t size, const char* what);
/// Reads an array of labels; names and values must not be NULL. The views are borrowed.
Result<std::vector<LabelView>> LabelsOf(const varve_label* labels, size_t count, const char* what);
/// Refuses counts of items that no batch could hold, and NULL with a count.
Status CheckCount(const void* items, size_t count, const char* what);

/// Copies as much of a caller's struct as that caller's header knew; the rest keeps its default.
template <typename T>
Status Adopt(const T* from, const char* what, T* to) {
  if (from == nullptr) return absl::OkStatus();
  if (from->struct_size < sizeof(size_t) || from->struct_size > sizeof(T)) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      std::string(what) + ".struct_size is not set; use the INIT macro");
  }
  std::memcpy(static_cast<void*>(to), from, from->struct_size);
  return absl::OkStatus();
}

Status ReadWriteOptions(const varve_write_options* options, WriteOptions* out);

/// Runs `append(write options)` and gives what it counted, a RowCounts.
template <typename Append>
Status Counted(const varve_write_options* options, varve_append_counts* counts,
               const Append& append) {
  WriteOptions write;
  if (Status status = ReadWriteOptions(options, &write); !status.ok()) return status;
  const Result<bindings::RowCounts> done = append(write);
  if (!done.ok()) return done.status();
  if (counts != nullptr) *counts = {done->rows, done->rejected};
  return absl::OkStatus();
}

/// Appends a batch of any signal; `append(database, batch, write options)` gives a RowCounts.
template <typename Batch, typename Append>
varve_code AppendBatch(varve_database* database, const Batch* batch,
                       const varve_write_options* options, varve_append_counts* counts,
                       varve_error** error, const Append& append) {
  return Run(nullptr, error, [&]() -> Status {
    if (database == nullptr) return Null("database");
    if (batch == nullptr) return Null("batch");
    return Counted(options, counts, [&](const WriteOptions& write) {
      return database->store->Call([&](Database& db) { return append(db, batch->batch, write); });
    });
  });
}

template <typename List>
Status GiveList(Result<List> found, varve_list** list) {
  if (!found.ok()) return found.status();
  auto out = std::make_unique<varve_list>();
  for (auto& item : *found) {
    if constexpr (std::is_same_v<std::decay_t<decltype(item)>, std::string>) {
      out->items.push_back(std::move(item));
    } else if constexpr (std::is_same_v<std::decay_t<decltype(item)>, Status>) {
      out->items.emplace_back(item.message().data(), item.message().size());
    } else {
      out->items.push_back(ToString(item.view()));
    }
  }
  *list = out.release();
  return absl::OkStatus();
}

inline std::string_view OrEmpty(const char* text) { return text == nullptr ? "" : text; }
/// Copies a text for varve_string_free.
Status GiveText(const Result<std::string>& text, char** out);

}  // namespace varve::c_api
