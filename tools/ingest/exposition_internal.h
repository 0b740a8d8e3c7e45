#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tools/ingest/exposition.h"

namespace varve::ingest {

std::unique_ptr<ExpositionParser> MakeTextParser(std::string_view body);
std::unique_ptr<ExpositionParser> MakeOpenMetricsParser(std::string_view body, bool strict);
std::unique_ptr<ExpositionParser> MakeProtobufParser(std::string_view body, bool classic_too);

/// Reads a float as the text formats write it: Go's ParseFloat without hexadecimal and underscores.
/// Every NaN becomes the ordinary one. False if `text` is not exactly one number, or overflows.
bool ParseExpositionFloat(std::string_view text, double* out);

/// Reads a metric type word; the text format knows "untyped" besides. False for other words.
bool ParseMetricType(std::string_view word, bool text_format, MetricType* out);

/// Tells whether bucket bounds or quantiles of `name`, a series of `family`, are in `label`.
bool IsFloatLabel(MetricType type, std::string_view family, std::string_view name,
                  std::string_view label);

/// One sample line of OpenMetrics as written, for the rules that look at more than one line.
struct OpenMetricsLine {
  std::string_view name;
  const std::vector<LabelView>* labels = nullptr;  // unescaped, in order, without the name
  double value = 0;
  bool has_time = false;
  double time_s = 0;
  bool has_exemplar = false;
};

/// Checks what OpenMetrics 1.0 demands of families beyond the grammar of a line: unique and
/// unclashing names, metadata before samples, suffixes and labels that the type allows, value
/// ranges, grouping, order of timestamps and buckets, completeness of histograms. Feed it every
/// line in order. All functions return an empty text, or what is wrong.
class OpenMetricsRules {
 public:
  OpenMetricsRules();
  ~OpenMetricsRules();
  std::string OnType(std::string_view family, MetricType type);
  std::string OnHelp(std::string_view family);
  std::string OnUnit(std::string_view family, std::string_view unit);
  std::string OnSample(const OpenMetricsLine& line);
  std::string OnEnd();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace varve::ingest
