#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "varve/labels.h"

/// The level of a log entry, as Loki detects it for the label `detected_level`.
namespace varve::loki {

/// The levels that detection gives. What a program itself says in a label or in structured metadata
/// may be any text ("notice") and is then kept.
inline constexpr std::string_view kLevelTrace = "trace";
inline constexpr std::string_view kLevelDebug = "debug";
inline constexpr std::string_view kLevelInfo = "info";
inline constexpr std::string_view kLevelWarn = "warn";
inline constexpr std::string_view kLevelError = "error";
inline constexpr std::string_view kLevelCritical = "critical";
inline constexpr std::string_view kLevelFatal = "fatal";
inline constexpr std::string_view kLevelUnknown = "unknown";

/// Returns the level that a word such as "WARNING", "err" or "Info" means; empty if it is none.
std::string_view NormalizeLevel(std::string_view word);

/// Returns the level of an OTLP severity number given as text; what is no number is `info`.
std::string_view LevelOfSeverityNumber(std::string_view number);

/// Tests whether a name is one under which programs give their level: level, severity, lvl,
/// log.level, severity_text and their usual spellings.
bool IsLevelName(std::string_view name);

/// Returns the value of a label with such a name, normalised where it is a known level; empty if
/// there is none. The result is a constant or points into `labels`.
std::string_view LevelOfLabels(LabelsView labels);

/// Detects the level that a line tells: a level field of a JSON object (down to the second level of
/// nesting) or of logfmt pairs, else the first whole word that is a level's name, else "unknown".
/// Returns one of the constants above. Cost: one pass at some GB/s for lines without a level;
/// nothing is allocated.
std::string_view DetectLevel(std::string_view line);

/// One implementation of DetectLevel. All give the same answers.
struct LevelKernel {
  std::string_view name;
  std::string_view (*detect)(std::string_view line);
};

/// Lists what this processor can run, the fastest last. The first one runs everywhere.
std::span<const LevelKernel> AllLevelKernels();

}  // namespace varve::loki
