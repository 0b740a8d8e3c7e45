#include "tools/varve/loki_flags.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "engine/base/strings.h"
#include "tools/server/api/parameters.h"
#include "tools/varve/commands.h"
#include "varve/logql.h"

namespace varve::cli {
namespace {

constexpr char kGroup[] = "Logs";

std::string CheckDuration(std::string& text) {
  const auto value = api::ParseDuration(text);
  if (!value.ok()) return std::string(ToStd(value.status().message()));
  return value->count() < 0 ? std::string("must not be negative") : std::string();
}
std::string CheckSize(std::string& text) {
  const auto value = ParseSize(text);
  return value.ok() ? std::string() : std::string(ToStd(value.status().message()));
}
std::string CheckTime(std::string& text) {
  const auto value = api::ParseTime(text);
  return value.ok() ? std::string() : std::string(ToStd(value.status().message()));
}
std::string CheckAddress(std::string& text) {
  const auto value = ParseListenAddress(text);
  return value.ok() ? std::string() : std::string(ToStd(value.status().message()));
}

/// Reads one entry of Loki's retention_stream, PERIOD[,PRIORITY],SELECTOR. Errors:
/// kInvalidArgument.
Result<RetentionRule> ParseRetention(std::string_view text) {
  const auto bad = [&](std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat(text, ": ", what));
  };
  const size_t brace = std::min(text.find('{'), text.size());
  std::string_view head = text.substr(0, brace);
  if (brace == text.size() || !head.ends_with(',')) {
    return bad("must look like PERIOD,PRIORITY,{SELECTOR}");
  }
  head.remove_suffix(1);
  RetentionRule out;
  const size_t comma = head.find(',');
  const auto period = api::ParseDuration(head.substr(0, comma));
  if (!period.ok()) return bad(ToStd(period.status().message()));
  if (period->count() < 0) return bad("the period must not be negative");
  out.keep = *period;
  if (comma != std::string_view::npos) {
    const std::string_view priority = head.substr(comma + 1);
    const auto [end, error] =
        std::from_chars(priority.data(), priority.data() + priority.size(), out.priority);
    if (error != std::errc() || end != priority.data() + priority.size()) {
      return bad("the priority must be a whole number");
    }
  }
  const auto query = query::InspectLogQuery(text.substr(brace));
  if (!query.ok()) return bad(ToStd(query.status().message()));
  if (!query->is_log_query || query->has_pipeline || query->selectors.size() != 1) {
    return bad("a selector of streams is needed, without stages");
  }
  out.matchers = query->selectors.front();
  return out;
}
std::string CheckRetention(std::string& text) {
  const auto value = ParseRetention(text);
  return value.ok() ? std::string() : std::string(ToStd(value.status().message()));
}

std::chrono::milliseconds DurationOf(const std::string& text) { return *api::ParseDuration(text); }

}  // namespace

LokiFlags::LokiFlags() = default;

