#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/index/label_index.h"
#include "engine/io/file_system.h"
#include "engine/logs/block_directory.h"
#include "engine/logs/log_scan.h"
#include "varve/database.h"
#include "varve/log_scan.h"
#include "varve/status.h"

namespace varve::logs {

/// An open logs block: immutable, thread-safe, shared by snapshots. Streams are named by their
/// ordinal, which follows label order.
class LogsBlock {
 public:
  /// Opens and checks all but row groups and filters, whose pages are verified when first read.
  /// Errors: kDataLoss with file and offset, kNotFound, kUnimplemented (later version).
  static Result<std::shared_ptr<const LogsBlock>> Open(io::FileSystem& fs, const std::string& path);
  virtual ~LogsBlock() = default;

  virtual const block::BlockMeta& meta() const = 0;
  virtual NsRange range() const = 0;
  virtual NsRange StreamRange(uint32_t stream) const = 0;
  virtual const index::LabelIndexView& labels() const = 0;
  /// The parts of a stream, in time order.
  virtual std::span<const LogsPart> parts_of(uint32_t stream) const = 0;
  virtual uint32_t index_of(const LogsPart& part) const = 0;
  virtual const BlockDirectory& directory() const = 0;

  /// Reads what `scan` asks for of one part, without the rows that any of `hidden` finds.
  virtual Status ReadPart(uint32_t part, const LogScan& scan,
                          std::span<const std::shared_ptr<const LogScan>> hidden, LogRows* out,
                          LogScanStats* stats) const = 0;
  /// The stored bytes of a row group: times, lines and metadata; and its filter.
  struct GroupBytes {
    std::string_view rows;
    std::string_view filter;
  };
  /// Views into the file, checked by their pages. Errors: kDataLoss.
  virtual Result<GroupBytes> ReadGroup(uint32_t group) const = 0;
  /// All words of the vocabulary, with a line feed behind each; nothing if the block has none.
  virtual std::optional<std::string> ReadVocabulary() const = 0;
  /// Tells by headers alone whether any row can match.
  virtual bool MayContain(const LogScan& scan) const = 0;
  /// Appends the names of metadata in row groups of the streams.
  virtual void MetadataNames(const std::vector<uint32_t>& streams, NsRange range,
                             std::vector<std::string>* out) const = 0;

  virtual LogBlockStats Stats() const = 0;
  /// Checks every byte and decodes every row. Returns all damage, with file and offset.
  virtual std::vector<Status> VerifyAll() const = 0;
};

}  // namespace varve::logs
