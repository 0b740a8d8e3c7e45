#include "engine/logs/line_filter.h"

#include <algorithm>

#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/index/filters.h"
#include "engine/index/value_scan.h"
#include "engine/logs/line_keys.h"

namespace varve::logs {
namespace {

constexpr int kFilterBits = 8;
constexpr uint64_t kMetadataSeed = 0x6d65746164617461;

}  // namespace

uint64_t MetadataKey(std::string_view name, std::string_view value) {
  return Hash64(value, Hash64(name, kMetadataSeed));
}

Status EncodeGroupFilter(std::vector<uint64_t> keys, const MetadataColumns& metadata,
                         std::string* out) {
  metadata.AddKeys(&keys);
  if (keys.empty()) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const index::BinaryFuse filter,
                         index::BinaryFuse::Build(std::move(keys), kFilterBits));
  filter.AppendTo(out);
  return absl::OkStatus();
}

NeededKeys ResolveNeeded(const LogScan& scan, const std::string* vocabulary) {
  // A piece that is in many words rules out little.
  constexpr size_t kWordsMax = 64;
  NeededKeys out;
  for (const std::vector<LogScan::Alternative>& element : scan.needed()) {
    std::vector<std::vector<LogScan::Key>> alternatives;
    bool known = true;
    for (const LogScan::Alternative& one : element) {
      if (!one.keys.empty()) {
        alternatives.push_back(one.keys);
        continue;
      }
      if (vocabulary == nullptr) {
        known = false;
        break;
      }
      const std::string_view words(vocabulary->data(), vocabulary->size() - index::kScanPadding);
      size_t at = 0;
      size_t found = 0;
      while ((at = index::FindBytes(words.data(), at, words.size(), one.piece)) < words.size()) {
        const size_t before = words.rfind('\n', at);
        const size_t begin = before == std::string_view::npos ? 0 : before + 1;
        const size_t end = words.find('\n', at);
        alternatives.push_back(
            {{WordKey(words.substr(begin, end - begin)), LogScan::KeyKind::kWord}});
        if (++found > kWordsMax) break;
        at = end;
      }
      if (found > kWordsMax) {
        known = false;
        break;
      }
    }
    if (known) out.push_back(std::move(alternatives));
  }
  return out;
}

namespace {

template <typename MayContain>
std::optional<LogScan::KeyKind> RuledOut(const NeededKeys& needed, MayContain&& may_contain) {
  for (const auto& alternatives : needed) {
    // Without an alternative the vocabulary says that no word has the text.
    LogScan::KeyKind kind = LogScan::KeyKind::kWord;
    const bool may = std::any_of(alternatives.begin(), alternatives.end(), [&](const auto& keys) {
      const auto missing = std::find_if(keys.begin(), keys.end(),
                                        [&](const LogScan::Key& key) { return !may_contain(key); });
      if (missing != keys.end()) kind = missing->kind;
      return missing == keys.end();
    });
    if (!may) return kind;
  }
  return std::nullopt;
}

}  // namespace

std::optional<LogScan::KeyKind> RuledOutBy(const index::BinaryFuse& filter,
                                           const NeededKeys& needed) {
  return RuledOut(needed, [&](const LogScan::Key& key) { return filter.MayContain(key.hash); });
}

std::optional<LogScan::KeyKind> RuledOutBy(const index::BlockedBloom& filter,
                                           const NeededKeys& needed) {
  return RuledOut(needed, [&](const LogScan::Key& key) {
    return key.kind == LogScan::KeyKind::kPair || filter.MayContain(key.hash);
  });
}

LogScanStats::Skipped& SkippedBy(LogScan::KeyKind kind, LogScanStats* stats) {
  switch (kind) {
    case LogScan::KeyKind::kId:
      return stats->skipped_ids;
    case LogScan::KeyKind::kMetadata:
      return stats->skipped_metadata;
    default:
      return stats->skipped_words;
  }
}

}  // namespace varve::logs
