#pragma once

#include <cstdint>
#include <string_view>

namespace varve::ingest {

/// Computes CRC-32C (Castagnoli), the checksum of everything that Prometheus stores.
uint32_t Crc32c(std::string_view bytes);

}  // namespace varve::ingest
