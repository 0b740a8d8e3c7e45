// kill -9 at random moments, on the real file system. A child writes metrics, logs and spans with
// several writers each, seals, merges and deletes; each acknowledged batch is written to a pipe
// before the next one is made. The parent kills it, reads the ledger, reopens the directory and
// looks for every acknowledged batch: none is lost, none is there by half, entries with equal times
// keep the order of their arrival, and what was deleted stays away. Usage: kill_test CYCLES [SEED]

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "varve/database.h"

namespace {

using varve::Database;
using varve::Labels;
using varve::Status;

constexpr int kWriters = 3;  // of each kind
constexpr std::array<std::string_view, 2> kSides = {"left", "right"};

/// What a writer's batch number n is made of. Each batch has the same number twice, in two series,
/// streams or traces, so that half a batch shows. kDeletions appends a sample and a log entry and
/// deletes both.
enum Kind : int32_t { kMetrics, kLogs, kSpans, kDeletions, kKinds };
constexpr std::array<const char*, kKinds> kKindNames = {"metrics", "logs", "spans", "deletions"};

struct Entry {
  int32_t kind;
  int32_t writer;
  int32_t number;
};
/// One number for each writer of each kind.
using Numbers = std::array<std::array<int, kWriters>, kKinds>;

Labels SeriesOf(int writer, std::string_view side) {
  return Labels{{"__name__", "ledger"}, {"side", side}, {"writer", std::to_string(writer)}};
}
Labels StreamOf(int writer, std::string_view side) {
  return Labels{{"app", "ledger"}, {"side", side}, {"writer", std::to_string(writer)}};
}

varve::Options OptionsFor(const std::string& dir) {
  varve::Options options;
  options.dir = dir;
  options.background_threads = 1;
  options.head_bytes_max = 40'000;  // seals often
  options.block_range = std::chrono::milliseconds(200'000);
  // Writers of one kind may be far behind those of another.
  options.out_of_order_window = std::chrono::hours(24);
  return options;
}

Status AppendMetrics(Database& db, int writer, int number) {
  varve::WriteBatch batch;
  for (const std::string_view side : kSides) {
    // Writers keep a common clock, so that no one falls out of the window.
    batch.AddSample(batch.AddSeries(SeriesOf(writer, side)), number * 100, number);
  }
  return db.Append(batch).status();
}

/// Several batches share a time, and a batch has several entries of it.
constexpr int kTies = 5;
constexpr int kLinesPerBatch = 3;
int64_t LogTime(int number) { return int64_t{number / kTies} * 300'000'000; }
std::string LineOf(int number, int line) {
  return "number " + std::to_string(number) + " line " + std::to_string(line);
}
Status AppendLogs(Database& db, int writer, int number) {
  varve::LogBatch batch;
  const std::string text = std::to_string(number);
  const std::vector<varve::LabelView> metadata{{"number", text}};
  for (const std::string_view side : kSides) {
    const uint32_t stream = batch.AddStream(StreamOf(writer, side));
    for (int line = 0; line < kLinesPerBatch; ++line) {
      batch.AddEntry(stream, LogTime(number), batch.Copy(LineOf(number, line)), metadata);
    }
  }
  return db.AppendLogs(batch).status();
}

/// A batch puts a span into each of two traces; a trace is made by several batches.
constexpr int kBatchesPerTrace = 6;
varve::TraceId TraceOf(int writer, int number, size_t side) {
  varve::TraceId id{};
  id.bytes[0] = 1;
  id.bytes[1] = static_cast<uint8_t>(writer);
  id.bytes[2] = static_cast<uint8_t>(side);
  const int32_t trace = number / kBatchesPerTrace;
  std::memcpy(&id.bytes[4], &trace, sizeof trace);
  return id;
}
varve::SpanId SpanOf(int number) {
  varve::SpanId id{};
  id.bytes[0] = 1;
  std::memcpy(&id.bytes[4], &number, sizeof number);
  return id;
}
Status AppendSpans(Database& db, int writer, int number) {
  varve::SpanBatch batch;
  const std::string service = "writer" + std::to_string(writer);
  const varve::AttributeView resource{"service.name", varve::ValueView::String(service)};
  const uint32_t scope = batch.AddScope(batch.AddResource({&resource, 1}), "ledger", "");
  const varve::AttributeView attribute{"number", varve::ValueView::Int(number)};
  for (size_t side = 0; side < kSides.size(); ++side) {
    varve::SpanBatch::Span span;
    span.scope = scope;
    span.trace_id = TraceOf(writer, number, side);
    span.span_id = SpanOf(number);
    span.name = kSides[side];
    span.start_ns = int64_t{number} * 100'000'000;
    span.end_ns = span.start_ns + 1000;
    batch.AddSpan(span, {&attribute, 1});
  }
  return db.AppendSpans(batch).status();
}

Status AppendAndDelete(Database& db, int writer, int number) {
  const Labels labels{{"__name__", "doomed"}, {"writer", std::to_string(writer)}};
  varve::WriteBatch samples;
  samples.AddSample(samples.AddSeries(labels), number * 100, number);
  if (auto result = db.Append(samples); !result.ok()) return result.status();
  varve::LogBatch logs;
  logs.AddEntry(logs.AddStream(labels), LogTime(number), logs.Copy(LineOf(number, 0)));
  if (auto result = db.AppendLogs(logs); !result.ok()) return result.status();
  const std::vector<varve::Matcher> matchers{
      {varve::MatchType::kEqual, "__name__", "doomed"},
      {varve::MatchType::kEqual, "writer", std::to_string(writer)}};
  Status status = db.DeleteSeries(matchers, {number * 100, number * 100});
  if (!status.ok()) return status;
  // By its text: the neighbours in time are deleted by calls of their own.
  const std::vector<varve::LineFilter> filters{
      {varve::LineFilter::Op::kContains, {LineOf(number, 0)}}};
  return db.DeleteLogs(matchers, {LogTime(number), LogTime(number)}, filters, {});
}

Status DoBatch(Database& db, Kind kind, int writer, int number) {
  switch (kind) {
    case kMetrics:
      return AppendMetrics(db, writer, number);
    case kLogs:
      return AppendLogs(db, writer, number);
    case kSpans:
      return AppendSpans(db, writer, number);
    default:
      return AppendAndDelete(db, writer, number);
  }
}

/// Writes until killed.
[[noreturn]] void Child(const std::string& dir, const Numbers& next, int pipe) {
  auto db = Database::Open(OptionsFor(dir));
  if (!db.ok()) {
    std::fprintf(stderr, "child: %s\n", db.status().ToString().c_str());
    _exit(3);
  }
  std::vector<std::thread> threads;
  for (int32_t kind = 0; kind < kKinds; ++kind) {
    for (int32_t writer = 0; writer < (kind == kDeletions ? 1 : kWriters); ++writer) {
      threads.emplace_back([&, kind, writer] {
        for (int number = next[kind][writer];; ++number) {
          const Status status = DoBatch(**db, static_cast<Kind>(kind), writer, number);
          if (!status.ok()) {
            std::fprintf(stderr, "child: %s: %s\n", kKindNames[kind], status.ToString().c_str());
            _exit(4);
          }
          const Entry entry{kind, writer, number};
          if (write(pipe, &entry, sizeof entry) != sizeof entry) _exit(5);
          // Deletions cost every reader: a few of them suffice.
          if (kind == kDeletions) usleep(20'000);
        }
      });
    }
  }
  threads.emplace_back([&] {
    while (true) {
      usleep(30'000);
      if (!(*db)->Compact().ok()) _exit(6);
    }
  });
  for (std::thread& thread : threads) thread.join();
  _exit(7);
}

/// The numbers of each side of each writer, in the order in which they are read back.
using Stored = std::map<std::pair<int, std::string>, std::vector<int>>;

Status ReadMetrics(const Database& db, Stored* ledger, Stored* doomed) {
  auto snapshot = db.TakeSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  auto set = (*snapshot)->Select({}, {});
  if (!set.ok()) return set.status();
  std::vector<varve::Chunk> chunks;
  for (size_t i = 0; i < (*set)->size(); ++i) {
    const int writer = std::atoi(std::string((*set)->GetLabel(i, "writer")).c_str());
    Stored* out = (*set)->GetLabel(i, "__name__") == "doomed" ? doomed : ledger;
    std::vector<int>& numbers = (*out)[{writer, std::string((*set)->GetLabel(i, "side"))}];
    Status status = (*set)->GetChunks(i, {}, &chunks);
    if (!status.ok()) return status;
    for (const varve::Chunk& chunk : chunks) {
      std::vector<double> values(chunk.count);
      status = chunk.DecodeValues(values);
      if (!status.ok()) return status;
      for (const double value : values) numbers.push_back(static_cast<int>(value));
    }
  }
  return absl::OkStatus();
}

/// `ledger` gets a number for each batch whose lines follow each other as they were appended, and
/// -1 for anything else.
Status ReadLogs(const Database& db, Stored* ledger, Stored* doomed) {
  auto snapshot = db.TakeLogSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  auto scan = varve::CompileLogScan({});
  if (!scan.ok()) return scan.status();
  auto set = (*snapshot)->Select({}, {}, scan->get());
  if (!set.ok()) return set.status();
  std::vector<varve::LogChunk> chunks;
  varve::LogRows rows;
  varve::LogScanStats stats;
  for (size_t i = 0; i < (*set)->size(); ++i) {
    const int writer = std::atoi(std::string((*set)->GetLabel(i, "writer")).c_str());
    const bool deleted = (*set)->GetLabel(i, "__name__") == "doomed";
    std::vector<int>& numbers =
        (*(deleted ? doomed : ledger))[{writer, std::string((*set)->GetLabel(i, "side"))}];
    Status status = (*set)->GetChunks(i, {}, &chunks);
    if (!status.ok()) return status;
    int line = 0;
    for (const varve::LogChunk& chunk : chunks) {
      status = chunk.Read(**scan, &rows, &stats);
      if (!status.ok()) return status;
      for (size_t row = 0; row < rows.size(); ++row) {
        const std::string text(rows.lines[row]);
        int number = -1;
        if (std::sscanf(text.c_str(), "number %d", &number) != 1) number = -1;
        if (deleted) {
          numbers.push_back(number);
          continue;
        }
        const varve::LabelsView metadata = rows.metadata_of(row);
        const bool good = text == LineOf(number, line) && rows.times_ns[row] == LogTime(number) &&
                          metadata.size() == 1 && metadata[0].name == "number" &&
                          metadata[0].value == std::to_string(number) &&
                          (line == 0 || numbers.back() == number);
        if (!good) {
          numbers.push_back(-1);
        } else if (line == 0) {
          numbers.push_back(number);
        }
        line = (line + 1) % kLinesPerBatch;
      }
    }
    if (line != 0) numbers.push_back(-1);
  }
  return absl::OkStatus();
}

Status ReadSpans(const Database& db, const Numbers& acknowledged, Stored* ledger) {
  auto snapshot = db.TakeTraceSnapshot();
  if (!snapshot.ok()) return snapshot.status();
  varve::SpanBatch batch;
  for (int writer = 0; writer < kWriters; ++writer) {
    for (size_t side = 0; side < kSides.size(); ++side) {
      std::vector<int>& numbers = (*ledger)[{writer, std::string(kSides[side])}];
      // One trace past what was acknowledged: the batch that was under way.
      for (int first = 0; first <= acknowledged[kSpans][writer] + kBatchesPerTrace;
           first += kBatchesPerTrace) {
        batch.Clear();
        const Status status = (*snapshot)->GetTrace(TraceOf(writer, first, side), &batch);
        if (!status.ok()) return status;
        for (const varve::SpanBatch::Span& span : batch.spans()) {
          int32_t number = 0;
          std::memcpy(&number, &span.span_id.bytes[4], sizeof number);
          const varve::AttributesView attributes = batch.attributes(span.attributes);
          const bool good = span.name == kSides[side] && attributes.size() == 1 &&
                            attributes[0].value == varve::ValueView::Int(number) &&
                            span.start_ns == int64_t{number} * 100'000'000;
          numbers.push_back(good ? number : -1);
        }
      }
    }
  }
  // A scan says the same as the lookups by id.
  auto cursor = (*snapshot)->Scan({});
  if (!cursor.ok()) return cursor.status();
  varve::SpanColumns columns;
  size_t scanned = 0;
  while (true) {
    auto more = (*cursor)->Next(&columns);
    if (!more.ok()) return more.status();
    if (!*more) break;
    scanned += columns.size();
  }
  size_t found = 0;
  for (const auto& [key, numbers] : *ledger) found += numbers.size();
  if (scanned != found) {
    return absl::InternalError("a scan finds " + std::to_string(scanned) +
                               " spans, lookups by id " + std::to_string(found));
  }
  return absl::OkStatus();
}

/// Appends of one writer follow each other: what is stored is 1, 2, ... n on both sides, and n is
/// what was acknowledged, or one more.
bool CheckLedger(Kind kind, Stored& stored, std::array<int, kWriters>* acknowledged) {
  for (int writer = 0; writer < kWriters; ++writer) {
    const std::vector<int>& left = stored[{writer, "left"}];
    const std::vector<int>& right = stored[{writer, "right"}];
    const int count = static_cast<int>(left.size());
    int& before = (*acknowledged)[writer];
    bool good = left == right && count >= before && count <= before + 1;
    for (int i = 0; good && i < count; ++i) good = left[i] == i + 1;
    if (!good) {
      std::printf("FAILED: %s of writer %d: %d acknowledged, %zu and %zu stored\n",
                  kKindNames[kind], writer, before, left.size(), right.size());
      for (const std::vector<int>* side : {&left, &right}) {
        for (size_t i = 0; i < side->size(); ++i) {
          if ((*side)[i] == static_cast<int>(i) + 1) continue;
          std::printf("  at %zu: %d\n", i, (*side)[i]);
          break;
        }
      }
      return false;
    }
    before = count;
  }
  return true;
}

/// What a deletion took, and was acknowledged, is not there.
bool CheckDoomed(const char* of, const Stored& stored, int acknowledged) {
  for (const auto& [key, numbers] : stored) {
    for (const int number : numbers) {
      if (number > acknowledged) continue;
      std::printf("FAILED: %s: %d is back, deleted up to %d\n", of, number, acknowledged);
      return false;
    }
  }
  return true;
}

bool Check(const Database& db, Numbers* acknowledged) {
  Stored metrics, logs, spans, doomed_samples, doomed_entries;
  for (const Status& status :
       {ReadMetrics(db, &metrics, &doomed_samples), ReadLogs(db, &logs, &doomed_entries),
        ReadSpans(db, *acknowledged, &spans)}) {
    if (status.ok()) continue;
    std::printf("FAILED: cannot read back: %s\n", status.ToString().c_str());
    return false;
  }
  const int deleted = (*acknowledged)[kDeletions][0];
  return CheckLedger(kMetrics, metrics, &(*acknowledged)[kMetrics]) &&
         CheckLedger(kLogs, logs, &(*acknowledged)[kLogs]) &&
         CheckLedger(kSpans, spans, &(*acknowledged)[kSpans]) &&
         CheckDoomed("samples", doomed_samples, deleted) &&
         CheckDoomed("log entries", doomed_entries, deleted);
}

}  // namespace

int main(int argc, char** argv) {
  const int cycles = argc > 1 ? std::atoi(argv[1]) : 50;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device{}();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  char name[] = "/tmp/varve-kill-XXXXXX";
  const std::string dir = std::string(mkdtemp(name)) + "/db";
  Numbers acknowledged{};
  std::array<uint64_t, kKinds> totals{};
  int undone = 1;  // the next deletion: one that was cut short is not done again
  for (int cycle = 0; cycle < cycles; ++cycle) {
    int ends[2];
    if (pipe(ends) != 0) return 1;
    Numbers next = acknowledged;
    for (auto& of_kind : next) {
      for (int& number : of_kind) ++number;
    }
    next[kDeletions][0] = undone;
    const pid_t child = fork();
    if (child == 0) {
      close(ends[0]);
      Child(dir, next, ends[1]);
    }
    close(ends[1]);
    usleep(static_cast<useconds_t>(random() % 250'000));
    kill(child, SIGKILL);
    int state = 0;
    waitpid(child, &state, 0);
    if (!WIFSIGNALED(state) || WTERMSIG(state) != SIGKILL) {
      std::printf("FAILED: cycle %d: the child ended by itself, %s %d\n", cycle,
                  WIFSIGNALED(state) ? "by signal" : "with",
                  WIFSIGNALED(state) ? WTERMSIG(state) : WEXITSTATUS(state));
      return 1;
    }
    Entry entry;
    while (read(ends[0], &entry, sizeof entry) == static_cast<ssize_t>(sizeof entry)) {
      acknowledged[entry.kind][entry.writer] = entry.number;
      ++totals[entry.kind];
    }
    close(ends[0]);

    auto db = Database::Open(OptionsFor(dir));
    if (!db.ok()) {
      std::printf("FAILED: cycle %d: %s\n", cycle, db.status().ToString().c_str());
      return 1;
    }
    if (!(*db)->recovery().damage.empty()) {
      std::printf("FAILED: cycle %d: %s\n", cycle, (*db)->recovery().damage[0].ToString().c_str());
      return 1;
    }
    if (!Check(**db, &acknowledged)) {
      std::printf("FAILED: cycle %d, database left in %s\n", cycle, dir.c_str());
      return 1;
    }
    // The deletion under way may have been cut anywhere: take it back up.
    undone = acknowledged[kDeletions][0] + 1;
    if (!(*db)->Close().ok()) return 1;
  }
  std::printf("%d kills; acknowledged", cycles);
  for (int kind = 0; kind < kKinds; ++kind) {
    std::printf(" %llu %s", static_cast<unsigned long long>(totals[kind]), kKindNames[kind]);
  }
  std::printf("; none lost\n");
  std::filesystem::remove_all(std::filesystem::path(dir).parent_path());
  return 0;
}
