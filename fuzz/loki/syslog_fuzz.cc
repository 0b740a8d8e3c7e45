// Feeds a TCP stream of syslog, cut into pieces of the size that the first byte says: however it is
// cut, the same messages must come out.

#include <string>
#include <vector>

#include "fuzz/loki/check_batch.h"
#include "tools/loki/syslog.h"
#include "tools/loki/syslog_server.h"

namespace {

std::vector<std::string> Frames(std::string_view bytes, size_t step) {
  varve::loki::SyslogFramer framer(200);
  std::vector<std::string> out;
  std::string_view message;
  for (size_t i = 0; i < bytes.size() && !framer.broken(); i += step) {
    framer.Add(bytes.substr(i, step));
    while (framer.Next(&message)) out.emplace_back(message);
  }
  if (framer.Last(&message)) out.emplace_back(message);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve;
  using namespace varve::loki;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::vector<std::string> frames = Frames(bytes, bytes.size() + 1);
  for (const std::string& frame : frames) {
    if (frame.size() > 200) std::abort();
  }
  const loki::Limits limits = loki::Limits::ForImport();
  PushScratch scratch(&limits);
  scratch.intake.Reset(1'795'800'000'000'000'000, &scratch.batch);
  const SyslogOptions options;
  for (const std::string& frame : frames) {
    AddSyslogMessage(options, frame, scratch.intake.now_ns(), &scratch);
  }
  if (scratch.batch.entries().size() != frames.size()) std::abort();
  CheckBatch(scratch.batch, limits);
  const size_t step = 1 + data[0] % 7;
  if (Frames(bytes, step) != frames) std::abort();
  return 0;
}
