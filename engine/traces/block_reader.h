#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/block/block_meta.h"
#include "engine/io/file_system.h"
#include "engine/traces/source.h"
#include "varve/database.h"
#include "varve/status.h"

namespace varve::traces {

/// An open traces block: immutable, thread-safe, shared by snapshots.
class TraceBlock : public Source {
 public:
  /// Opens and checks all but the bulk of the spans, whose pages are verified when first read.
  /// Errors: kDataLoss with file and offset, kNotFound, kUnimplemented (later version).
  static Result<std::shared_ptr<const TraceBlock>> Open(io::FileSystem& fs,
                                                        const std::string& path);

  virtual const block::BlockMeta& meta() const = 0;
  virtual BlockStats Stats() const = 0;
  /// Checks every byte and decodes every group. Returns all damage, with file and offset.
  virtual std::vector<Status> VerifyAll() const = 0;
};

}  // namespace varve::traces
