#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "varve/options.h"
#include "varve/query.h"
#include "varve/status.h"

/// The subcommands of the varve program. Each prints results on stdout and errors on stderr, and
/// returns the exit code of the process.
namespace varve::cli {

/// Exit codes; scripts rely on them.
enum ExitCode : int {
  kOk = 0,
  kFailed = 1,      // the work could not be done; stderr says why
  kUsage = 2,       // wrong arguments
  kDamageFound = 3  // verify: the store has damage
};

/// Prints `varve: message` on stderr and returns kFailed.
int Fail(const Status& status);
int Fail(std::string_view message);

/// Reads sizes such as 512MB, 10GiB, 1.5TB (powers of 1024) or plain bytes.
Result<uint64_t> ParseSize(std::string_view text);
/// Splits "HOST:PORT", "[v6]:PORT" or ":PORT" (all addresses). Errors: kInvalidArgument.
struct ListenAddress {
  std::string host;
  uint16_t port = 0;
};
Result<ListenAddress> ParseListenAddress(const std::string& text);
/// Prints bytes for people: "1.23 GiB".
std::string FormatSize(double bytes);
/// Prints a count with thousands separated: "12,345,678".
std::string FormatCount(uint64_t count);

struct ShellCommand {
  std::string target;  // a directory, or http://HOST:PORT
  query::EngineOptions engine;
};
/// Asks in a dialogue where stdin and stdout are a terminal; else runs stdin as a script.
int RunShell(const ShellCommand& command);

struct StoreCommand {
  Options database;  // `dir` is --data
  bool json = false;
};
int RunCompact(const StoreCommand& command);
int RunInspect(const StoreCommand& command);
int RunVerify(const StoreCommand& command);
int RunBackup(const StoreCommand& command, const std::string& to);

struct BenchCommand {
  uint64_t series = 10'000;
  uint64_t samples = 480;  // of each series
  uint64_t batch_series = 1000;
  uint32_t threads = 2;
  bool durable = true;
  std::string dir;  // empty: a temporary one, removed afterwards
  bool json = false;
};
int RunBench(const BenchCommand& command);

/// Shows on a terminal that long work is under way; silent when stderr is none.
class Spinner {
 public:
  explicit Spinner(std::string what);
  ~Spinner();
  Spinner(const Spinner&) = delete;
  Spinner& operator=(const Spinner&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace varve::cli
