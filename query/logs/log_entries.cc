#include "query/logs/log_entries.h"

#include <algorithm>
#include <optional>

#include "engine/base/interrupt.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::query {
namespace {

/// An entry that may be part of the answer.
struct Kept {
  int64_t time_ns = 0;
  uint32_t stream = 0;
  uint32_t unit = 0;  // in order of time within a stream
  uint32_t row = 0;
  std::string labels;  // the three parts, see AppendLabels
  std::string line;
};

void AppendText(std::string_view text, std::string* out) {
  const auto size = static_cast<uint32_t>(text.size());
  out->append(reinterpret_cast<const char*>(&size), sizeof size);
  *out += text;
}
std::string_view TakeText(std::string_view* bytes) {
  uint32_t size = 0;
  bytes->copy(reinterpret_cast<char*>(&size), sizeof size);
  const std::string_view text = bytes->substr(sizeof size, size);
  bytes->remove_prefix(sizeof size + size);
  return text;
}

using PartedLabel = std::pair<EntryLabels::Part, LabelView>;

/// Writes labels so that equal sets have equal bytes.
void AppendLabels(const EntryLabels& labels, std::vector<PartedLabel>* scratch, std::string* out) {
  scratch->clear();
  labels.ForEach([&](EntryLabels::Part part, std::string_view name, std::string_view value) {
    scratch->push_back({part, {name, value}});
  });
  std::sort(scratch->begin(), scratch->end(), [](const PartedLabel& a, const PartedLabel& b) {
    return a.first != b.first ? a.first < b.first : a.second.name < b.second.name;
  });
  for (const auto& [part, label] : *scratch) {
    out->push_back(static_cast<char>(part));
    AppendText(label.name, out);
    AppendText(label.value, out);
  }
}
void ReadLabels(std::string_view bytes, LogStream* out) {
  while (!bytes.empty()) {
    const auto part = static_cast<EntryLabels::Part>(bytes[0]);
    bytes.remove_prefix(1);
    const std::string_view name = TakeText(&bytes);
    const std::string_view value = TakeText(&bytes);
    LogLabels& labels = part == EntryLabels::Part::kStream     ? out->stream
                        : part == EntryLabels::Part::kMetadata ? out->metadata
                                                               : out->parsed;
    labels.emplace_back(name, value);
  }
}

class EntrySearch {
 public:
  EntrySearch(LogContext& context, const Pipeline& pipeline, const LogQueryRange& range)
      : context_(context),
        pipeline_(pipeline),
        backward_(range.direction == LogDirection::kBackward),
        interval_ns_(range.interval_ns),
        // Thinning happens over all entries, so none may be left out before it.
        limit_(range.interval_ns > 0 ? 0 : range.limit),
        thinned_max_(range.limit) {}

  Status Run(ScanPlan& plan) {
    std::vector<uint32_t> order(plan.units.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      const LogChunk& x = plan.units[a].chunk;
      const LogChunk& y = plan.units[b].chunk;
      if (backward_ && x.max_time_ns != y.max_time_ns) return x.max_time_ns > y.max_time_ns;
      if (!backward_ && x.min_time_ns != y.min_time_ns) return x.min_time_ns < y.min_time_ns;
      return a < b;
    });
    ThreadPool& pool = *context_.exec.pool;
    workers_.resize(pool.threads());
    for (Worker& worker : workers_) {
      worker.entry = std::make_unique<EntryContext>();
      pipeline_.Prepare(*worker.entry, context_.analyze);
    }
    size_t done = 0;
    // A round grows while nothing is found: needles are looked for by all threads at full speed,
    // and a query that any line answers reads one chunk.
    size_t round = 1;
    while (done < order.size()) {
      VARVE_RETURN_IF_ERROR(context_.exec.Poll());
      if (bound_ && IsBeyond(plan.units[order[done]].chunk)) break;
      const size_t count = std::min(round, order.size() - done);
      round = std::min<size_t>(round * 2, 64 * pool.threads());
      pool.For(static_cast<uint32_t>(count), 1, [&](uint32_t begin, uint32_t end, uint32_t worker) {
        for (uint32_t i = begin; i < end; ++i) {
          if (!workers_[worker].status.ok()) return;
          workers_[worker].status = ReadUnit(plan, order[done + i], workers_[worker]);
        }
      });
      for (Worker& worker : workers_) {
        VARVE_RETURN_IF_ERROR(worker.status);
        VARVE_RETURN_IF_ERROR(context_.exec.budget.Take(worker.kept.size(), worker.bytes));
        std::move(worker.kept.begin(), worker.kept.end(), std::back_inserter(kept_));
        worker.kept.clear();
        worker.bytes = 0;
      }
      done += count;
      if (interval_ns_ > 0) {
        if (done == order.size()) break;
        const LogChunk& next = plan.units[order[done]].chunk;
        if (Settle(backward_ ? next.max_time_ns : next.min_time_ns)) break;
      } else {
        Cut();
      }
    }
    if (interval_ns_ > 0) {
      Settle(std::nullopt);
      kept_ = std::move(thinned_);
    }
    std::sort(kept_.begin(), kept_.end(),
              [&](const Kept& a, const Kept& b) { return Before(a, b); });
    return absl::OkStatus();
  }

