#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/loki/log_import.h"
#include "varve/options.h"

namespace CLI {
class App;
}

namespace varve::cli {

/// `varve import logs --data DIR FILE... --label k=v`
struct ImportLogsCommand {
  Options database;
  std::vector<std::string> paths;
  std::vector<std::string> labels;
  std::string format = "auto";
  std::string time_field;
  std::string time;  // "found", or when the first line was
  std::string multiline;
  bool no_filename = false;
  bool no_level = false;
  bool json = false;

  void AddTo(CLI::App* import);
};
int RunImportLogs(const ImportLogsCommand& command);

/// `varve tail`: shows entries as they come.
struct TailCommand {
  std::string url = "http://127.0.0.1:9090";
  std::string expression;
  uint32_t limit = 10;  // older entries shown first
  uint32_t delay_s = 0;
  std::string output = "table";
  std::string color = "auto";

  void AddTo(CLI::App* tail);
};
int RunTail(const TailCommand& command);

}  // namespace varve::cli
