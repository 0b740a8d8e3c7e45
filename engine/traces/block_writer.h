#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/strings.h"
#include "engine/block/container.h"
#include "engine/block/plan.h"
#include "engine/codec/int_stream.h"
#include "engine/traces/block_format.h"
#include "engine/traces/source.h"
#include "engine/traces/survey.h"

namespace varve::traces {

/// Writes one traces block: traces in order of their start, each with its spans in order. Memory:
/// one group, the dictionaries, 30 bytes a trace. Not thread-safe. After an error every later call
/// fails. Format: engine/docs/format/traces-block.md.
class TraceBlockWriter {
 public:
  /// `survey` has at least the columns of all spans that will be added, and their values; it lives
  /// as long as the writer. `fixed_tag` is for golden files only.
  static Result<std::unique_ptr<TraceBlockWriter>> Create(const block::SealTarget& target,
                                                          uint64_t id, Survey* survey,
                                                          uint64_t fixed_tag = 0);

  /// Adds a resource or scope and returns its number; equal ones get the same.
  uint32_t AddResource(const ResourceView& resource);
  uint32_t AddScope(const ScopeView& scope, uint32_t resource);
  /// Adds the spans of a trace, `order` of `spans`, whose scopes are `scopes` by span. They are
  /// sorted by start and span id, and no two have the same id and kind.
  Status AddTrace(const SpanBatch& spans, std::span<const uint32_t> order,
                  std::span<const uint32_t> scopes);
  uint64_t rows() const { return rows_; }
  /// Rows of the group that is not closed yet.
  size_t open_rows() const { return starts_.size(); }
  /// Completes `meta` and the file.
  Result<block::BlockMeta> Finish(block::BlockMeta meta);

 private:
  friend class GroupCopier;

  /// A column of the block with what the open group holds of it.
  struct Column {
    ColumnName name;
    Coding coding = Coding::kIntegers;
    uint32_t chunk = 0;
    uint64_t count = 0;
    // Of the open group.
    std::vector<int64_t> integers;  // or places in the dictionary, or lengths
    std::string bytes;
    // Of the block.
    std::vector<std::string_view> values;  // dictionary, sorted
    StringViewMap<uint32_t> places;
    std::vector<std::vector<uint32_t>> groups;  // by place: groups that have the value
    std::string_view last_text;
    uint32_t last_place = UINT32_MAX;
    bool integers_indexed = true;
    absl::flat_hash_map<int64_t, std::vector<uint32_t>> integer_groups;
    int64_t last_integer = 0;
    uint32_t last_group = UINT32_MAX;
  };
  /// Integers that are usually all zero: nothing is stored before the first other one.
  class MostlyZeros {
   public:
    void Add(int64_t value) {
      if (value != 0 && values_.empty()) values_.assign(size_, 0);
      if (value != 0 || !values_.empty()) values_.push_back(value);
      ++size_;
    }
    size_t size() const { return size_; }
    /// Empty if all are zero.
    std::vector<int64_t>& values() { return values_; }
    void Clear() {
      values_.clear();
      size_ = 0;
    }

   private:
    std::vector<int64_t> values_;
    size_t size_ = 0;
  };
  struct FamilyState {
    MostlyZeros shapes;
    std::string cold;
    uint64_t cold_raw = 0;
    std::vector<uint32_t> last_columns;  // of the set of attributes before
  };
  struct GroupEntry {
    uint32_t rows, pieces, events, links;
    int64_t min_start, max_start, min_duration, max_duration;
    uint64_t offset;
    std::vector<std::pair<uint32_t, uint64_t>> chunks;  // chunk, bytes
  };

