#include "tools/tracing/sampling.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include "engine/base/macros.h"
#include "tools/otlp/wire_writer.h"
#include "tools/server/json/writer.h"

namespace varve::tracing {
namespace {

namespace dom = simdjson::dom;

constexpr double kDefaultRate = 0.001;
constexpr size_t kFileBytesMax = 16 << 20;

Status Malformed(std::string_view what) {
  return MakeStatus(StatusCode::kInvalidArgument, Concat("sampling strategies: ", what));
}

Result<std::string> TextField(dom::object object, std::string_view key) {
  dom::element element;
  if (object.at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) {
    return std::string();
  }
  std::string_view text;
  if (element.get_string().get(text) != simdjson::SUCCESS) {
    return Malformed(Concat("field \"", key, "\" is no string"));
  }
  return std::string(text);
}

Result<double> NumberField(dom::object object, std::string_view key) {
  dom::element element;
  if (object.at_key(key).get(element) != simdjson::SUCCESS || element.is_null()) return 0.0;
  double number = 0;
  if (element.get_double().get(number) != simdjson::SUCCESS || !std::isfinite(number)) {
    return Malformed(Concat("field \"", key, "\" is no number"));
  }
  return number;
}

Result<SamplingStrategy> ParseStrategy(dom::object object) {
  SamplingStrategy out;
  VARVE_ASSIGN_OR_RETURN(const std::string type, TextField(object, "type"));
  VARVE_ASSIGN_OR_RETURN(const double param, NumberField(object, "param"));
  if (type == "probabilistic") {
    out.rate = std::clamp(param, 0.0, 1.0);
  } else if (type == "ratelimiting") {
    out.rate_limiting = true;
    out.rate = std::clamp(param, 0.0, 1e9);
  }
  dom::element element;
  if (object.at_key("operation_strategies").get(element) != simdjson::SUCCESS ||
      element.is_null()) {
    return out;
  }
  dom::array operations;
  if (element.get_array().get(operations) != simdjson::SUCCESS) {
    return Malformed("field \"operation_strategies\" is no list");
  }
  out.default_rate = out.rate_limiting ? kDefaultRate : out.rate;
  for (const dom::element item : operations) {
    dom::object fields;
    if (item.get_object().get(fields) != simdjson::SUCCESS) {
      return Malformed("an operation's strategy is no object");
    }
    VARVE_ASSIGN_OR_RETURN(std::string name, TextField(fields, "operation"));
    VARVE_ASSIGN_OR_RETURN(const std::string kind, TextField(fields, "type"));
    VARVE_ASSIGN_OR_RETURN(const double rate, NumberField(fields, "param"));
    out.has_operations = true;
    if (kind != "probabilistic") continue;
    out.operations.emplace_back(std::move(name), std::clamp(rate, 0.0, 1.0));
  }
  return out;
}

}  // namespace

Result<SamplingStrategies> SamplingStrategies::Parse(std::string_view json) {
  dom::parser parser;
  dom::element root;
  if (const auto error = parser.parse(json.data(), json.size(), true).get(root)) {
    return Malformed(Concat("malformed JSON: ", simdjson::error_message(error)));
  }
  dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) return Malformed("not an object");
  SamplingStrategies out;
  dom::element element;
  dom::object fields;
  if (object.at_key("default_strategy").get(element) == simdjson::SUCCESS && !element.is_null()) {
    if (element.get_object().get(fields) != simdjson::SUCCESS) {
      return Malformed("field \"default_strategy\" is no object");
    }
    VARVE_ASSIGN_OR_RETURN(out.otherwise, ParseStrategy(fields));
  }
  dom::array services;
  if (object.at_key("service_strategies").get(element) == simdjson::SUCCESS && !element.is_null()) {
    if (element.get_array().get(services) != simdjson::SUCCESS) {
      return Malformed("field \"service_strategies\" is no list");
    }
    for (const dom::element item : services) {
      if (item.get_object().get(fields) != simdjson::SUCCESS) {
        return Malformed("a service's strategy is no object");
      }
      VARVE_ASSIGN_OR_RETURN(const std::string name, TextField(fields, "service"));
      VARVE_ASSIGN_OR_RETURN(SamplingStrategy strategy, ParseStrategy(fields));
      if (out.otherwise.has_operations) {
        // What the default says of an operation holds unless the service says otherwise.
        if (!strategy.has_operations) {
          strategy.has_operations = true;
          strategy.default_rate =
              strategy.rate_limiting ? out.otherwise.default_rate : strategy.rate;
        }
        const size_t own = strategy.operations.size();
        for (const auto& operation : out.otherwise.operations) {
          const auto end = strategy.operations.begin() + static_cast<ptrdiff_t>(own);
          if (std::none_of(strategy.operations.begin(), end,
                           [&](const auto& mine) { return mine.first == operation.first; })) {
            strategy.operations.push_back(operation);
          }
        }
      }
      out.services[name] = std::move(strategy);
    }
  }
  return out;
}

