#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/strings.h"
#include "tests/otlp/trace_server_fixture.h"
#include "tests/support/shared_data.h"
#include "tools/otlp/json_wire.h"

/// A server, and the recorded traces of TrainTicket.
namespace varve::api {

inline constexpr std::string_view kTrainTicket = "data/traces/trainticket/trainticket-2023-01-29.";

/// The text behind `key` up to the next quote; the recorded files are regular.
inline std::string_view Behind(std::string_view text, std::string_view key) {
  const size_t at = text.find(key);
  if (at == std::string_view::npos) return {};
  const std::string_view rest = text.substr(at + key.size());
  return rest.substr(0, rest.find('"'));
}

class TrainTicket : public ::testing::Test {
 protected:
  /// Reads all traces, without storing them; false without the data.
  bool Read() {
    const auto path = testing::SharedPath(Concat(kTrainTicket, "otlp-traces.jsonl.zst"));
    if (!path.has_value()) {
      std::printf("skipped: no shared data for the TrainTicket traces\n");
      return false;
    }
    text_ = testing::ReadFile(*path);
    lines_ = testing::SplitLines(text_);
    return true;
  }
  /// Stores them, as protobuf bodies of about a thousand spans.
  void Load() {
    std::string body;
    for (size_t i = 0; i < lines_.size(); ++i) {
      EXPECT_TRUE(otlp::JsonToWire(lines_[i], otlp::kTraceRequest, &body).ok());
      if (body.size() < 200'000 && i + 1 < lines_.size()) continue;
      EXPECT_EQ(server_.Post("/v1/traces", body, kProtobuf).status, 200);
      body.clear();
    }
  }
  std::string IdOf(size_t line) const {
    return std::string(Behind(lines_[line], "\"traceId\":\""));
  }

  Server server_;
  std::string text_;
  std::vector<std::string_view> lines_;  // a trace each
};

}  // namespace varve::api
