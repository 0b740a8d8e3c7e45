#include "engine/logs/line_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

#include "engine/base/macros.h"
#include "engine/index/value_scan.h"
#include "engine/logs/block_format.h"
#include "engine/logs/line_codec.h"
#include "engine/logs/zstd_page.h"

namespace varve::logs {
namespace {

using State = LineAutomaton::State;

Status Malformed(std::string_view what) { return DataLossError("lines", 0, what); }

constexpr std::array<uint64_t, 19> MakePowers() {
  std::array<uint64_t, 19> out{};
  uint64_t power = 1;
  for (uint64_t& one : out) {
    one = power;
    power *= 10;
  }
  return out;
}
constexpr std::array<uint64_t, 19> kPowers = MakePowers();
static_assert(kPowers.size() == kDigitsMax + 1);

/// Digits of a number below 10^18.
uint32_t DigitsOf(uint64_t number) {
  const auto guess = static_cast<uint32_t>(std::bit_width(number | 1)) * 1233 >> 12;
  return guess + (number >= kPowers[guess] ? 1 : 0) + (number == 0 ? 1 : 0);
}

constexpr std::array<char, 200> MakePairs() {
  std::array<char, 200> out{};
  for (size_t i = 0; i < 100; ++i) {
    out[2 * i] = static_cast<char>('0' + i / 10);
    out[2 * i + 1] = static_cast<char>('0' + i % 10);
  }
  return out;
}
constexpr std::array<char, 200> kPairs = MakePairs();

/// Writes `digits` digits.
void PutDigits(uint64_t number, uint32_t digits, char* to) {
  while (digits >= 2) {
    digits -= 2;
    std::memcpy(to + digits, kPairs.data() + 2 * (number % 100), 2);
    number /= 100;
  }
  if (digits == 1) *to = static_cast<char>('0' + number % 10);
}

/// `text` is in a padded page, and there is padding behind `end`: most pieces are short, and one
/// copy of fixed size is cheaper than one of just the bytes.
char* PutText(std::string_view text, char* to, char* end) {
  if (text.size() > static_cast<size_t>(end - to)) return nullptr;
  constexpr size_t kStep = 16;
  static_assert(kStep <= index::kScanPadding);
  std::memcpy(to, text.data(), kStep);
  if (text.size() > kStep) std::memcpy(to + kStep, text.data() + kStep, text.size() - kStep);
  return to + text.size();
}

Status RenderPlain(std::string_view bytes, uint32_t count, uint64_t text_bytes, Rows* rows) {
  static thread_local std::string raw;
  VARVE_RETURN_IF_ERROR(GetZstdPage(bytes, text_bytes + 5ull * count + 16, &raw));
  ByteReader lengths(raw);
  rows->line_begin.clear();
  rows->line_begin.reserve(count + 1);
  uint64_t at = 0;
  for (uint32_t i = 0; i < count; ++i) {
    rows->line_begin.push_back(static_cast<uint32_t>(at));
    at += lengths.Varint();
    if (at > text_bytes) return Malformed("lines are longer than their group");
  }
  rows->line_begin.push_back(static_cast<uint32_t>(at));
  if (!lengths.ok() || at != text_bytes || lengths.left() != at) {
    return Malformed("lines do not fit");
  }
  rows->text.reserve(at + index::kScanPadding);
  rows->text.assign(raw, raw.size() - at, at);
  rows->text.append(index::kScanPadding, '\0');
  return absl::OkStatus();
}

}  // namespace

Status LineTable::Open(std::string_view bytes, uint32_t count, uint64_t text_bytes) {
  ByteReader in(bytes);
  codec_ = in.Fixed<uint8_t>();
  plain_ = bytes.substr(std::min<size_t>(1, bytes.size()));
  count_ = count;
  text_bytes_ = text_bytes;
  has_text_ = parsed_ = has_numbers_ = has_hex_ = false;
  if (!in.ok()) return Malformed("empty");
  if (codec_ == kPlainLines) return absl::OkStatus();
  if (codec_ != kTemplateLines) return Malformed("unknown encoding");
  for (std::string_view& page : pages_) page = in.String();
  if (!in.ok() || in.left() != 0) return Malformed("pages do not fit");
  // Templates, rows and values all come from lines; a row takes a few bytes more.
  limit_ = 8 * text_bytes + 64ull * count + 4096;
  VARVE_RETURN_IF_ERROR(GetPadded(pages_[0], &head_, &head_in_));
  tables_used_ = 0;
  number_columns_.clear();
  hex_columns_.clear();
  hex_bytes_ = 0;
  return absl::OkStatus();
}

Status LineTable::GetPadded(std::string_view page, std::string* out, ByteReader* in) const {
  VARVE_RETURN_IF_ERROR(GetZstdPage(page, limit_, out));
  const size_t bytes = out->size();
  out->append(index::kScanPadding, '\0');
  *in = ByteReader(std::string_view(*out).substr(0, bytes));
  return absl::OkStatus();
}

Status LineTable::OpenText() {
  if (has_text_) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(GetPadded(pages_[3], &text_, &text_in_));
  has_text_ = true;
  return absl::OkStatus();
}

Result<bool> LineTable::MayContain(std::string_view needle) {
  if (!templated()) return true;
  // What no cut goes through lies in one piece in a template, in the head as a constant, or in the
  // text. Values that are cut into templates again are in the head too, as templates. Numbers and
  // hexadecimal are not looked at here.
  const std::string_view whole = UncutPart(needle);
  const auto has = [whole](const std::string& padded) {
    const size_t end = padded.size() - index::kScanPadding;
    return index::FindBytes(padded.data(), 0, end, whole) < end;
  };
  if (whole.empty() || has(head_)) return true;
  VARVE_RETURN_IF_ERROR(OpenText());
  return has(text_);
}

// --- Reading ---

bool LineTable::OpenTable(uint32_t rows, Table* out) {
  ByteReader& head = head_in_;
  const uint64_t templates = head.Count(1);
  if (out->templates.size() < templates) out->templates.resize(templates);
  out->template_count = templates;
  uint64_t columns = 0;
  for (uint64_t t = 0; t < templates; ++t) {
    Template& one = out->templates[t];
    std::string_view text = head.String();
    one.pieces.clear();
    one.rows = 0;
    one.first_column = static_cast<uint32_t>(columns);
    for (size_t place; (place = text.find(kPlace)) != std::string_view::npos;) {
      one.pieces.push_back(text.substr(0, place));
      text.remove_prefix(place + 1);
    }
    one.pieces.push_back(text);
    columns += one.pieces.size() - 1;
  }
  const auto listed = head.Fixed<uint8_t>();
  if (!head.ok() || listed > 1 || (listed == 0 && templates != 1)) return false;
  if (listed == 1 && rows > head.left()) return false;
  out->row_template.resize(rows);
  out->row_place.resize(rows);
  uint32_t whole = 0;
  for (uint32_t row = 0; row < rows; ++row) {
    const uint64_t value = listed == 0 ? 1 : head.Varint();
    if (value > templates) return false;
    out->row_template[row] = static_cast<uint32_t>(value);
    out->row_place[row] = value == 0 ? whole++ : out->templates[value - 1].rows++;
  }
  out->column_count = static_cast<uint32_t>(columns);
  // No variable is empty: together they are no longer than the lines. Bounds what columns take.
  uint64_t values = 0;
  uint32_t first = whole;
  for (uint64_t t = 0; t < templates; ++t) {
    Template& one = out->templates[t];
    one.first = first;
    first += one.rows;
    values += uint64_t{one.rows} * (one.pieces.size() - 1);
    if (values > text_bytes_) return false;
  }
  out->order.resize(rows);
  for (uint32_t row = 0; row < rows; ++row) {
    const uint32_t number = out->row_template[row];
    const uint32_t begin = number == 0 ? 0 : out->templates[number - 1].first;
    out->order[begin + out->row_place[row]] = row;
  }
  return head.ok();
}

Status LineTable::Parse() {
  if (parsed_) return absl::OkStatus();
  if (!OpenTable(count_, &lines_)) return Malformed("bad templates");
  VARVE_RETURN_IF_ERROR(OpenText());
  if (!ReadTable(&lines_, true)) return Malformed("bad column");
  if (head_in_.left() != 0 || text_in_.left() != 0 || !head_in_.ok() || !text_in_.ok()) {
    return Malformed("columns do not fit");
  }
  parsed_ = true;
  return absl::OkStatus();
}

bool LineTable::ReadTable(Table* table, bool outer) {
  table->whole.clear();
  sizes_.clear();
  for (const uint32_t number : table->row_template) {
    if (number == 0) sizes_.push_back(head_in_.Varint());
  }
  if (!head_in_.ok()) return false;
  for (const uint64_t size : sizes_) table->whole.push_back(text_in_.Bytes(size));
  if (!text_in_.ok()) return false;
  if (table->columns.size() < table->column_count) table->columns.resize(table->column_count);
  for (size_t t = 0; t < table->template_count; ++t) {
    const Template& one = table->templates[t];
    for (size_t s = 0; s + 1 < one.pieces.size(); ++s) {
      if (!ReadColumn(one.rows, outer, &table->columns[one.first_column + s])) return false;
    }
  }
  return true;
}

bool LineTable::ReadColumn(uint32_t rows, bool outer, Column* out) {
  ByteReader& head = head_in_;
  const auto type = head.Fixed<uint8_t>();
  if (!head.ok() || type > static_cast<uint8_t>(ColumnType::kTable)) return false;
  out->type = static_cast<ColumnType>(type);
  out->rows = rows;
  out->values.clear();
  switch (out->type) {
    case ColumnType::kConstant:
      out->values.push_back(head.String());
      return head.ok();
    case ColumnType::kPadded:
    case ColumnType::kNumbers: {
      out->width = 0;
      if (out->type == ColumnType::kPadded) {
        const uint64_t width = head.Varint();
        if (width == 0 || width > kDigitsMax) return false;
        out->width = static_cast<uint32_t>(width);
      }
      out->decoded = false;
      number_columns_.push_back(out);
      return head.ok();
    }
    case ColumnType::kHex: {
      const uint64_t width = head.Varint();
      if (width == 0 || width % 2 != 0 || width > kTemplateLineBytesMax) return false;
      out->width = static_cast<uint32_t>(width);
      out->offset = hex_bytes_;
      hex_bytes_ += width / 2 * rows;
      hex_columns_.push_back(out);
      return head.ok();
    }
    case ColumnType::kDictionary: {
      const uint64_t count = head.Count(1);
      if (count == 0 || count > kDictionaryMax) return false;
      for (uint64_t i = 0; i < count; ++i) out->values.push_back(text_in_.Bytes(head.Varint()));
      out->bytes = head.Bytes(rows);
      for (const char place : out->bytes) {
        if (static_cast<uint8_t>(place) >= count) return false;
      }
      return head.ok() && text_in_.ok();
    }
    case ColumnType::kText: {
      if (rows > head.left()) return false;
      sizes_.clear();
      for (uint32_t i = 0; i < rows; ++i) sizes_.push_back(head.Varint());
      if (!head.ok()) return false;
      out->values.reserve(rows);
      for (const uint64_t size : sizes_) out->values.push_back(text_in_.Bytes(size));
      return text_in_.ok();
    }
    case ColumnType::kTable: {
      if (!outer) return false;
      if (tables_.size() <= tables_used_) tables_.push_back(std::make_unique<Table>());
      out->table = tables_[tables_used_++].get();
      return OpenTable(rows, out->table) && ReadTable(out->table, false);
    }
  }
  return false;
}

/// Finds where each column of numbers begins.
Status LineTable::PlaceNumbers() {
  if (has_numbers_) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(GetZstdPage(pages_[1], limit_, &numbers_));
  ByteReader in(numbers_);
  for (Column* column : number_columns_) {
    column->offset = in.position();
    if (column->rows >= kStreamRowsMin) {
      if (!stream_.Open(&in, numbers_, column->rows)) return Malformed("bad numbers");
    } else {
      for (uint32_t i = 0; i < column->rows; ++i) in.Signed();
    }
    if (!in.ok()) return Malformed("bad numbers");
  }
  if (in.left() != 0) return Malformed("numbers do not fit");
  has_numbers_ = true;
  return absl::OkStatus();
}

Status LineTable::OpenNumbers(Column* column) {
  VARVE_RETURN_IF_ERROR(PlaceNumbers());
  if (column->decoded) return absl::OkStatus();
  const uint32_t rows = column->rows;
  column->numbers.resize(rows);
  ByteReader in(std::string_view(numbers_).substr(column->offset));
  if (rows >= kStreamRowsMin) {
    if (!stream_.Open(&in, std::string_view(numbers_).substr(column->offset), rows) ||
        !stream_.Decode(0, rows, column->numbers.data())) {
      return Malformed("bad numbers");
    }
  } else {
    int64_t last = 0;
    for (int64_t& number : column->numbers) number = last = WrapAdd(last, in.Signed());
  }
  const auto limit = static_cast<int64_t>(kPowers[column->width == 0 ? kDigitsMax : column->width]);
  column->least = column->most = rows == 0 ? 0 : column->numbers[0];
  for (const int64_t number : column->numbers) {
    column->least = std::min(column->least, number);
    column->most = std::max(column->most, number);
  }
  if (column->least < 0 || column->most >= limit || !in.ok())
    return Malformed("impossible numbers");
  column->decoded = true;
  return absl::OkStatus();
}

Status LineTable::OpenHex() {
  if (has_hex_) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(GetZstdPage(pages_[2], limit_, &hex_));
  if (hex_.size() != hex_bytes_) return Malformed("hexadecimal does not fit");
  for (Column* column : hex_columns_) {
    column->bytes =
        std::string_view(hex_).substr(column->offset, size_t{column->width} / 2 * column->rows);
  }
  has_hex_ = true;
  return absl::OkStatus();
}

Status LineTable::Decode(Column* column) {
  switch (column->type) {
    case ColumnType::kNumbers:
    case ColumnType::kPadded:
      return OpenNumbers(column);
    case ColumnType::kHex:
      return OpenHex();
    default:
      return absl::OkStatus();
  }
}

// --- Rendering ---

char* LineTable::PutRow(const Table& table, uint32_t row, char* to, char* end) {
  const uint32_t number = table.row_template[row];
  const uint32_t place = table.row_place[row];
  if (number == 0) return PutText(table.whole[place], to, end);
  const Template& one = table.templates[number - 1];
  const Column* column = table.columns.data() + one.first_column;
  const std::string_view* piece = one.pieces.data();
  const std::string_view* const last = piece + one.pieces.size() - 1;
  for (; piece != last; ++piece, ++column) {
    to = PutText(*piece, to, end);
    if (to == nullptr) return nullptr;
    to = Put(*column, place, to, end);
    if (to == nullptr) return nullptr;
  }
  return PutText(*last, to, end);
}

char* LineTable::Put(const Column& column, uint32_t row, char* to, char* end) {
  switch (column.type) {
    case ColumnType::kConstant:
      return PutText(column.values[0], to, end);
    case ColumnType::kPadded:
    case ColumnType::kNumbers: {
      const auto number = static_cast<uint64_t>(column.numbers[row]);
      const uint32_t digits = column.width != 0 ? column.width : DigitsOf(number);
      if (digits > static_cast<size_t>(end - to)) return nullptr;
      PutDigits(number, digits, to);
      return to + digits;
    }
    case ColumnType::kHex: {
      if (column.width > static_cast<size_t>(end - to)) return nullptr;
      const std::string_view bytes =
          column.bytes.substr(size_t{column.width} / 2 * row, column.width / 2);
      for (const char c : bytes) {
        *to++ = "0123456789abcdef"[static_cast<uint8_t>(c) >> 4];
        *to++ = "0123456789abcdef"[static_cast<uint8_t>(c) & 15];
      }
      return to;
    }
    case ColumnType::kDictionary:
      return PutText(column.values[static_cast<uint8_t>(column.bytes[row])], to, end);
    case ColumnType::kText:
      return PutText(column.values[row], to, end);
    case ColumnType::kTable:
      return PutRow(*column.table, row, to, end);
  }
  return nullptr;
}

size_t LineTable::RowBytes(const Table& table, uint32_t row) {
  const uint32_t number = table.row_template[row];
  const uint32_t place = table.row_place[row];
  if (number == 0) return table.whole[place].size();
  const Template& one = table.templates[number - 1];
  const Column* column = table.columns.data() + one.first_column;
  size_t bytes = one.pieces.back().size();
  for (size_t s = 0; s + 1 < one.pieces.size(); ++s) {
    bytes += one.pieces[s].size() + ValueBytes(column[s], place);
  }
  return bytes;
}

size_t LineTable::ValueBytes(const Column& column, uint32_t row) {
  switch (column.type) {
    case ColumnType::kConstant:
      return column.values[0].size();
    case ColumnType::kNumbers:
      return DigitsOf(static_cast<uint64_t>(column.numbers[row]));
    case ColumnType::kPadded:
    case ColumnType::kHex:
      return column.width;
    case ColumnType::kDictionary:
      return column.values[static_cast<uint8_t>(column.bytes[row])].size();
    case ColumnType::kText:
      return column.values[row].size();
    case ColumnType::kTable:
      return RowBytes(*column.table, row);
  }
  return 0;
}

Status LineTable::Render(Rows* rows) {
  if (!templated()) return RenderPlain(plain_, count_, text_bytes_, rows);
  VARVE_RETURN_IF_ERROR(Parse());
  VARVE_RETURN_IF_ERROR(PlaceNumbers());
  for (Column* column : number_columns_) VARVE_RETURN_IF_ERROR(OpenNumbers(column));
  VARVE_RETURN_IF_ERROR(OpenHex());
  rows->line_begin.resize(count_ + 1);
  rows->text.resize(text_bytes_ + index::kScanPadding);
  char* const begin = rows->text.data();
  char* to = begin;
  char* const end = begin + text_bytes_;
  for (uint32_t row = 0; row < count_; ++row) {
    rows->line_begin[row] = static_cast<uint32_t>(to - begin);
    to = PutRow(lines_, row, to, end);
    if (to == nullptr) return Malformed("lines are longer than their group");
  }
  rows->line_begin[count_] = static_cast<uint32_t>(to - begin);
  if (to != end) return Malformed("lines do not fit");
  std::memset(end, 0, index::kScanPadding);
  return absl::OkStatus();
}

/// Decodes the columns of a row.
Status LineTable::DecodeRow(Table* table, uint32_t row) {
  const uint32_t number = table->row_template[row];
  if (number == 0) return absl::OkStatus();
  const Template& one = table->templates[number - 1];
  for (size_t s = 0; s + 1 < one.pieces.size(); ++s) {
    Column& column = table->columns[one.first_column + s];
    VARVE_RETURN_IF_ERROR(Decode(&column));
    if (column.type == ColumnType::kTable) {
      VARVE_RETURN_IF_ERROR(DecodeRow(column.table, table->row_place[row]));
    }
  }
  return absl::OkStatus();
}

Status LineTable::RenderSome(std::span<const uint32_t> selected, Rows* rows) {
  VARVE_RETURN_IF_ERROR(Parse());
  rows->line_begin.resize(count_ + 1);
  uint64_t bytes = 0;
  uint32_t next = 0;
  for (const uint32_t row : selected) {
    VARVE_RETURN_IF_ERROR(DecodeRow(&lines_, row));
    for (; next <= row; ++next) rows->line_begin[next] = static_cast<uint32_t>(bytes);
    bytes += RowBytes(lines_, row);
    if (bytes > text_bytes_) return Malformed("lines are longer than their group");
  }
  for (; next <= count_; ++next) rows->line_begin[next] = static_cast<uint32_t>(bytes);
  rows->text.resize(bytes + index::kScanPadding);
  char* const begin = rows->text.data();
  char* to = begin;
  char* const end = begin + bytes;
  for (const uint32_t row : selected) {
    to = PutRow(lines_, row, to, end);
    if (to == nullptr) return Malformed("lines are longer than their group");
  }
  if (to != end) return Malformed("lines do not fit");
  std::memset(end, 0, index::kScanPadding);
  return absl::OkStatus();
}

// --- Running an automaton ---

/// Runs an automaton over tables, a template at a time and in it a column at a time.
struct LineTable::Runner {
  LineTable* lines;
  const LineAutomaton& automaton;
  std::vector<State> map;     // what a text or column does to each state, where that is known
  std::vector<State> before;  // distinct states, and where they are
  std::vector<uint32_t> place_of;
  std::vector<State> products;
  Lane lanes[2];  // of lines, and of the tables in them

