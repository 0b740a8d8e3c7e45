#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"

/// Returns from the enclosing function when the expression is an error Status.
#define VARVE_RETURN_IF_ERROR(expression)                                                \
  do {                                                                                   \
    if (::absl::Status varve_status_ = (expression); !varve_status_.ok()) [[unlikely]] { \
      return varve_status_;                                                              \
    }                                                                                    \
  } while (false)

#define VARVE_CONCAT_(a, b) a##b
#define VARVE_CONCAT(a, b) VARVE_CONCAT_(a, b)
#define VARVE_ASSIGN_OR_RETURN_(result, lhs, expression) \
  auto result = (expression);                            \
  if (!result.ok()) [[unlikely]] {                       \
    return std::move(result).status();                   \
  }                                                      \
  lhs = std::move(result).value()

/// Assigns the value of a Result, or returns its Status: VARVE_ASSIGN_OR_RETURN(auto x, F()).
#define VARVE_ASSIGN_OR_RETURN(lhs, expression) \
  VARVE_ASSIGN_OR_RETURN_(VARVE_CONCAT(varve_result_, __LINE__), lhs, expression)

namespace varve {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition);
}

/// Stops the process when an invariant of ours is broken; on in release builds, since stopping
/// beats writing corrupt data. Never used on bytes or text that came from outside.
#define VARVE_CHECK(condition)                              \
  do {                                                      \
    if (!(condition)) [[unlikely]] {                        \
      ::varve::CheckFailed(__FILE__, __LINE__, #condition); \
    }                                                       \
  } while (false)
