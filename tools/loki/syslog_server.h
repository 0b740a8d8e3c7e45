#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "tools/loki/context.h"
#include "varve/status.h"

namespace varve::loki {

struct SyslogOptions {
  std::string address;  // empty: not served
  uint16_t port = 514;  // 0: any free one
  bool tcp = true;
  bool udp = true;
  bool insecure_listen = false;  // else only loopback addresses
  size_t connections_max = 256;
  size_t message_bytes_max = 256 * 1024;
  /// The label `job` of what comes in.
  std::string job = "syslog";
};

/// Adds one message to a batch: labels job, host and app, the level and the rest as metadata.
void AddSyslogMessage(const SyslogOptions& options, std::string_view text, int64_t now_ns,
                      PushScratch* scratch);

/// Receives syslog over TCP and UDP (RFC 5424 and 3164) and appends it, on one thread of its own:
/// while the store is busy TCP senders wait and datagrams queue in the kernel. What comes before
/// the database is open waits too.
class SyslogServer {
 public:
  /// `context` must outlive it. Errors: kInvalidArgument for an address that is not allowed,
  /// kUnavailable if it cannot be bound.
  static Result<std::unique_ptr<SyslogServer>> Start(const SyslogOptions& options,
                                                     Context* context);
  /// Stops receiving; what has been read is appended.
  virtual ~SyslogServer() = default;
  virtual uint16_t tcp_port() const = 0;
  virtual uint16_t udp_port() const = 0;
  virtual uint64_t messages() const = 0;
  virtual uint64_t failed() const = 0;  // not stored
};

}  // namespace varve::loki
