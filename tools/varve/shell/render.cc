#include "tools/varve/shell/render.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <map>

#include "engine/base/strings.h"
#include "tools/server/api/parameters.h"
#include "tools/server/json/writer.h"

namespace varve::cli::shell {
namespace {

constexpr const char* kReset = "\x1b[0m";
constexpr const char* kBold = "\x1b[1m";
constexpr const char* kDim = "\x1b[2m";
constexpr std::array<const char*, 6> kColors = {"\x1b[36m", "\x1b[33m", "\x1b[35m",
                                                "\x1b[32m", "\x1b[34m", "\x1b[31m"};
constexpr size_t kChartRows = 12;
constexpr size_t kLegendMax = 12;
constexpr size_t kLabelColumnsMax = 8;

std::string FloatText(double value) {
  std::string out;
  json::AppendFloat(value, &out);
  return out;
}

std::string ValueText(double value, const query::HistogramPtr& histogram) {
  return histogram != nullptr ? query::ToString(*histogram) : FloatText(value);
}

std::string Pad(std::string_view text, size_t width, bool right) {
  const size_t own = WidthOf(text);
  const std::string blanks(own < width ? width - own : 0, ' ');
  return right ? Concat(blanks, text) : Concat(text, blanks);
}

// Shortens to `width` columns, with an ellipsis where something is cut.
std::string Cut(std::string_view text, size_t width) {
  if (width == 0 || WidthOf(text) <= width) return std::string(text);
  size_t columns = 0;
  size_t i = 0;
  while (i < text.size() && columns + 1 < width) {
    ++i;
    while (i < text.size() && (static_cast<uint8_t>(text[i]) & 0xc0) == 0x80) ++i;
    ++columns;
  }
  return Concat(text.substr(0, i), "…");
}

struct Grid {
  std::vector<std::string> header;
  std::vector<bool> right;  // aligned to the right
  std::vector<std::vector<std::string>> rows;
};

std::string Print(const Grid& grid, const Look& look) {
  std::vector<size_t> widths;
  for (const std::string& cell : grid.header) widths.push_back(WidthOf(cell));
  for (const auto& row : grid.rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], WidthOf(row[c]));
  }
  size_t total = 0;
  for (const size_t width : widths) total += width + 2;
  // The widest columns give way until the line fits.
  while (look.width > 0 && total > look.width + 2) {
    size_t& widest = *std::max_element(widths.begin(), widths.end());
    if (widest <= 12) break;
    const size_t cut = std::min(widest - 12, total - look.width - 2);
    widest -= cut;
    total -= cut;
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells, bool header) {
    std::string text;
    for (size_t c = 0; c < cells.size(); ++c) {
      if (c > 0) text += "  ";
      text += Pad(Cut(cells[c], widths[c]), widths[c], grid.right[c]);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    if (header && look.color) text = Concat(kBold, text, kReset);
    out += text + "\n";
  };
  line(grid.header, true);
  for (const auto& row : grid.rows) line(row, false);
  return out;
}

// The label names of a vector, the metric's first.
std::vector<std::string> NamesOf(const query::Vector& vector) {
  std::map<std::string, bool> names;
  bool metric = false;
  for (const query::VectorSample& sample : vector) {
    for (const LabelView& label : sample.labels) {
      if (label.name == kMetricName) {
        metric = true;
      } else {
        names.emplace(label.name, true);
      }
    }
  }
  std::vector<std::string> out;
  if (metric) out.emplace_back(kMetricName);
  for (const auto& [name, unused] : names) out.push_back(name);
  return out;
}

Grid VectorGrid(const query::Vector& vector) {
  Grid grid;
  const std::vector<std::string> names = NamesOf(vector);
  const bool columns = names.size() <= kLabelColumnsMax;
  if (columns) {
    for (const std::string& name : names) {
      grid.header.push_back(name == kMetricName ? "metric" : Printable(name));
    }
  } else {
    grid.header.emplace_back("series");
  }
  grid.right.assign(grid.header.size(), false);
  grid.header.emplace_back("value");
  grid.right.push_back(true);
  for (const query::VectorSample& sample : vector) {
    std::vector<std::string> row;
    if (columns) {
      for (const std::string& name : names) row.push_back(Printable(sample.labels.Get(name)));
    } else {
      row.push_back(Printable(ToString(sample.labels.view())));
    }
    row.push_back(ValueText(sample.value, sample.histogram));
    grid.rows.push_back(std::move(row));
  }
  return grid;
}

Grid MatrixGrid(const query::Matrix& matrix, const Look& look) {
  Grid grid;
  grid.header = {"series", "points", "min", "max", "last", ""};
  grid.right = {false, true, true, true, true, false};
  for (const query::Series& series : matrix) {
    double low = HUGE_VAL;
    double high = -HUGE_VAL;
    for (const double value : series.values) {
      if (std::isnan(value)) continue;
      low = std::min(low, value);
      high = std::max(high, value);
    }
    const bool any = low <= high;
    std::string last = series.values.empty() ? "" : ShortNumber(series.values.back());
    if (!series.histograms.empty()) last = query::ToString(*series.histograms.back());
    const std::string labels = series.labels.empty() ? "{}" : ToString(series.labels.view());
    grid.rows.push_back({Printable(labels),
                         std::to_string(series.values.size() + series.histograms.size()),
                         any ? ShortNumber(low) : "", any ? ShortNumber(high) : "", last,
                         Sparkline(series.values, look.width >= 100 || look.width == 0 ? 40 : 24)});
  }
  return grid;
}

std::string Notes(const query::QueryResult& result, const Look& look) {
  std::string out;
  for (const auto* notes : {&result.annotations.warnings, &result.annotations.infos}) {
    for (const std::string& note : *notes) {
      out += Concat(look.color ? kDim : "", Printable(note), look.color ? kReset : "", "\n");
    }
  }
  return out;
}

std::string Bars(const query::Vector& vector, const Look& look) {
  double most = 0;
  size_t label_width = 0;
  std::vector<std::string> labels;
  for (const query::VectorSample& sample : vector) {
    if (std::isfinite(sample.value)) most = std::max(most, std::fabs(sample.value));
    labels.push_back(Printable(sample.labels.empty() ? "{}" : ToString(sample.labels.view())));
    label_width = std::max(label_width, WidthOf(labels.back()));
  }
  const size_t width = look.width == 0 ? 80 : look.width;
  label_width = std::min(label_width, width / 2);
  const size_t room = width > label_width + 14 ? width - label_width - 14 : 10;
  std::string out;
  for (size_t i = 0; i < vector.size(); ++i) {
    const double value = vector[i].value;
    const double share = most > 0 && std::isfinite(value) ? std::fabs(value) / most : 0;
    const auto eighths = static_cast<size_t>(std::lround(share * static_cast<double>(room * 8)));
    std::string bar;
    for (size_t k = 0; k < eighths / 8; ++k) bar += "█";
    static constexpr const char* kParts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    bar += kParts[eighths % 8];
    const char* const color = look.color ? kColors[i % kColors.size()] : "";
    out += Concat(Pad(Cut(labels[i], label_width), label_width, false), "  ", color, bar,
                  look.color ? kReset : "", " ", ShortNumber(value), "\n");
  }
  return out;
}

// Dots of a character cell in Braille: 2 x 4, numbered by Unicode (U+2800).
constexpr uint8_t kDots[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};

std::string Lines(const query::Matrix& matrix, const Look& look) {
  double low = HUGE_VAL;
  double high = -HUGE_VAL;
  int64_t first = kMaxTime;
  int64_t last = kMinTime;
  for (const query::Series& series : matrix) {
    for (size_t i = 0; i < series.values.size(); ++i) {
      if (!std::isfinite(series.values[i])) continue;
      low = std::min(low, series.values[i]);
      high = std::max(high, series.values[i]);
      first = std::min(first, series.times_ms[i]);
      last = std::max(last, series.times_ms[i]);
    }
  }
  if (low > high) return "nothing to draw\n";
  if (low == high) {
    low -= low == 0 ? 1 : std::fabs(low) / 10;
    high += high == 0 ? 1 : std::fabs(high) / 10;
  }
  const size_t axis = 9;
  const size_t width = look.width == 0 ? 80 : std::max<size_t>(look.width, 30);
  const size_t columns = std::min<size_t>(width - axis - 1, 200);
  const size_t dots_x = columns * 2;
  const size_t dots_y = kChartRows * 4;
  std::vector<uint8_t> dots(columns * kChartRows);
  std::vector<uint8_t> owner(columns * kChartRows);
  const auto x_of = [&](int64_t time) {
    if (last == first) return static_cast<long>(dots_x / 2);
    return std::lround(static_cast<double>(time - first) / static_cast<double>(last - first) *
                       static_cast<double>(dots_x - 1));
  };
  const auto y_of = [&](double value) {
    return std::lround((high - value) / (high - low) * static_cast<double>(dots_y - 1));
  };
  const auto set = [&](long x, long y, size_t series) {
    const auto cell = static_cast<size_t>(y / 4) * columns + static_cast<size_t>(x / 2);
    dots[cell] |= kDots[y % 4][x % 2];
    owner[cell] = static_cast<uint8_t>(series % kColors.size());
  };
  for (size_t s = 0; s < matrix.size(); ++s) {
    const query::Series& series = matrix[s];
    bool joined = false;
    long x0 = 0;
    long y0 = 0;
    for (size_t i = 0; i < series.values.size(); ++i) {
      if (!std::isfinite(series.values[i])) {
        joined = false;
        continue;
      }
      const long x = x_of(series.times_ms[i]);
      const long y = y_of(series.values[i]);
      const long steps = joined ? std::max<long>({std::labs(x - x0), std::labs(y - y0), 1}) : 1;
      for (long k = 1; k <= steps; ++k) {
        set(joined ? x0 + (x - x0) * k / steps : x, joined ? y0 + (y - y0) * k / steps : y, s);
      }
      x0 = x;
      y0 = y;
      joined = true;
    }
  }
  std::string out;
  for (size_t row = 0; row < kChartRows; ++row) {
    std::string mark;
    if (row % 4 == 0 || row + 1 == kChartRows) {
      mark = ShortNumber(high - (high - low) * static_cast<double>(row) / (kChartRows - 1));
    }
    out += Concat(Pad(mark, axis - 1, true), mark.empty() ? " │" : " ┤");
    for (size_t c = 0; c < columns; ++c) {
      const uint8_t cell = dots[row * columns + c];
      if (cell == 0) {
        out += ' ';
        continue;
      }
      const char utf8[] = {static_cast<char>(0xe2), static_cast<char>(0xa0 | (cell >> 6)),
                           static_cast<char>(0x80 | (cell & 0x3f)), 0};
      if (look.color) out += kColors[owner[row * columns + c]];
      out += utf8;
      if (look.color) out += kReset;
    }
    out.erase(out.find_last_not_of(' ') + 1);
    out += "\n";
  }
  out += std::string(axis, ' ') + "└";
  for (size_t c = 0; c < columns; ++c) out += "─";
  const std::string from = api::FormatTime(first);
  const std::string to = api::FormatTime(last);
  out += "\n" + std::string(axis + 1, ' ') + from;
  if (columns > from.size() + to.size()) {
    out += Pad(to, columns - from.size(), true);
  }
  out += "\n";
  for (size_t s = 0; s < std::min(matrix.size(), kLegendMax); ++s) {
    const std::string labels = matrix[s].labels.empty() ? "{}" : ToString(matrix[s].labels.view());
    out += Concat(std::string(axis + 1, ' '), look.color ? kColors[s % kColors.size()] : "", "⣀⡠⠔",
                  look.color ? kReset : "", " ", Cut(Printable(labels), width - axis - 6), "\n");
  }
  if (matrix.size() > kLegendMax) {
    out += Concat(std::string(axis + 1, ' '), "and ", matrix.size() - kLegendMax, " more\n");
  }
  return out;
}

}  // namespace

