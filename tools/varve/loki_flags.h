#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/server/app.h"

namespace CLI {
class App;
}

namespace varve::cli {

/// The flags of `serve` for logs: Loki's limits under their own names, ports, syslog.
class LokiFlags {
 public:
  LokiFlags();
  void AddTo(CLI::App* serve);
  /// Puts what was given into `options`, whose http part must be set.
  void Apply(server::AppOptions* options) const;

 private:
  std::string listen_;
  std::string syslog_;
  bool syslog_tcp_ = true;
  bool syslog_udp_ = true;
  loki::LokiOptions options_;
  std::string max_age_ = "7d";
  std::string grace_ = "10m";
  std::string line_size_ = "256KB";
  std::string metadata_size_ = "64KB";
  std::string stream_rate_ = "0";
  std::string stream_burst_ = "15MB";
  std::string block_until_;
  std::string recv_size_ = "100MB";
  std::string query_length_ = "721h";
  std::string query_timeout_ = "1m";
  std::string query_bytes_ = "0";
  std::string retention_period_;
  std::vector<std::string> retention_streams_;
};

}  // namespace varve::cli
