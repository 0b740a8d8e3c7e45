#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "engine/traces/block_format.h"

namespace varve::traces {

/// Names a column: an attribute's key and type in one family, or (`text_chunk`) one of kTextChunks.
struct ColumnName {
  Family family = Family::kSpan;
  ValueType type = ValueType::kString;
  uint32_t text_chunk = 0;  // not 0: no attribute
  std::string_view key;
  friend auto operator<=>(const ColumnName&, const ColumnName&) = default;
};

/// What sources know of a column's values before they are written.
struct ColumnFacts {
  uint64_t count = 0;
  /// There are too many different values for a dictionary, or nobody counted them.
  bool plain = false;
  std::set<std::string_view> values;  // of texts, if not plain
};

/// Gathers them from all sources. Views live as long as the sources.
class Survey {
 public:
  std::map<ColumnName, ColumnFacts>& columns() { return columns_; }
  uint64_t spans = 0;

 private:
  std::map<ColumnName, ColumnFacts> columns_;
};

}  // namespace varve::traces
