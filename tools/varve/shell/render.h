#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "varve/query.h"

namespace varve::cli::shell {

/// How results are printed on a terminal or into a pipe.
struct Look {
  size_t width = 80;  // columns; 0: unbounded
  bool color = false;
};

/// Makes text safe for a terminal: control characters show as \xNN or \n.
std::string Printable(std::string_view text);
/// Counts the columns that printed UTF-8 text takes: one a character.
size_t WidthOf(std::string_view text);

/// Prints an aligned table: label columns and the value of an instant vector;
/// one line a series with a sparkline for a range.
std::string RenderTable(const query::QueryResult& result, const Look& look);
/// Prints a cell of comma-separated values, quoted where it must be (RFC 4180).
std::string CsvCell(std::string_view text);
/// Prints comma-separated values with a header: time (Unix ms), value, labels.
std::string RenderCsv(const query::QueryResult& result);
/// Prints one line chart of all series, of Braille dots; bars for an instant
/// vector.
std::string RenderChart(const query::QueryResult& result, const Look& look);

/// Draws values as one line of blocks of eight heights, resampled to at most
/// `width`.
std::string Sparkline(const std::vector<double>& values, size_t width);
/// Prints a number with at most six digits, for people: 1.5M, 12.3, 0.001.
std::string ShortNumber(double value);

}  // namespace varve::cli::shell
