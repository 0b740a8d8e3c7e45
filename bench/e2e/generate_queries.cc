// Writes pre-encoded remote-write 1.0 requests for comparing the speed of queries; the file has the
// form that generate.cc writes. Usage: bench_e2e_generate_queries FILE COUNTERS SAMPLES STEP_MS
// END_MS
//
// COUNTERS series of requests_total: 100 a host, in 4 clusters, 7 jobs. For each 8 of them one
// gauge (temperature) and one bucket of a classic histogram (latency_bucket, 12 bounds), and a
// series of node_info for each host. Same arguments, same bytes.

#include <snappy.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <utility>
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

 private:
  uint64_t state_;
};

enum class Kind { kCounter, kGauge, kBucket, kInfo };

struct Series {
  std::string labels;  // encoded label fields
  Kind kind = Kind::kInfo;
  double value = 1;
  uint64_t speed = 1;
  int64_t delay_ms = 0;  // of its target, as scrapes are spread over the interval
};

using LabelList = std::vector<std::pair<std::string, std::string>>;  // sorted by name

Series Make(Kind kind, const LabelList& labels, int64_t delay_ms) {
  Series out;
  out.kind = kind;
  out.delay_ms = delay_ms;
  protozero::pbf_writer writer(out.labels);
  for (const auto& [name, value] : labels) {
    protozero::pbf_writer label(writer, 1);
    label.add_string(1, name);
    label.add_string(2, value);
  }
  return out;
}

std::vector<Series> MakeAll(uint64_t counters, int64_t step_ms, Random* random) {
  static constexpr const char* kBounds[] = {"0.005", "0.01", "0.025", "0.05", "0.1", "0.25",
                                            "0.5",   "1",    "2.5",   "5",    "10",  "+Inf"};
  constexpr uint64_t kPerHost = 100;
  std::vector<Series> out;
  for (uint64_t host = 0; host * kPerHost < counters; ++host) {
    const std::string instance = "host-" + std::to_string(host) + ".example.org:9100";
    const std::string cluster = "cluster-" + std::to_string(host % 4);
    const std::string job = "job-" + std::to_string(host % 7);
    const auto delay = static_cast<int64_t>(random->Next() % static_cast<uint64_t>(step_ms));
    const uint64_t of_host = std::min(kPerHost, counters - host * kPerHost);
    for (uint64_t i = 0; i < of_host; ++i) {
      Series series = Make(Kind::kCounter,
                           {{"__name__", "requests_total"},
                            {"cluster", cluster},
                            {"instance", instance},
                            {"job", job},
                            {"path", "/api/v1/resource-" + std::to_string(i / 4)},
                            {"status", std::to_string(200 + 100 * (i % 4))}},
                           delay);
      series.value = static_cast<double>(random->Next() % 1'000'000);
      series.speed = 1 + random->Next() % 200;
      out.push_back(std::move(series));
    }
    for (uint64_t i = 0; i < of_host / 8; ++i) {
      Series series = Make(Kind::kGauge,
                           {{"__name__", "temperature"},
                            {"cluster", cluster},
                            {"instance", instance},
                            {"job", job},
                            {"sensor", "sensor-" + std::to_string(i)}},
                           delay);
      series.value = 20 + static_cast<double>(random->Next() % 4000) / 100;
      out.push_back(std::move(series));
    }
    for (uint64_t i = 0; i < of_host / 8; ++i) {
      Series series = Make(Kind::kBucket,
                           {{"__name__", "latency_bucket"},
                            {"cluster", cluster},
                            {"instance", instance},
                            {"job", job},
                            {"le", kBounds[i % 12]}},
                           delay);
      series.value = static_cast<double>(1000 * (i + 1));
      series.speed = i + 1;
      out.push_back(std::move(series));
    }
    out.push_back(Make(Kind::kInfo,
                       {{"__name__", "node_info"},
                        {"cluster", cluster},
                        {"instance", instance},
                        {"job", job},
                        {"kernel", "6.1." + std::to_string(host % 20)}},
                       delay));
  }
  return out;
}

void Step(Series* series, Random* random) {
  switch (series->kind) {
    case Kind::kCounter:
      series->value += static_cast<double>(random->Next() % series->speed);
      if (random->Next() % 20'000 == 0) series->value = 0;
      break;
    case Kind::kGauge:
      series->value =
          std::round(series->value * 100 + static_cast<double>(random->Next() % 101) - 50) / 100;
      break;
    case Kind::kBucket:
      // Bounds are cumulative: each grows at least as fast as the one below.
      series->value += static_cast<double>(series->speed * 4);
      break;
    case Kind::kInfo:
      break;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) {
    std::fprintf(stderr, "usage: %s FILE COUNTERS SAMPLES STEP_MS END_MS\n", argv[0]);
    return 2;
  }
  const uint64_t counters = std::strtoull(argv[2], nullptr, 10);
  const uint64_t samples = std::strtoull(argv[3], nullptr, 10);
  const int64_t step_ms = std::strtoll(argv[4], nullptr, 10);
  const int64_t end_ms = std::strtoll(argv[5], nullptr, 10);
  constexpr uint64_t kPerRequest = 2000;
  std::FILE* const file = std::fopen(argv[1], "wb");
  if (file == nullptr || step_ms <= 0) {
    std::perror(argv[1]);
    return 1;
  }
  Random random(42);
  std::vector<Series> series = MakeAll(counters, step_ms, &random);
  std::string request, message, packed;
  uint64_t requests = 0;
  for (uint64_t round = 0; round < samples; ++round) {
    const int64_t time = end_ms - static_cast<int64_t>(samples - round) * step_ms;
    for (uint64_t begin = 0; begin < series.size(); begin += kPerRequest) {
      request.clear();
      protozero::pbf_writer writer(request);
      for (uint64_t i = begin; i < std::min<uint64_t>(begin + kPerRequest, series.size()); ++i) {
        Step(&series[i], &random);
        message = series[i].labels;
        protozero::pbf_writer out(message);
        protozero::pbf_writer sample(out, 2);
        sample.add_double(1, series[i].value);
        sample.add_int64(2, time + series[i].delay_ms);
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
  std::printf("%llu requests, %llu series, %llu samples\n",
              static_cast<unsigned long long>(requests),
              static_cast<unsigned long long>(series.size()),
              static_cast<unsigned long long>(samples * series.size()));
  return 0;
}
