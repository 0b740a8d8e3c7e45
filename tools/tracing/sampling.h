#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/strings.h"
#include "varve/status.h"

namespace varve::tracing {

/// Tells one service how much to sample, as Jaeger's clients ask.
struct SamplingStrategy {
  bool rate_limiting = false;
  double rate = 0.001;  // share of traces, or traces per second
  bool has_operations = false;
  double default_rate = 0;  // of operations that are not listed
  std::vector<std::pair<std::string, double>> operations;
};

/// What a strategies file says; Jaeger's format.
struct SamplingStrategies {
  SamplingStrategy otherwise;
  StringMap<SamplingStrategy> services;

  /// Errors: kInvalidArgument that names the field. Strategies that Jaeger ignores (rate limits of
  /// operations, unknown types) are ignored.
  static Result<SamplingStrategies> Parse(std::string_view json);
  const SamplingStrategy& Find(std::string_view service) const;
};

/// The JSON of an answer: {"strategyType":"PROBABILISTIC",...}.
std::string SamplingJson(const SamplingStrategy& strategy);
/// The bytes of a jaeger.api_v2.SamplingStrategyResponse.
std::string SamplingProtobuf(const SamplingStrategy& strategy);

/// Serves strategies from a file and reads it again when it changes. Thread-safe.
class SamplingFile {
 public:
  /// Empty `path`: the default strategy for all. Errors: kUnavailable, kInvalidArgument.
  static Result<std::unique_ptr<SamplingFile>> Open(std::string path);
  SamplingStrategy Find(std::string_view service) const;
  /// Reads the file again if it is not the one that was read last. What cannot be read or parsed
  /// changes nothing; the error says why.
  Status Reload();

 private:
  explicit SamplingFile(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  mutable absl::Mutex mutex_;
  SamplingStrategies strategies_ ABSL_GUARDED_BY(mutex_);
  std::string text_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::tracing
