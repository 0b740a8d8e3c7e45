#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace varve {

/// Carries success or one of these codes. Their meaning is the same everywhere in Varve:
///   kInvalidArgument    bad query, labels or request; the message names the place
///   kOutOfRange         a time outside the window in which samples are accepted
///   kAlreadyExists      another value is stored at this time already
///   kNotFound           no such series, file or block
///   kResourceExhausted  a limit, a budget or a full disk; stored data is unharmed
///   kFailedPrecondition the database is closed, read-only, or held by another process
///   kCancelled, kDeadlineExceeded   as named, polled at least every 200 ms
///   kDataLoss           corrupt bytes on disk; payload: file and offset
///   kUnavailable        an I/O error other than a full disk
///   kUnimplemented      a valid request that this build does not answer
///   kInternal           our bug
using Status = absl::Status;
template <typename T>
using Result = absl::StatusOr<T>;
using StatusCode = absl::StatusCode;

/// Names the byte at which a file stopped making sense.
struct FilePlace {
  std::string file;
  uint64_t offset = 0;
};

/// Names the character at which a text stopped making sense; both count from 1, column in bytes.
struct TextPlace {
  uint32_t line = 1;
  uint32_t column = 1;
};

/// Builds a kDataLoss status that carries `file` and `offset`, in the message and as payload.
Status DataLossError(std::string_view file, uint64_t offset, std::string_view what);
/// Builds a kInvalidArgument status that carries a place in a text as payload; the message is
/// `what` as given.
Status TextError(TextPlace place, std::string_view what);
/// Builds a status of any code from a std::string_view.
Status MakeStatus(StatusCode code, std::string_view message);

/// Return the place that a status carries, if any.
std::optional<FilePlace> FilePlaceOf(const Status& status);
std::optional<TextPlace> TextPlaceOf(const Status& status);

}  // namespace varve
