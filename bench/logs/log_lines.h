#pragma once

#include <cstdio>
#include <random>
#include <string>

namespace varve {

/// Makes a log line of a printf format of at most 512 bytes with %u, %u, %u and %llx or %llu, as
/// the programs that write lines do. The same formats and random numbers give the same lines.
inline std::string MakeLogLine(const char* format, std::mt19937_64& random) {
  const auto a = static_cast<unsigned>(random() % 256);
  const auto b = static_cast<unsigned>(random() % 256);
  const auto c = static_cast<unsigned>(random() % 100'000);
  const auto d = static_cast<unsigned long long>(random());
  char line[512];
  std::snprintf(line, sizeof line, format, a, b, c, d);
  return line;
}

}  // namespace varve
