#include "engine/traces/seal.h"

#include "engine/base/strings.h"

namespace varve::traces {

Result<std::optional<block::BlockMeta>> WriteMerged(const std::vector<SourcePtr>&, NsRange,
                                                    const block::SealMeta&,
                                                    const block::SealTarget&) {
  return MakeStatus(StatusCode::kUnimplemented, "blocks of traces");
}

Result<std::vector<block::BlockMeta>> SealHead(const SourcePtr&, const block::SealMeta&,
                                               const block::PlanOptions&,
                                               const block::SealTarget&) {
  return MakeStatus(StatusCode::kUnimplemented, "blocks of traces");
}

}  // namespace varve::traces
