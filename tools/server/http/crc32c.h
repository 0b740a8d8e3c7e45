#pragma once

#include <cstdint>
#include <string_view>

namespace varve::http {

/// Computes CRC-32C (Castagnoli, reflected polynomial 0x82f63b78), byte by byte from a table: for
/// framings that few clients use.
uint32_t Crc32c(std::string_view bytes);

}  // namespace varve::http
