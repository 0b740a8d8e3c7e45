#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace varve::otlp {

/// How names of metrics and attributes become those of Prometheus (its setting
/// otlp.translation_strategy).
enum class Translation : uint8_t {
  kUnderscoreEscapingWithSuffixes,
  kNoUtf8EscapingWithSuffixes,
  kUnderscoreEscapingWithoutSuffixes,
  kNoTranslation,
};
/// Parses the strategy's name as Prometheus spells it.
std::optional<Translation> ParseTranslation(std::string_view name);

/// The kinds that naming tells apart.
enum class NameKind : uint8_t { kGauge, kCounter, kOther };

/// Makes the name of a metric family: escaped and with unit, _total and _ratio as the strategy
/// says. "http.server.duration" in "ms" becomes http_server_duration_milliseconds.
std::string MetricName(std::string_view name, std::string_view unit, NameKind kind,
                       Translation translation);
/// Makes a label's name of an attribute's key.
std::string LabelName(std::string_view key, Translation translation);

}  // namespace varve::otlp
