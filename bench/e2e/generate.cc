// Writes pre-encoded remote-write 1.0 requests to a file, so that replaying them costs next to
// nothing. Usage: bench_e2e_generate FILE SERIES SAMPLES STEP_MS END_MS [SERIES_PER_REQUEST]
//
// A record of the file is a little-endian u32 length and a snappy-compressed WriteRequest. Requests
// go through time step by step, as scrapes do: SAMPLES rounds over all series, one sample each,
// ending at END_MS. Series have seven labels; half are counters that grow by small whole numbers
// and now and then start again, a quarter are gauges of two decimals that walk, an eighth are
// constant and an eighth are sums of seconds with many digits. Same arguments, same bytes.

#include <snappy.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <vector>

namespace {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {  // splitmix64
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  double Unit() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

struct Series {
  std::string labels;  // encoded label fields
  int kind = 0;
  double value = 0;
  double speed = 0;
};

Series MakeSeries(uint64_t i, Random* random) {
  // A host has 250 series of ten metrics.
  const uint64_t host = i / 250;
  const uint64_t of_host = i % 250;
  Series out;
  out.kind = static_cast<int>(of_host % 8);
  out.speed = random->Unit() * 40;
  out.value = out.kind < 4 ? static_cast<double>(random->Next() % 1000000) : random->Unit() * 100;
  const std::pair<std::string, std::string> labels[] = {
      {"__name__", "bench_metric_" + std::to_string(of_host % 10) +
                       (out.kind < 4    ? "_total"
                        : out.kind == 7 ? "_seconds_sum"
                                        : "_ratio")},
      {"cluster", "cluster-" + std::to_string(host % 4)},
      {"env", host % 3 == 0 ? "staging" : "production"},
      {"instance", "host-" + std::to_string(host) + ".example.org:9100"},
      {"job", "node"},
      {"mode", "mode-" + std::to_string(of_host / 10)},
      {"region", "region-" + std::to_string(host % 7)},
  };
  protozero::pbf_writer writer(out.labels);
  for (const auto& [name, value] : labels) {
    protozero::pbf_writer label(writer, 1);
    label.add_string(1, name);
    label.add_string(2, value);
  }
  return out;
}

void Step(Series* series, Random* random) {
  switch (series->kind) {
    case 0:
    case 1:
    case 2:
    case 3:
      series->value +=
          static_cast<double>(random->Next() % (1 + static_cast<uint64_t>(series->speed)));
      if (random->Next() % 20000 == 0) series->value = 0;
      break;
    case 4:
    case 5:
      series->value += (random->Unit() - 0.5) * series->speed * 0.1;
      series->value = std::round(series->value * 100) / 100;
      break;
    case 6:
      break;
    default:
      series->value += random->Unit() * series->speed * 0.01;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: %s FILE SERIES SAMPLES STEP_MS END_MS [SERIES_PER_REQUEST]\n",
                 argv[0]);
    return 2;
  }
  const uint64_t series_count = std::strtoull(argv[2], nullptr, 10);
  const uint64_t samples = std::strtoull(argv[3], nullptr, 10);
  const int64_t step_ms = std::strtoll(argv[4], nullptr, 10);
  const int64_t end_ms = std::strtoll(argv[5], nullptr, 10);
  const uint64_t per_request = argc > 6 ? std::strtoull(argv[6], nullptr, 10) : 2000;
  std::FILE* const file = std::fopen(argv[1], "wb");
  if (file == nullptr || per_request == 0) {
    std::perror(argv[1]);
    return 1;
  }
  Random random(42);
  std::vector<Series> series;
  series.reserve(series_count);
  for (uint64_t i = 0; i < series_count; ++i) series.push_back(MakeSeries(i, &random));
  std::string request, message, packed;
  uint64_t requests = 0;
  for (uint64_t round = 0; round < samples; ++round) {
    const int64_t time = end_ms - static_cast<int64_t>(samples - 1 - round) * step_ms;
    for (uint64_t begin = 0; begin < series_count; begin += per_request) {
      request.clear();
      protozero::pbf_writer writer(request);
      for (uint64_t i = begin; i < std::min(begin + per_request, series_count); ++i) {
        Step(&series[i], &random);
        message = series[i].labels;
        protozero::pbf_writer out(message);
        protozero::pbf_writer sample(out, 2);
        sample.add_double(1, series[i].value);
        sample.add_int64(2, time);
        sample.commit();
        writer.add_message(1, message);
      }
      snappy::Compress(request.data(), request.size(), &packed);
      const auto size = static_cast<uint32_t>(packed.size());
      if (std::fwrite(&size, 4, 1, file) != 1 ||
          std::fwrite(packed.data(), packed.size(), 1, file) != 1) {
        std::perror(argv[1]);
        return 1;
      }
      ++requests;
    }
  }
  if (std::fclose(file) != 0) {
    std::perror(argv[1]);
    return 1;
  }
  std::printf("%llu requests, %llu samples\n", static_cast<unsigned long long>(requests),
              static_cast<unsigned long long>(samples * series_count));
  return 0;
}
