#include "tools/varve/shell/render_wings.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <vector>

#include "engine/base/strings.h"
#include "tools/server/api/parameters.h"

namespace varve::cli::shell {
namespace {

constexpr const char* kReset = "\x1b[0m";
constexpr const char* kDim = "\x1b[2m";
constexpr const char* kRed = "\x1b[31m";
constexpr size_t kDepthMax = 64;  // of a drawn tree; deeper spans stand at this depth

std::string Pad(std::string_view text, size_t width) {
  const size_t own = WidthOf(text);
  return Concat(text, std::string(own < width ? width - own : 0, ' '));
}

// The color of a line: its level label, else the first word in it that names
// one.
const char* ColorOf(const query::LogLabels& labels, std::string_view line) {
  std::string level;
  for (const auto& [name, value] : labels) {
    if (name == "level" || name == "detected_level" || name == "severity") level = value;
  }
  if (level.empty()) level = line.substr(0, 200);
  std::transform(level.begin(), level.end(), level.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const auto has = [&](std::string_view word) { return level.find(word) != std::string::npos; };
  if (has("error") || has("fatal") || has("crit") || has("panic")) return kRed;
  if (has("warn")) return "\x1b[33m";
  if (has("debug") || has("trace")) return kDim;
  return "";
}

}  // namespace

std::string TimeNsText(int64_t ns) {
  const int64_t ms = ns / 1'000'000 - (ns % 1'000'000 < 0 ? 1 : 0);
  std::string out = api::FormatTime(ms);
  char rest[8];
  std::snprintf(rest, sizeof(rest), "%06d", static_cast<int>(ns - ms * 1'000'000));
  return out.insert(out.size() - 1, rest);
}

std::string ShortDuration(int64_t ns) {
  char text[32];
  const auto value = static_cast<double>(ns);
  if (ns < 1'000) {
    std::snprintf(text, sizeof(text), "%d ns", static_cast<int>(ns));
  } else if (ns < 1'000'000) {
    std::snprintf(text, sizeof(text), "%.3g µs", value / 1e3);
  } else if (ns < 1'000'000'000) {
    std::snprintf(text, sizeof(text), "%.3g ms", value / 1e6);
  } else {
    std::snprintf(text, sizeof(text), "%.4g s", value / 1e9);
  }
  return text;
}

LogTimeline::LogTimeline(const query::Streams& streams, bool backward) {
  for (uint32_t stream = 0; stream < streams.size(); ++stream) {
    labels.push_back(query::FoldedLabels(streams[stream]));
    for (const query::LogEntry& entry : streams[stream].entries) {
      rows.push_back({entry.time_ns, stream, &entry.line});
    }
  }
  std::stable_sort(rows.begin(), rows.end(), [backward](const Row& a, const Row& b) {
    return backward ? a.time_ns > b.time_ns : a.time_ns < b.time_ns;
  });
}

std::string RenderLogs(const query::Streams& streams, bool backward, const Look& look) {
  const LogTimeline timeline(streams, backward);
  const std::vector<query::LogLabels>& labels = timeline.labels;
  if (timeline.rows.empty()) return "empty\n";
  query::LogLabels common;
  for (const auto& label : labels.front()) {
    if (std::all_of(labels.begin(), labels.end(), [&](const query::LogLabels& other) {
          return std::find(other.begin(), other.end(), label) != other.end();
        })) {
      common.push_back(label);
    }
  }
  std::string out;
  if (!common.empty()) {
    out += Concat(look.color ? kDim : "", Printable(query::ToString(common)),
                  look.color ? kReset : "", "\n");
  }
  for (const LogTimeline::Row& row : timeline.rows) {
    query::LogLabels own;
    for (const auto& label : labels[row.stream]) {
      if (std::find(common.begin(), common.end(), label) == common.end()) own.push_back(label);
    }
    const char* const color = look.color ? ColorOf(labels[row.stream], *row.line) : "";
    out += Concat(look.color ? kDim : "", TimeNsText(row.time_ns), look.color ? kReset : "", " ",
                  color, Printable(*row.line), *color != 0 ? kReset : "");
    if (!own.empty() && own.size() <= 4) {
      out += Concat(" ", look.color ? kDim : "", Printable(query::ToString(own)),
                    look.color ? kReset : "");
    }
    out += "\n";
  }
  return out;
}

std::string RenderLogsCsv(const query::Streams& streams, bool backward) {
  const LogTimeline timeline(streams, backward);
  std::string out = "time_ns,line,labels\n";
  for (const LogTimeline::Row& row : timeline.rows) {
    out += Concat(row.time_ns, ",", CsvCell(*row.line), ",",
                  CsvCell(query::ToString(timeline.labels[row.stream])), "\n");
  }
  return out;
}

std::string RenderTraceList(const query::SearchResult& result, const Look& look) {
  std::string out;
  for (const query::TraceSummary& trace : result.traces) {
    const bool bad = look.color && trace.errors > 0;
    out += Concat(bad ? kRed : "", ToString(trace.id), bad ? kReset : "", "  ",
                  TimeNsText(trace.start_ns), "  ", Pad(ShortDuration(trace.duration_ns), 9), "  ",
                  trace.spans, " spans");
    if (trace.errors > 0) out += Concat(", ", trace.errors, " failed");
    out += Concat("  ", Printable(trace.root_service), ": ", Printable(trace.root_name), "\n");
  }
  return out;
}

std::string RenderTraces(const query::SearchResult& result, const Look& look) {
  if (result.traces.empty()) return "empty\n";
  return RenderTraceList(result, look) + ".trace ID draws one\n";
}

std::string RenderTracesCsv(const query::SearchResult& result) {
  std::string out = "trace_id,start_ns,duration_ns,spans,errors,root_service,root_name\n";
  for (const query::TraceSummary& trace : result.traces) {
    out += Concat(ToString(trace.id), ",", trace.start_ns, ",", trace.duration_ns, ",", trace.spans,
                  ",", trace.errors, ",", CsvCell(trace.root_service), ",",
                  CsvCell(trace.root_name), "\n");
  }
  return out;
}

std::string RenderAnalysis(const query::TraceSearchStats& stats) {
  const double ms = std::chrono::duration<double, std::milli>(stats.total_time).count();
  char total[32];
  std::snprintf(total, sizeof(total), "total %.1f ms: ", ms);
  return Concat(total, stats.traces_inspected, " traces of ", stats.spans_inspected,
                " spans inspected; ", stats.scan.spans, " spans tested, ", stats.scan.spans_matched,
                " matched; ", stats.scan.blocks, " blocks, ", stats.scan.blocks_skipped,
                " skipped; ", stats.scan.bytes_decompressed, " bytes decompressed\n");
}

std::string RenderWaterfall(const SpanBatch& batch, const Look& look) {
  const std::vector<SpanBatch::Span>& spans = batch.spans();
  if (spans.empty()) return "no such trace\n";
  int64_t first = spans.front().start_ns;
  int64_t last = first;
  std::map<SpanId, size_t> at;
  for (size_t i = 0; i < spans.size(); ++i) {
    first = std::min(first, spans[i].start_ns);
    last = std::max({last, spans[i].end_ns, spans[i].start_ns});
    at.emplace(spans[i].span_id, i);
  }
  std::vector<std::vector<size_t>> children(spans.size());
  std::vector<size_t> roots;
  for (size_t i = 0; i < spans.size(); ++i) {
    const auto parent = at.find(spans[i].parent_id);
    if (spans[i].parent_id.empty() || parent == at.end() || parent->second == i) {
      roots.push_back(i);
    } else {
      children[parent->second].push_back(i);
    }
  }
  // Depth first with a stack of its own: traces may be deep, and parents may
  // form a ring.
  struct Drawn {
    size_t span;
    size_t depth;
  };
  std::vector<Drawn> order;
  std::vector<Drawn> stack;
  std::vector<bool> seen(spans.size());
  const auto by_start = [&](size_t a, size_t b) { return spans[a].start_ns > spans[b].start_ns; };
  const auto draw = [&](std::vector<size_t> from) {
    std::sort(from.begin(), from.end(),
              by_start);  // the last one is popped first
    for (const size_t span : from) stack.push_back({span, 0});
    while (!stack.empty()) {
      const Drawn top = stack.back();
      stack.pop_back();
      if (seen[top.span]) continue;
      seen[top.span] = true;
      order.push_back(top);
      std::sort(children[top.span].begin(), children[top.span].end(), by_start);
      for (const size_t child : children[top.span]) {
        stack.push_back({child, std::min(top.depth + 1, kDepthMax)});
      }
    }
  };
  draw(roots);
  for (size_t i = 0; i < spans.size(); ++i) {
    if (!seen[i]) draw({i});
  }
  const auto label_of = [&](const Drawn& drawn) {
    const SpanBatch::Span& span = spans[drawn.span];
    const ValueView* const service =
        FindAttribute(batch.attributes(batch.resource_of(span).attributes), "service.name");
    return Concat(std::string(drawn.depth * 2, ' '),
                  service == nullptr ? "" : Printable(ToString(*service)), ": ",
                  Printable(span.name));
  };
  size_t label_width = 0;
  for (const Drawn& drawn : order) label_width = std::max(label_width, WidthOf(label_of(drawn)));
  const size_t width = look.width == 0 ? 100 : look.width;
  label_width = std::min(label_width, width / 2);
  const size_t room = width > label_width + 14 ? width - label_width - 14 : 10;
  const double scale =
      last > first ? static_cast<double>(room) / static_cast<double>(last - first) : 0;
  std::string out = Concat(ToString(spans.front().trace_id), "  ", TimeNsText(first), "  ",
                           ShortDuration(last - first), ", ", spans.size(), " spans\n");
  for (const Drawn& drawn : order) {
    const SpanBatch::Span& span = spans[drawn.span];
    const int64_t length = std::max<int64_t>(span.end_ns - span.start_ns, 0);
    const auto begin =
        std::min(static_cast<size_t>(static_cast<double>(span.start_ns - first) * scale), room - 1);
    const auto cells = std::clamp<size_t>(
        static_cast<size_t>(static_cast<double>(length) * scale + 0.5), 1, room - begin);
    std::string bar(begin, ' ');
    for (size_t i = 0; i < cells; ++i) bar += "━";
    std::string label = label_of(drawn);
    if (WidthOf(label) > label_width) {
      while (WidthOf(label) >= label_width && !label.empty()) {
        while (label.size() > 1 && (static_cast<uint8_t>(label.back()) & 0xc0) == 0x80) {
          label.pop_back();
        }
        label.pop_back();
      }
      label += "…";
    }
    const bool bad = span.status == SpanStatus::kError;
    const char* const color = !look.color ? "" : bad ? kRed : "\x1b[36m";
    out += Concat(Pad(label, label_width), "  ", color, Pad(bar, room), look.color ? kReset : "",
                  " ", ShortDuration(length), bad ? " !" : "", "\n");
  }
  return out;
}

}  // namespace varve::cli::shell
