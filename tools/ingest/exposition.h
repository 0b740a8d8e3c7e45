#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/sample.h"
#include "varve/status.h"

namespace varve::ingest {

enum class ExpositionFormat : uint8_t {
  kText,         // Prometheus text 0.0.4 and 1.0.0
  kOpenMetrics,  // OpenMetrics text 0.0.1 and 1.0.0
  kProtobuf,     // delimited io.prometheus.client.MetricFamily
};
std::string_view ToString(ExpositionFormat format);

/// Chooses the format by an HTTP Content-Type; empty means text. Errors: kInvalidArgument.
Result<ExpositionFormat> ParseExpositionContentType(std::string_view content_type);

/// One thing that an exposition says. All views are borrowed until the next call of Next.
struct ExpositionItem {
  enum class Kind : uint8_t { kType, kHelp, kUnit, kSample, kHistogram };
  Kind kind = Kind::kSample;
  std::string_view family;                 // kType, kHelp, kUnit: which family it is about
  MetricType type = MetricType::kUnknown;  // kType; for samples the type of their family so far
  std::string_view text;                   // kHelp, kUnit

  /// kSample, kHistogram: the series, canonical, metric name included; `le` and `quantile` in
  /// canonical float form.
  LabelsView labels;
  double value = 0;                      // kSample
  const Histogram* histogram = nullptr;  // kHistogram
  std::optional<int64_t> time_ms;
  int64_t start_ms = kNoStartTime;  // protobuf only; in OpenMetrics a series of its own
  std::span<const Exemplar> exemplars;
  TextPlace place;  // text formats: where the line begins
};

struct ExpositionOptions {
  /// Enforces every rule of the OpenMetrics 1.0 specification, not only what is needed to
  /// understand the text: order of families and samples, suffixes, value ranges, timestamps.
  bool strict = false;
  /// Native histograms also yield their classic series where both are present.
  bool classic_too = false;
};

/// Reads an exposition item by item without copying it. Bodies may be hostile: nothing is trusted,
/// nothing recurses. Not thread-safe.
class ExpositionParser {
 public:
  /// `body` must outlive the parser.
  static std::unique_ptr<ExpositionParser> Make(ExpositionFormat format, std::string_view body,
                                                const ExpositionOptions& options = {});
  virtual ~ExpositionParser() = default;
  /// Fills `item` and returns true, or returns false at the end. Errors: kInvalidArgument with
  /// line and column (text formats) or byte offset and field (protobuf) in message and payload;
  /// the parser is then finished.
  virtual Result<bool> Next(ExpositionItem* item) = 0;
};

/// Prints a float as OpenMetrics writes bucket bounds: "1.0", "0.005", "1e+06", "+Inf".
std::string FormatOpenMetricsFloat(double value);

}  // namespace varve::ingest
