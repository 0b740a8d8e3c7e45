#include "tools/loki/syslog.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "tools/loki/push_decode.h"

namespace varve::loki {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Takes the text up to the next blank, and the blank.
std::string_view TakeWord(std::string_view* rest) {
  const size_t blank = std::min(rest->find(' '), rest->size());
  const std::string_view word = rest->substr(0, blank);
  rest->remove_prefix(std::min(blank + 1, rest->size()));
  return word;
}
std::string_view Value(std::string_view word) { return word == "-" ? std::string_view() : word; }

// Takes "[id name="value" ...]..." or "-"; false, taking nothing, if it is neither.
bool TakeStructuredData(std::string_view* rest, SyslogMessage* out) {
  if (rest->starts_with("-")) {
    rest->remove_prefix(1);
    return true;
  }
  constexpr size_t kParametersMax = 128;
  size_t i = 0;
  const std::string_view text = *rest;
  while (i < text.size() && text[i] == '[') {
    ++i;
    const size_t id_begin = i;
    while (i < text.size() && text[i] != ' ' && text[i] != ']') ++i;
    const std::string_view id = text.substr(id_begin, i - id_begin);
    while (i < text.size() && text[i] == ' ') {
      ++i;
      const size_t name_begin = i;
      while (i < text.size() && text[i] != '=' && text[i] != ']' && text[i] != ' ') ++i;
      if (i + 1 >= text.size() || text[i] != '=' || text[i + 1] != '"') return false;
      const std::string_view name = text.substr(name_begin, i - name_begin);
      i += 2;
      std::string value;
      while (i < text.size() && text[i] != '"') {
        if (text[i] == '\\' && i + 1 < text.size() &&
            (text[i + 1] == '"' || text[i + 1] == '\\' || text[i + 1] == ']')) {
          ++i;
        }
        value.push_back(text[i++]);
      }
      if (i >= text.size()) return false;
      ++i;
      if (out->data.size() < kParametersMax) {
        std::string key(id);
        key += '_';
        key += name;
        out->data.emplace_back(std::move(key), std::move(value));
      }
    }
    if (i >= text.size() || text[i] != ']') return false;
    ++i;
  }
  if (i == 0) return false;
  rest->remove_prefix(i);
  return true;
}

// Takes "Oct 11 22:14:15 " or "Oct  1 22:14:15 ".
bool TakeOldTime(std::string_view* rest, int64_t now_ns, int64_t* time_ns) {
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const std::string_view text = *rest;
  if (text.size() < 16 || text[3] != ' ' || text[6] != ' ' || text[9] != ':' || text[12] != ':' ||
      text[15] != ' ') {
    return false;
  }
  const size_t month = kMonths.find(text.substr(0, 3));
  if (month == std::string_view::npos || month % 3 != 0) return false;
  const auto number = [&](size_t at, int* out) {
    if ((!IsDigit(text[at]) && text[at] != ' ') || !IsDigit(text[at + 1])) return false;
    *out = (text[at] == ' ' ? 0 : text[at] - '0') * 10 + (text[at + 1] - '0');
    return true;
  };
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  if (!number(4, &day) || !number(7, &hour) || !number(10, &minute) || !number(13, &second) ||
      hour > 23 || minute > 59 || second > 60) {
    return false;
  }
  using std::chrono::sys_days;
  const auto today = std::chrono::floor<std::chrono::days>(
      std::chrono::sys_time<std::chrono::nanoseconds>(std::chrono::nanoseconds(now_ns)));
  const int year = static_cast<int>(std::chrono::year_month_day(today).year());
  int64_t best = 0;
  bool found = false;
  for (int y = year - 1; y <= year + 1; ++y) {
    const std::chrono::year_month_day date{std::chrono::year(y),
                                           std::chrono::month(static_cast<unsigned>(month / 3 + 1)),
                                           std::chrono::day(static_cast<unsigned>(day))};
    if (!date.ok()) continue;
    const int64_t time = (sys_days(date).time_since_epoch().count() * int64_t{86'400} +
                          hour * 3600 + minute * 60 + second) *
                         kSecond;
    if (!found || std::abs(time - now_ns) < std::abs(best - now_ns)) best = time;
    found = true;
  }
  if (!found) return false;
  *time_ns = best;
  rest->remove_prefix(16);
  return true;
}

// Takes "tag[pid]: " from the front of an RFC 3164 message.
void TakeTag(std::string_view* rest, SyslogMessage* out) {
  const std::string_view text = *rest;
  size_t i = 0;
  while (i < text.size() && i < 64 && text[i] != ':' && text[i] != '[' && text[i] != ' ') ++i;
  if (i == 0 || i >= text.size() || text[i] == ' ') return;
  const std::string_view tag = text.substr(0, i);
  std::string_view process;
  if (text[i] == '[') {
    const size_t close = text.find(']', i);
    if (close == std::string_view::npos || close + 1 >= text.size() || text[close + 1] != ':') {
      return;
    }
    process = text.substr(i + 1, close - i - 1);
    i = close + 1;
  }
  if (text[i] != ':') return;
  out->app = tag;
  out->process = process;
  rest->remove_prefix(i + 1);
  if (rest->starts_with(" ")) rest->remove_prefix(1);
}

}  // namespace

void SyslogMessage::Clear() {
  facility = 1;
  severity = 5;
  time_ns = 0;
  has_time = false;
  host = app = process = id = text = {};
  data.clear();
}

void ParseSyslog(std::string_view line, int64_t now_ns, SyslogMessage* out) {
  out->Clear();
  std::string_view rest = line;
  if (rest.starts_with("<")) {
    int priority = 0;
    size_t i = 1;
    while (i < rest.size() && i < 4 && IsDigit(rest[i]))
      priority = priority * 10 + (rest[i++] - '0');
    if (i > 1 && i < rest.size() && rest[i] == '>' && priority < 192) {
      out->facility = priority / 8;
      out->severity = priority % 8;
      rest.remove_prefix(i + 1);
    }
  }
  if (rest.starts_with("1 ")) {
    std::string_view body = rest.substr(2);
    const std::string_view time = TakeWord(&body);
    const std::string_view host = TakeWord(&body);
    const std::string_view app = TakeWord(&body);
    const std::string_view process = TakeWord(&body);
    const std::string_view id = TakeWord(&body);
    const bool timed = time != "-" && ParseRfc3339(time, &out->time_ns);
    if ((timed || time == "-") && TakeStructuredData(&body, out)) {
      out->has_time = timed;
      out->host = Value(host);
      out->app = Value(app);
      out->process = Value(process);
      out->id = Value(id);
      if (body.starts_with(" ")) body.remove_prefix(1);
      if (body.starts_with("\xef\xbb\xbf")) body.remove_prefix(3);
      out->text = body;
      return;
    }
    out->data.clear();
    out->time_ns = 0;
  }
  // RFC 3164; many senders put an RFC 3339 time there.
  std::string_view body = rest;
  int64_t time_ns = 0;
  bool timed = TakeOldTime(&body, now_ns, &time_ns);
  if (!timed) {
    std::string_view after = body;
    if (ParseRfc3339(TakeWord(&after), &time_ns)) {
      timed = true;
      body = after;
    }
  }
  if (timed) {
    out->has_time = true;
    out->time_ns = time_ns;
    // A host has no colon; a tag does.
    std::string_view after = body;
    const std::string_view host = TakeWord(&after);
    if (!host.empty() && host.find(':') == std::string_view::npos &&
        host.find('[') == std::string_view::npos && !after.empty()) {
      out->host = host;
      body = after;
    }
  }
  TakeTag(&body, out);
  out->text = body;
}

std::string_view SyslogFacility(int facility) {
  static constexpr std::string_view kNames[] = {
      "kern",   "user",   "mail",     "daemon", "auth",   "syslog",   "lpr",     "news",
      "uucp",   "cron",   "authpriv", "ftp",    "ntp",    "security", "console", "solaris-cron",
      "local0", "local1", "local2",   "local3", "local4", "local5",   "local6",  "local7"};
  return facility >= 0 && facility < 24 ? kNames[facility] : "unknown";
}

std::string_view SyslogLevel(int severity) {
  static constexpr std::string_view kLevels[] = {"fatal", "critical", "critical", "error",
                                                 "warn",  "info",     "info",     "debug"};
  return severity >= 0 && severity < 8 ? kLevels[severity] : "unknown";
}

// --- Framing ---

void SyslogFramer::Compact() {
  if (begin_ == 0) return;
  buffer_.erase(0, begin_);
  begin_ = 0;
}

bool SyslogFramer::Next(std::string_view* message) {
  while (!broken_) {
    if (skipping_) {
      const size_t end = buffer_.find('\n', begin_);
      if (end == std::string::npos) {
        buffer_.clear();
        begin_ = 0;
        return false;
      }
      begin_ = end + 1;
      searched_ = 0;
      skipping_ = false;
      continue;
    }
    // Between messages nothing counts.
    while (begin_ < buffer_.size() && searched_ == 0 &&
           (buffer_[begin_] == '\n' || buffer_[begin_] == '\r' || buffer_[begin_] == '\0' ||
            buffer_[begin_] == ' ')) {
      ++begin_;
    }
    if (begin_ == buffer_.size()) {
      Compact();
      return false;
    }
    if (searched_ == 0 && buffer_[begin_] >= '1' && buffer_[begin_] <= '9') {
      size_t at = begin_;
      uint64_t size = 0;
      while (at < buffer_.size() && at - begin_ < 10 && IsDigit(buffer_[at])) {
        size = size * 10 + static_cast<uint64_t>(buffer_[at++] - '0');
      }
      if (at == buffer_.size()) {
        Compact();
        return false;  // the count is not complete yet
      }
      if (buffer_[at] == ' ') {
        if (size > max_) {
          broken_ = true;
          return false;
        }
        if (buffer_.size() - at - 1 < size) {
          Compact();
          return false;
        }
        *message = std::string_view(buffer_).substr(at + 1, size);
        // Senders that end each message with a newline count it.
        while (message->ends_with('\n')) message->remove_suffix(1);
        begin_ = at + 1 + size;
        if (message->empty()) continue;
        return true;
      }
      // Digits that are no count begin a line.
    }
    const size_t end = buffer_.find('\n', begin_ + searched_);
    const size_t size = (end == std::string::npos ? buffer_.size() : end) - begin_;
    if (size > max_) {
      *message = std::string_view(buffer_).substr(begin_, max_);
      ++truncated_;
      begin_ += max_;
      searched_ = 0;
      skipping_ = true;
      return true;
    }
    if (end == std::string::npos) {
      searched_ = size;
      Compact();
      return false;
    }
    *message = std::string_view(buffer_).substr(begin_, size);
    if (message->ends_with("\r")) message->remove_suffix(1);
    begin_ = end + 1;
    searched_ = 0;
    return true;
  }
  return false;
}

bool SyslogFramer::Last(std::string_view* message) {
  if (broken_ || skipping_ || begin_ >= buffer_.size()) return false;
  *message = std::string_view(buffer_).substr(begin_, std::min(buffer_.size() - begin_, max_));
  begin_ = buffer_.size();
  return true;
}

}  // namespace varve::loki
