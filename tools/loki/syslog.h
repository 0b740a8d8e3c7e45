#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace varve::loki {

/// One syslog message. Views point into the text that was parsed, except parameter values that had
/// escapes.
struct SyslogMessage {
  int facility = 1;  // user
  int severity = 5;  // notice
  int64_t time_ns = 0;
  bool has_time = false;
  std::string_view host;
  std::string_view app;
  std::string_view process;
  std::string_view id;
  /// Parameters of structured data as "sdid_name" and value, in order.
  std::vector<std::pair<std::string, std::string>> data;
  std::string_view text;
  void Clear();
};

/// Takes apart RFC 5424 ("<34>1 TIME HOST APP PROCID MSGID [SD] MSG") and RFC 3164 ("<34>Oct 11
/// 22:14:15 host tag[pid]: msg"); any text is a message, and what does not fit is left in `text`. A
/// time without a year lies nearest to `now_ns`, read as UTC. Cost: one pass.
void ParseSyslog(std::string_view line, int64_t now_ns, SyslogMessage* out);

/// Names of facilities (kern, user, ...) and of severities as levels: fatal, critical, error, warn,
/// info, debug.
std::string_view SyslogFacility(int facility);
std::string_view SyslogLevel(int severity);

/// Cuts a TCP stream into messages: octet counting ("11 <34>1 ...") where a message begins with a
/// digit, else lines, the way both are mixed in the field (RFC 6587). Not thread-safe.
class SyslogFramer {
 public:
  explicit SyslogFramer(size_t message_bytes_max) : max_(message_bytes_max) {}
  /// Adds bytes that have come.
  void Add(std::string_view bytes) { buffer_.append(bytes); }
  /// Takes the next message; the view lives until the next Add. False: more bytes are needed.
  bool Next(std::string_view* message);
  /// Takes what is left when the peer has closed.
  bool Last(std::string_view* message);
  /// Tells that the framing is broken or a counted message too long: close the connection.
  bool broken() const { return broken_; }
  uint64_t truncated() const { return truncated_; }

 private:
  void Compact();

  const size_t max_;
  std::string buffer_;
  size_t begin_ = 0;
  size_t searched_ = 0;    // of the line being read, from begin_
  bool skipping_ = false;  // the rest of a line that was too long
  bool broken_ = false;
  uint64_t truncated_ = 0;
};

}  // namespace varve::loki
