#include "tools/varve/log_commands.h"

#include <simdjson.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>

#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"
#include "tools/server/http/client.h"
#include "tools/server/http/url.h"
#include "tools/server/http/websocket_client.h"
#include "tools/server/json/writer.h"
#include "tools/varve/commands.h"
#include "varve/database.h"

namespace varve::cli {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

Status Bad(std::string_view text) { return MakeStatus(StatusCode::kInvalidArgument, text); }

// "now", "-1h" (before now), or what Loki's API takes.
Result<int64_t> ReadTime(const std::string& text, int64_t now_ns) {
  if (text == "now") return now_ns;
  if (text.size() > 1 && text.front() == '-' && text.back() >= 'a' && text.back() <= 'z') {
    VARVE_ASSIGN_OR_RETURN(const int64_t before, loki::ParseDuration(text.substr(1)));
    return now_ns - before;
  }
  return loki::ParseTime(text);
}

std::string TimeText(int64_t time_ns) {
  int64_t seconds = time_ns / kSecond;
  int64_t nanos = time_ns % kSecond;
  if (nanos < 0) {
    nanos += kSecond;
    --seconds;
  }
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  gmtime_r(&time, &parts);
  char date[40];
  std::strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
  char text[64];
  std::snprintf(text, sizeof text, "%s.%09lldZ", date, static_cast<long long>(nanos));
  return text;
}

std::string_view ColorOf(std::string_view level) {
  if (level == "error" || level == "critical" || level == "fatal") return "\033[31m";
  if (level == "warn") return "\033[33m";
  if (level == "info") return "\033[32m";
  if (level == "debug") return "\033[36m";
  if (level == "trace") return "\033[35m";
  return {};
}

// Writes entries to stdout as the user asked.
class EntryPrinter {
 public:
  EntryPrinter(std::string output, bool color) : output_(std::move(output)), color_(color) {}

  void Print(const query::LogLabels& labels, int64_t time_ns, std::string_view line) {
    std::string out;
    if (output_ == "raw") {
      out = line;
    } else if (output_ == "jsonl") {
      json::Writer json(&out);
      json.BeginObject().Field("time", TimeText(time_ns)).Key("labels");
      loki::WriteLabels(labels, &json);
      json.Field("line", line).EndObject();
    } else {
      std::string_view level;
      for (const auto& [name, value] : labels) {
        if (name == "level" || (name == "detected_level" && level.empty())) level = value;
      }
      const std::string_view color = color_ ? ColorOf(level) : std::string_view();
      out = Concat(TimeText(time_ns), " ", color_ ? "\033[2m" : "", query::ToString(labels),
                   color_ ? "\033[0m" : "", " ", color, line, color.empty() ? "" : "\033[0m");
    }
    out.push_back('\n');
    std::cout << out;
  }
  void PrintStreams(const query::Streams& streams, bool backward) {
    // One timeline over all streams.
    struct Item {
      int64_t time_ns;
      uint32_t stream;
      uint32_t entry;
    };
    std::vector<Item> items;
    std::vector<query::LogLabels> labels;
    for (uint32_t s = 0; s < streams.size(); ++s) {
      labels.push_back(query::FoldedLabels(streams[s]));
      for (uint32_t e = 0; e < streams[s].entries.size(); ++e) {
        items.push_back({streams[s].entries[e].time_ns, s, e});
      }
    }
    std::stable_sort(items.begin(), items.end(), [&](const Item& a, const Item& b) {
      return backward ? a.time_ns > b.time_ns : a.time_ns < b.time_ns;
    });
    for (const Item& item : items) {
      Print(labels[item.stream], item.time_ns, streams[item.stream].entries[item.entry].line);
    }
  }

