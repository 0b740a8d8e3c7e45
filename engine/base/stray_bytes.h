#pragma once

#include <string>
#include <string_view>

#include "engine/base/strings.h"
#include "engine/base/utf8.h"

namespace varve {

/// Copies `text` with each byte that is not part of a UTF-8 character replaced by U+FFFD.
inline std::string ReplaceStrayBytes(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    uint32_t rune = 0;
    const size_t bytes = GetUtf8(text, &rune);
    out.append(bytes == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(0, bytes));
    text.remove_prefix(bytes == 0 ? 1 : bytes);
  }
  return out;
}

/// Tells whether `match`, a regular expression over UTF-8, accepts a text. To RE2 a stray byte is
/// no character and not even `.*` steps over it; to the languages that our peers are written in it
/// is U+FFFD, and so it is here.
template <typename Match>
bool AcceptsText(std::string_view text, const Match& match) {
  return match(text) || (!IsValidUtf8(text) && match(ReplaceStrayBytes(text)));
}

}  // namespace varve
