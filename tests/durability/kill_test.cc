// kill -9 at random moments, on the real file system. A child with several writers appends batches
// durably, seals, merges and deletes; each acknowledged batch is written to a pipe before the next
// one is made. The parent kills it, reads the ledger, reopens the directory and looks for every
// acknowledged batch. Usage: kill_test CYCLES [SEED]

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "varve/database.h"

namespace {

using varve::Database;
using varve::Labels;

constexpr int kWriters = 4;

struct Entry {
  int32_t writer;
  int32_t number;
};

Labels SeriesOf(int writer, std::string_view side) {
  return Labels{{"__name__", "ledger"}, {"side", side}, {"writer", std::to_string(writer)}};
}

varve::Options OptionsFor(const std::string& dir) {
  varve::Options options;
  options.dir = dir;
  options.background_threads = 1;
  options.head_bytes_max = 40'000;  // seals often
  options.block_range = std::chrono::milliseconds(200'000);
  return options;
}

/// Appends until killed. Each batch has the same number in two series, so that half a batch shows.
[[noreturn]] void Child(const std::string& dir, const std::vector<int>& next, int pipe) {
  auto db = Database::Open(OptionsFor(dir));
  if (!db.ok()) {
    std::fprintf(stderr, "child: %s\n", db.status().ToString().c_str());
    _exit(3);
  }
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    threads.emplace_back([&, writer] {
      for (int number = next[writer];; ++number) {
        varve::WriteBatch batch;
        const uint32_t left = batch.AddSeries(SeriesOf(writer, "left"));
        const uint32_t right = batch.AddSeries(SeriesOf(writer, "right"));
        // Writers keep a common clock, so that no one falls out of the window.
        batch.AddSample(left, number * 100, number);
        batch.AddSample(right, number * 100, number);
        const auto result = (*db)->Append(batch);
        if (!result.ok()) {
          std::fprintf(stderr, "child: %s\n", result.status().ToString().c_str());
          _exit(4);
        }
        const Entry entry{writer, number};
        if (write(pipe, &entry, sizeof entry) != sizeof entry) _exit(5);
      }
    });
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

/// Returns the numbers of each writer's side that are stored.
bool ReadBack(const Database& db, std::map<std::pair<int, std::string>, std::vector<int>>* out) {
  auto snapshot = db.TakeSnapshot();
  if (!snapshot.ok()) return false;
  auto set = (*snapshot)->Select({}, {});
  if (!set.ok()) return false;
  std::vector<varve::Chunk> chunks;
  for (size_t i = 0; i < (*set)->size(); ++i) {
    const int writer = std::atoi(std::string((*set)->GetLabel(i, "writer")).c_str());
    std::vector<int>& numbers = (*out)[{writer, std::string((*set)->GetLabel(i, "side"))}];
    if (!(*set)->GetChunks(i, {}, &chunks).ok()) return false;
    for (const varve::Chunk& chunk : chunks) {
      std::vector<double> values(chunk.count);
      if (!chunk.DecodeValues(values).ok()) return false;
      for (const double value : values) numbers.push_back(static_cast<int>(value));
    }
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const int cycles = argc > 1 ? std::atoi(argv[1]) : 50;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : std::random_device{}();
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 random(seed);
  char name[] = "/tmp/varve-kill-XXXXXX";
  const std::string dir = std::string(mkdtemp(name)) + "/db";
  std::vector<int> next(kWriters, 1);
  std::vector<int> acknowledged(kWriters, 0);
  uint64_t total = 0;
  for (int cycle = 0; cycle < cycles; ++cycle) {
    int ends[2];
    if (pipe(ends) != 0) return 1;
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
    if (!WIFSIGNALED(state)) {
      std::printf("FAILED: cycle %d: the child ended by itself with %d\n", cycle,
                  WEXITSTATUS(state));
      return 1;
    }
    Entry entry;
    while (read(ends[0], &entry, sizeof entry) == static_cast<ssize_t>(sizeof entry)) {
      acknowledged[entry.writer] = entry.number;
      ++total;
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
    std::map<std::pair<int, std::string>, std::vector<int>> stored;
    if (!ReadBack(**db, &stored)) {
      std::printf("FAILED: cycle %d: cannot read back\n", cycle);
      return 1;
    }
    for (int writer = 0; writer < kWriters; ++writer) {
      const std::vector<int>& left = stored[{writer, "left"}];
      const std::vector<int>& right = stored[{writer, "right"}];
      // Appends of one writer follow each other: what is stored is 1, 2, ... n, and n is what was
      // acknowledged, or one more.
      const int count = static_cast<int>(left.size());
      bool good =
          left == right && count >= acknowledged[writer] && count <= acknowledged[writer] + 1;
      for (int i = 0; good && i < count; ++i) good = left[i] == i + 1;
      if (!good) {
        std::printf("FAILED: cycle %d writer %d: %d acknowledged, %zu and %zu stored\n", cycle,
                    writer, acknowledged[writer], left.size(), right.size());
        return 1;
      }
      acknowledged[writer] = count;
      next[writer] = count + 1;
    }
    if (!(*db)->Close().ok()) return 1;
  }
  std::printf("%d kills, %llu acknowledged batches, none lost\n", cycles,
              static_cast<unsigned long long>(total));
  std::filesystem::remove_all(std::filesystem::path(dir).parent_path());
  return 0;
}