 private:
  const std::string output_;
  const bool color_;
};

std::string FloatText(double value) {
  std::string out;
  json::AppendFloat(value, &out);
  return out;
}

void PrintSamples(const query::LogValue& value) {
  if (const auto* scalar = std::get_if<query::Scalar>(&value)) {
    std::cout << FloatText(scalar->value) << "\n";
  } else if (const auto* vector = std::get_if<query::Vector>(&value)) {
    for (const query::VectorSample& sample : *vector) {
      std::cout << ToString(sample.labels.view()) << "  " << FloatText(sample.value) << "\n";
    }
  } else if (const auto* matrix = std::get_if<query::Matrix>(&value)) {
    for (const query::Series& series : *matrix) {
      std::cout << ToString(series.labels.view()) << "\n";
      for (size_t i = 0; i < series.times_ms.size(); ++i) {
        std::cout << "  " << TimeText(series.times_ms[i] * 1'000'000) << "  "
                  << FloatText(series.values[i]) << "\n";
      }
    }
  }
}

struct ServerAddress {
  std::string host;
  uint16_t port = 80;
};
Result<ServerAddress> ParseUrl(const std::string& url) {
  const Result<http::Target> target = http::ParseTarget(url, http::UrlLimits());
  if (!target.ok() || target->authority.empty() || url.starts_with("https:")) {
    return Bad("--url must look like http://HOST:PORT");
  }
  VARVE_ASSIGN_OR_RETURN(const http::HostPort host, http::ParseHost(target->authority));
  ServerAddress out{host.host, 80};
  if (!host.port.empty()) out.port = static_cast<uint16_t>(std::stoi(host.port));
  return out;
}

// Reads the streams of an answer or of a tail's frame.
Status ReadStreams(simdjson::dom::array list, query::Streams* out) {
  for (const simdjson::dom::element element : list) {
    query::LogStream stream;
    simdjson::dom::object labels;
    std::string_view text;
    if (element["stream"].get(labels) == simdjson::SUCCESS) {
      for (const auto& [name, value] : labels) {
        if (value.get(text) == simdjson::SUCCESS) stream.stream.emplace_back(name, text);
      }
    }
    std::sort(stream.stream.begin(), stream.stream.end());
    simdjson::dom::array values;
    if (element["values"].get(values) != simdjson::SUCCESS) return Bad("the answer has no values");
    for (const simdjson::dom::element value : values) {
      query::LogEntry entry;
      std::string_view line;
      if (value.at(0).get(text) != simdjson::SUCCESS ||
          value.at(1).get(line) != simdjson::SUCCESS) {
        return Bad("the answer has a malformed entry");
      }
      entry.time_ns = std::atoll(std::string(text).c_str());
      entry.line = line;
      stream.entries.push_back(std::move(entry));
    }
    out->push_back(std::move(stream));
  }
  return absl::OkStatus();
}

struct LogTimes {
  bool instant = false;
  int64_t time_ns = 0;
  query::LogQueryRange range;
};

Result<LogTimes> ReadTimes(const LogQueryCommand& command, bool metric) {
  const int64_t now_ns = Clock::Real()->NowMs() * 1'000'000;
  LogTimes out;
  const bool ranged =
      command.start.has_value() || command.end.has_value() || command.step.has_value();
  if (command.time.has_value() && ranged) {
    return Bad("--time does not go with --start, --end and --step");
  }
  out.instant = metric && !ranged;
  VARVE_ASSIGN_OR_RETURN(out.time_ns, ReadTime(command.time.value_or("now"), now_ns));
  VARVE_ASSIGN_OR_RETURN(out.range.end_ns, ReadTime(command.end.value_or("now"), now_ns));
  out.range.start_ns = out.range.end_ns - 3600 * kSecond;
  if (command.start.has_value()) {
    VARVE_ASSIGN_OR_RETURN(out.range.start_ns, ReadTime(*command.start, now_ns));
  }
  if (command.step.has_value()) {
    VARVE_ASSIGN_OR_RETURN(out.range.step_ns, loki::ParseDuration(*command.step));
  }
  out.range.limit = command.limit;
  out.range.direction =
      command.forward ? query::LogDirection::kForward : query::LogDirection::kBackward;
  return out;
}

int QueryServer(const LogQueryCommand& command, const LogTimes& times) {
  const Result<ServerAddress> server = ParseUrl(command.url);
  if (!server.ok()) return Fail(server.status());
  http::ClientRequest request;
  request.method = http::Method::kPost;
  request.headers.Add("Content-Type", "application/x-www-form-urlencoded");
  request.body = Concat("query=", http::PercentEncode(command.expression));
  if (times.instant) {
    request.path = "/loki/api/v1/query";
    request.body += Concat("&time=", times.time_ns);
  } else {
    request.path = "/loki/api/v1/query_range";
    request.body += Concat("&start=", times.range.start_ns, "&end=", times.range.end_ns,
                           "&limit=", times.range.limit,
                           "&direction=", command.forward ? "forward" : "backward");
    if (times.range.step_ns > 0) {
      request.body += Concat("&step=", times.range.step_ns / 1'000'000, "ms");
    }
  }
  const auto response = http::Fetch(server->host, server->port, request, std::chrono::seconds(150));
  if (!response.ok()) return Fail(response.status());
  if (response->status != 200) return Fail(http::Trim(response->body));
  if (command.json) {
    std::cout << response->body << "\n";
    return kOk;
  }
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::dom::array result;
  std::string_view type;
  if (parser.parse(response->body).get(root) != simdjson::SUCCESS ||
      root["data"]["resultType"].get(type) != simdjson::SUCCESS) {
    return Fail("the server's answer is not Loki's JSON");
  }
  if (type != "streams") {
    std::cout << simdjson::minify(root["data"]["result"]) << "\n";
    return kOk;
  }
  query::Streams streams;
  if (root["data"]["result"].get(result) != simdjson::SUCCESS) return Fail("no result");
  if (const Status status = ReadStreams(result, &streams); !status.ok()) return Fail(status);
  EntryPrinter(command.output, isatty(STDOUT_FILENO) != 0).PrintStreams(streams, !command.forward);
  return kOk;
}

}  // namespace

