#pragma once

#include <string>
#include <string_view>

namespace varve::otlp {

/// Appends the bytes that `text` stands for, standard or URL-safe alphabet, padded or not. Returns
/// false for anything else; what was appended then means nothing.
bool DecodeBase64(std::string_view text, std::string* out);
/// Appends `bytes` in the standard alphabet, padded.
void EncodeBase64(std::string_view bytes, std::string* out);

}  // namespace varve::otlp
