#include "tools/ingest/import_command.h"

#include <chrono>
#include <cstdio>
#include <ostream>

#include "engine/base/strings.h"
#include "varve/database.h"

namespace varve::ingest {
namespace {

using Clock = std::chrono::steady_clock;

std::string JsonString(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char buffer[8];
      std::snprintf(buffer, sizeof buffer, "\\u%04x", static_cast<unsigned>(c));
      out += buffer;
    } else {
      out.push_back(c);
    }
  }
  out.push_back('"');
  return out;
}

std::string Megabytes(uint64_t bytes) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return buffer;
}

/// Redraws a bar on a terminal, at most ten times a second.
class ProgressBar {
 public:
  explicit ProgressBar(std::ostream& err) : err_(err), begin_(Clock::now()) {}
  void Update(uint64_t done, uint64_t total) {
    const Clock::time_point now = Clock::now();
    if (now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    constexpr size_t kWidth = 30;
    const double share =
        total == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    const auto full = static_cast<size_t>(share * kWidth);
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    char text[128];
    std::snprintf(
        text, sizeof text, "\r[%s%s] %3.0f%%  %s/s ", std::string(full, '#').c_str(),
        std::string(kWidth - full, '.').c_str(), share * 100,
        Megabytes(static_cast<uint64_t>(static_cast<double>(done) / std::max(seconds, 1e-3)))
            .c_str());
    err_ << text << std::flush;
    visible_ = true;
  }
  void Clear() {
    if (visible_) err_ << '\r' << std::string(70, ' ') << '\r' << std::flush;
    visible_ = false;
  }

 private:
  std::ostream& err_;
  const Clock::time_point begin_;
  Clock::time_point drawn_{};
  bool visible_ = false;
};

Status Import(const ImportCommand& command, const ImportOptions& options, ImportSummary* summary) {
  auto database = Database::Open(command.database);
  if (!database.ok()) return database.status();
  auto loader = (*database)->StartBulkLoad();
  if (!loader.ok()) return loader.status();
  Status status = command.kind == ImportKind::kSeries
                      ? ImportSeriesFile(command.path, options, loader->get(), summary)
                      : ImportPrometheus(command.path, options, loader->get(), summary);
  if (status.ok()) status = (*loader)->Finish();
  loader->reset();
  const Status closed = (*database)->Close();
  return status.ok() ? closed : status;
}

}  // namespace

int RunImportCommand(const ImportCommand& command, std::ostream& out, std::ostream& err) {
  const Clock::time_point begin = Clock::now();
  ProgressBar bar(err);
  ImportOptions options;
  if (command.progress) {
    options.progress = [&bar](uint64_t done, uint64_t total) { bar.Update(done, total); };
  }
  ImportSummary summary;
  const Status status = Import(command, options, &summary);
  bar.Clear();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  for (const std::string& warning : summary.warnings) {
    if (!command.json) err << "varve import: warning: " << warning << '\n';
  }
  if (!status.ok()) {
    const std::string_view message = ToStd(status.message());
    if (command.json) {
      out << "{\"status\":\"error\",\"error\":" << JsonString(message) << "}\n";
    }
    err << "varve import: " << message << "\nnothing was imported\n";
    return 1;
  }
  char number[64];
  if (command.json) {
    std::snprintf(number, sizeof number, "%.3f", seconds);
    out << "{\"status\":\"success\",\"series\":" << summary.series
        << ",\"samples\":" << summary.samples << ",\"histograms\":" << summary.histograms
        << ",\"stale_markers\":" << summary.stale_markers << ",\"blocks\":" << summary.blocks
        << ",\"samples_deleted\":" << summary.samples_deleted
        << ",\"bytes_read\":" << summary.bytes_read;
    if (summary.min_time_ms <= summary.max_time_ms) {
      out << ",\"min_time_ms\":" << summary.min_time_ms
          << ",\"max_time_ms\":" << summary.max_time_ms;
    }
    out << ",\"seconds\":" << number << ",\"warnings\":[";
    for (size_t i = 0; i < summary.warnings.size(); ++i) {
      out << (i > 0 ? "," : "") << JsonString(summary.warnings[i]);
    }
    out << "]}\n";
    return 0;
  }
  std::snprintf(
      number, sizeof number, "%.1f s, %.2f M samples/s", seconds,
      static_cast<double>(summary.samples + summary.histograms) / 1e6 / std::max(seconds, 1e-3));
  out << "imported " << summary.samples + summary.histograms << " samples of " << summary.series
      << " series";
  if (summary.histograms > 0) out << " (" << summary.histograms << " of them histograms)";
  if (summary.blocks > 0) out << " from " << summary.blocks << " blocks";
  out << ", " << Megabytes(summary.bytes_read) << " read in " << number << '\n';
  return 0;
}

}  // namespace varve::ingest
