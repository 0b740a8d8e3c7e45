#include "engine/traces/block_reader.h"

#include "engine/base/strings.h"

namespace varve::traces {

Result<std::shared_ptr<const TraceBlock>> TraceBlock::Open(io::FileSystem&,
                                                           const std::string& path) {
  return MakeStatus(StatusCode::kUnimplemented, Concat(path, ": blocks of traces"));
}

}  // namespace varve::traces
