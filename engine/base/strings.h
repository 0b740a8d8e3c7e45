#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace varve {

/// Cross between the two string views: Debian's abseil has a type of its own.
inline absl::string_view ToAbsl(std::string_view text) { return {text.data(), text.size()}; }
inline std::string_view ToStd(absl::string_view text) { return {text.data(), text.size()}; }

/// Hash and compare strings by bytes, whatever view type the lookup uses.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const;
};
struct StringEqual {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const { return a == b; }
};
/// Hash tables keyed by std::string whose lookups take a std::string_view.
template <typename V>
using StringMap = absl::flat_hash_map<std::string, V, StringHash, StringEqual>;
using StringSet = absl::flat_hash_set<std::string, StringHash, StringEqual>;
/// The same keyed by views of bytes that outlive the table.
template <typename V>
using StringViewMap = absl::flat_hash_map<std::string_view, V, StringHash, StringEqual>;

/// Joins pieces into one string: StrCat for std::string_view.
template <typename... Pieces>
std::string Concat(const Pieces&... pieces);

/// Quotes as Go's %q does: double quotes, \n, \x.., \u.. for what does not print, UTF-8 kept.
std::string GoQuote(std::string_view text);
/// Tests for well-formed UTF-8 (no surrogates, no overlong forms).
bool IsValidUtf8(std::string_view text);

namespace internal {
inline std::string_view Piece(std::string_view text) { return text; }
inline std::string Piece(char c) { return std::string(1, c); }
template <typename T>
  requires std::is_arithmetic_v<T>
std::string Piece(T value) {
  return std::to_string(value);
}
}  // namespace internal

template <typename... Pieces>
std::string Concat(const Pieces&... pieces) {
  std::string out;
  (out.append(internal::Piece(pieces)), ...);
  return out;
}

}  // namespace varve
