// Measures what the server does with the lines of a push before the store gets them: JSON and the
// rules of the intake, and among these the level of a line. `bytes_per_second` counts bytes of
// lines; a body is about 1 MB, as clients send them.

#include <benchmark/benchmark.h>

#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "bench/logs/log_lines.h"
#include "tools/loki/json_text.h"
#include "tools/loki/level.h"
#include "tools/loki/push_decode.h"

namespace varve::loki {
namespace {

struct Shape {
  const char* format;  // of %u, %u, %u and %016llx
};
// No level, hardly an escape.
constexpr Shape kAccess = {
    "10.0.%u.%u - alice [27/Nov/2026:17:20:00 +0000] \"GET /item?id=%u HTTP/1.1\" 200 "
    "\"Mozilla/5.0 (X11; Linux x86_64)\" %016llx"};
// A level at once, an escape every few bytes.
constexpr Shape kZap = {
    R"({"level":"info","shard":%u,"worker":%u,"n":%u,"msg":"job done","id":"%016llx","path":"/a"})"};
// The same without a level.
constexpr Shape kJson = {
    R"({"time":"27/Nov/2026","addr":"10.0.%u.%u","user":"alice","request":"GET /item?id=%u",)"
    R"("status":200,"id":"%016llx","agent":"Mozilla/5.0 X11 Linux x86_64"})"};
constexpr Shape kLogfmt = {
    "ts=2026-11-20T15:04:28.520Z caller=collector.go:%u level=debug name=%u msg=\"it went well\" "
    "duration=%u id=%016llx"};
// Bytes above ASCII, which clients write as \u escapes.
constexpr Shape kAccents = {
    "caf\xc3\xa9 \xc3\xa0 la cr\xc3\xa8me %u %u \xe2\x82\xac %u na\xc3\xafve %016llx"};

struct Lines {
  std::vector<std::string> lines;
  size_t bytes = 0;

  explicit Lines(const Shape& shape) {
    std::mt19937_64 random(1);
    while (bytes < 1u << 20) {
      lines.push_back(MakeLogLine(shape.format, random));
      bytes += lines.back().size();
    }
  }

  /// The body of a push of one stream; what is not ASCII is escaped.
  std::string Body() const {
    std::string out = R"({"streams": [{"stream": {"job": "bench"}, "values": [)";
    int64_t time = 1'795'800'000'000'000'000;
    for (const std::string& line : lines) {
      if (out.back() == ']') out += ", ";
      out += "[\"" + std::to_string(time += 1'000'003) + "\", \"";
      for (size_t i = 0; i < line.size(); ++i) {
        const auto byte = static_cast<unsigned char>(line[i]);
        if (byte == '"' || byte == '\\') out += '\\';
        if (byte < 0x80) {
          out += line[i];
          continue;
        }
        const size_t more = byte >= 0xe0 ? 2 : 1;
        unsigned rune = byte & (more == 2 ? 0x0fu : 0x1fu);
        for (size_t k = 0; k < more; ++k) rune = rune << 6 | (line[++i] & 0x3fu);
        char escape[8];
        std::snprintf(escape, sizeof escape, "\\u%04x", rune & 0xffff);
        out += escape;
      }
      out += "\"]";
    }
    return out + "]}]}";
  }
};

void DecodeBody(benchmark::State& state, const Shape& shape) {
  const Lines lines(shape);
  const std::string body = lines.Body();
  const Limits limits = Limits::ForImport();
  LogIntake intake(&limits);
  LogBatch batch;
  std::string text;
  for (auto _ : state) {
    text = body;  // decoding changes it
    batch.Clear();
    intake.Reset(1'795'800'000'000'000'000, &batch);
    PushCounts counts;
    if (!DecodePushJson(text.data(), text.size(), &intake, &counts).ok() ||
        batch.entries().size() != lines.lines.size() ||
        batch.entries().back().line != lines.lines.back()) {
      state.SkipWithError("the body was not understood");
      return;
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(lines.bytes));
}
BENCHMARK_CAPTURE(DecodeBody, access, kAccess);
BENCHMARK_CAPTURE(DecodeBody, zap, kZap);
BENCHMARK_CAPTURE(DecodeBody, json, kJson);
BENCHMARK_CAPTURE(DecodeBody, logfmt, kLogfmt);
BENCHMARK_CAPTURE(DecodeBody, accents, kAccents);

void Level(benchmark::State& state, const Shape& shape, std::string_view level) {
  const Lines lines(shape);
  for (auto _ : state) {
    for (const std::string& line : lines.lines) {
      if (DetectLevel(line) != level) {
        state.SkipWithError("not the level it should be");
        return;
      }
    }
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(lines.bytes));
}
BENCHMARK_CAPTURE(Level, access, kAccess, kLevelUnknown);
BENCHMARK_CAPTURE(Level, zap, kZap, kLevelInfo);
BENCHMARK_CAPTURE(Level, json, kJson, kLevelUnknown);
BENCHMARK_CAPTURE(Level, logfmt, kLogfmt, kLevelDebug);

// All strings of a body, by each of the kernels that this processor has: 0 is the baseline.
void ReadStrings(benchmark::State& state, const Shape& shape) {
  const auto kernels = AllJsonKernels();
  if (static_cast<size_t>(state.range(0)) >= kernels.size()) {
    state.SkipWithError("this processor has no such kernel");
    return;
  }
  const Lines lines(shape);
  const std::string body = lines.Body();
  std::string text;
  for (auto _ : state) {
    text = body;
    JsonText json(text.data(), text.size(), kernels[static_cast<size_t>(state.range(0))]);
    json.Seek(body.find("[[") + 1);
    std::string_view string;
    do {
      if (!json.Take('[', "") || !json.String(&string) || !json.Take(',', "") ||
          !json.String(&string) || !json.Take(']', "")) {
        state.SkipWithError("the body was not understood");
        return;
      }
    } while (json.TakeIf(','));
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(lines.bytes));
}
BENCHMARK_CAPTURE(ReadStrings, access, kAccess)->Arg(0)->Arg(1);
BENCHMARK_CAPTURE(ReadStrings, zap, kZap)->Arg(0)->Arg(1);
BENCHMARK_CAPTURE(ReadStrings, accents, kAccents)->Arg(0)->Arg(1);

}  // namespace
}  // namespace varve::loki

BENCHMARK_MAIN();
