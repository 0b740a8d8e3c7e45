#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "varve/logql.h"

namespace varve::cli {

/// Writes log entries to stdout, a line each: "table" (time, labels, line), "raw" (the line),
/// "jsonl" or "csv" (time_ns, line, labels).
class EntryPrinter {
 public:
  EntryPrinter(std::string output, bool color) : output_(std::move(output)), color_(color) {}

  /// Prints the entries of all streams on one timeline.
  void Print(const query::Streams& streams, bool backward) const;

 private:
  void PrintEntry(const query::LogLabels& labels, int64_t time_ns, std::string_view line) const;

  const std::string output_;
  const bool color_;
};

}  // namespace varve::cli