void LokiFlags::AddTo(CLI::App* serve) {
  const CLI::Validator duration(CheckDuration, "DURATION");
  const CLI::Validator size(CheckSize, "SIZE");
  const CLI::Validator time(CheckTime, "TIME");
  const CLI::Validator address(CheckAddress, "HOST:PORT");
  const auto text = [&](const char* name, std::string* value, const char* help,
                        const CLI::Validator& check) {
    serve->add_option(name, *value, help)->check(check)->capture_default_str()->group(kGroup);
  };
  const auto number = [&](const char* name, auto* value, const char* help) {
    serve->add_option(name, *value, help)->capture_default_str()->group(kGroup);
  };
  loki::Limits& limits = options_.limits;
  text("--loki-listen", &listen_, "Listen here, too: Loki's port is 3100", address);
  text("--syslog", &syslog_, "Receive syslog here, over TCP and UDP; off unless given", address);
  serve->add_flag("!--no-syslog-tcp", syslog_tcp_, "Receive syslog over UDP only")->group(kGroup);
  serve->add_flag("!--no-syslog-udp", syslog_udp_, "Receive syslog over TCP only")->group(kGroup);
  serve
      ->add_option("--loki.reject_old_samples", limits.reject_old_samples,
                   "Refuse entries older than reject_old_samples_max_age; false for recorded data")
      ->capture_default_str()
      ->group(kGroup);
  text("--loki.reject_old_samples_max_age", &max_age_, "How old an entry may be; 0: any age",
       duration);
  text("--loki.creation_grace_period", &grace_, "How far ahead of the clock one may be; 0: any",
       duration);
  text("--loki.max_line_size", &line_size_, "Longest line; 0: what the store takes", size);
  serve
      ->add_flag("--loki.max_line_size_truncate", limits.max_line_size_truncate,
                 "Cut longer lines instead of refusing them")
      ->group(kGroup);
  number("--loki.max_label_names_per_series", &limits.max_label_names_per_series,
         "Labels of a stream; 0: unbounded");
  number("--loki.max_label_name_length", &limits.max_label_name_length, "Bytes of a label name");
  number("--loki.max_label_value_length", &limits.max_label_value_length, "Bytes of a label value");
  text("--loki.max_structured_metadata_size", &metadata_size_,
       "Structured metadata of one entry; 0: what the store takes", size);
  number("--loki.max_structured_metadata_entries_count",
         &limits.max_structured_metadata_entries_count, "Pairs of it; 0: unbounded");
  serve->add_option("--loki.discover_log_levels", limits.discover_log_levels, "Add detected_level")
      ->capture_default_str()
      ->group(kGroup);
  serve
      ->add_option("--loki.discover_service_name", limits.discover_service_name,
                   "Add service_name where it is missing")
      ->capture_default_str()
      ->group(kGroup);
  number("--loki.ingestion_rate_mb", &limits.ingestion_rate_mb, "MB of lines a second; 0: any");
  number("--loki.ingestion_burst_size_mb", &limits.ingestion_burst_size_mb,
         "MB that may come at once");
  text("--loki.per_stream_rate_limit", &stream_rate_, "Bytes a second of one stream; 0: any", size);
  text("--loki.per_stream_rate_limit_burst", &stream_burst_, "Bytes of one that may come at once",
       size);
  number("--loki.max_global_streams_per_user", &limits.max_global_streams_per_user,
         "Streams written to at once, in the head and in one body; 0: what the store takes");
  serve
      ->add_option("--loki.enforced_labels", limits.enforced_labels,
                   "Label that every stream must have; may be repeated")
      ->group(kGroup);
  text("--loki.block_ingestion_until", &block_until_,
       "Refuse pushes until this time (RFC 3339 or Unix seconds)", time);
  number("--loki.block_ingestion_status_code", &limits.block_ingestion_status_code,
         "With this status");
  text("--loki.max_recv_msg_size", &recv_size_, "Largest body of a push, decompressed", size);
  number("--loki.max_entries_limit_per_query", &options_.engine.max_entries_limit_per_query,
         "Lines in an answer; 0: unbounded");
  number("--loki.max_query_series", &options_.engine.max_query_series,
         "Series of a metric query; 0: unbounded");
  text("--loki.max_query_length", &query_length_, "Longest time range of a query; 0: any",
       duration);
  text("--loki.query_timeout", &query_timeout_, "Longest time for one query", duration);
  text("--loki.max_query_bytes_read", &query_bytes_, "Bytes of lines a query may look at; 0: any",
       size);
  number("--loki.max_concurrent_tail_requests", &limits.max_concurrent_tail_requests,
         "Tails at once; 0: unbounded");
  number("--loki.volume_max_series", &limits.volume_max_series, "Series of a volume answer");
  text("--loki.retention_period", &retention_period_,
       "How long entries stay, 0: for ever; default: as --retention-time says", duration);
  serve
      ->add_option("--loki.retention_stream", retention_streams_,
                   "PERIOD,PRIORITY,{SELECTOR}: how long entries of these streams stay; of several "
                   "the highest priority counts, then the shortest; may be repeated")
      ->check(CLI::Validator(CheckRetention, "RULE"))
      ->allow_extra_args(false)
      ->group(kGroup);
}

void LokiFlags::Apply(server::AppOptions* options) const {
  loki::LokiOptions out = options_;
  out.limits.reject_old_samples_max_age = DurationOf(max_age_);
  out.limits.creation_grace_period = DurationOf(grace_);
  out.limits.max_line_size = *ParseSize(line_size_);
  out.limits.max_structured_metadata_size = *ParseSize(metadata_size_);
  out.limits.per_stream_rate_limit = *ParseSize(stream_rate_);
  out.limits.per_stream_rate_limit_burst = *ParseSize(stream_burst_);
  if (!block_until_.empty()) out.limits.block_ingestion_until_ms = *api::ParseTime(block_until_);
  if (out.limits.max_global_streams_per_user > 0) {
    options->database.limits.head_streams_max = out.limits.max_global_streams_per_user;
  }
  out.limits.max_recv_msg_size = *ParseSize(recv_size_);
  out.engine.max_query_length = DurationOf(query_length_);
  out.engine.timeout = DurationOf(query_timeout_);
  out.engine.max_query_bytes_read = *ParseSize(query_bytes_);
  if (!retention_period_.empty()) {
    options->database.log_retention_time = DurationOf(retention_period_);
  }
  for (const std::string& rule : retention_streams_) {
    options->database.log_retention_rules.push_back(*ParseRetention(rule));
  }
  out.enable_delete = options->enable_admin_api;
  if (!listen_.empty()) {
    const ListenAddress address = *ParseListenAddress(listen_);
    out.listen = true;
    out.http = options->http;
    out.http.address = address.host;
    out.http.port = address.port;
  }
  if (!syslog_.empty()) {
    const ListenAddress address = *ParseListenAddress(syslog_);
    out.syslog.address = address.host;
    out.syslog.port = address.port;
    out.syslog.tcp = syslog_tcp_;
    out.syslog.udp = syslog_udp_;
    out.syslog.insecure_listen = options->http.insecure_listen;
  }
  options->loki = out;
}

}  // namespace varve::cli
