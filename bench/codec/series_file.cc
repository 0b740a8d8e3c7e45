#include "bench/codec/series_file.h"

#include <simdjson.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <limits>
#include <string_view>
#include <utility>

#include "varve/sample.h"

namespace varve::bench {
namespace {

[[noreturn]] void Fail(const std::string& path, const char* what) {
  std::fprintf(stderr, "%s: %s\n", path.c_str(), what);
  std::exit(1);
}

std::string Inflate(const std::string& path, const std::string& packed) {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 27);
  std::string out;
  std::string buffer(ZSTD_DStreamOutSize(), '\0');
  ZSTD_inBuffer in{packed.data(), packed.size(), 0};
  while (in.pos < in.size) {
    ZSTD_outBuffer to{buffer.data(), buffer.size(), 0};
    if (ZSTD_isError(ZSTD_decompressStream(context, &to, &in)) != 0) Fail(path, "bad Zstd frame");
    out.append(buffer.data(), to.pos);
  }
  ZSTD_freeDCtx(context);
  return out;
}

double ParseValue(std::string_view text, bool* ok) {
  if (text == "NaN") return std::bit_cast<double>(kNormalNanBits);
  if (text == "StaleNaN") return StaleNan();
  if (text == "+Inf") return std::numeric_limits<double>::infinity();
  if (text == "-Inf") return -std::numeric_limits<double>::infinity();
  *ok = false;
  return 0;
}

}  // namespace

std::string RecordedSeriesPath() {
  const char* shared = std::getenv("VARVE_SHARED");
  const char* source = std::getenv("VARVE_SOURCE");
  const std::string root = shared != nullptr && *shared != '\0'
                               ? shared
                               : std::string(source == nullptr ? "." : source) + "/../shared";
  return root + "/data/metrics/prometheus-tsdb-series.ndjson.zst";
}

std::optional<std::vector<RecordedSeries>> LoadSeriesFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  const std::string packed{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const simdjson::padded_string text(Inflate(path, packed));
  std::vector<RecordedSeries> out;
  try {
    simdjson::ondemand::parser parser;
    simdjson::ondemand::document_stream lines = parser.iterate_many(text, size_t{4} << 20);
    for (auto line : lines) {
      simdjson::ondemand::object object = line.get_object();
      RecordedSeries series;
      std::vector<std::pair<std::string, std::string>> labels;
      for (auto field : object["metric"].get_object()) {
        std::string name(std::string_view(field.unescaped_key()));
        labels.emplace_back(std::move(name), std::string(std::string_view(field.value())));
      }
      std::vector<LabelView> views;
      for (const auto& [name, value] : labels) views.push_back({name, value});
      auto made = Labels::Make(std::move(views));
      if (!made.ok()) Fail(path, "bad labels");
      series.labels = *std::move(made);
      for (auto time : object["timestamps"].get_array()) {
        series.times.push_back(time.get_int64());
      }
      bool ok = true;
      for (auto item : object["values"].get_array()) {
        simdjson::ondemand::value value = item.value();
        series.values.push_back(value.type() == simdjson::ondemand::json_type::string
                                    ? ParseValue(value.get_string(), &ok)
                                    : double(value.get_double()));
      }
      if (!ok || series.times.size() != series.values.size()) Fail(path, "bad values");
      out.push_back(std::move(series));
    }
  } catch (const simdjson::simdjson_error& error) {
    Fail(path, error.what());
  }
  std::sort(out.begin(), out.end(), [](const RecordedSeries& a, const RecordedSeries& b) {
    return CompareLabels(a.labels, b.labels) < 0;
  });
  return out;
}

}  // namespace varve::bench
