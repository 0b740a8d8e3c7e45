#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tools/loki/limits.h"
#include "varve/labels.h"
#include "varve/log_batch.h"

/// The rules for log entries that come from outside, whatever protocol brings them: limits, names,
/// automatic labels, errors in Loki's words.
namespace varve::loki {

class StreamRates;

inline constexpr std::string_view kServiceName = "service_name";
inline constexpr std::string_view kDetectedLevel = "detected_level";
inline constexpr std::string_view kUnknownService = "unknown_service";
inline constexpr std::string_view kTenant = "fake";  // Loki's name for the one there is

/// Tests for [a-zA-Z_][a-zA-Z0-9_]*.
bool IsLabelName(std::string_view name);

/// Tests whether a name of structured metadata needs no normalisation.
bool IsNormalizedName(std::string_view name);
/// Normalises a name of structured metadata: what a label name cannot have becomes `_`, runs of `_`
/// become one, a leading digit gains `key_`.
std::string NormalizeName(std::string_view name);

/// Returns the value of the label `service_name` that a stream without one gets: the first of
/// service, app, application, app_name, name, app_kubernetes_io_name, container, container_name,
/// k8s_container_name, component, workload, job, k8s_job_name, else "unknown_service".
std::string_view DiscoverServiceName(LabelsView labels);

/// Says in Loki's words that a stream, named by its labels, is one too many.
std::string StreamLimitText(std::string_view stream);

/// Collects errors and prints them as Loki does: "3 errors like: TEXT; TEXT". Memory is bounded:
/// after 32 different texts the rest is only counted.
class GroupedErrors {
 public:
  void Add(std::string text);
  bool empty() const { return total_ == 0; }
  uint64_t total() const { return total_; }
  std::string Text() const;
  /// Returns the text added last, if it was kept, else a general one.
  std::string Last() const;
  void Clear();
  /// Tests whether another text would be kept; if not, spare making it and call Count.
  bool full() const { return texts_.size() >= kTextsMax; }
  void Count() {
    ++total_;
    ++others_;
    last_ = kTextsMax;
  }

 private:
  static constexpr size_t kTextsMax = 32;
  std::vector<std::pair<std::string, uint64_t>> texts_;  // in order of arrival
  uint64_t total_ = 0;
  uint64_t others_ = 0;
  size_t last_ = 0;  // index of the text added last; past the end: it was not kept
};

/// Puts entries that keep the rules into a LogBatch, and says what is wrong with the others. Reuse
/// it with Reset: it keeps its memory. Allocates nothing per entry once warm.
///
/// Protocol: Reset; BeginStream and its AddEntry calls, any number of times; Finish; then append
/// the batch.
class LogIntake {
 public:
  /// `limits` must outlive it.
  explicit LogIntake(const Limits* limits) : limits_(limits) {}

  /// Begins a batch. `batch` is not cleared. `rates`, if any, bounds what a stream may bring; it
  /// must live until Finish, and `monotonic` is its time.
  void Reset(int64_t now_ns, LogBatch* batch, StreamRates* rates = nullptr,
             std::chrono::nanoseconds monotonic = {});
  /// Has this batch stored as it was sent: neither service_name nor detected_level is added.
  void KeepAsSent() { discover_ = false; }

  /// Begins a stream: labels in any order, empty values dropped. The label service_name is added
  /// where it is missing. Returns false, and has AddEntry drop all entries up to the next stream,
  /// if the labels are not acceptable; one error says why. The labels' bytes must live until the
  /// next BeginStream, those of entries as LogBatch has it.
  bool BeginStream(LabelsView labels);
  /// Does the same for the text of a selector: `{app="x", env="prod"}`.
  bool BeginStream(std::string_view selector);

  /// Adds an entry to the stream begun last. `metadata` comes in any order; names are normalised,
  /// of equal names the last counts, and detected_level is added where it is missing.
  bool AddEntry(int64_t time_ns, std::string_view line, LabelsView metadata);

  /// Ends the last stream: errors are complete after it.
  void Finish() { EndStream(); }

  const GroupedErrors& errors() const { return errors_; }
  /// Tells that an error was a rate or the number of streams: it passes, in time.
  bool limited() const { return limited_; }
  GroupedErrors* mutable_errors() { return &errors_; }
  uint64_t entries() const { return entries_; }      // accepted
  uint64_t discarded() const { return discarded_; }  // not accepted
  int64_t now_ns() const { return now_ns_; }

 private:
  bool Refuse(std::string text);
  void EndStream();
  /// Takes an entry from the stream's budget; false: over it, and noted for EndStream.
  bool TakeRate(int64_t time_ns, uint64_t bytes);
  std::string StreamText() const;
  std::string MissingLabelsText() const;
  void Fail(std::string text);
  /// Fills metadata_; false: an error was added.
  bool TakeMetadata(LabelsView metadata);

  const Limits* limits_;
  LogBatch* batch_ = nullptr;
  int64_t now_ns_ = 0;
  int64_t oldest_ns_ = 0;
  int64_t newest_ns_ = 0;
  bool discover_ = true;
  bool accepting_ = false;
  bool added_ = false;  // the stream is in the batch
  bool limited_ = false;
  StreamRates* rates_ = nullptr;
  std::chrono::nanoseconds monotonic_{0};
  uint64_t stream_hash_ = 0;     // of its labels, with rates_ only
  uint64_t stream_entries_ = 0;  // of the stream, that were judged by its rate
  uint64_t stream_refused_ = 0;  // of these
  std::string refused_text_;     // the first of them, an entry a line
  uint32_t stream_ = 0;
  std::string_view stream_level_;
  std::vector<LabelView> labels_;
  std::vector<LabelView> parsed_;  // of a selector
  std::vector<LabelView> metadata_;
  GroupedErrors errors_;
  uint64_t entries_ = 0;
  uint64_t discarded_ = 0;
};

/// Prints Unix nanoseconds as RFC 3339 in UTC with whole seconds.
std::string FormatSeconds(int64_t time_ns);

}  // namespace varve::loki