const SamplingStrategy& SamplingStrategies::Find(std::string_view service) const {
  const auto found = services.find(service);
  return found == services.end() ? otherwise : found->second;
}

std::string SamplingJson(const SamplingStrategy& strategy) {
  std::string out;
  json::Writer json(&out);
  json.BeginObject();
  if (strategy.rate_limiting) {
    json.Field("strategyType", "RATE_LIMITING").Key("rateLimitingSampling").BeginObject();
    json.Key("maxTracesPerSecond").Int(static_cast<int64_t>(strategy.rate)).EndObject();
  } else {
    json.Field("strategyType", "PROBABILISTIC").Key("probabilisticSampling").BeginObject();
    json.Key("samplingRate").Number(strategy.rate).EndObject();
  }
  if (strategy.has_operations) {
    json.Key("operationSampling").BeginObject();
    json.Key("defaultSamplingProbability").Number(strategy.default_rate);
    json.Key("defaultLowerBoundTracesPerSecond").Number(0);
    json.Key("perOperationStrategies").BeginArray();
    for (const auto& [operation, rate] : strategy.operations) {
      json.BeginObject().Field("operation", operation).Key("probabilisticSampling").BeginObject();
      json.Key("samplingRate").Number(rate).EndObject().EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndObject();
  return out;
}

std::string SamplingProtobuf(const SamplingStrategy& strategy) {
  std::string out;
  if (strategy.rate_limiting) {
    otlp::AppendVarintField(1, 1, &out);
    const otlp::Submessage limit(3, &out);
    otlp::AppendVarintUnlessZero(1, static_cast<uint64_t>(strategy.rate), &out);
  } else {
    const otlp::Submessage probability(2, &out);
    otlp::AppendDoubleField(1, strategy.rate, &out);
  }
  if (strategy.has_operations) {
    const otlp::Submessage operations(4, &out);
    otlp::AppendDoubleField(1, strategy.default_rate, &out);
    for (const auto& [operation, rate] : strategy.operations) {
      const otlp::Submessage one(3, &out);
      otlp::AppendBytesField(1, operation, &out);
      const otlp::Submessage probability(2, &out);
      otlp::AppendDoubleField(1, rate, &out);
    }
  }
  return out;
}

Result<std::unique_ptr<SamplingFile>> SamplingFile::Open(std::string path) {
  std::unique_ptr<SamplingFile> file(new SamplingFile(std::move(path)));
  VARVE_RETURN_IF_ERROR(file->Reload());
  return file;
}

SamplingStrategy SamplingFile::Find(std::string_view service) const {
  const absl::MutexLock lock(&mutex_);
  return strategies_.Find(service);
}

Status SamplingFile::Reload() {
  if (path_.empty()) return absl::OkStatus();
  std::ifstream in(path_, std::ios::binary);
  std::string text;
  char piece[65536];
  while (in && text.size() <= kFileBytesMax) {
    in.read(piece, sizeof(piece));
    text.append(piece, static_cast<size_t>(in.gcount()));
  }
  if (!in.eof() || text.size() > kFileBytesMax) {
    return MakeStatus(StatusCode::kUnavailable, Concat("cannot read ", path_));
  }
  {
    const absl::MutexLock lock(&mutex_);
    if (text == text_) return absl::OkStatus();
  }
  VARVE_ASSIGN_OR_RETURN(SamplingStrategies strategies, SamplingStrategies::Parse(text));
  const absl::MutexLock lock(&mutex_);
  strategies_ = std::move(strategies);
  text_ = std::move(text);
  return absl::OkStatus();
}

}  // namespace varve::tracing
