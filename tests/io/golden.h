#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace varve::testing_golden {

/// Prints 16 bytes a line: offset, then the bytes in hexadecimal. Runs of zero lines become "*".
inline std::string HexDump(std::string_view bytes) {
  std::string out;
  char text[32];
  bool skipping = false;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    const std::string_view line = bytes.substr(at, 16);
    const bool zero = line.find_first_not_of('\0') == std::string_view::npos;
    if (zero && line.size() == 16 && at + 16 < bytes.size()) {
      if (!skipping) out += "*\n";
      skipping = true;
      continue;
    }
    skipping = false;
    std::snprintf(text, sizeof text, "%06zx ", at);
    out += text;
    for (const char c : line) {
      std::snprintf(text, sizeof text, " %02x", static_cast<unsigned char>(c));
      out += text;
    }
    out += '\n';
  }
  return out;
}

/// Reads what HexDump printed.
inline std::string ParseHexDump(const std::string& dump) {
  std::string out;
  std::istringstream lines(dump);
  std::string line;
  while (std::getline(lines, line)) {
    if (line == "*") continue;
    std::istringstream words(line);
    size_t offset = 0;
    unsigned byte = 0;
    words >> std::hex >> offset;
    out.resize(offset, '\0');
    while (words >> std::hex >> byte) out += static_cast<char>(byte);
  }
  return out;
}

/// Compares `bytes` with a golden file, given from the root of the source tree, and returns the
/// bytes of that. With VARVE_UPDATE_GOLDEN set it writes the file first: for a new format version,
/// never to make a test of an old one pass.
inline std::string CheckGolden(const std::string& name, std::string_view bytes) {
  const char* source = std::getenv("VARVE_SOURCE");
  const std::string path = std::string(source != nullptr ? source : ".") + "/" + name;
  if (std::getenv("VARVE_UPDATE_GOLDEN") != nullptr) std::ofstream(path) << HexDump(bytes);
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  std::stringstream dump;
  dump << in.rdbuf();
  EXPECT_EQ(dump.str(), HexDump(bytes)) << name;
  return ParseHexDump(dump.str());
}

/// Checks that every line of bytes that a document quotes stands in one of the golden files.
inline void CheckDocument(const std::string& document, const std::vector<std::string>& goldens) {
  const char* source = std::getenv("VARVE_SOURCE");
  const std::string root = std::string(source != nullptr ? source : ".") + "/";
  std::set<std::string> known;
  std::string line;
  for (const std::string& golden : goldens) {
    std::ifstream in(root + golden);
    EXPECT_TRUE(in.good()) << golden;
    while (std::getline(in, line)) known.insert(line);
  }
  std::ifstream in(root + document);
  EXPECT_TRUE(in.good()) << document;
  bool quoting = false;
  size_t quoted = 0;
  while (std::getline(in, line)) {
    if (line.starts_with("```")) {
      quoting = !quoting;
    } else if (quoting) {
      EXPECT_TRUE(known.contains(line)) << document << ": " << line;
      ++quoted;
    }
  }
  EXPECT_GT(quoted, 0u);
}

}  // namespace varve::testing_golden
