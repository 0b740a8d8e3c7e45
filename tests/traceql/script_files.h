#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace varve::testing {

inline std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream out;
  out << file.rdbuf();
  return out.str();
}

/// Lists the scripts, by name.
inline std::vector<std::filesystem::path> ScriptFiles() {
  const char* source = std::getenv("VARVE_SOURCE");
  std::vector<std::filesystem::path> out;
  const std::filesystem::path folder =
      std::filesystem::path(source != nullptr ? source : ".") / "tests/traceql/scripts";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".script") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace varve::testing
