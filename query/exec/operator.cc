#include "query/exec/operator.h"

#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_map.h"
#include "engine/base/hash.h"
#include "engine/base/strings.h"

namespace varve::query {
namespace {

constexpr std::string_view kSameLabelset = "vector cannot contain metrics with the same labelset";

uint64_t HistogramWeight(const Tile& tile, uint32_t row) {
  uint64_t weight = 0;
  const HistogramPtr* column = tile.histograms(row);
  for (uint32_t s = 0; column != nullptr && s < tile.steps(); ++s) weight += column[s] != nullptr;
  return weight;
}

/// Groups equal label sets: target[i] is the row that input row i goes to.
struct Merging {
  std::vector<uint32_t> target;
  std::vector<SeriesHeader> series;
  bool any = false;
};
Merging FindDuplicates(const std::vector<SeriesHeader>& series) {
  Merging out;
  out.target.reserve(series.size());
  absl::flat_hash_map<SeriesKey, uint32_t, SeriesKeyHash> seen;
  seen.reserve(series.size());
  for (const SeriesHeader& header : series) {
    const auto [it, added] =
        seen.emplace(KeyOf(header.labels), static_cast<uint32_t>(out.series.size()));
    if (added) {
      out.series.push_back(header);
    } else {
      out.any = true;
    }
    out.target.push_back(it->second);
  }
  return out;
}

class MergeOperator final : public StoredOperator {
 public:
  MergeOperator(ExecContext& context, OperatorPtr input, bool strict)
      : StoredOperator(context, input->grid()), input_(std::move(input)), strict_(strict) {}
  std::string Describe() const override { return "merge equal label sets"; }
  std::vector<Operator*> children() const override { return {input_.get()}; }
  bool ordered() const override { return input_->ordered(); }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(input_->Open());
    if (input_->series().size() < 2) {
      series_ = input_->series();
      return absl::OkStatus();
    }
    Merging merging = FindDuplicates(input_->series());
    if (!merging.any) {
      series_ = input_->series();
      return absl::OkStatus();
    }
    passing_ = false;
    series_ = std::move(merging.series);
    VARVE_RETURN_IF_ERROR(rows_.AppendBlank(series_.size()));
    Tile tile;
    size_t at = 0;
    for (;;) {
      VARVE_RETURN_IF_ERROR(input_->Next(tile));
      if (tile.rows() == 0) return absl::OkStatus();
      for (uint32_t r = 0; r < tile.rows(); ++r, ++at) {
        VARVE_RETURN_IF_ERROR(MergeRow(tile, r, rows_[merging.target[at]]));
      }
    }
  }
  Status NextImpl(Tile& tile) override {
    return passing_ ? input_->Next(tile) : StoredOperator::NextImpl(tile);
  }

 private:
  Status MergeRow(const Tile& tile, uint32_t r, RowStore::Row& row) {
    if (tile.RowEmpty(r)) return absl::OkStatus();
    const bool first = row.empty();
    if (!first && strict_) return ExecutionError(kSameLabelset);
    if (row.valid.empty()) {
      row.values.resize(grid_.count);
      row.valid.resize(BitWords(grid_.count));
    }
    const HistogramPtr* column = tile.histograms(r);
    if (column != nullptr && row.histograms.empty()) row.histograms.resize(grid_.count);
    for (uint32_t s = 0; s < grid_.count; ++s) {
      if (!tile.has_any(r, s)) continue;
      if (row.has_any(s)) return ExecutionError(kSameLabelset);
      if (tile.has_float(r, s)) {
        row.values[s] = tile.values(r)[s];
        SetBit(row.valid.data(), s);
      } else {
        row.histograms[s] = column[s];
      }
    }
    return absl::OkStatus();
  }

  OperatorPtr input_;
  const bool strict_;
  bool passing_ = true;
};

class CleanNamesOperator final : public Operator {
 public:
  CleanNamesOperator(ExecContext& context, OperatorPtr input)
      : Operator(context, input->grid()), input_(std::move(input)) {}
  std::string Describe() const override { return "drop names"; }
  std::vector<Operator*> children() const override { return {input_.get()}; }
  bool ordered() const override { return input_->ordered(); }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(input_->Open());
    series_ = input_->series();
    for (SeriesHeader& header : series_) {
      if (!header.drop_name) continue;
      header.labels = DropMetadata(context_, header.labels);
      header.drop_name = false;
    }
    return absl::OkStatus();
  }
  Status NextImpl(Tile& tile) override { return input_->Next(tile); }

 private:
  OperatorPtr input_;
};

class BroadcastOperator final : public Operator {
 public:
  BroadcastOperator(ExecContext& context, const StepGrid& grid, OperatorPtr input)
      : Operator(context, grid), input_(std::move(input)), rows_(context, 1) {}
  std::string Describe() const override { return "once for all steps"; }
  std::vector<Operator*> children() const override { return {input_.get()}; }
  bool ordered() const override { return input_->ordered(); }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(input_->Open());
    series_ = input_->series();
    return rows_.AppendAll(*input_);
  }
  Status NextImpl(Tile& tile) override {
    const auto rows = static_cast<uint32_t>(std::min<size_t>(TileRows(), rows_.size() - next_));
    tile.Reset(rows, grid_.count);
    for (uint32_t r = 0; r < rows; ++r, ++next_) {
      const RowStore::Row& row = rows_[next_];
      if (row.has_float(0)) {
        std::fill_n(tile.values(r), grid_.count, row.values[0]);
        tile.FillValid(r);
      } else if (row.histogram(0) != nullptr) {
        std::fill_n(tile.histograms(r), grid_.count, row.histograms[0]);
      }
    }
    return absl::OkStatus();
  }

 private:
  OperatorPtr input_;
  RowStore rows_;
  size_t next_ = 0;
};

}  // namespace

