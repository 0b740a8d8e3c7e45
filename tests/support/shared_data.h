#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace varve::testing {

/// Finds a file of the shared data folder ($VARVE_SHARED, else ../shared beside the sources);
/// nothing if it is not there. Tests then skip with one line.
std::optional<std::string> SharedPath(std::string_view relative);

/// Reads a file whole; `.zst` is decompressed. Stops the test program if it cannot.
std::string ReadFile(const std::string& path);

/// Splits into lines without their ends; an empty last one is left out.
std::vector<std::string_view> SplitLines(std::string_view text);

}  // namespace varve::testing