  explicit TraceBlockWriter(Survey* survey) : survey_(survey) {
    recent_operations_.fill(UINT64_MAX);
  }
  void PlanColumns();
  uint32_t ColumnOf(Family family, std::string_view key, ValueType type);
  uint32_t KeyOf(std::string_view key);
  void AddText(Column* column, std::string_view text);
  void AddInteger(Column* column, int64_t value);
  /// Adds a value to a column that is no cold one.
  void AddValue(Column* column, const ValueView& value);
  /// Note that the open group has a value.
  void IndexPlace(Column* column, uint32_t place);
  void IndexInteger(Column* column, int64_t value);
  /// Returns the number of a shape, kInlineShape if there is no room for it.
  uint32_t ShapeOf(std::span<const uint32_t> columns);
  void AddAttributes(Family family, AttributesView attributes);
  void PutCold(const ValueView& value, std::string* out);
  Status AddPiece(const SpanBatch& spans, std::span<const uint32_t> order,
                  std::span<const uint32_t> scopes);
  uint64_t GroupBytes() const;
  Status CloseGroup();
  /// Lists the group whose chunks are all written.
  void EndGroup();
  Status PutChunk(uint32_t chunk, std::string_view bytes);
  Status PutIntegers(uint32_t chunk, std::vector<int64_t>* values);
  Status PutIntegers(uint32_t chunk, MostlyZeros* values);
  Status PutColumn(Column* column);
  Status PutColdValues(uint32_t family);
  void EncodePlain(Column* column, std::string* out);
  void EncodeAttributes(AttributesView attributes, std::string* out);
  Status PutSection(block::SectionType type, std::string_view bytes, uint64_t items);
  void AddOperation(uint32_t service, std::string_view name, SpanKind kind);
  void AddOperation(uint32_t service, uint32_t name_place, SpanKind kind);
  Status WriteIndexes();
  Status WriteTraceTable();

  Survey* survey_;
  std::unique_ptr<block::BlockWriter> file_;
  Status failed_;
  std::vector<Column> columns_;
  /// By key: column numbers by family and type.
  StringViewMap<std::array<uint32_t, 8 * kFamilies>> column_numbers_;
  uint32_t text_columns_[kAttributeChunks] = {};  // by chunk
  std::vector<std::string_view> keys_;
  StringViewMap<uint32_t> key_numbers_;
  StringMap<uint32_t> resource_numbers_, scope_numbers_;
  std::string resource_bytes_, scope_bytes_;
  std::vector<uint32_t> scope_services_;  // by scope: into services_
  std::vector<uint32_t> resource_services_;
  std::vector<std::string> services_;
  StringMap<uint32_t> service_numbers_;
  StringMap<uint32_t> shape_numbers_;
  std::string shape_bytes_;
  uint32_t shapes_ = 2;
  bool inline_shapes_ = false;
  FamilyState families_[kFamilies];

  // The open group.
  std::string trace_ids_, span_ids_, external_parents_, link_ids_;
  std::vector<int64_t> piece_rows_, parents_, starts_, durations_, scopes_, kinds_, event_times_;
  MostlyZeros flags_, dropped_attributes_, dropped_events_, dropped_links_, event_counts_,
      event_dropped_, link_counts_, link_dropped_, link_flags_;
  uint64_t group_bytes_ = 0;
  GroupEntry group_{};

  // The block.
  std::vector<GroupEntry> groups_;
  std::vector<std::vector<uint32_t>> scope_groups_;
  std::map<int64_t, std::vector<uint32_t>> kind_groups_;
  std::vector<std::pair<uint64_t, uint32_t>> trace_hashes_;  // hash, first piece
  /// Operations whose names are in the dictionary, as service << 32 | place << 8 | kind; and
  /// others.
  absl::flat_hash_set<uint64_t> operation_places_;
  std::array<uint64_t, 256> recent_operations_;  // some of them
  std::set<std::tuple<uint32_t, std::string, uint8_t>> operations_;
  uint64_t rows_ = 0;
  uint32_t pieces_ = 0;
  int64_t min_start_ = INT64_MAX, max_start_ = INT64_MIN;
  absl::flat_hash_map<uint64_t, uint32_t> parent_places_;
  codec::IntStreamEncoder encoder_;
  std::string scratch_;
  std::vector<uint32_t> set_columns_;
};

}  // namespace varve::traces
