#include "query/exec/scan.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace varve::query {
namespace {

/// Scans of less work, in steps and samples, run on one thread: waking others costs more than it
/// saves.
constexpr double kSharedWorkMin = 128 * 1024;
constexpr double kUsualSpacingMs = 15'000;
/// Cells of the rows that a fold takes at once: they are still in the nearest cache then.
constexpr uint32_t kFoldCells = 2048;

}  // namespace

ScanOperator::ScanOperator(ExecContext& context, const StepGrid& grid, Selection selection)
    : Operator(context, grid), selection_(std::move(selection)), account_(context.account) {
  plan_.grid = grid;
  plan_.offset_ms = selection_.offset_ms;
  plan_.has_at = selection_.at_ms.has_value();
  plan_.at_ms = selection_.at_ms.value_or(0);
}

ScanOperator::Names ScanOperator::names() const {
  if (!drops_names()) return Names::kKept;
  return context_.delayed_names ? Names::kDroppedAtEnd : Names::kDropped;
}

Status ScanOperator::Select() {
  VARVE_ASSIGN_OR_RETURN(set_, context_.snapshot->Select(selection_.matchers, plan_.Covered()));
  context_.series_selected += set_->size();
  if (folding_) return absl::OkStatus();
  const Names names = this->names();
  std::vector<LabelView> labels;
  series_.reserve(set_->size());
  for (size_t i = 0; i < set_->size(); ++i) {
    set_->GetLabels(i, &labels);
    SeriesHeader header{context_.KeepLabels(labels), names == Names::kDroppedAtEnd};
    if (names == Names::kDropped) header.labels = DropMetadata(context_, header.labels);
    series_.push_back(header);
    if ((i & 0xfff) == 0xfff) VARVE_RETURN_IF_ERROR(context_.Poll());
  }
  return context_.budget.Take(0, series_.size() * (sizeof(SeriesHeader) + 8 * sizeof(LabelView)));
}

void ScanOperator::MakeWorkers(const SeriesReader::Needs& needs) {
  const TimeRange range = plan_.Covered();
  const double covered = static_cast<double>(range.max_ms) - static_cast<double>(range.min_ms);
  worth_sharing_ = static_cast<double>(set_->size()) * (grid_.count + covered / kUsualSpacingMs) >=
                   kSharedWorkMin;
  workers_.resize(context_.pool->threads());
  for (Worker& worker : workers_) {
    worker.reader = std::make_unique<SeriesReader>(plan_, needs);
    context_.StartCounter(account_, grid_, &worker.samples);
  }
}

Status ScanOperator::ReadRow(Worker& worker, size_t series, Tile& tile, uint32_t row,
                             uint32_t* notes) {
  VARVE_RETURN_IF_ERROR(context_.Poll());
  VARVE_RETURN_IF_ERROR(worker.reader->Read(*set_, series, &worker.columns));
  worker.samples_read += worker.columns.samples_read;
  worker.chunks += worker.columns.chunks;
  if (worker.columns.edges_only) worker.chunks_edge_only += worker.columns.chunks;
  return EvaluateRow(worker, tile, row, notes);
}

/// Adds what the workers counted. On the query's own thread.
void ScanOperator::CountWork() {
  for (Worker& worker : workers_) {
    context_.Count(account_, &worker.samples);
    stats().samples += worker.samples_read;
    stats().chunks += worker.chunks;
    stats().chunks_edge_only += worker.chunks_edge_only;
    context_.samples_read += worker.samples_read;
    worker.samples_read = worker.chunks = worker.chunks_edge_only = 0;
  }
}

Status ScanOperator::NextImpl(Tile& tile) {
  const auto rows = static_cast<uint32_t>(std::min<size_t>(TileRows(), set_->size() - next_));
  tile.Reset(rows, grid_.count);
  if (rows == 0) return absl::OkStatus();
  notes_.assign(rows, 0);
  absl::Mutex mutex;
  Status failed;
  uint32_t failed_row = rows;
  const size_t first = next_;
  const uint32_t grain =
      worth_sharing_ ? std::max(1u, rows / (context_.pool->threads() * 4)) : rows;
  context_.pool->For(rows, grain, [&](uint32_t begin, uint32_t end, uint32_t w) {
    for (uint32_t r = begin; r < end; ++r) {
      const Status status = ReadRow(workers_[w], first + r, tile, r, &notes_[r]);
      if (!status.ok()) {
        absl::MutexLock lock(&mutex);
        if (r < failed_row) {
          failed_row = r;
          failed = status;
        }
        return;
      }
    }
  });
  VARVE_RETURN_IF_ERROR(failed);
  next_ += rows;
  CountWork();
  NoteRows(tile, first, notes_);
  return absl::OkStatus();
}

