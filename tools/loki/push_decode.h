#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tools/loki/log_intake.h"
#include "varve/status.h"

/// Push bodies, decoded. All errors are kInvalidArgument, name the place, and mean that nothing of
/// the body may be stored; what is wrong with single streams and entries goes to the intake's
/// errors instead.
namespace varve::loki {

struct PushCounts {
  uint64_t streams = 0;  // as sent, good or bad
};

/// Decodes Loki's JSON body: {"streams":[{"stream":{...},"values":[["ns","line",{...}]]}]}, and the
/// older form with "labels" and "entries". Members in any order, unknown ones skipped. The text is
/// changed: lines are unescaped in place and borrowed by the batch, so it must live until the batch
/// is appended.
Status DecodePushJson(char* text, size_t size, LogIntake* intake, PushCounts* counts);

/// Decodes a PushRequest message, snappy undone. The bytes must live until the batch is appended.
Status DecodePushProtobuf(std::string_view body, LogIntake* intake, PushCounts* counts);

/// Reads RFC 3339 with up to nanoseconds: "2026-11-20T13:00:00.123456789Z" or an offset. Returns
/// false if it is none, or outside of what int64 nanoseconds can say.
bool ParseRfc3339(std::string_view text, int64_t* time_ns);

}  // namespace varve::loki