  Runner(LineTable* table, const LineAutomaton& a) : lines(table), automaton(a) {}

  Status RunTable(const Table& table, int depth, State* states) {
    if (!table.whole.empty()) {
      Lane& lane = lanes[depth];
      Gather(table, 0, static_cast<uint32_t>(table.whole.size()), depth, states, &lane);
      Spread(&lane, table.whole.size());
      automaton.RunAll(table.whole, lane.each.data());
      for (size_t k = 0; k < table.whole.size(); ++k) states[table.order[k]] = lane.each[k];
    }
    for (size_t t = 0; t < table.template_count; ++t) {
      const Template& one = table.templates[t];
      if (one.rows == 0) continue;
      Lane& lane = lanes[depth];
      Gather(table, one.first, one.rows, depth, states, &lane);
      for (size_t s = 0; s + 1 < one.pieces.size(); ++s) {
        RunText(one.pieces[s], &lane);
        VARVE_RETURN_IF_ERROR(
            RunColumn(const_cast<Column*>(&table.columns[one.first_column + s]), depth, &lane));
      }
      RunText(one.pieces.back(), &lane);
      for (uint32_t k = 0; k < one.rows; ++k) {
        states[table.order[one.first + k]] = lane.uniform ? lane.state : lane.each[k];
      }
    }
    return absl::OkStatus();
  }

