#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/coding.h"
#include "engine/codec/int_stream.h"
#include "engine/logs/line_automaton.h"
#include "engine/logs/line_format.h"
#include "engine/logs/rows.h"
#include "varve/status.h"

namespace varve::logs {

/// The encoded lines of one row group, of which no more is decoded than what is asked for. Safe on
/// any bytes. Keeps its memory for the next group. Not thread-safe.
class LineTable {
 public:
  /// Reads the head: `count` lines of `text_bytes` bytes together. `bytes` must stay. Errors:
  /// kDataLoss.
  Status Open(std::string_view bytes, uint32_t count, uint64_t text_bytes);

  uint32_t count() const { return count_; }
  /// Tells that lines are cut into templates and columns; otherwise only Render helps.
  bool templated() const { return codec_ == kTemplateLines; }

  /// Tells that some line may contain `needle`, from the templates and the page of text alone.
  Result<bool> MayContain(std::string_view needle);

  /// Replaces text and line_begin of `rows` by all lines.
  Status Render(Rows* rows);
  /// Replaces them by the lines in `selected` (ascending); others are empty. Decodes only the
  /// columns that those need. Precondition: templated().
  Status RenderSome(std::span<const uint32_t> selected, Rows* rows);

  /// Replaces `ends` by the states in which `automaton` ends behind each line. What lines share is
  /// read once; numbers and hexadecimal are not even decoded where any digits would do.
  /// Precondition: templated().
  Status Run(const LineAutomaton& automaton, std::vector<LineAutomaton::State>* ends);

 private:
  struct Table;
  struct Column {
    ColumnType type = ColumnType::kConstant;
    uint32_t rows = 0;
    uint32_t width = 0;
    size_t offset = 0;     // in the page of numbers or of hexadecimal
    bool decoded = false;  // numbers
    std::vector<int64_t> numbers;
    int64_t least = 0, most = 0;           // of the numbers
    std::vector<std::string_view> values;  // of a dictionary, of texts; the constant
    std::string_view bytes;                // of hexadecimal; places in a dictionary
    Table* table = nullptr;
  };
  struct Template {
    std::vector<std::string_view> pieces;  // one more than there are slots
    uint32_t first_column = 0;
    uint32_t rows = 0;
    uint32_t first = 0;  // its rows are Table::order[first, first + rows)
  };
  struct Table {
    std::vector<Template> templates;
    size_t template_count = 0;
    std::vector<uint32_t> row_template;  // 0: whole
    std::vector<uint32_t> row_place;     // the row among those of its template
    std::vector<uint32_t> order;         // rows by template
    std::vector<Column> columns;
    uint32_t column_count = 0;
    std::vector<std::string_view> whole;
  };
  /// The states of the rows of one template: one for all, as long as possible.
  struct Lane {
    bool uniform = true;
    LineAutomaton::State state = 0;
    std::vector<LineAutomaton::State> each;
  };
  struct Runner;

  Status GetPadded(std::string_view page, std::string* out, ByteReader* in) const;
  Status Parse();
  Status OpenText();
  bool OpenTable(uint32_t rows, Table* out);
  bool ReadTable(Table* table, bool outer);
  bool ReadColumn(uint32_t rows, bool outer, Column* out);
  Status PlaceNumbers();
  Status OpenNumbers(Column* column);
  Status OpenHex();
  Status Decode(Column* column);
  Status DecodeRow(Table* table, uint32_t row);
  static char* PutRow(const Table& table, uint32_t row, char* to, char* end);
  static char* Put(const Column& column, uint32_t row, char* to, char* end);
  static size_t RowBytes(const Table& table, uint32_t row);
  static size_t ValueBytes(const Column& column, uint32_t row);

  uint8_t codec_ = kPlainLines;
  std::string_view plain_;
  std::string_view pages_[4];
  uint32_t count_ = 0;
  uint64_t text_bytes_ = 0;
  uint64_t limit_ = 0;
  std::string head_, numbers_, text_, hex_;
  bool has_text_ = false;
  bool parsed_ = false;
  bool has_numbers_ = false;
  bool has_hex_ = false;
  ByteReader head_in_{{}}, text_in_{{}};
  codec::IntStreamReader stream_;
  Table lines_;
  std::vector<std::unique_ptr<Table>> tables_;
  size_t tables_used_ = 0;
  std::vector<Column*> number_columns_, hex_columns_;  // in the order of their pages
  size_t hex_bytes_ = 0;
  std::vector<uint64_t> sizes_;
};

}  // namespace varve::logs