// --- import logs ---

void ImportLogsCommand::AddTo(CLI::App* import) {
  import->add_option("--data", database.dir, "Directory of the store")->required();
  import->add_option("files", paths, "Files of lines; plain, gzip or zstd")->required();
  import->add_option("--label", labels, "Label of the streams, name=value; repeatable");
  import->add_option("--format", format, "How lines carry their time")
      ->check(CLI::IsMember({"auto", "plain", "json", "logfmt"}))
      ->capture_default_str();
  import->add_option("--time-field", time_field, "Name of the time in JSON and logfmt lines");
  import->add_option("--time", time,
                     "When the first line was, the others a nanosecond apart; default: times are "
                     "found in the lines");
  import->add_option("--multiline", multiline,
                     "Expression that the first line of an entry matches, or auto: lines that are "
                     "indented or have no time belong to the entry before");
  import->add_flag("--no-filename", no_filename, "Do not add the label filename");
  import->add_flag("--no-level", no_level, "Do not add detected_level");
  import->add_flag("--json", json, "Print a machine-readable summary");
}

int RunImportLogs(const ImportLogsCommand& command) {
  loki::LogImportOptions options;
  std::vector<LabelView> labels;
  for (const std::string& label : command.labels) {
    const size_t equal = label.find('=');
    const std::string_view name = std::string_view(label).substr(0, equal);
    if (equal == std::string::npos || !loki::IsLabelName(name)) {
      std::cerr << "varve: --label " << label << " is not name=value\n";
      return kUsage;
    }
    labels.push_back({name, std::string_view(label).substr(equal + 1)});
  }
  const Result<Labels> made = Labels::Make(labels);
  if (!made.ok()) return Fail(made.status());
  options.labels = *made;
  options.filename_label = !command.no_filename;
  options.detect_level = !command.no_level;
  options.time_field = command.time_field;
  options.multiline = command.multiline;
  if (command.format == "plain") options.format = loki::LogFormat::kPlain;
  if (command.format == "json") options.format = loki::LogFormat::kJson;
  if (command.format == "logfmt") options.format = loki::LogFormat::kLogfmt;
  if (!command.time.empty() && command.time != "found") {
    const Result<int64_t> time = ReadTime(command.time, Clock::Real()->NowMs() * 1'000'000);
    if (!time.ok()) return Fail(time.status());
    options.time_ns = *time;
  }
  using SteadyClock = std::chrono::steady_clock;
  const auto begin = SteadyClock::now();
  auto drawn = begin;
  const bool bar = !command.json && isatty(STDERR_FILENO) != 0;
  if (bar) {
    options.progress = [&](uint64_t done, uint64_t total) {
      const auto now = SteadyClock::now();
      if (now - drawn < std::chrono::milliseconds(100)) return;
      drawn = now;
      constexpr size_t kWidth = 30;
      const double share =
          total == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
      const auto full = static_cast<size_t>(share * kWidth);
      const double seconds = std::chrono::duration<double>(now - begin).count();
      std::fprintf(stderr, "\r[%s%s] %3.0f%%  %s/s ", std::string(full, '#').c_str(),
                   std::string(kWidth - full, '.').c_str(), share * 100,
                   FormatSize(static_cast<double>(done) / std::max(seconds, 1e-3)).c_str());
    };
  }
  auto database = Database::Open(command.database);
  if (!database.ok()) return Fail(database.status());
  loki::LogImportSummary summary;
  Status status = loki::ImportLogFiles(command.paths, options, database->get(), &summary);
  if (const Status closed = (*database)->Close(); status.ok()) status = closed;
  if (bar) std::fprintf(stderr, "\r\033[K");
  const double seconds = std::chrono::duration<double>(SteadyClock::now() - begin).count();
  for (const std::string& warning : summary.warnings) {
    std::cerr << "varve import: warning: " << warning << "\n";
  }
  if (command.json) {
    std::string out;
    json::Writer json(&out);
    json.BeginObject().Field("status", status.ok() ? "success" : "error");
    if (!status.ok()) json.Field("error", ToStd(status.message()));
    json.Key("files").Uint(summary.files).Key("lines").Uint(summary.lines);
    json.Key("entries").Uint(summary.entries).Key("line_bytes").Uint(summary.line_bytes);
    json.Key("bytes_read").Uint(summary.bytes_read);
    json.Key("lines_without_time").Uint(summary.lines_without_time);
    json.Key("lines_too_long").Uint(summary.lines_too_long);
    if (summary.min_time_ns <= summary.max_time_ns) {
      json.Key("min_time_ns").Int(summary.min_time_ns).Key("max_time_ns").Int(summary.max_time_ns);
    }
    json.Key("seconds").Number(seconds).EndObject();
    std::cout << out << "\n";
    return status.ok() ? kOk : kFailed;
  }
  if (!status.ok()) return Fail(status);
  std::cout << "imported " << FormatCount(summary.entries) << " entries, "
            << FormatSize(static_cast<double>(summary.line_bytes)) << " of lines from "
            << summary.files << (summary.files == 1 ? " file" : " files");
  if (summary.min_time_ns <= summary.max_time_ns) {
    std::cout << ", " << TimeText(summary.min_time_ns) << " to " << TimeText(summary.max_time_ns);
  }
  std::printf(", in %.1f s\n", seconds);
  if (summary.lines_without_time > 0) {
    std::cout << FormatCount(summary.lines_without_time)
              << " of them without a time took that of the entry before\n";
  }
  return kOk;
}

