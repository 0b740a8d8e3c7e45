#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "varve/status.h"

namespace varve::logs {

/// Appends a page: codec byte, size before compression, bytes; stored as they are where Zstd does
/// not help.
void PutZstdPage(std::string_view raw, int level, std::string* out);
/// Inflates a page into `out` (replaced). Safe on any bytes; refuses more than `raw_bytes_max`.
/// Errors: kDataLoss.
Status GetZstdPage(std::string_view page, uint64_t raw_bytes_max, std::string* out);

}  // namespace varve::logs
