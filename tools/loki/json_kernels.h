#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// The loops over the bytes of JSON strings, which most of the time of a push goes into.
namespace varve::loki {

/// One implementation of these loops. All give the same bytes and stop at the same places.
struct JsonKernels {
  std::string_view name;
  /// Returns the first quote, backslash or control character in [at, end), or `end`.
  char* (*find_special)(char* at, char* end);
  /// Moves the text of a string from *in down to *write <= *in and undoes its escapes. Stops, with
  /// both places moved on, at the quote or the control character that ends the string, at a
  /// backslash that begins no good escape, or at `end`. Nothing from *in on is changed.
  void (*unescape)(char** in, char** write, char* end);
};

/// Lists what this processor can run, the fastest last. The first one runs everywhere.
std::span<const JsonKernels> AllJsonKernels();

/// Returns the fastest one.
const JsonKernels& BestJsonKernels();

/// Reads four hex digits; -1 if they are none, or not all before `end`.
int32_t ReadHex4(const char* at, const char* end);

}  // namespace varve::loki
