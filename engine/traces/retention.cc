#include "engine/traces/retention.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::traces {
namespace {

std::string TextOf(const Source& source, const SpanBatch& batch, const SpanBatch::Span& span,
                   const std::string& name) {
  if (name == "name") return std::string(span.name);
  if (name == "status") {
    return span.status == SpanStatus::kError ? "error"
           : span.status == SpanStatus::kOk  ? "ok"
                                             : "unset";
  }
  const BatchRow row(source, batch, span);
  ValueView value;
  if (row.SpanAttribute(name, &value) || row.ResourceAttribute(name, &value)) {
    return ToString(value);
  }
  return {};
}

}  // namespace

int64_t TraceRetention::AgeOf(int64_t keep_ms) {
  return keep_ms <= 0 || keep_ms > INT64_MAX / 1'000'000 ? INT64_MAX : keep_ms * 1'000'000;
}

Result<std::unique_ptr<TraceRetention>> TraceRetention::Make(
    const std::vector<RetentionRule>& rules, int64_t keep_ms) {
  std::unique_ptr<TraceRetention> out(new TraceRetention());
  out->keep_ms_ = keep_ms;
  std::vector<RetentionRule> sorted = rules;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return std::tuple(-int64_t{a.priority}, AgeOf(a.keep.count())) <
           std::tuple(-int64_t{b.priority}, AgeOf(b.keep.count()));
  });
  for (const RetentionRule& rule : sorted) {
    if (rule.matchers.empty()) {
      return MakeStatus(StatusCode::kInvalidArgument, "a retention rule needs a matcher");
    }
    Rule made;
    VARVE_ASSIGN_OR_RETURN(made.matchers, index::CompileMatchers(rule.matchers));
    made.keep_ms = rule.keep.count();
    out->rules_.push_back(std::move(made));
  }
  return out;
}

Status TraceRetention::LookInto(const Source& source, MatchSets* matches) const {
  matches->assign(rules_.size(), {});
  VARVE_ASSIGN_OR_RETURN(const std::vector<TracePiece> pieces, source.ListTraces(NsRange{}));
  SpanBatch spans;
  for (const TracePiece& piece : pieces) {
    spans.Clear();
    VARVE_RETURN_IF_ERROR(source.ReadPiece(piece.token, NsRange{}, &spans));
    for (size_t r = 0; r < rules_.size(); ++r) {
      const bool found =
          std::any_of(spans.spans().begin(), spans.spans().end(), [&](const SpanBatch::Span& span) {
            return std::all_of(
                rules_[r].matchers.begin(), rules_[r].matchers.end(),
                [&](const index::CompiledMatcher& matcher) {
                  return matcher.Matches(TextOf(source, spans, span, matcher.name()));
                });
          });
      if (found) (*matches)[r].insert(std::string(BytesOf(piece.id)));
    }
  }
  return absl::OkStatus();
}

Result<std::vector<TraceRetention::Decision>> TraceRetention::Plan(
    std::span<const SourcePtr> heads, std::span<const std::shared_ptr<const TraceBlock>> blocks,
    int64_t now_ns) {
  std::vector<Decision> out;
  int64_t shortest = AgeOf(keep_ms_);
  for (const Rule& rule : rules_) shortest = std::min(shortest, AgeOf(rule.keep_ms));
  const auto of_age = [now_ns](const TraceBlock& block, int64_t age) {
    int64_t oldest = 0;
    return age != INT64_MAX && !__builtin_sub_overflow(now_ns, age, &oldest) &&
           block.meta().max_time < oldest;
  };
  absl::MutexLock lock(&mutex_);
  std::map<uint64_t, BlockFacts> kept;
  for (const auto& block : blocks) {
    const auto known = facts_.find(block->meta().id);
    if (known != facts_.end()) kept.insert(facts_.extract(known));
  }
  facts_ = std::move(kept);
  std::vector<MatchSets> of_heads;  // looked into once something is to be weighed
  for (const auto& block : blocks) {
    if (!of_age(*block, shortest)) continue;
    const auto own = facts_.find(block->meta().id);
    if (own != facts_.end() && now_ns < own->second.next_ns) continue;
    // A span of any block may decide about the whole trace.
    for (const auto& other : blocks) {
      BlockFacts& facts = facts_[other->meta().id];
      if (facts.matches.empty() && !rules_.empty()) {
        VARVE_RETURN_IF_ERROR(LookInto(*other, &facts.matches));
      }
    }
    while (of_heads.size() < heads.size()) {
      MatchSets sets;
      VARVE_RETURN_IF_ERROR(LookInto(*heads[of_heads.size()], &sets));
      of_heads.push_back(std::move(sets));
    }
    VARVE_ASSIGN_OR_RETURN(const std::vector<TracePiece> pieces, block->ListTraces(NsRange{}));
    Decision decision;
    decision.block = block->meta().id;
    bool any_stays = false;
    int64_t next = INT64_MAX;
    for (const TracePiece& piece : pieces) {
      const std::string id(BytesOf(piece.id));
      int64_t age = AgeOf(keep_ms_);
      for (size_t r = 0; r < rules_.size(); ++r) {
        const auto has = [&](const MatchSets& sets) {
          return r < sets.size() && sets[r].contains(id);
        };
        const bool matches = std::any_of(of_heads.begin(), of_heads.end(), has) ||
                             std::any_of(facts_.begin(), facts_.end(), [&](const auto& entry) {
                               return has(entry.second.matches);
                             });
        if (!matches) continue;
        age = AgeOf(rules_[r].keep_ms);
        break;
      }
      if (of_age(*block, age)) {
        decision.expired.insert(id);
      } else {
        any_stays = true;
        int64_t then = INT64_MAX;
        if (age != INT64_MAX && !__builtin_add_overflow(block->meta().max_time, age, &then)) {
          next = std::min(next, then);
        }
      }
    }
    facts_[decision.block].next_ns = next;
    if (decision.expired.empty()) continue;
    decision.whole = !any_stays;
    out.push_back(std::move(decision));
  }
  return out;
}

}  // namespace varve::traces