std::string Printable(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<uint8_t>(text[i]);
    const bool c1 = c == 0xc2 && i + 1 < text.size() && static_cast<uint8_t>(text[i + 1]) < 0xa0;
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7f || c1) {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\x%02x", c1 ? static_cast<uint8_t>(text[++i]) : c);
      out += escape;
    } else {
      out += text[i];
    }
  }
  if (IsValidUtf8(out)) return out;
  std::string ascii;
  for (const char c : out) {
    if (static_cast<uint8_t>(c) < 0x80) {
      ascii += c;
    } else {
      char escape[8];
      std::snprintf(escape, sizeof(escape), "\\x%02x", static_cast<uint8_t>(c));
      ascii += escape;
    }
  }
  return ascii;
}

size_t WidthOf(std::string_view text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; }));
}

std::string ShortNumber(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  static constexpr std::pair<double, const char*> kScales[] = {
      {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  char text[32];
  const double size = std::fabs(value);
  if (size >= 1e4 && size < 1e18) {
    for (const auto& [scale, letter] : kScales) {
      if (size < scale) continue;
      std::snprintf(text, sizeof(text), "%.4g%s", value / scale, letter);
      return text;
    }
  }
  std::snprintf(text, sizeof(text), "%.5g", value);
  return text;
}

std::string Sparkline(const std::vector<double>& values, size_t width) {
  static constexpr const char* kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (values.empty() || width == 0) return "";
  double low = HUGE_VAL;
  double high = -HUGE_VAL;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  const size_t count = std::min(width, values.size());
  std::string out;
  for (size_t i = 0; i < count; ++i) {
    // The mean of the values that fall into this column.
    const size_t begin = i * values.size() / count;
    const size_t end = std::max((i + 1) * values.size() / count, begin + 1);
    double sum = 0;
    size_t finite = 0;
    for (size_t k = begin; k < end; ++k) {
      if (!std::isfinite(values[k])) continue;
      sum += values[k];
      ++finite;
    }
    if (finite == 0) {
      out += ' ';
    } else if (high == low) {
      out += kBlocks[3];
    } else {
      const double share = (sum / static_cast<double>(finite) - low) / (high - low);
      out += kBlocks[std::clamp<long>(std::lround(share * 7), 0, 7)];
    }
  }
  return out;
}

std::string RenderTable(const query::QueryResult& result, const Look& look) {
  std::string out;
  if (const auto* scalar = std::get_if<query::Scalar>(&result.value)) {
    out = FloatText(scalar->value) + "\n";
  } else if (const auto* string = std::get_if<query::StringValue>(&result.value)) {
    out = Printable(string->value) + "\n";
  } else if (const auto* vector = std::get_if<query::Vector>(&result.value)) {
    out = vector->empty() ? "empty\n" : Print(VectorGrid(*vector), look);
  } else {
    const auto& matrix = std::get<query::Matrix>(result.value);
    out = matrix.empty() ? "empty\n" : Print(MatrixGrid(matrix, look), look);
  }
  return out + Notes(result, look);
}

std::string CsvCell(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

std::string RenderCsv(const query::QueryResult& result) {
  std::string out = "time_ms,value,series\n";
  const auto row = [&](int64_t time_ms, const std::string& value, const std::string& labels) {
    out += Concat(time_ms, ",", CsvCell(value), ",", CsvCell(labels), "\n");
  };
  if (const auto* scalar = std::get_if<query::Scalar>(&result.value)) {
    row(scalar->time_ms, FloatText(scalar->value), "");
  } else if (const auto* string = std::get_if<query::StringValue>(&result.value)) {
    row(string->time_ms, string->value, "");
  } else if (const auto* vector = std::get_if<query::Vector>(&result.value)) {
    for (const query::VectorSample& sample : *vector) {
      row(sample.time_ms, ValueText(sample.value, sample.histogram),
          ToString(sample.labels.view()));
    }
  } else {
    for (const query::Series& series : std::get<query::Matrix>(result.value)) {
      const std::string labels = ToString(series.labels.view());
      for (size_t i = 0; i < series.values.size(); ++i) {
        row(series.times_ms[i], FloatText(series.values[i]), labels);
      }
      for (size_t i = 0; i < series.histograms.size(); ++i) {
        row(series.histogram_times_ms[i], query::ToString(*series.histograms[i]), labels);
      }
    }
  }
  return out;
}

std::string RenderChart(const query::QueryResult& result, const Look& look) {
  if (const auto* matrix = std::get_if<query::Matrix>(&result.value)) {
    return Lines(*matrix, look) + Notes(result, look);
  }
  if (const auto* vector = std::get_if<query::Vector>(&result.value); vector && !vector->empty()) {
    return Bars(*vector, look) + Notes(result, look);
  }
  return RenderTable(result, look);
}

}  // namespace varve::cli::shell
