// The storage core on the real file system, in $TMPDIR: WAL appends and group commit, replay, block
// writing and lazy verification. Each benchmark checks what it did.

#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>

#include "engine/base/macros.h"
#include "engine/block/container.h"
#include "engine/io/file_system.h"
#include "engine/wal/wal.h"

namespace varve {
namespace {

std::string NewDir() {
  const char* base = std::getenv("TMPDIR");
  std::string path = std::string(base != nullptr ? base : "/tmp") + "/varve-bench-XXXXXX";
  VARVE_CHECK(mkdtemp(path.data()) != nullptr);
  return path;
}

std::unique_ptr<wal::Wal> OpenLog(const std::string& dir, uint64_t* records) {
  auto wal = wal::Wal::Open(
      io::PosixFileSystem(), dir, {},
      [records](uint8_t, wal::Lsn, std::string_view) {
        ++*records;
        return Status();
      },
      nullptr);
  VARVE_CHECK(wal.ok());
  return std::move(*wal);
}

// The cost of buffering one record; the writing is done by Append itself, 8 MiB at a time.
void WalAppend(benchmark::State& state) {
  const std::string dir = NewDir();
  uint64_t records = 0;
  auto wal = OpenLog(dir, &records);
  const std::string payload(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) VARVE_CHECK(wal->Append(1, payload).ok());
  VARVE_CHECK(wal->Sync().ok());
  state.SetBytesProcessed(static_cast<int64_t>(wal->bytes()));
  wal.reset();
  VARVE_CHECK(io::PosixFileSystem()->RemoveAll(dir).ok());
}
BENCHMARK(WalAppend)->Arg(100)->Arg(10'000)->Iterations(50'000);

// Durable appends from many threads: appends and syncs a second.
void WalGroupCommit(benchmark::State& state) {
  static std::string dir;
  static std::unique_ptr<wal::Wal> wal;
  static std::atomic<uint64_t> appended;
  if (state.thread_index() == 0) {
    dir = NewDir();
    uint64_t records = 0;
    wal = OpenLog(dir, &records);
    appended = 0;
  }
  const std::string payload(300, 'x');
  for (auto _ : state) {
    const auto lsn = wal->Append(1, payload);
    VARVE_CHECK(lsn.ok() && wal->WaitDurable(*lsn).ok());
    ++appended;
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
  if (state.thread_index() == 0) {
    const auto syncs = static_cast<double>(wal->syncs());
    state.counters["appends_per_sync"] = static_cast<double>(wal->appends()) / syncs;
    wal.reset();
    uint64_t records = 0;
    wal = OpenLog(dir, &records);
    VARVE_CHECK(records >= appended);
    wal.reset();
    VARVE_CHECK(io::PosixFileSystem()->RemoveAll(dir).ok());
  }
}
BENCHMARK(WalGroupCommit)->Threads(1)->Threads(8)->Threads(64)->UseRealTime()->MinTime(1.0);

void WalReplay(benchmark::State& state) {
  const std::string dir = NewDir();
  uint64_t records = 0;
  constexpr uint64_t kRecords = 100'000;
  auto wal = OpenLog(dir, &records);
  const std::string payload(1000, 'x');
  for (uint64_t i = 0; i < kRecords; ++i) VARVE_CHECK(wal->Append(1, payload).ok());
  const uint64_t bytes = wal->bytes();
  wal.reset();
  for (auto _ : state) {
    records = 0;
    OpenLog(dir, &records);
    VARVE_CHECK(records == kRecords);
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes));
  VARVE_CHECK(io::PosixFileSystem()->RemoveAll(dir).ok());
}
BENCHMARK(WalReplay)->Unit(benchmark::kMillisecond);

void BlockWriteAndOpen(benchmark::State& state) {
  const std::string dir = NewDir();
  auto fs = io::PosixFileSystem();
  const std::string bytes(64 << 20, 'x');
  for (auto _ : state) {
    auto writer = block::BlockWriter::Create(fs, dir, 1, block::Wing::kMetrics);
    VARVE_CHECK(writer.ok() && (*writer)->BeginPagedSection(1, 0, 0).ok());
    VARVE_CHECK((*writer)->Append(bytes).ok() && (*writer)->EndPagedSection().ok());
    block::BlockMeta meta;
    meta.id = 1;
    VARVE_CHECK((*writer)->Finish(meta).ok());
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes.size()));
  VARVE_CHECK(fs->RemoveAll(dir).ok());
}
BENCHMARK(BlockWriteAndOpen)->Unit(benchmark::kMillisecond);

// The first touch of every page (a hash), or later ones (a bit test): range(0) is 1 for first.
void BlockRead(benchmark::State& state) {
  const std::string dir = NewDir();
  auto fs = io::PosixFileSystem();
  const std::string bytes(16 << 20, 'x');
  {
    auto writer = block::BlockWriter::Create(fs, dir, 1, block::Wing::kMetrics);
    VARVE_CHECK(writer.ok() && (*writer)->BeginPagedSection(1, 0, 0).ok());
    VARVE_CHECK((*writer)->Append(bytes).ok() && (*writer)->EndPagedSection().ok());
    block::BlockMeta meta;
    meta.id = 1;
    VARVE_CHECK((*writer)->Finish(meta).ok());
  }
  const std::string path = io::JoinPath(dir, block::BlockFileName(1));
  auto block = block::BlockReader::Open(*fs, path);
  for (auto _ : state) {
    if (state.range(0) == 1) block = block::BlockReader::Open(*fs, path);
    const block::PagedSection* paged = *(*block)->Paged(1);
    for (uint64_t at = 0; at < bytes.size(); at += 1000) {
      const auto got = paged->Read(at, std::min<uint64_t>(1000, bytes.size() - at));
      VARVE_CHECK(got.ok() && got->front() == 'x');
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * bytes.size()));
  VARVE_CHECK(fs->RemoveAll(dir).ok());
}
BENCHMARK(BlockRead)->Arg(1)->Arg(0)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace varve

BENCHMARK_MAIN();