  std::vector<Kept>& kept() { return kept_; }
  /// With LogContext::analyze: what all threads did.
  ScanCounts Counts() const {
    ScanCounts out;
    for (const Worker& worker : workers_) out.Add(worker.scan, worker.entry.get());
    return out;
  }

 private:
  struct Worker {
    std::unique_ptr<EntryContext> entry;
    LogRows rows;
    std::vector<Kept> kept;
    std::vector<PartedLabel> scratch;
    uint64_t bytes = 0;
    LogScanStats scan;
    Status status;
  };

  bool Before(const Kept& a, const Kept& b) const {
    if (a.time_ns != b.time_ns) return backward_ ? a.time_ns > b.time_ns : a.time_ns < b.time_ns;
    if (a.stream != b.stream) return a.stream > b.stream;
    if (a.unit != b.unit) return backward_ ? a.unit > b.unit : a.unit < b.unit;
    return backward_ ? a.row > b.row : a.row < b.row;
  }
  /// Tells whether nothing in a chunk can be better than the worst entry of a full answer.
  bool IsBeyond(const LogChunk& chunk) const {
    return backward_ ? chunk.max_time_ns < *bound_ : chunk.min_time_ns > *bound_;
  }
  /// Keeps the best entries and remembers the time of the worst.
  void Cut() {
    if (limit_ == 0 || kept_.size() < limit_) return;
    const auto last = kept_.begin() + static_cast<ptrdiff_t>(limit_) - 1;
    std::nth_element(kept_.begin(), last, kept_.end(),
                     [&](const Kept& a, const Kept& b) { return Before(a, b); });
    bound_ = last->time_ns;
    uint64_t bytes = 0;
    for (size_t i = limit_; i < kept_.size(); ++i) bytes += BytesOf(kept_[i]);
    context_.exec.budget.Give(kept_.size() - limit_, bytes);
    kept_.resize(limit_);
  }
  /// Thins what stands before the time of all chunks to come (or everything): entries stay that
  /// are at least the interval from the one that stayed before. Returns whether the answer is full.
  bool Settle(std::optional<int64_t> next) {
    const auto settled = std::partition(kept_.begin(), kept_.end(), [&](const Kept& entry) {
      return !next || (backward_ ? entry.time_ns > *next : entry.time_ns < *next);
    });
    std::sort(kept_.begin(), settled, [&](const Kept& a, const Kept& b) { return Before(a, b); });
    uint64_t bytes = 0;
    uint64_t dropped = 0;
    for (auto entry = kept_.begin(); entry != settled; ++entry) {
      if (thinned_.size() < thinned_max_ &&
          (thinned_.empty() || Distance(thinned_.back().time_ns, entry->time_ns) >=
                                   static_cast<uint64_t>(interval_ns_))) {
        thinned_.push_back(std::move(*entry));
      } else {
        bytes += BytesOf(*entry);
        ++dropped;
      }
    }
    context_.exec.budget.Give(dropped, bytes);
    kept_.erase(kept_.begin(), settled);
    return thinned_.size() >= thinned_max_;
  }
  static uint64_t Distance(int64_t a, int64_t b) {
    return a > b ? static_cast<uint64_t>(a) - static_cast<uint64_t>(b)
                 : static_cast<uint64_t>(b) - static_cast<uint64_t>(a);
  }
  static uint64_t BytesOf(const Kept& entry) {
    return sizeof(Kept) + entry.line.size() + entry.labels.size();
  }

