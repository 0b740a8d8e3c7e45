// The log entries of TrainTicket: every one of its traces finds its own, and only those. The traces
// themselves need not be stored for that.

#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "tests/otlp/trainticket.h"
#include "varve/correlate.h"

namespace varve::api {
namespace {

/// Entries by time and line: what repeats at one time is one entry.
using Entries = std::set<std::pair<int64_t, std::string>>;

/// Some records have a time from before the year 1900, which OTLP cannot say; what they are stored
/// with is not compared.
int64_t Comparable(int64_t time_ns) {
  constexpr int64_t kDay = 24 * 3600 * int64_t{1'000'000'000};
  constexpr int64_t kRecorded = 1'674'950'400'000'000'000;  // 2023-01-29
  return time_ns >= kRecorded && time_ns < kRecorded + kDay ? time_ns : 0;
}

// The JSON string at the start of `text`, undone as far as these files need it.
std::string Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] != '\\') {
      out.push_back(text[i]);
      continue;
    }
    ++i;
    switch (text[i]) {
      case 'n':
        out.push_back('\n');
        break;
      case 't':
        out.push_back('\t');
        break;
      case 'r':
        out.push_back('\r');
        break;
      case 'u': {
        const auto code = std::stoul(std::string(text.substr(i + 1, 4)), nullptr, 16);
        EXPECT_LT(code, 0x80u) << text;  // the files hold UTF-8
        out.push_back(static_cast<char>(code));
        i += 4;
        break;
      }
      default:
        out.push_back(text[i]);
    }
  }
  return out;
}

// The ids of traces that a line names: runs of 32 hex digits.
std::set<std::string> IdsIn(std::string_view line) {
  std::set<std::string> out;
  size_t digits = 0;
  for (size_t i = 0; i <= line.size(); ++i) {
    const char c = i < line.size() ? line[i] : ' ';
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')) {
      if (++digits >= 32) out.emplace(line.substr(i - 31, 32));
    } else {
      digits = 0;
    }
  }
  return out;
}

TEST_F(TrainTicket, EveryTraceFindsItsLogs) {
  const auto path = testing::SharedPath(Concat(kTrainTicket, "logs.ndjson.zst"));
  if (!path.has_value() || !Read()) {
    std::printf("skipped: no shared data for the TrainTicket logs\n");
    return;
  }
  const std::string logs = testing::ReadFile(*path);
  std::map<std::string, Entries, std::less<>> expected;
  std::string records;
  size_t count = 0;
  const auto flush = [&] {
    if (records.empty()) return;
    const http::Response response = server_.Post(
        "/v1/logs", Concat(R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[)", records, "]}]}]}"),
        kJson);
    ASSERT_EQ(response.status, 200);
    ASSERT_EQ(response.body, R"({"partialSuccess":{}})");
    records.clear();
  };
  for (const std::string_view line : testing::SplitLines(logs)) {
    const std::string_view trace = Behind(line, "\"trace_id\": \"");
    const std::string_view span = Behind(line, "\"span_id\": \"");
    const std::string_view time = Behind(line, "\"ts\": \"");
    constexpr std::string_view kLine = "\"line\": ";
    const size_t at = line.find(kLine);
    ASSERT_NE(at, std::string_view::npos);
    std::string_view body = line.substr(at + kLine.size());
    body.remove_suffix(1);  // the object's brace
    if (!records.empty()) records.push_back(',');
    records += Concat(R"({"timeUnixNano":")", time, R"(","body":{"stringValue":)", body, "}");
    if (trace.size() == 32) records += Concat(R"(,"traceId":")", trace, "\"");
    if (trace.size() == 32 && span.size() == 16) records += Concat(R"(,"spanId":")", span, "\"");
    records.push_back('}');
    const std::string text = Unescaped(body);
    std::set<std::string> ids = IdsIn(text);
    if (trace.size() == 32) ids.emplace(trace);
    const int64_t time_ns = Comparable(std::stoll(std::string(time)));
    for (const std::string& id : ids) expected[id].emplace(time_ns, text);
    if (++count % 5000 == 0) flush();
  }
  flush();
  EXPECT_GT(count, 170'000u);
  ASSERT_TRUE(server_.database().Compact().ok());
  const Entries none;
  size_t with_logs = 0;
  size_t entries = 0;
  for (size_t i = 0; i < lines_.size(); ++i) {
    const std::string id = IdOf(i);
    const auto wanted = expected.find(id);
    const Entries& entries_wanted = wanted == expected.end() ? none : wanted->second;
    correlate::TraceLogsOptions options;
    options.limit = 100'000;
    // At all times, as clocks of the pods may be off by more than the default allows; to save time
    // most only where their entries are.
    options.range = NsRange();
    if (i % 8 != 0 && !entries_wanted.empty() && entries_wanted.begin()->first != 0) {
      options.range = NsRange{entries_wanted.begin()->first, entries_wanted.rbegin()->first};
    }
    const auto got = correlate::LogsOfTrace(server_.database(), *ParseTraceId(id), options);
    ASSERT_TRUE(got.ok()) << got.status();
    Entries found;
    for (const correlate::TraceLog& log : *got) found.emplace(Comparable(log.time_ns), log.line);
    ASSERT_TRUE(found == entries_wanted) << id << ": " << found.size() << " found";
    with_logs += found.empty() ? 0 : 1;
    entries += found.size();
  }
  EXPECT_GT(with_logs, 3'000u);
  EXPECT_GT(entries, 100'000u);
}

}  // namespace
}  // namespace varve::api