  void Gather(const Table& table, uint32_t first, uint32_t rows, int depth, const State* states,
              Lane* lane) {
    if (depth == 0) {  // where every line begins
      lane->uniform = true;
      lane->state = LineAutomaton::start();
      return;
    }
    lane->each.resize(rows);
    for (uint32_t k = 0; k < rows; ++k) lane->each[k] = states[table.order[first + k]];
    Settle(lane);
  }
  /// Finds out whether all states are the same.
  static void Settle(Lane* lane) {
    State differs = 0;
    const State first = lane->each[0];
    for (const State state : lane->each) differs |= static_cast<State>(state ^ first);
    lane->uniform = differs == 0;
    lane->state = first;
  }
  static void Spread(Lane* lane, size_t rows) {
    if (!lane->uniform) return;
    lane->each.assign(rows, lane->state);
    lane->uniform = false;
  }

  /// Replaces each state s by f(s).
  template <typename F>
  void Map(Lane* lane, F&& f) {
    if (lane->uniform) {
      lane->state = f(lane->state);
      return;
    }
    map.assign(automaton.states(), LineAutomaton::kNone);
    State differs = 0;
    State first = LineAutomaton::kNone;
    for (State& state : lane->each) {
      State& to = map[state];
      if (to == LineAutomaton::kNone) {
        to = f(state);
        if (first == LineAutomaton::kNone) first = to;
      }
      state = to;
      differs |= static_cast<State>(to ^ first);
    }
    if (differs == 0) {
      lane->uniform = true;
      lane->state = first;
    }
  }
  void RunText(std::string_view text, Lane* lane) {
    if (text.empty()) return;
    Map(lane, [&](State state) { return automaton.Run(state, text); });
  }