  Status ReadUnit(ScanPlan& plan, uint32_t unit_index, Worker& worker) const {
    const ScanUnit& unit = plan.units[unit_index];
    if (bound_ && IsBeyond(unit.chunk)) return absl::OkStatus();
    LogScanStats stats;
    const auto poll = [this] { return context_.exec.Poll(); };
    const InterruptCheck check(poll);
    // The store may drop all that it reads.
    VARVE_RETURN_IF_ERROR(poll());
    VARVE_RETURN_IF_ERROR(unit.chunk.Read(*plan.scan, &worker.rows, &stats));
    worker.scan.Add(stats);
    VARVE_RETURN_IF_ERROR(context_.AddScan(stats));
    LogRows& rows = worker.rows;
    EntryContext& entry = *worker.entry;
    entry.labels.SetStream(plan.streams[unit.stream]);
    const size_t begin = worker.kept.size();
    size_t processed = 0;
    PollPace pace(pipeline_);
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t row = backward_ ? rows.size() - 1 - i : i;
      const int64_t time = rows.times_ns[row];
      if (bound_ && (backward_ ? time < *bound_ : time > *bound_)) break;
      // Entries of one stream come in the answer's order here, so the first ones are the best.
      if (limit_ != 0 && worker.kept.size() - begin >= limit_) break;
      ++processed;
      if (pace.Due(rows.lines[row].size())) VARVE_RETURN_IF_ERROR(context_.exec.Poll());
      entry.time_ns = time;
      entry.line = rows.lines[row];
      entry.labels.Reset(rows.metadata_of(row));
      if (!pipeline_.Process(entry)) {
        if (!entry.fault.ok()) [[unlikely]]
          return entry.fault;
        continue;
      }
      Kept kept;
      kept.time_ns = time;
      kept.stream = unit.stream;
      kept.unit = unit_index;
      kept.row = static_cast<uint32_t>(row);
      kept.line = entry.line;
      AppendLabels(entry.labels, &worker.scratch, &kept.labels);
      worker.bytes += BytesOf(kept);
      worker.kept.push_back(std::move(kept));
      if (worker.bytes > kChargeBytes) {
        VARVE_RETURN_IF_ERROR(context_.exec.budget.Take(0, worker.bytes));
        context_.exec.budget.Give(0, worker.bytes);
      }
    }
    context_.rows.fetch_add(processed, std::memory_order_relaxed);
    return absl::OkStatus();
  }

  static constexpr uint64_t kChargeBytes = 64 << 20;

  LogContext& context_;
  const Pipeline& pipeline_;
  const bool backward_;
  const int64_t interval_ns_;
  const size_t limit_;
  const size_t thinned_max_;
  std::vector<Worker> workers_;
  std::vector<Kept> kept_;
  std::vector<Kept> thinned_;     // final, in the order of the answer
  std::optional<int64_t> bound_;  // set while workers do not run
};

}  // namespace

Result<Streams> RunLogQuery(LogContext& context, const logql::Expr& log, const Pipeline& pipeline,
                            const LogQueryRange& range) {
  Streams out;
  if (range.end_ns <= range.start_ns || range.limit == 0) return out;
  VARVE_ASSIGN_OR_RETURN(
      ScanPlan plan, PlanScan(context, log.matchers, pipeline, {range.start_ns, range.end_ns - 1}));
  EntrySearch search(context, pipeline, range);
  VARVE_RETURN_IF_ERROR(search.Run(plan));
  if (context.analyze) context.stages = StagesOf(plan, pipeline, search.Counts(), 1);
  StringViewMap<size_t> streams;
  for (Kept& entry : search.kept()) {
    auto [found, added] = streams.try_emplace(entry.labels, out.size());
    if (added) {
      out.emplace_back();
      ReadLabels(entry.labels, &out.back());
    }
    out[found->second].entries.push_back({entry.time_ns, std::move(entry.line)});
  }
  return out;
}

void TakeEntry(const EntryContext& entry, LogStream* out) {
  out->stream.clear();
  out->metadata.clear();
  out->parsed.clear();
  entry.labels.ForEach([&](EntryLabels::Part part, std::string_view name, std::string_view value) {
    LogLabels& labels = part == EntryLabels::Part::kStream     ? out->stream
                        : part == EntryLabels::Part::kMetadata ? out->metadata
                                                               : out->parsed;
    labels.emplace_back(name, value);
  });
  std::sort(out->stream.begin(), out->stream.end());
  std::sort(out->metadata.begin(), out->metadata.end());
  std::sort(out->parsed.begin(), out->parsed.end());
  out->entries.assign(1, {entry.time_ns, std::string(entry.line)});
}

}  // namespace varve::query