// --- Folding ---

Result<bool> ScanOperator::KeepsSeriesApart() const {
  if (names() != Names::kDropped) return true;
  // Besides the name, the type and unit of a metric go. Stores hardly ever have these labels, and
  // finding none costs one look into an index.
  for (const std::string_view label : {"__type__", "__unit__"}) {
    const std::array<Matcher, 1> any = {Matcher{MatchType::kNotEqual, std::string(label), ""}};
    VARVE_ASSIGN_OR_RETURN(const auto found, context_.snapshot->Select(any, plan_.Covered()));
    if (found->size() > 0) return false;
  }
  return true;
}

Status ScanOperator::OpenToFold() {
  folding_ = true;
  const auto begin = std::chrono::steady_clock::now();
  Status status = OpenImpl();
  stats().elapsed += std::chrono::steady_clock::now() - begin;
  if (status.ok()) stats().series = set_->size();
  return status;
}

/// Lets threads fold their runs of rows one after the other, in series order.
struct ScanOperator::Turns {
  absl::Mutex mutex;
  size_t next ABSL_GUARDED_BY(mutex) = 0;  // the first row of the run whose turn it is
  Status failed ABSL_GUARDED_BY(mutex);

  bool HasFailed() {
    absl::MutexLock lock(&mutex);
    return !failed.ok();
  }
  /// Waits until all runs before `row` are folded. Gives false if one of them failed.
  bool Await(size_t row) {
    const auto ready = [this, row]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
      return next == row || !failed.ok();
    };
    absl::MutexLock lock(&mutex, absl::Condition(&ready));
    return failed.ok();
  }
  void Pass(size_t row, Status status) {
    absl::MutexLock lock(&mutex);
    next = row;
    failed.Update(std::move(status));
  }
};

/// Reads the series of a run, then waits for its turn to fold them.
Status ScanOperator::FoldRun(Worker& worker, size_t begin, size_t end, RowFold& fold,
                             Turns& turns) {
  const auto rows = static_cast<uint32_t>(end - begin);
  if (turns.HasFailed()) return absl::CancelledError();
  worker.tile.Reset(rows, grid_.count);
  worker.notes.assign(rows, 0);
  Status status;
  for (uint32_t r = 0; r < rows && status.ok(); ++r) {
    status = ReadRow(worker, begin + r, worker.tile, r, &worker.notes[r]);
  }
  if (!turns.Await(begin)) return absl::CancelledError();
  if (status.ok()) {
    NoteRows(worker.tile, begin, worker.notes);
    for (uint32_t r = 0; r < rows; ++r) {
      fold.Take(begin + r, worker.tile, r);
      stats().points += worker.tile.CountPoints(r);
    }
  }
  turns.Pass(end, status);
  return status;
}

Status ScanOperator::Fold(RowFold& fold) {
  const auto start = std::chrono::steady_clock::now();
  const auto series = static_cast<uint32_t>(set_->size());
  const uint32_t run = std::clamp(kFoldCells / grid_.count, 1u, TileRows());
  Turns turns;
  // The pool hands out ranges in ascending order, so the range whose turn it is always has a
  // thread.
  context_.pool->For(series, worth_sharing_ ? run : series,
                     [&](uint32_t begin, uint32_t end, uint32_t w) {
                       for (size_t at = begin; at < end; at += run) {
                         const size_t stop = std::min<size_t>(end, at + run);
                         if (!FoldRun(workers_[w], at, stop, fold, turns).ok()) return;
                       }
                     });
  CountWork();
  stats().elapsed += std::chrono::steady_clock::now() - start;
  absl::MutexLock lock(&turns.mutex);
  return turns.failed;
}

}  // namespace varve::query
