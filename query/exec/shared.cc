#include "query/exec/shared.h"

#include <algorithm>
#include <utility>

#include "engine/base/macros.h"

namespace varve::query {
namespace {

/// Cells that may be kept for one shared part: 32 MiB of values.
constexpr uint64_t kCellsMax = 4u << 20;
/// The part of the query's budget of samples that they may fill.
constexpr uint64_t kBudgetPart = 8;

}  // namespace

Status SharedRows::Open() {
  if (opened_) return absl::OkStatus();
  opened_ = true;
  VARVE_RETURN_IF_ERROR(source_->Open());
  const uint64_t cells = source_->series().size() * uint64_t{source_->grid().count};
  keeps_ = cells <= std::min(kCellsMax, context_.budget.samples_max() / kBudgetPart);
  return absl::OkStatus();
}

Status SharedRows::ReadUpTo(size_t row) {
  while (!done_ && rows_.size() <= row) {
    VARVE_RETURN_IF_ERROR(source_->Next(tile_));
    done_ = tile_.rows() == 0;
    VARVE_RETURN_IF_ERROR(rows_.Append(tile_));
  }
  return absl::OkStatus();
}

class SharedReader final : public Operator {
 public:
  SharedReader(ExecContext& context, std::shared_ptr<SharedRows> rows, bool first,
               std::function<Result<OperatorPtr>()> again)
      : Operator(context, rows->source_->grid()),
        rows_(std::move(rows)),
        first_(first),
        again_(std::move(again)) {}

  std::string Describe() const override {
    return first_ ? "shared" : "shared, as evaluated before";
  }
  std::vector<Operator*> children() const override {
    if (own_ != nullptr) return {own_.get()};
    if (first_ && rows_->source_ != nullptr) return {rows_->source_.get()};
    return {};
  }
  bool ordered() const override {
    return own_ != nullptr ? own_->ordered() : rows_->source_->ordered();
  }

 protected:
  Status OpenImpl() override {
    VARVE_RETURN_IF_ERROR(rows_->Open());
    if (!rows_->keeps_) {
      if (rows_->source_ != nullptr) {
        own_ = std::move(rows_->source_);
      } else {
        VARVE_ASSIGN_OR_RETURN(own_, again_());
        VARVE_RETURN_IF_ERROR(own_->Open());
      }
    }
    series_ = own_ != nullptr ? own_->series() : rows_->source_->series();
    return absl::OkStatus();
  }

  Status NextImpl(Tile& tile) override {
    if (own_ != nullptr) return own_->Next(tile);
    VARVE_RETURN_IF_ERROR(rows_->ReadUpTo(next_));
    const RowStore& from = rows_->rows_;
    const auto rows = static_cast<uint32_t>(std::min<size_t>(TileRows(), from.size() - next_));
    tile.Reset(rows, grid_.count);
    for (uint32_t r = 0; r < rows; ++r, ++next_) from.CopyTo(next_, tile, r);
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<SharedRows> rows_;
  const bool first_;
  std::function<Result<OperatorPtr>()> again_;
  OperatorPtr own_;
  size_t next_ = 0;
};

OperatorPtr ReadShared(ExecContext& context, std::shared_ptr<SharedRows> rows, bool first,
                       std::function<Result<OperatorPtr>()> again) {
  return std::make_unique<SharedReader>(context, std::move(rows), first, std::move(again));
}

}  // namespace varve::query
