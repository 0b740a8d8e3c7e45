#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/traces/block_impl.h"
#include "engine/traces/block_writer.h"

namespace varve::traces {

/// Passes whole groups of one block into a block that is being written, without making spans of
/// them. Chunks are copied; those that number what each block numbers by itself (scopes, shapes,
/// places in dictionaries) are written anew where the numbers differ, and so are columns that the
/// two blocks code in different ways.
class GroupCopier {
 public:
  /// `scope` turns a scope of `from` into one of `to`. All outlive the copier.
  GroupCopier(const Block& from, TraceBlockWriter* to, std::function<uint32_t(uint32_t)> scope);

  /// Adds a group whose traces are whole: next in order, and in no other place. Returns false with
  /// nothing added if its spans have to be read: keys stand beside values, or names are in no
  /// dictionary. After an error the writer is of no use.
  Result<bool> Add(uint32_t group);

 private:
  struct Mapped {
    uint32_t number = 0;            // of the column in the new block
    std::vector<uint32_t> places;   // of its dictionary there; empty: not asked yet
    uint32_t count = 0;             // values in the group
    std::vector<ValueView> values;  // of a column whose values go among the rare ones
    size_t next = 0;                // of them
  };
  struct Integers {
    std::vector<int64_t> values;
    bool renumbered = false;  // they differ from those of the old block
  };

  TraceBlockWriter::Column& ColumnTo(const Mapped& mapped) { return to_->columns_[mapped.number]; }
  Coding From(uint32_t column) const { return from_.columns()[column].coding; }
  Coding To(uint32_t column) { return ColumnTo(columns_[column]).coding; }
  Result<bool> ReadShapes(const Block::Group& group, Family family);
  Result<bool> ReadTexts(const Block::Group& group, uint32_t text_column, uint32_t count);
  Status ReadScopes(const Block::Group& group);
  /// Replaces places in a dictionary of the old block by those of the new one, and notes them.
  Status Renumber(const Block::Group& group, uint32_t column, Integers* places);
  /// Replaces a text column of the group by its texts, in the new block's coding.
  Status RecodeTexts(const Block::Group& group, uint32_t column, uint32_t count);
  /// Moves values between rare ones and columns of their own.
  Status RecodeRareValues(const Block::Group& group, uint32_t family);
  Status ReadValues(const Block::Group& group, uint32_t column);
  void NoteOperations();
  Status NoteTraces(const Block::Group& group);
  Status PutFixedChunks(const Block::Group& group);
  Status PutColumns(const Block::Group& group);
  /// Writes a chunk of the group as one of the new block: copied, or encoded from `integers` if
  /// those were renumbered.
  Status Put(const Block::Group& group, uint32_t chunk, uint32_t as, const Integers* integers);

  const Block& from_;
  TraceBlockWriter* const to_;
  const std::function<uint32_t(uint32_t)> scope_;
  std::vector<Mapped> columns_;   // by the old block's number
  std::vector<uint32_t> shapes_;  // by the old block's number; kUnknown: not asked yet
  /// By family: whether some values are rare in one block and have a column in the other.
  std::array<bool, kFamilies> recodes_{};

  // Of the group at hand.
  Integers scopes_;
  std::vector<int64_t> kinds_;
  std::array<Integers, kFamilies> family_shapes_;
  std::array<std::vector<int64_t>, kFamilies> old_shapes_;  // where recodes_
  std::vector<std::string> texts_kept_;
  std::array<Integers, kTextChunks.size()> texts_;
  std::vector<uint32_t> used_;  // attribute columns that it has values of
  std::string scratch_;
};

}  // namespace varve::traces
