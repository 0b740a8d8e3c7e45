#include "query/traces/trace_crew.h"

#include <algorithm>

#include "engine/base/macros.h"

namespace varve::query {
namespace {

size_t SlotsFor(const QueryContext& context) {
  const uint32_t threads = context.threads() == nullptr ? 1 : context.threads()->count();
  return threads < 2 ? 1 : 4 * size_t{threads};
}

}  // namespace

TraceCrew::TraceCrew(const TraceSnapshot& snapshot, const Program& program, QueryContext& context)
    : snapshot_(snapshot), program_(program), context_(context), slots_(SlotsFor(context)) {}

Status TraceCrew::Run(std::span<const TraceId> ids, const Work& work, const Take& take) {
  std::vector<Status> statuses;
  for (size_t begin = 0; begin < ids.size();) {
    const size_t count = std::min(ahead_, ids.size() - begin);
    ahead_ = std::min(2 * ahead_, slots_);
    while (loaders_.size() < count) {
      loaders_.push_back(std::make_unique<TraceLoader>(snapshot_, program_, context_));
    }
    statuses.assign(count, Status());
    const auto load = [&](uint32_t slot) {
      Status& status = statuses[slot];
      status = context_.Poll();
      if (status.ok()) status = loaders_[slot]->Read(ids[begin + slot]);
      if (status.ok()) work(slot, loaders_[slot]->table());
    };
    if (count == 1) {
      load(0);
    } else {
      context_.threads()->Run(static_cast<uint32_t>(count), load);
    }
    for (size_t slot = 0; slot < count; ++slot) {
      if (count > 1 && statuses[slot].code() == StatusCode::kResourceExhausted) {
        // It may have been the others beside it for which there was no room.
        load(static_cast<uint32_t>(slot));
      }
      VARVE_RETURN_IF_ERROR(statuses[slot]);
      loaders_[slot]->Count();
      VARVE_ASSIGN_OR_RETURN(const bool more, take(begin + slot, slot, loaders_[slot]->table()));
      if (!more) return absl::OkStatus();
    }
    begin += count;
  }
  return absl::OkStatus();
}

}  // namespace varve::query
