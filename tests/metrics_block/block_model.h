#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/block/container.h"
#include "engine/io/memory_file_system.h"
#include "engine/metrics/block_reader.h"
#include "engine/metrics/block_writer.h"
#include "tests/codec/random_data.h"

namespace varve::testing {

/// What a block is to hold: runs of samples of series.
struct ModelRun {
  std::vector<int64_t> times;
  std::vector<double> values;         // or
  std::vector<Histogram> histograms;  // these
  std::vector<int64_t> starts;        // or empty
};
struct ModelSeries {
  Labels labels;
  std::vector<ModelRun> runs;
  std::vector<Exemplar> exemplars;
};
struct Model {
  std::vector<ModelSeries> series;  // by labels
  std::map<std::string, std::vector<Metadata>> metadata;
};

/// Draws a block with all that may occur: specials, equal columns, shared axes, one sample,
/// histograms of all kinds, start timestamps, exemplars, metadata.
inline Model DrawModel(uint64_t seed, size_t series_max, size_t samples_max) {
  RandomData data(seed);
  Model model;
  const size_t count = 1 + data.Below(series_max);
  std::vector<int64_t> shared =
      data.Times(1 + data.Below(samples_max), static_cast<int>(data.Below(5)));
  std::vector<double> shared_values;
  for (size_t i = 0; i < count; ++i) {
    ModelSeries series;
    series.labels = Labels{{"__name__", "metric_" + std::to_string(i / 3)},
                           {"instance", "host-" + std::to_string(i)},
                           {"odd", std::string("\xff\x00\n", 3)}};
    int64_t after = std::numeric_limits<int64_t>::min();
    const size_t runs = 1 + data.Below(3);
    for (size_t r = 0; r < runs; ++r) {
      ModelRun run;
      run.times = r == 0 && !data.OneIn(3)
                      ? std::vector<int64_t>(
                            shared.begin() + static_cast<ptrdiff_t>(data.Below(shared.size())),
                            shared.end())
                      : data.Times(data.OneIn(4) ? 1 : 1 + data.Below(samples_max),
                                   static_cast<int>(data.Below(5)));
      if (r > 0) {
        // Runs of a series follow each other.
        const int64_t shift = after + 1 + static_cast<int64_t>(data.Below(100000)) - run.times[0];
        for (int64_t& t : run.times) t += shift;
      }
      after = run.times.back();
      if (data.OneIn(4)) {
        for (size_t k = 0; k < run.times.size() && k < 700; ++k) {
          run.histograms.push_back(data.Draw(k == 0 ? nullptr : &run.histograms.back()));
        }
        run.times.resize(run.histograms.size());
        after = run.times.back();
      } else if (data.OneIn(4) && shared_values.size() == run.times.size()) {
        run.values = shared_values;
      } else {
        run.values =
            data.Values(run.times.size(), static_cast<int>(data.Below(RandomData::kShapes)));
        shared_values = run.values;
      }
      if (data.OneIn(3)) {
        run.starts.resize(run.times.size(), data.OneIn(5) ? kNoStartTime : run.times[0] - 5000);
        if (data.OneIn(2)) {
          for (auto& s : run.starts)
            s = data.OneIn(9) ? kNoStartTime : static_cast<int64_t>(data.Word());
        }
      }
      series.runs.push_back(std::move(run));
    }
    for (uint64_t k = data.Below(4); k > 0; --k) {
      Exemplar e;
      e.labels = Labels{{"trace_id", std::to_string(data.Word())}};
      e.value = data.Special();
      e.time_ms = static_cast<int64_t>(data.Word());
      e.has_time = data.OneIn(2);
      series.exemplars.push_back(std::move(e));
    }
    model.series.push_back(std::move(series));
  }
  std::sort(model.series.begin(), model.series.end(),
            [](const ModelSeries& a, const ModelSeries& b) {
              return CompareLabels(a.labels, b.labels) < 0;
            });
  for (uint64_t k = data.Below(4); k > 0; --k) {
    model.metadata["metric_" + std::to_string(k)].push_back(
        {static_cast<MetricType>(data.Below(8)), "help \xf0\x9f\x92\xa1", "seconds"});
  }
  return model;
}

inline Result<block::BlockMeta> WriteModel(const Model& model, std::shared_ptr<io::FileSystem> fs,
                                           const std::string& dir, uint64_t id,
                                           uint64_t fixed_tag = 0) {
  auto writer = metrics::MetricsBlockWriter::Create(std::move(fs), dir, id, fixed_tag);
  if (!writer.ok()) return writer.status();
  for (const ModelSeries& series : model.series) {
    if (Status s = (*writer)->BeginSeries(series.labels); !s.ok()) return s;
    for (const ModelRun& run : series.runs) {
      const Status s = run.histograms.empty()
                           ? (*writer)->AddFloats(run.times, run.values, run.starts)
                           : (*writer)->AddHistograms(run.times, run.histograms, run.starts);
      if (!s.ok()) return s;
    }
    if (Status s = (*writer)->AddExemplars(series.exemplars); !s.ok()) return s;
  }
  for (const auto& [family, list] : model.metadata) {
    for (const Metadata& m : list) {
      if (Status s = (*writer)->AddMetadata(family, m); !s.ok()) return s;
    }
  }
  block::BlockMeta meta;
  meta.id = id;
  return (*writer)->Finish(std::move(meta));
}

/// Says how the block differs from the model; empty if it does not. A read error is returned.
inline Result<std::string> Compare(const Model& model, const metrics::MetricsBlock& block) {
  if (block.labels().size() != model.series.size()) return std::string("number of series");
  std::vector<Chunk> chunks;
  std::map<uint64_t, std::vector<int64_t>> axes;
  for (uint32_t i = 0; i < model.series.size(); ++i) {
    const std::string where = "series " + std::to_string(i) + ": ";
    const ModelSeries& series = model.series[i];
    std::vector<LabelView> labels;
    block.labels().GetLabels(i, &labels);
    if (!(CompareLabels(labels, series.labels) == std::strong_ordering::equal))
      return where + "labels";
    chunks.clear();
    if (Status s = block.GetChunks(i, TimeRange{}, &chunks); !s.ok()) return s;
    size_t run_at = 0;
    size_t at = 0;
    for (const Chunk& chunk : chunks) {
      if (run_at == series.runs.size()) return where + "too many chunks";
      const ModelRun& run = series.runs[run_at];
      if (at + chunk.count > run.times.size()) return where + "a chunk over the end of a run";
      std::vector<int64_t> times(chunk.count);
      if (Status s = chunk.DecodeTimes(times); !s.ok()) return s;
      if (!std::equal(times.begin(), times.end(), run.times.begin() + static_cast<ptrdiff_t>(at)))
        return where + "times";
      if (chunk.min_time_ms != times.front() || chunk.max_time_ms != times.back())
        return where + "range";
      if (chunk.axis == 0) return where + "no axis";
      auto [found, fresh] = axes.try_emplace(chunk.axis, times);
      if (!fresh && found->second != times) return where + "axes that differ with one number";
      std::vector<int64_t> starts(chunk.count);
      if (Status s = chunk.DecodeStartTimes(starts); !s.ok()) return s;
      bool any = false;
      for (size_t k = 0; k < times.size(); ++k) {
        const int64_t expected = run.starts.empty() ? kNoStartTime : run.starts[at + k];
        if (starts[k] != expected) return where + "start timestamps";
        any |= expected != kNoStartTime;
      }
      if (chunk.has(kChunkHasStartTimes) != any) return where + "start flag";
      if (chunk.kind == ChunkKind::kHistogram) {
        std::vector<Histogram> got;
        if (Status s = chunk.DecodeHistograms(&got); !s.ok()) return s;
        if (got.size() != chunk.count || run.histograms.empty())
          return where + "number of histograms";
        for (size_t k = 0; k < got.size(); ++k) {
          if (!BitEqual(got[k], run.histograms[at + k])) return where + "histogram";
        }
      } else {
        if (run.values.empty()) return where + "kind";
        std::vector<double> got(chunk.count);
        if (Status s = chunk.DecodeValues(got); !s.ok()) return s;
        bool nan = false;
        bool stale = false;
        bool decreases = false;
        bool constant = true;
        for (size_t k = 0; k < got.size(); ++k) {
          const double expected = run.values[at + k];
          if (!SameBits(got[k], expected)) return where + "values";
          nan |= expected != expected;
          stale |= IsStaleNan(expected);
          decreases |= !(expected >= got[k == 0 ? 0 : k - 1]);
          constant &= SameBits(expected, got[0]);
        }
        if (chunk.has(kChunkHasNoNan) == nan || chunk.has(kChunkHasNoStale) == stale ||
            chunk.has(kChunkNonDecreasing) == decreases || chunk.has(kChunkConstant) != constant) {
          return where + "flags";
        }
        const size_t begin = got.size() / 3;
        std::vector<double> part((got.size() - begin + 1) / 2);
        if (Status s = chunk.DecodeValues(static_cast<uint32_t>(begin), part); !s.ok()) return s;
        for (size_t k = 0; k < part.size(); ++k) {
          if (!SameBits(part[k], got[begin + k])) return where + "part of the values";
        }
      }
      at += chunk.count;
      if (at == run.times.size()) {
        ++run_at;
        at = 0;
      }
    }
    if (run_at != series.runs.size()) return where + "too few chunks";
    std::vector<Exemplar> exemplars;
    if (Status s = block.GetExemplars(i, &exemplars); !s.ok()) return s;
    if (exemplars.size() != series.exemplars.size()) return where + "number of exemplars";
    for (size_t k = 0; k < exemplars.size(); ++k) {
      const Exemplar& a = exemplars[k];
      const Exemplar& b = series.exemplars[k];
      if (!(a.labels == b.labels) || !SameBits(a.value, b.value) || a.time_ms != b.time_ms ||
          a.has_time != b.has_time) {
        return where + "exemplar";
      }
    }
  }
  std::map<std::string, std::vector<Metadata>> metadata;
  if (Status s = block.AddMetadata(&metadata); !s.ok()) return s;
  if (metadata != model.metadata) return std::string("metadata");
  return std::string();
}

}  // namespace varve::testing