  /// Returns where `width` digits lead, or any number of them (0), whatever they are; kNone where
  /// that depends on them.
  State AnyDigits(State state, uint32_t width) const {
    if (width == 0) {
      state = automaton.AnyDigit(state);
      return state != LineAutomaton::kNone && automaton.AnyDigit(state) == state
                 ? state
                 : LineAutomaton::kNone;
    }
    for (uint32_t i = 0; i < width && state != LineAutomaton::kNone; ++i) {
      const State next = automaton.AnyDigit(state);
      if (next == state) break;
      state = next;
    }
    return state;
  }
  State AnyHex(State state, uint32_t width) const {
    for (uint32_t i = 0; i < width && state != LineAutomaton::kNone; ++i) {
      const State next = automaton.AnyHexDigit(state);
      if (next == state) break;
      state = next;
    }
    return state;
  }
  /// Tries to do without the values of a column. `any(s)`: where any value leads.
  template <typename F>
  bool DoWithout(Lane* lane, F&& any) {
    if (lane->uniform) {
      const State to = any(lane->state);
      if (to == LineAutomaton::kNone) return false;
      lane->state = to;
      return true;
    }
    map.assign(automaton.states(), LineAutomaton::kNone);
    for (const State state : lane->each) {
      if (map[state] != LineAutomaton::kNone) continue;
      map[state] = any(state);
      if (map[state] == LineAutomaton::kNone) return false;
    }
    for (State& state : lane->each) state = map[state];
    Settle(lane);
    return true;
  }

