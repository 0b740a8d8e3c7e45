#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "query/exec/operator.h"

namespace varve::query {

/// A part of a plan that several others read: evaluated once, its rows kept until the query ends.
/// Where they would take too much memory, each reader gets an operator of its own.
class SharedRows {
 public:
  SharedRows(ExecContext& context, OperatorPtr source)
      : source_(std::move(source)), rows_(context, source_->grid().count), context_(context) {}

 private:
  friend class SharedReader;
  Status Open();
  /// Reads on until there are more than `row` rows, or no more.
  Status ReadUpTo(size_t row);

  OperatorPtr source_;  // null once a reader has taken it
  RowStore rows_;
  ExecContext& context_;
  Tile tile_;
  bool opened_ = false;
  bool keeps_ = false;
  bool done_ = false;
};

/// Makes one of the readers. `again` makes the part anew, for a reader that cannot share.
OperatorPtr ReadShared(ExecContext& context, std::shared_ptr<SharedRows> rows, bool first,
                       std::function<Result<OperatorPtr>()> again);

}  // namespace varve::query
