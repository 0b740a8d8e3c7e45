#pragma once

#include <memory>

#include "tools/server/app.h"

namespace CLI {
class App;
}

namespace varve::cli {

/// The flags of `serve` for traces, OTLP and the conventional ports of protocols.
class TraceFlags {
 public:
  TraceFlags();
  ~TraceFlags();
  void AddTo(CLI::App* serve);
  /// Writes what was given into `options`, once parsing has succeeded.
  void Apply(server::AppOptions* options) const;

 private:
  struct Values;
  std::unique_ptr<Values> values_;
};

}  // namespace varve::cli
