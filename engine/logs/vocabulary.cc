#include "engine/logs/vocabulary.h"

#include <algorithm>

#include "engine/logs/block_format.h"

namespace varve::logs {
namespace {

constexpr size_t kRecent = 1 << 14;

}  // namespace

Vocabulary::Vocabulary()
    : text_(index::kScanPadding, '\0'), known_(0, Word{{}, &text_}, Word{{}, &text_}) {}

void Vocabulary::Add(std::string_view word, uint64_t hash) {
  if (full_) return;
  if (recent_.empty()) {
    recent_.resize(kRecent);
    recent_[0] = 1;  // a hash that belongs to another place
  }
  uint64_t& recent = recent_[hash % kRecent];
  if (recent == hash) return;
  recent = hash;
  if (known_.find(word, hash) != known_.end()) return;
  if (words().size() + word.size() + 1 > kVocabularyBytesMax) return Forget();
  const auto place = static_cast<uint32_t>(words().size());
  text_.resize(place);
  text_.append(word);
  text_.push_back('\n');
  text_.append(index::kScanPadding, '\0');
  known_.insert(place);
}

void Vocabulary::AddAll(std::string_view words) {
  while (!words.empty() && !full_) {
    const size_t bytes = words.find('\n');
    const std::string_view word = words.substr(0, bytes);
    Add(word, WordHash()(word));
    words.remove_prefix(std::min(word.size() + 1, words.size()));
  }
}

void Vocabulary::Forget() {
  full_ = true;
  known_.clear();
  text_.assign(index::kScanPadding, '\0');
  text_.shrink_to_fit();
  recent_ = {};
}

std::string Vocabulary::Sorted() const {
  std::vector<std::string_view> sorted;
  sorted.reserve(size());
  for (std::string_view rest = words(); !rest.empty();) {
    sorted.push_back(rest.substr(0, rest.find('\n')));
    rest.remove_prefix(sorted.back().size() + 1);
  }
  std::sort(sorted.begin(), sorted.end());
  std::string out;
  out.reserve(words().size());
  for (const std::string_view word : sorted) {
    out.append(word);
    out.push_back('\n');
  }
  return out;
}

uint64_t Vocabulary::memory() const {
  constexpr uint64_t kPlaceBytes = 8;  // in the table, with its room to grow
  return text_.size() + known_.size() * kPlaceBytes + recent_.size() * sizeof(uint64_t);
}

}  // namespace varve::logs
