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
#include "tools/varve/entry_printer.h"
#include "tools/varve/shell/answers.h"
#include "tools/varve/shell/render_wings.h"
#include "varve/database.h"

namespace varve::cli {
namespace {

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

}  // namespace

// --- import logs ---

void ImportLogsCommand::AddTo(CLI::App* import) {
  import->add_option("--data", database.dir, "Directory of the store")->required();
  import->add_option("files", paths, "Files of lines; plain, gzip or zstd")->required();
  import->add_option("--label", labels, "Label of the streams, name=value; repeatable")
      ->allow_extra_args(false);  // what follows one is a file
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
    if (!time.ok()) {
      std::cerr << "varve: --time " << command.time << ": " << ToStd(time.status().message())
                << "\n";
      return kUsage;
    }
    options.time_ns = *time;
  }
  if (const Status status = loki::CheckMultiline(options.multiline); !status.ok()) {
    std::cerr << "varve: --multiline: " << ToStd(status.message()) << "\n";
    return kUsage;
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
    std::cout << ", " << shell::TimeNsText(summary.min_time_ns) << " to "
              << shell::TimeNsText(summary.max_time_ns);
  }
  std::printf(", in %.1f s\n", seconds);
  if (summary.lines_without_time > 0) {
    std::cout << FormatCount(summary.lines_without_time)
              << " of them without a time took that of the entry before\n";
  }
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
  const EntryPrinter printer(command.output, color);
  simdjson::dom::parser parser;
  while (true) {
    const Result<std::string> message = client->Next();
    if (!message.ok()) return Fail(message.status());
    simdjson::dom::element root;
    simdjson::dom::array list;
    if (parser.parse(*message).get(root) != simdjson::SUCCESS) return Fail("a frame is not JSON");
    if (root["streams"].get(list) == simdjson::SUCCESS) {
      const Result<query::Streams> streams = shell::ReadStreams(list);
      if (!streams.ok()) return Fail(streams.status());
      printer.Print(*streams, /*backward=*/false);
    }
    if (root["dropped_entries"].get(list) == simdjson::SUCCESS && list.size() > 0) {
      std::cerr << "varve: " << list.size() << " entries were dropped: too many at once\n";
    }
    std::cout.flush();
    if (!std::cout) return kOk;  // the reader has gone
  }
}

}  // namespace varve::cli
