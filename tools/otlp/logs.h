#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "tools/otlp/traces.h"
#include "varve/log_batch.h"

namespace varve::otlp {

struct LogOptions {
  /// The time of records that have none, neither their own nor an observed one.
  int64_t now_ns = 0;
  /// Returns the level of an entry, stored as structured metadata detected_level; empty: none.
  /// Null: nothing is detected. Called unless the record brings the name itself. The result must be
  /// a constant or point into the arguments.
  std::function<std::string_view(LabelsView stream, LabelsView metadata, std::string_view line)>
      detect_level;
};

/// Decodes an ExportLogsServiceRequest and adds its records to `out`, by Loki's rules: attributes
/// of the resource that identify the sender are labels of the stream, all else is structured
/// metadata, maps flattened; the body as text is the line. `out` borrows from `wire`.
/// Errors: kInvalidArgument with field and byte offset.
Status DecodeLogs(std::string_view wire, const LogOptions& options, LogBatch* out);

}  // namespace varve::otlp
