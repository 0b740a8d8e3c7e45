#pragma once

#include <memory>
#include <string>

#include "engine/block/block_meta.h"
#include "engine/io/file_system.h"
#include "engine/logs/rows.h"
#include "varve/log_scan.h"
#include "varve/status.h"

namespace varve::logs {

class LogsBlock;

/// Writes the file of one logs block: streams in label order, each with its entries in time order.
/// One row group is in memory at a time. Destroyed without Finish, it removes what it wrote. Not
/// thread-safe.
class LogsBlockWriter {
 public:
  /// `fixed_tag` is for golden files only.
  static Result<std::unique_ptr<LogsBlockWriter>> Create(std::shared_ptr<io::FileSystem> fs,
                                                         const std::string& dir, uint64_t id,
                                                         uint64_t fixed_tag = 0);
  virtual ~LogsBlockWriter() = default;

  /// Begins the next stream. Errors: kInvalidArgument if its labels are not greater than those of
  /// the stream before.
  virtual Status BeginStream(LabelsView labels) = 0;
  /// Adds entries of that stream: whole lines and all metadata, no earlier than those before.
  virtual Status Add(const LogRows& rows) = 0;
  /// Adds the rows of a row group that has only rows of that stream, no earlier than those before,
  /// as they are stored: they are neither decoded nor judged. Errors: kDataLoss.
  virtual Status AddGroup(const LogsBlock& from, uint32_t group) = 0;
  /// Returns the share of a row group that waits for more rows: 0 to 1.
  virtual double open_share() const = 0;
  /// Publishes the block. `meta` needs id, wing and what the caller knows; times and counts are
  /// filled in. Precondition: at least one entry.
  virtual Result<block::BlockMeta> Finish(block::BlockMeta meta) = 0;
};

}  // namespace varve::logs