  Status RunColumn(Column* column, int depth, Lane* lane) {
    switch (column->type) {
      case ColumnType::kConstant:
        RunText(column->values[0], lane);
        return absl::OkStatus();
      case ColumnType::kNumbers:
      case ColumnType::kPadded: {
        const uint32_t width = column->width;
        if (DoWithout(lane, [&](State s) { return AnyDigits(s, width); })) return absl::OkStatus();
        VARVE_RETURN_IF_ERROR(lines->OpenNumbers(column));
        RunNumbers(*column, lane);
        break;
      }
      case ColumnType::kHex:
        if (DoWithout(lane, [&](State s) { return AnyHex(s, column->width); })) {
          return absl::OkStatus();
        }
        VARVE_RETURN_IF_ERROR(lines->OpenHex());
        RunHex(*column, lane);
        break;
      case ColumnType::kDictionary:
        RunDictionary(*column, lane);
        break;
      case ColumnType::kText:
        Spread(lane, column->rows);
        automaton.RunAll(column->values, lane->each.data());
        break;
      case ColumnType::kTable: {
        VARVE_CHECK(depth == 0);
        Spread(lane, column->rows);
        VARVE_RETURN_IF_ERROR(RunTable(*column->table, 1, lane->each.data()));
        break;
      }
    }
    if (!lane->uniform) Settle(lane);
    return absl::OkStatus();
  }

