#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/c/include/varve.h"
#include "varve/labels.h"
#include "varve/status.h"

namespace varve::arrow {

/// A table that came in as an Arrow stream, read column by column into the shapes that ingest
/// needs. Accepts what polars, pandas, pyarrow and DuckDB send: integers, floats, timestamps,
/// texts (plain, large, view, dictionary-encoded) and maps of texts. Every length and offset that
/// can be checked without knowing the producer's buffer sizes is checked.
class Table {
 public:
  /// Takes the stream over and reads it to its end. Errors: what the stream says;
  /// kInvalidArgument if it is no table.
  static Result<Table> Read(ArrowArrayStream* stream);

  Table(Table&&) noexcept;
  Table& operator=(Table&&) noexcept;
  ~Table();

  uint64_t rows() const { return rows_; }
  std::vector<std::string> names() const;
  /// Says what a column holds: "time", "integer", "float", "text", "map", or Arrow's format for
  /// anything else. Empty if there is no such column.
  std::string KindOf(std::string_view name) const;

  /// Reads a column of integers or timestamps. `unit_ns` receives the nanoseconds of a timestamp's
  /// unit, 0 for plain integers. Errors: kInvalidArgument for another type, or a null, by row.
  Result<std::vector<int64_t>> Integers(std::string_view name, int64_t* unit_ns) const;
  /// Reads a column of numbers or truth values; a null becomes NaN.
  Result<std::vector<double>> Floats(std::string_view name) const;
  /// Reads a column of texts. Views live as long as the table; a null is an empty view with a null
  /// pointer.
  Result<std::vector<std::string_view>> Texts(std::string_view name) const;
  /// Reads a column of maps: `begin` has rows + 1 entries and indexes `entries`.
  struct Maps {
    std::vector<LabelView> entries;
    std::vector<uint64_t> begin{0};
  };
  Result<Maps> TextMaps(std::string_view name) const;

  /// A column as it came, for types that this class does not know: rows [begin, end) of each
  /// array, relative to its offset. Lives as long as the table.
  struct RawColumn {
    struct Part {
      const ArrowArray* array;
      int64_t begin;
      int64_t end;
    };
    const ArrowSchema* schema = nullptr;
    std::vector<Part> parts;
  };
  Result<RawColumn> Raw(std::string_view name) const;

 private:
  struct Holder;
  Table();
  Result<size_t> Find(std::string_view name) const;

  std::unique_ptr<Holder> holder_;
  uint64_t rows_ = 0;
};

}  // namespace varve::arrow
