// Writes the recorded series as one block, compares every sample bit for bit with the input, and
// prints what the block's bytes went into and how fast it is written and read.
//
//   bench_block_size [FILE]

#include <time.h>
#include <unistd.h>

#include <bit>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <unordered_set>

#include "bench/codec/series_file.h"
#include "engine/index/matchers.h"
#include "engine/metrics/block_reader.h"
#include "engine/metrics/block_writer.h"

namespace varve {
namespace {

double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void Check(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  std::exit(1);
}

int Run(const std::string& path) {
  const auto series = bench::LoadSeriesFile(path);
  if (!series.has_value()) {
    std::printf("skipped: no file %s\n", path.c_str());
    return 0;
  }
  char dir[] = "/tmp/varve_bench_XXXXXX";
  if (mkdtemp(dir) == nullptr) return 1;
  auto fs = io::PosixFileSystem();

  double begin = CpuSeconds();
  auto writer = metrics::MetricsBlockWriter::Create(fs, dir, 1);
  Check(writer.status());
  uint64_t samples = 0;
  for (const bench::RecordedSeries& s : *series) {
    Check((*writer)->BeginSeries(s.labels));
    Check((*writer)->AddFloats(s.times, s.values, {}));
    samples += s.times.size();
  }
  block::BlockMeta meta;
  meta.id = 1;
  auto written = (*writer)->Finish(meta);
  Check(written.status());
  const double write_seconds = CpuSeconds() - begin;
  const auto n = static_cast<double>(samples);

  begin = CpuSeconds();
  auto block = metrics::MetricsBlock::Open(*fs, std::string(dir) + "/" + block::BlockFileName(1));
  Check(block.status());
  const double open_seconds = CpuSeconds() - begin;

  uint64_t compared = 0;
  std::vector<Chunk> chunks;
  std::vector<int64_t> times;
  std::vector<double> values;
  std::vector<LabelView> labels;
  for (uint32_t i = 0; i < series->size(); ++i) {
    const bench::RecordedSeries& expected = (*series)[i];
    (*block)->labels().GetLabels(i, &labels);
    if (CompareLabels(labels, expected.labels) != std::strong_ordering::equal) {
      std::printf("series %u: other labels\n", i);
      return 1;
    }
    chunks.clear();
    Check((*block)->GetChunks(i, TimeRange{}, &chunks));
    size_t at = 0;
    for (const Chunk& chunk : chunks) {
      times.resize(chunk.count);
      values.resize(chunk.count);
      Check(chunk.DecodeFloats(times, values));
      for (size_t k = 0; k < times.size(); ++k, ++at) {
        if (at >= expected.times.size() || times[k] != expected.times[at] ||
            std::bit_cast<uint64_t>(values[k]) != std::bit_cast<uint64_t>(expected.values[at])) {
          std::printf("series %u: sample %zu differs\n", i, at);
          return 1;
        }
        ++compared;
      }
    }
    if (at != expected.times.size()) {
      std::printf("series %u: samples are missing\n", i);
      return 1;
    }
  }
  if (compared != samples) return 1;

  std::printf("%zu series, %" PRIu64 " samples, all equal bit for bit\n", series->size(), samples);
  std::printf("file %" PRIu64 " bytes: %.4f bytes a sample\n", written->bytes,
              static_cast<double>(written->bytes) / n);
  const BlockStats stats = (*block)->Stats();
  std::printf("\n%-52s %10s %9s %10s\n", "section", "bytes", "B/sample", "items");
  for (const SectionStats& section : stats.sections) {
    std::printf("%-52s %10" PRIu64 " %9.4f %10" PRIu64 "\n", section.name.c_str(), section.bytes,
                static_cast<double>(section.bytes) / n, section.items);
  }
  std::printf("\n%-52s %10s %9s %10s\n", "form", "bytes", "B/sample", "samples");
  for (const SectionStats& codec : stats.codecs) {
    std::printf("%-52s %10" PRIu64 " %9.4f %10" PRIu64 "\n", codec.name.c_str(), codec.bytes,
                static_cast<double>(codec.bytes) / n, codec.items);
  }

  std::printf("\nwrite %.0f ns a sample (%.2f s), open %.1f ms\n", write_seconds / n * 1e9,
              write_seconds, open_seconds * 1e3);
  // Each chunk's values, and its times unless a chunk with the same axis had them decoded.
  double best = 1e9;
  for (int round = 0; round < 7; ++round) {
    std::unordered_set<uint64_t> axes;
    begin = CpuSeconds();
    for (uint32_t i = 0; i < series->size(); ++i) {
      chunks.clear();
      Check((*block)->GetChunks(i, TimeRange{}, &chunks));
      for (const Chunk& chunk : chunks) {
        times.resize(chunk.count);
        values.resize(chunk.count);
        if (axes.insert(chunk.axis).second) Check(chunk.DecodeTimes(times));
        Check(chunk.DecodeValues(values));
      }
    }
    best = std::min(best, CpuSeconds() - begin);
  }
  std::printf("read values, and each time axis once: %.0f M samples/s (best of 7)\n",
              n / best / 1e6);
  best = 1e9;
  for (int round = 0; round < 7; ++round) {
    begin = CpuSeconds();
    for (uint32_t i = 0; i < series->size(); ++i) {
      chunks.clear();
      Check((*block)->GetChunks(i, TimeRange{}, &chunks));
      for (const Chunk& chunk : chunks) {
        times.resize(chunk.count);
        values.resize(chunk.count);
        Check(chunk.DecodeFloats(times, values));
      }
    }
    best = std::min(best, CpuSeconds() - begin);
  }
  std::printf("read values and times of every chunk:  %.0f M samples/s (best of 7)\n",
              n / best / 1e6);
  std::filesystem::remove_all(dir);
  return 0;
}

}  // namespace
}  // namespace varve

int main(int argc, char** argv) {
  return varve::Run(argc > 1 ? argv[1] : varve::bench::RecordedSeriesPath());
}
