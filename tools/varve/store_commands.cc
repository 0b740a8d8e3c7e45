#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>

#include "engine/base/strings.h"
#include "tools/server/api/parameters.h"
#include "tools/server/json/writer.h"
#include "tools/varve/commands.h"
#include "varve/database.h"

namespace varve::cli {
namespace {

Result<std::unique_ptr<Database>> OpenExisting(const StoreCommand& command, bool read_only) {
  Options options = command.database;
  options.create_if_missing = false;
  options.read_only = read_only;
  options.background_threads = 0;
  const Spinner spinner("opening");
  return Database::Open(options);
}

void ReportRecovery(const Database& database) {
  for (const Status& damage : database.recovery().damage) {
    std::cerr << "varve: damage: " << ToStd(damage.message()) << "\n";
  }
  for (const std::string& file : database.recovery().quarantined) {
    std::cerr << "varve: set aside: " << file << "\n";
  }
}

struct Totals {
  uint64_t bytes = 0;
  uint64_t samples = 0;
  uint64_t series = 0;
  TimeRange range{kMaxTime, kMinTime};
};

Totals Sum(const DatabaseStats& stats) {
  Totals out;
  for (const BlockStats& block : stats.blocks) {
    out.bytes += block.bytes;
    out.samples += block.samples;
    out.series = std::max(out.series, block.series);
    out.range.min_ms = std::min(out.range.min_ms, block.range.min_ms);
    out.range.max_ms = std::max(out.range.max_ms, block.range.max_ms);
  }
  return out;
}

double PerSample(uint64_t bytes, uint64_t samples) {
  return samples == 0 ? 0 : static_cast<double>(bytes) / static_cast<double>(samples);
}

// Adds up what the blocks say by name, largest first.
std::vector<SectionStats> Merge(const DatabaseStats& stats,
                                std::vector<SectionStats> BlockStats::* member) {
  std::map<std::string, SectionStats> by_name;
  for (const BlockStats& block : stats.blocks) {
    for (const SectionStats& section : block.*member) {
      SectionStats& sum = by_name[section.name];
      sum.name = section.name;
      sum.bytes += section.bytes;
      sum.raw_bytes += section.raw_bytes;
      sum.items += section.items;
    }
  }
  std::vector<SectionStats> out;
  for (auto& [name, sum] : by_name) out.push_back(std::move(sum));
  std::sort(out.begin(), out.end(),
            [](const SectionStats& a, const SectionStats& b) { return a.bytes > b.bytes; });
  return out;
}

void PrintSections(std::string_view title, std::string_view items,
                   const std::vector<SectionStats>& sections, uint64_t total_bytes,
                   uint64_t samples) {
  std::printf("\n%-24s %14s %7s %12s %16s\n", std::string(title).c_str(), "bytes", "share",
              "B/sample", std::string(items).c_str());
  for (const SectionStats& section : sections) {
    std::printf("%-24s %14s %6.1f%% %12.4f %16s\n", section.name.c_str(),
                FormatCount(section.bytes).c_str(),
                total_bytes == 0
                    ? 0
                    : 100.0 * static_cast<double>(section.bytes) / static_cast<double>(total_bytes),
                PerSample(section.bytes, samples), FormatCount(section.items).c_str());
  }
}

void WriteSections(std::string_view key, const std::vector<SectionStats>& sections,
                   json::Writer* json) {
  json->Key(key).BeginArray();
  for (const SectionStats& section : sections) {
    json->BeginObject().Field("name", section.name).Key("bytes").Uint(section.bytes);
    json->Key("raw_bytes").Uint(section.raw_bytes).Key("items").Uint(section.items).EndObject();
  }
  json->EndArray();
}

void WriteTotals(const DatabaseStats& stats, json::Writer* json) {
  const Totals totals = Sum(stats);
  json->Key("blocks").Uint(stats.blocks.size()).Key("samples").Uint(totals.samples);
  json->Key("bytes").Uint(totals.bytes);
  json->Key("bytes_per_sample").Number(PerSample(totals.bytes, totals.samples));
  json->Key("disk_bytes").Uint(stats.disk_bytes);
}

}  // namespace

int RunCompact(const StoreCommand& command) {
  const auto database = OpenExisting(command, false);
  if (!database.ok()) return Fail(database.status());
  ReportRecovery(**database);
  const DatabaseStats before = (*database)->Stats();
  {
    const Spinner spinner("compacting");
    if (const Status status = (*database)->Compact(); !status.ok()) return Fail(status);
  }
  const DatabaseStats after = (*database)->Stats();
  if (const Status status = (*database)->Close(); !status.ok()) return Fail(status);
  const Totals totals = Sum(after);
  if (command.json) {
    std::string out;
    json::Writer json(&out);
    json.BeginObject().Key("blocks_before").Uint(before.blocks.size());
    json.Key("disk_bytes_before").Uint(before.disk_bytes);
    WriteTotals(after, &json);
    json.EndObject();
    std::cout << out << "\n";
  } else {
    std::printf("%zu -> %zu blocks, %s -> %s on disk, %s samples, %.4f bytes a sample\n",
                before.blocks.size(), after.blocks.size(),
                FormatSize(static_cast<double>(before.disk_bytes)).c_str(),
                FormatSize(static_cast<double>(after.disk_bytes)).c_str(),
                FormatCount(totals.samples).c_str(), PerSample(totals.bytes, totals.samples));
  }
  return kOk;
}

int RunInspect(const StoreCommand& command) {
  const auto database = OpenExisting(command, true);
  if (!database.ok()) return Fail(database.status());
  ReportRecovery(**database);
  const DatabaseStats stats = (*database)->Stats();
  const Totals totals = Sum(stats);
  const std::vector<SectionStats> sections = Merge(stats, &BlockStats::sections);
  const std::vector<SectionStats> codecs = Merge(stats, &BlockStats::codecs);
  if (command.json) {
    std::string out;
    json::Writer json(&out);
    json.BeginObject().Field("dir", command.database.dir);
    WriteTotals(stats, &json);
    json.Key("head").BeginObject().Key("series").Uint(stats.head_series);
    json.Key("samples").Uint(stats.head_samples).Key("bytes").Uint(stats.head_bytes);
    json.Key("wal_bytes").Uint(stats.wal_bytes).EndObject();
    WriteSections("sections", sections, &json);
    WriteSections("codecs", codecs, &json);
    json.Key("block_list").BeginArray();
    for (const BlockStats& block : stats.blocks) {
      json.BeginObject().Key("id").Uint(block.id).Field("file", block.file);
      json.Key("level").Uint(block.level).Key("min_time_ms").Int(block.range.min_ms);
      json.Key("max_time_ms").Int(block.range.max_ms).Key("series").Uint(block.series);
      json.Key("samples").Uint(block.samples).Key("bytes").Uint(block.bytes);
      WriteSections("sections", block.sections, &json);
      WriteSections("codecs", block.codecs, &json);
      json.EndObject();
    }
    json.EndArray().EndObject();
    std::cout << out << "\n";
    return kOk;
  }
  std::printf("%s: %s on disk\n", command.database.dir.c_str(),
              FormatSize(static_cast<double>(stats.disk_bytes)).c_str());
  std::printf("head    %s series, %s samples, %s in memory, WAL %s\n",
              FormatCount(stats.head_series).c_str(), FormatCount(stats.head_samples).c_str(),
              FormatSize(static_cast<double>(stats.head_bytes)).c_str(),
              FormatSize(static_cast<double>(stats.wal_bytes)).c_str());
  std::printf("blocks  %zu, %s samples, %s, %.4f bytes a sample\n", stats.blocks.size(),
              FormatCount(totals.samples).c_str(),
              FormatSize(static_cast<double>(totals.bytes)).c_str(),
              PerSample(totals.bytes, totals.samples));
  if (stats.blocks.empty()) return kOk;
  std::printf("\n%-8s %5s %-24s %-24s %10s %14s %12s %9s\n", "block", "level", "from", "to",
              "series", "samples", "bytes", "B/sample");
  for (const BlockStats& block : stats.blocks) {
    std::printf("%-8llu %5u %-24s %-24s %10s %14s %12s %9.4f\n",
                static_cast<unsigned long long>(block.id), block.level,
                api::FormatTime(block.range.min_ms).c_str(),
                api::FormatTime(block.range.max_ms).c_str(), FormatCount(block.series).c_str(),
                FormatCount(block.samples).c_str(), FormatCount(block.bytes).c_str(),
                PerSample(block.bytes, block.samples));
  }
  PrintSections("section", "items", sections, totals.bytes, totals.samples);
  PrintSections("codec", "samples", codecs, totals.bytes, totals.samples);
  return kOk;
}

int RunVerify(const StoreCommand& command) {
  const auto database = OpenExisting(command, true);
  if (!database.ok()) return Fail(database.status());
  Result<std::vector<Status>> found = std::vector<Status>();
  {
    const Spinner spinner("verifying");
    found = (*database)->Verify();
  }
  if (!found.ok()) return Fail(found.status());
  std::vector<std::string> damage;
  const RecoveryReport& recovery = (*database)->recovery();
  for (const Status& status : recovery.damage) damage.emplace_back(ToStd(status.message()));
  for (const std::string& file : recovery.quarantined) {
    damage.push_back(Concat("set aside earlier: ", file));
  }
  for (const Status& status : *found) {
    std::string text(ToStd(status.message()));
    if (std::find(damage.begin(), damage.end(), text) == damage.end()) {
      damage.push_back(std::move(text));
    }
  }
  const DatabaseStats stats = (*database)->Stats();
  if (command.json) {
    std::string out;
    json::Writer json(&out);
    json.BeginObject().Key("ok").Bool(damage.empty()).Key("damage").BeginArray();
    for (const std::string& text : damage) json.String(text);
    json.EndArray().Key("disk_bytes").Uint(stats.disk_bytes).EndObject();
    std::cout << out << "\n";
  } else {
    for (const std::string& text : damage) std::cout << text << "\n";
    if (damage.empty()) {
      std::printf("ok: %zu blocks, %s read\n", stats.blocks.size(),
                  FormatSize(static_cast<double>(stats.disk_bytes)).c_str());
    }
  }
  return damage.empty() ? kOk : kDamageFound;
}

int RunBackup(const StoreCommand& command, const std::string& to) {
  const auto database = OpenExisting(command, false);
  if (!database.ok()) return Fail(database.status());
  ReportRecovery(**database);
  {
    const Spinner spinner("copying");
    if (const Status status = (*database)->Backup(to); !status.ok()) return Fail(status);
  }
  const DatabaseStats stats = (*database)->Stats();
  if (const Status status = (*database)->Close(); !status.ok()) return Fail(status);
  if (command.json) {
    std::string out;
    json::Writer json(&out);
    json.BeginObject().Field("to", to);
    WriteTotals(stats, &json);
    json.EndObject();
    std::cout << out << "\n";
  } else {
    std::printf("%zu blocks, %s, in %s\n", stats.blocks.size(),
                FormatSize(static_cast<double>(Sum(stats).bytes)).c_str(), to.c_str());
  }
  return kOk;
}

}  // namespace varve::cli
