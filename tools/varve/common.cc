#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <mutex>
#include <thread>

#include "engine/base/strings.h"
#include "tools/server/http/message.h"
#include "tools/varve/commands.h"

namespace varve::cli {

int Fail(std::string_view message) {
  std::cerr << "varve: " << message << "\n";
  return kFailed;
}

int Fail(const Status& status) { return Fail(ToStd(status.message())); }

Result<uint64_t> ParseSize(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  const auto bad = [&] {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("not a size: ", GoQuote(text)));
  };
  if (error != std::errc() || !(value >= 0)) return bad();
  if (http::EqualsIgnoreCase(unit, "b")) unit = {};
  double scale = 1;
  if (!unit.empty()) {
    constexpr std::string_view kUnits = "kmgtpe";
    const char first = static_cast<char>(unit.front() | 0x20);
    const size_t power = kUnits.find(first);
    const std::string_view rest = unit.substr(1);
    if (power == std::string_view::npos || !(rest.empty() || http::EqualsIgnoreCase(rest, "b") ||
                                             http::EqualsIgnoreCase(rest, "ib"))) {
      return bad();
    }
    scale = std::pow(1024, static_cast<double>(power + 1));
  }
  if (value * scale >= 0x1p63) return bad();
  return static_cast<uint64_t>(value * scale);
}

Result<ListenAddress> ParseListenAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  const auto bad = [&] {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("not HOST:PORT: ", GoQuote(text)));
  };
  if (colon == std::string::npos) return bad();
  ListenAddress out;
  out.host = text.substr(0, colon);
  if (out.host.size() >= 2 && out.host.front() == '[' && out.host.back() == ']') {
    out.host = out.host.substr(1, out.host.size() - 2);
  }
  if (out.host.empty()) out.host = "0.0.0.0";
  const char* const begin = text.data() + colon + 1;
  const char* const stop = text.data() + text.size();
  const auto [end, error] = std::from_chars(begin, stop, out.port);
  if (error != std::errc() || end != stop) return bad();
  return out;
}

std::string FormatSize(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.2f %s", bytes, kUnits[unit]);
  return text;
}

std::string FormatCount(uint64_t count) {
  std::string text = std::to_string(count);
  for (size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

struct Spinner::State {
  std::string what;
  std::mutex mutex;
  std::condition_variable condition;
  bool stop = false;
  std::thread thread;
};

Spinner::Spinner(std::string what) {
  if (isatty(STDERR_FILENO) == 0) return;
  state_ = std::make_unique<State>();
  state_->what = std::move(what);
  state_->thread = std::thread([state = state_.get()] {
    static constexpr const char* kFrames[] = {"|", "/", "-", "\\"};
    const auto begin = std::chrono::steady_clock::now();
    std::unique_lock<std::mutex> lock(state->mutex);
    for (size_t i = 0; !state->condition.wait_for(lock, std::chrono::milliseconds(150),
                                                  [&] { return state->stop; });
         ++i) {
      const double seconds =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      std::fprintf(stderr, "\r%s %s %.1f s ", kFrames[i % 4], state->what.c_str(), seconds);
    }
    std::fprintf(stderr, "\r\033[K");
  });
}

Spinner::~Spinner() {
  if (state_ == nullptr) return;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stop = true;
  }
  state_->condition.notify_all();
  state_->thread.join();
}

}  // namespace varve::cli
