#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/coding.h"
#include "engine/block/container.h"
#include "engine/codec/int_stream.h"
#include "engine/index/filters.h"
#include "engine/index/postings.h"
#include "engine/traces/block_format.h"
#include "engine/traces/block_reader.h"

namespace varve::traces {

/// Spans of one group, all or some, as a batch whose scopes are the block's. Shared by readers.
struct DecodedGroup {
  SpanBatch rows;
  std::vector<uint32_t> piece_begins;  // of whole groups: one more than there are pieces
  std::vector<std::string> texts;      // inflated; what rows point to
};

/// An open block: directories decoded, everything else where it lies in the file.
class Block final : public TraceBlock, public std::enable_shared_from_this<Block> {
 public:
  struct Column {
    Family family = Family::kSpan;
    ValueType type = ValueType::kString;
    Coding coding = Coding::kIntegers;
    uint32_t text_chunk = 0;
    uint32_t chunk = 0;
    uint32_t key = 0;
    uint64_t count = 0;
    uint32_t values = 0;  // of the dictionary
    uint64_t dictionary_raw = 0, dictionary_offset = 0, dictionary_bytes = 0;
    uint64_t postings_offset = 0, postings_bytes = 0;
  };
  struct Group {
    uint32_t rows = 0, pieces = 0, events = 0, links = 0;
    uint32_t first_piece = 0;
    int64_t min_start = 0, max_start = 0, min_duration = 0, max_duration = 0;
    uint64_t offset = 0;
    uint32_t chunks_begin = 0, chunks_end = 0;  // into chunks_
  };
  struct Dictionary {
    std::string raw;
    std::vector<std::string_view> values;
  };

  ~Block() override;
  Status Init(std::shared_ptr<const block::BlockReader> file);

  const block::BlockMeta& meta() const override { return file_->meta(); }
  BlockStats Stats() const override;
  std::vector<Status> VerifyAll() const override;

  uint64_t spans() const override { return file_->meta().rows; }
  NsRange range() const override { return {file_->meta().min_time, file_->meta().max_time}; }
  ScopeView GetScope(uint32_t scope) const override { return scopes_[scope]; }
  ResourceView GetResource(uint32_t resource) const override { return resources_[resource]; }
  uint32_t scope_count() const override { return static_cast<uint32_t>(scopes_.size()); }
  bool MayHaveTrace(const TraceId& id) const override;
  Status ReadTrace(const TraceId& id, SpanBatch* out) const override;
  Status ReadSpanKeys(const TraceId& id,
                      std::vector<std::pair<SpanId, SpanKind>>* out) const override;
  Result<std::unique_ptr<SourceScan>> StartScan(std::shared_ptr<const CompiledScan> scan,
                                                SpanScanStats* stats) const override;
  Status AddServices(std::set<std::string>* out) const override;
  Status AddOperations(std::string_view service, std::set<Operation>* out) const override;
  Status AddTagNames(AttributeScope scope, TagNameMap* out) const override;
  Result<bool> AddTagValues(const SpanField& field, size_t limit,
                            std::set<TraceSnapshot::TagValue>* out) const override;
  const Block* AsBlock() const override { return this; }
  Status AddSurvey(NsRange range, Survey* out) const override;
  Result<std::vector<TracePiece>> ListTraces(NsRange range) const override;
  Status ReadPiece(uint64_t token, NsRange range, SpanBatch* out) const override;

  // --- For scans ---

  const std::vector<Group>& groups() const { return groups_; }
  const std::vector<Column>& columns() const { return columns_; }
  std::string_view key(uint32_t i) const { return keys_[i]; }
  /// The columns of a shape; shapes 0 and kInlineShape have none.
  std::span<const uint32_t> shape(uint32_t shape) const {
    return std::span(shape_columns_)
        .subspan(shape_begins_[shape], shape_begins_[shape + 1] - shape_begins_[shape]);
  }
  /// Tells that some spans carry keys which only their own bytes tell.
  bool has_inline_shapes() const { return has_inline_shapes_; }
  uint32_t shape_count() const { return static_cast<uint32_t>(shape_begins_.size() - 1); }