// --- query ---

int RunLogQuery(const LogQueryCommand& command) {
  const auto fail = [&](const Status& status) {
    return Fail(query::RenderLogError(command.expression, status));
  };
  const auto info = query::InspectLogQuery(command.expression);
  if (!info.ok()) return fail(info.status());
  const Result<LogTimes> times = ReadTimes(command, !info->is_log_query);
  if (!times.ok()) return Fail(times.status());
  if (!command.url.empty()) return QueryServer(command, *times);
  query::LogEngineOptions engine_options = command.engine;
  engine_options.max_entries_limit_per_query = 0;
  const auto engine = query::LogEngine::Make(engine_options);
  if (command.explain) {
    const Result<std::string> plan = engine->Explain(command.expression);
    if (!plan.ok()) return fail(plan.status());
    std::cout << *plan;
    return kOk;
  }
  Options options;
  options.dir = command.data;
  options.create_if_missing = false;
  options.read_only = true;
  const auto database = Database::Open(options);
  if (!database.ok()) return Fail(database.status());
  auto snapshot = (*database)->TakeLogSnapshot();
  if (!snapshot.ok()) return Fail(snapshot.status());
  query::LogQueryOptions query_options;
  query_options.analyze = command.analyze;
  auto result =
      times->instant
          ? engine->Instant(*std::move(snapshot), command.expression, times->time_ns, query_options)
          : engine->Range(*std::move(snapshot), command.expression, times->range, query_options);
  if (!result.ok()) return fail(result.status());
  const std::string analysis =
      command.analyze ? query::LogEngine::FormatAnalysis(result->statistics) : std::string();
  for (const std::string& warning : result->warnings) std::cerr << "varve: " << warning << "\n";
  if (command.json) {
    http::Response response =
        loki::ResultResponse(*std::move(result), /*categorize=*/false, !command.forward);
    std::cout << response.body;
    for (bool more = response.source != nullptr; more;) {
      std::string piece;
      const Result<bool> next = response.source->Next(1 << 16, &piece);
      if (!next.ok()) return Fail(next.status());
      std::cout << piece;
      more = *next;
    }
    std::cout << "\n";
  } else if (const auto* streams = std::get_if<query::Streams>(&result->value)) {
    EntryPrinter(command.output, isatty(STDOUT_FILENO) != 0)
        .PrintStreams(*streams, !command.forward);
    if (streams->empty()) std::cerr << "varve: empty result\n";
  } else {
    PrintSamples(result->value);
  }
  std::cerr << analysis;
  return kOk;
}