  void RunNumbers(const Column& column, Lane* lane) {
    const std::vector<int64_t>& numbers = column.numbers;
    if (column.width == 0 && RunDigitCounts(column, lane)) return;
    Spread(lane, numbers.size());
    for (size_t k = 0; k < numbers.size(); ++k) {
      auto number = static_cast<uint64_t>(numbers[k]);
      const uint32_t digits = column.width != 0 ? column.width : DigitsOf(number);
      State state = lane->each[k];
      std::array<uint8_t, kDigitsMax / 2 + 1> pairs;
      const uint32_t count = digits / 2;
      for (uint32_t i = 0; i < count; ++i) {
        pairs[i] = static_cast<uint8_t>(number % 100);
        number /= 100;
      }
      if (digits % 2 != 0) state = automaton.Step(state, static_cast<uint8_t>('0' + number));
      for (uint32_t i = count; i-- > 0;) state = automaton.StepPair(state, pairs[i]);
      lane->each[k] = state;
    }
  }

  /// Often only the number of digits matters. Returns false where it is not all that does.
  bool RunDigitCounts(const Column& column, Lane* lane) {
    const std::vector<int64_t>& numbers = column.numbers;
    const uint32_t fewest = DigitsOf(static_cast<uint64_t>(column.least));
    const uint32_t counts = DigitsOf(static_cast<uint64_t>(column.most)) - fewest + 1;
    // Where each number of digits that there is leads from a state.
    bool same = true;
    products.clear();
    const auto add = [&](State state) {
      uint32_t digits = 0;
      for (; digits < fewest && state != LineAutomaton::kNone; ++digits) {
        state = automaton.AnyDigit(state);
      }
      const State first = state;
      for (uint32_t i = 0; i < counts; ++i) {
        if (state == LineAutomaton::kNone) return false;
        same = same && state == first;
        products.push_back(state);
        state = automaton.AnyDigit(state);
      }
      return true;
    };
    const auto digits_of = [&](size_t k) {
      return DigitsOf(static_cast<uint64_t>(numbers[k])) - fewest;
    };
    if (lane->uniform) {
      if (!add(lane->state)) return false;
      if (same) {
        lane->state = products[0];
        return true;
      }
      Spread(lane, numbers.size());
      for (size_t k = 0; k < numbers.size(); ++k) lane->each[k] = products[digits_of(k)];
      return true;
    }
    place_of.assign(automaton.states(), UINT32_MAX);
    for (const State state : lane->each) {
      if (place_of[state] != UINT32_MAX) continue;
      place_of[state] = static_cast<uint32_t>(products.size());
      if (!add(state)) return false;
    }
    if (same) {
      for (State& state : lane->each) state = products[place_of[state]];
      return true;
    }
    for (size_t k = 0; k < numbers.size(); ++k) {
      lane->each[k] = products[place_of[lane->each[k]] + digits_of(k)];
    }
    return true;
  }

