#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/rows.h"
#include "varve/status.h"

namespace varve::logs {

/// Encodes and decodes the lines of a row group, byte for byte. Spec:
/// engine/docs/format/logs-block.md, "Lines".

/// Appends the smallest encoding of `lines`.
void EncodeLines(std::span<const std::string_view> lines, std::string* out);

/// Fills text and line_begin of `rows` with `count` lines of `text_bytes` bytes together. Safe on
/// any bytes. Errors: kDataLoss.
Status DecodeLines(std::string_view bytes, uint32_t count, uint64_t text_bytes, Rows* rows);

}  // namespace varve::logs