  Result<std::string_view> ChunkBytes(const Group& group, uint32_t chunk) const;
  /// A run of rows, or of events, links or values.
  struct Rows {
    uint32_t begin = 0;
    uint32_t end = 0;
    uint32_t size() const { return end - begin; }
  };
  /// Replaces `out` by those in `rows` of the `count` integers of a chunk; zeros if it was left
  /// out.
  Status Integers(const Group& group, uint32_t chunk, uint32_t count, Rows rows,
                  std::vector<int64_t>* out) const;
  Status Integers(const Group& group, uint32_t chunk, uint32_t count,
                  std::vector<int64_t>* out) const {
    return Integers(group, chunk, count, {0, count}, out);
  }
  /// Gives `out` `count` integers of which only those at `places`, ascending, are decoded.
  Status IntegersAt(const Group& group, uint32_t chunk, uint32_t count,
                    std::span<const uint32_t> places, std::vector<int64_t>* out) const;
  /// Replaces `out` by those in `rows` of the `count` texts of a column; owners get what was
  /// inflated.
  Status Texts(const Group& group, const Column& column, uint32_t count, Rows rows,
               std::vector<std::string_view>* out, std::vector<std::string>* owners) const;
  /// Tells for a plain column whether a group may have a text.
  Result<bool> MayHaveText(const Group& group, const Column& column, std::string_view text) const;
  Result<const Dictionary*> DictionaryOf(uint32_t column) const;
  /// Returns the groups of each value of a dictionary, or nothing if nobody wrote them down.
  Result<std::vector<index::Postings>> DictionaryPostings(uint32_t column) const;
  /// Returns the groups of each value of an integer column, likewise.
  Result<std::vector<std::pair<int64_t, index::Postings>>> IntegerPostings(uint32_t column) const;
  Result<std::vector<index::Postings>> ScopePostings() const;
  Result<std::vector<std::pair<int64_t, index::Postings>>> KindPostings() const;
  /// Replaces `ids` by the trace ids of the group's pieces, `begins` by their first rows.
  Status Pieces(const Group& group, std::vector<TraceId>* ids, std::vector<uint32_t>* begins) const;
  Result<std::shared_ptr<const DecodedGroup>> LoadGroup(uint32_t group) const;
  Status Damage(const Group& group, std::string_view what) const;

 private:
  struct LazyDictionary {
    std::once_flag once;
    Status status;
    Dictionary dictionary;
  };
  struct Operations {
    std::vector<std::string_view> services;
    struct Entry {
      uint32_t service;
      std::string_view name;
      SpanKind kind;
    };
    std::vector<Entry> entries;
  };

  Status SectionDamage(block::SectionType type, std::string_view what) const;
  Result<std::string> UnpackSection(block::SectionType type) const;
  Status ReadAttributes(ByteReader* in, std::vector<AttributeView>* out) const;
  Status OpenResources();
  Status OpenShapes();
  Status OpenColumns();
  Status OpenGroups();
  Status OpenTraceTable();
  Status OpenOperations();
  Result<std::vector<index::Postings>> ParsePostings(uint64_t offset, uint64_t bytes,
                                                     uint64_t count) const;
  Result<std::vector<std::pair<int64_t, index::Postings>>> ParseKeyedPostings(uint64_t offset,
                                                                              uint64_t bytes) const;
  /// Returns the first piece of a trace, or nothing.
  Result<std::optional<uint32_t>> FindTrace(const TraceId& id) const;
  uint32_t GroupOfPiece(uint32_t piece) const;
  /// Calls f(group, first row, rows) for all pieces of the trace.
  template <typename F>
  Status ForPieces(const TraceId& id, F&& f) const;
  Result<std::shared_ptr<DecodedGroup>> DecodeGroup(uint32_t group) const;
  /// Adds the rows of neighbouring pieces to `out`: of the traces `ids`, piece i at the group's
  /// rows [begins[i], begins[i + 1]). Cost: that of those rows, and a little for those before.
  Status DecodePieces(uint32_t group, std::span<const TraceId> ids,
                      std::span<const uint32_t> begins, DecodedGroup* out) const;

  std::shared_ptr<const block::BlockReader> file_;
  uint64_t serial_ = 0;  // names the block in the cache of decoded groups
  const block::PagedSection* spans_section_ = nullptr;
  const block::PagedSection* dictionaries_section_ = nullptr;
  const block::PagedSection* postings_section_ = nullptr;
  uint64_t spans_offset_ = 0;

  std::string resource_bytes_;  // what views of keys, resources, scopes point to
  std::vector<std::string_view> keys_;
  std::vector<ResourceView> resources_;
  std::vector<ScopeView> scopes_;
  std::vector<std::vector<AttributeView>> scope_attributes_;
  bool has_inline_shapes_ = false;
  std::vector<uint32_t> shape_begins_;
  std::vector<uint32_t> shape_columns_;
  std::vector<Column> columns_;
  std::unique_ptr<LazyDictionary[]> dictionaries_;
  uint64_t scope_postings_bytes_ = 0, kind_postings_bytes_ = 0;
  std::vector<Group> groups_;
  std::vector<std::pair<uint32_t, uint64_t>> chunks_;  // chunk, offset behind its end
  uint32_t pieces_ = 0;
  std::optional<index::BinaryFuse> filter_;
  uint32_t buckets_ = 0, table_entries_ = 0;
  std::string_view bucket_ends_, table_pieces_, table_hashes_;
  std::string operation_bytes_;
  Operations operations_;
};

/// Reads a value that stands by itself, as rare ones do. Returns false if there is none.
bool ReadValue(ByteReader* in, ValueType type, ValueView* out);
/// Names where a text column of `kTextChunks` stands among the columns.
uint32_t TextColumn(uint32_t chunk);

}  // namespace varve::traces