  void RunHex(const Column& column, Lane* lane) {
    Spread(lane, column.rows);
    const size_t bytes = column.width / 2;
    const auto* at = reinterpret_cast<const uint8_t*>(column.bytes.data());
    size_t k = 0;
    for (; k + 4 <= column.rows; k += 4, at += 4 * bytes) {
      std::array<State, 4> s{lane->each[k], lane->each[k + 1], lane->each[k + 2],
                             lane->each[k + 3]};
      for (size_t i = 0; i < bytes; ++i) {
        s[0] = automaton.StepHex(s[0], at[i]);
        s[1] = automaton.StepHex(s[1], at[bytes + i]);
        s[2] = automaton.StepHex(s[2], at[2 * bytes + i]);
        s[3] = automaton.StepHex(s[3], at[3 * bytes + i]);
      }
      std::copy(s.begin(), s.end(), lane->each.begin() + static_cast<ptrdiff_t>(k));
    }
    for (; k < column.rows; ++k, at += bytes) {
      State state = lane->each[k];
      for (size_t i = 0; i < bytes; ++i) state = automaton.StepHex(state, at[i]);
      lane->each[k] = state;
    }
  }

  void RunDictionary(const Column& column, Lane* lane) {
    const size_t values = column.values.size();
    // Each of the states there are, with each value.
    before.clear();
    if (lane->uniform) {
      before.push_back(lane->state);
    } else {
      place_of.assign(automaton.states(), UINT32_MAX);
      for (const State state : lane->each) {
        if (place_of[state] != UINT32_MAX) continue;
        place_of[state] = static_cast<uint32_t>(before.size() * values);
        before.push_back(state);
      }
    }
    products.assign(before.size() * values, LineAutomaton::kNone);
    if (lane->uniform) {
      State differs = 0;
      for (size_t v = 0; v < values; ++v) {
        products[v] = automaton.Run(lane->state, column.values[v]);
        differs |= static_cast<State>(products[v] ^ products[0]);
      }
      if (differs == 0) {
        lane->state = products[0];
        return;
      }
      Spread(lane, column.rows);
      for (uint32_t k = 0; k < column.rows; ++k) {
        lane->each[k] = products[static_cast<uint8_t>(column.bytes[k])];
      }
      return;
    }
    for (uint32_t k = 0; k < column.rows; ++k) {
      const auto value = static_cast<uint8_t>(column.bytes[k]);
      State& to = products[place_of[lane->each[k]] + value];
      if (to == LineAutomaton::kNone) to = automaton.Run(lane->each[k], column.values[value]);
      lane->each[k] = to;
    }
  }
};

Status LineTable::Run(const LineAutomaton& automaton, std::vector<State>* ends) {
  VARVE_RETURN_IF_ERROR(Parse());
  ends->assign(count_, LineAutomaton::start());
  Runner runner(this, automaton);
  return runner.RunTable(lines_, 0, ends->data());
}

}  // namespace varve::logs