// --- tail ---

void TailCommand::AddTo(CLI::App* tail) {
  tail->add_option("expression", expression, "LogQL: a selector, perhaps with stages")->required();
  tail->add_option("--url", url, "The server: http://HOST:PORT")->capture_default_str();
  tail->add_option("--limit", limit, "Older entries shown first")->capture_default_str();
  tail->add_option("--delay-for", delay_s, "Seconds that entries wait for late ones (at most 5)")
      ->check(CLI::Range(0, 5));
  tail->add_option("--output", output, "table, raw or jsonl")
      ->check(CLI::IsMember({"table", "raw", "jsonl"}))
      ->capture_default_str();
  tail->add_option("--color", color, "Colours by level")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
}

int RunTail(const TailCommand& command) {
  const Result<ServerAddress> server = ParseUrl(command.url);
  if (!server.ok()) return Fail(server.status());
  std::string path = Concat("/loki/api/v1/tail?query=", http::PercentEncode(command.expression),
                            "&limit=", command.limit);
  if (command.delay_s > 0) path += Concat("&delay_for=", command.delay_s);
  auto client = http::WebSocketClient::Connect(server->host, server->port, path);
  if (!client.ok()) return Fail(client.status());
  const bool color =
      command.color == "always" || (command.color == "auto" && isatty(STDOUT_FILENO) != 0);
  EntryPrinter printer(command.output, color);
  simdjson::dom::parser parser;
  while (true) {
    const Result<std::string> message = client->Next();
    if (!message.ok()) return Fail(message.status());
    simdjson::dom::element root;
    simdjson::dom::array list;
    if (parser.parse(*message).get(root) != simdjson::SUCCESS) return Fail("a frame is not JSON");
    query::Streams streams;
    if (root["streams"].get(list) == simdjson::SUCCESS) {
      if (const Status status = ReadStreams(list, &streams); !status.ok()) return Fail(status);
    }
    printer.PrintStreams(streams, /*backward=*/false);
    if (root["dropped_entries"].get(list) == simdjson::SUCCESS && list.size() > 0) {
      std::cerr << "varve: " << list.size() << " entries were dropped: too many at once\n";
    }
    std::cout.flush();
    if (!std::cout) return kOk;  // the reader has gone
  }
}

}  // namespace varve::cli