Status Operator::Open() {
  const auto begin = std::chrono::steady_clock::now();
  Status status = OpenImpl();
  stats_.elapsed += std::chrono::steady_clock::now() - begin;
  stats_.series = series_.size();
  return status;
}

Status Operator::Next(Tile& tile) {
  VARVE_RETURN_IF_ERROR(context_.Poll());
  const auto begin = std::chrono::steady_clock::now();
  Status status = NextImpl(tile);
  stats_.elapsed += std::chrono::steady_clock::now() - begin;
  if (status.ok() && tile.rows() > 0) {
    ++stats_.tiles;
    for (uint32_t r = 0; r < tile.rows(); ++r) stats_.points += tile.CountPoints(r);
  }
  return status;
}

uint32_t Operator::TileRows() const {
  const uint64_t cells =
      static_cast<uint64_t>(context_.options.tile_series) * context_.options.tile_steps;
  return static_cast<uint32_t>(
      std::clamp<uint64_t>(cells / grid_.count, 1, std::max(context_.options.tile_series, 1u)));
}

RowStore::~RowStore() { context_.budget.Give(samples_, bytes_); }

Status RowStore::Append(const Tile& tile) {
  uint64_t samples = 0;
  uint64_t bytes = 0;
  for (uint32_t r = 0; r < tile.rows(); ++r) {
    Row row;
    const uint64_t points = tile.CountPoints(r);
    if (points != 0) {
      row.values.assign(tile.values(r), tile.values(r) + steps_);
      row.valid.assign(tile.valid(r), tile.valid(r) + tile.words());
      bytes += steps_ * 8 + tile.words() * 8;
      if (tile.has_histograms(r) && HistogramWeight(tile, r) > 0) {
        row.histograms.assign(tile.histograms(r), tile.histograms(r) + steps_);
        bytes += steps_ * sizeof(HistogramPtr);
      }
    }
    samples += points;
    bytes += sizeof(Row);
    rows_.push_back(std::move(row));
  }
  samples_ += samples;
  bytes_ += bytes;
  return context_.budget.Take(samples, bytes);
}

Status RowStore::AppendBlank(size_t count) {
  rows_.resize(rows_.size() + count);
  const uint64_t bytes = count * (sizeof(Row) + steps_ * 8);
  bytes_ += bytes;
  samples_ += count;
  return context_.budget.Take(count, bytes);
}

Status RowStore::AppendAll(Operator& input) {
  Tile tile;
  for (;;) {
    VARVE_RETURN_IF_ERROR(input.Next(tile));
    if (tile.rows() == 0) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(Append(tile));
  }
}

void RowStore::CopyTo(size_t i, Tile& tile, uint32_t row) const {
  const Row& from = rows_[i];
  if (!from.valid.empty()) {
    std::copy(from.values.begin(), from.values.end(), tile.values(row));
    std::copy(from.valid.begin(), from.valid.end(), tile.valid(row));
  }
  if (!from.histograms.empty()) {
    std::copy(from.histograms.begin(), from.histograms.end(), tile.histograms(row));
  }
}

Status StoredOperator::NextImpl(Tile& tile) {
  const size_t total = order_.empty() ? rows_.size() : order_.size();
  const auto rows = static_cast<uint32_t>(std::min<size_t>(TileRows(), total - next_));
  tile.Reset(rows, grid_.count);
  for (uint32_t r = 0; r < rows; ++r, ++next_) {
    rows_.CopyTo(order_.empty() ? next_ : order_[next_], tile, r);
  }
  return absl::OkStatus();
}

Status Drain(Operator& input) {
  Tile tile;
  do {
    VARVE_RETURN_IF_ERROR(input.Next(tile));
  } while (tile.rows() > 0);
  return absl::OkStatus();
}

Status ReadScalar(Operator& input, std::vector<double>* values) {
  Tile tile;
  VARVE_RETURN_IF_ERROR(input.Next(tile));
  VARVE_CHECK(tile.rows() == 1);
  values->assign(tile.values(0), tile.values(0) + input.grid().count);
  return absl::OkStatus();
}

bool IsMetadataLabel(std::string_view name) {
  return name == kMetricName || name == "__type__" || name == "__unit__";
}

LabelsView DropMetadata(ExecContext& context, LabelsView labels) {
  const bool any = std::any_of(labels.begin(), labels.end(),
                               [](const LabelView& l) { return IsMetadataLabel(l.name); });
  if (!any) return labels;
  // The name usually comes first, and then a part of the same array will do.
  if (labels[0].name == kMetricName &&
      std::none_of(labels.begin() + 1, labels.end(),
                   [](const LabelView& l) { return IsMetadataLabel(l.name); })) {
    return labels.subspan(1);
  }
  std::vector<LabelView> kept;
  for (const LabelView& label : labels) {
    if (!IsMetadataLabel(label.name)) kept.push_back(label);
  }
  return context.KeepLabels(kept);
}

OperatorPtr MergeDuplicates(ExecContext& context, OperatorPtr input, bool strict) {
  return std::make_unique<MergeOperator>(context, std::move(input), strict);
}

OperatorPtr CleanNames(ExecContext& context, OperatorPtr input) {
  return MergeDuplicates(context, std::make_unique<CleanNamesOperator>(context, std::move(input)),
                         false);
}

OperatorPtr Broadcast(ExecContext& context, const StepGrid& grid, OperatorPtr input) {
  return std::make_unique<BroadcastOperator>(context, grid, std::move(input));
}

}  // namespace varve::query
