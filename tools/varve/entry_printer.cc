#include "tools/varve/entry_printer.h"

#include <iostream>

#include "engine/base/strings.h"
#include "tools/loki/api.h"
#include "tools/server/json/writer.h"
#include "tools/varve/shell/render_wings.h"

namespace varve::cli {
namespace {

std::string_view ColorOf(std::string_view level) {
  if (level == "error" || level == "critical" || level == "fatal") return "\033[31m";
  if (level == "warn") return "\033[33m";
  if (level == "info") return "\033[32m";
  if (level == "debug") return "\033[36m";
  if (level == "trace") return "\033[35m";
  return {};
}

}  // namespace

void EntryPrinter::PrintEntry(const query::LogLabels& labels, int64_t time_ns,
                              std::string_view line) const {
  std::string out;
  if (output_ == "raw") {
    out = line;
  } else if (output_ == "jsonl") {
    json::Writer json(&out);
    json.BeginObject().Field("time", shell::TimeNsText(time_ns)).Key("labels");
    loki::WriteLabels(labels, &json);
    json.Field("line", line).EndObject();
  } else {
    std::string_view level;
    for (const auto& [name, value] : labels) {
      if (name == "level" || (name == "detected_level" && level.empty())) level = value;
    }
    const std::string_view color = color_ ? ColorOf(level) : std::string_view();
    out = Concat(shell::TimeNsText(time_ns), " ", color_ ? "\033[2m" : "", query::ToString(labels),
                 color_ ? "\033[0m" : "", " ", color, line, color.empty() ? "" : "\033[0m");
  }
  out.push_back('\n');
  std::cout << out;
}

void EntryPrinter::Print(const query::Streams& streams, bool backward) const {
  if (output_ == "csv") {
    std::cout << shell::RenderLogsCsv(streams, backward);
    return;
  }
  const shell::LogTimeline timeline(streams, backward);
  for (const shell::LogTimeline::Row& row : timeline.rows) {
    PrintEntry(timeline.labels[row.stream], row.time_ns, *row.line);
  }
}

}  // namespace varve::cli
