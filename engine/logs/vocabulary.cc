#include "engine/logs/vocabulary.h"

#include <algorithm>
#include <array>

#include "engine/logs/block_format.h"

namespace varve::logs {
namespace {

constexpr size_t kRecent = 1 << 14;

}  // namespace

Vocabulary::Vocabulary()
    : text_(index::kScanPadding, '\0'), known_(0, Word{{}, &text_}, Word{{}, &text_}) {}

void Vocabulary::Add(std::span<Hashed> words) {
  if (full_) return;
  if (recent_.empty()) {
    recent_.resize(kRecent);
    recent_[0] = 1;  // a hash that belongs to another place
  }
  // So many words ahead, what will be looked at is asked for.
  constexpr size_t kAhead = 8;
  size_t kept = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i + kAhead < words.size()) {
      __builtin_prefetch(&recent_[words[i + kAhead].hash % kRecent], 1);
    }
    uint64_t& recent = recent_[words[i].hash % kRecent];
    if (recent == words[i].hash) continue;
    recent = words[i].hash;
    words[kept++] = words[i];
  }
  for (size_t i = 0; i < kept && !full_; ++i) {
    if (i + kAhead < kept) known_.prefetch(words[i + kAhead]);
    if (known_.find(words[i]) == known_.end()) AddNew(words[i].word);
  }
}

void Vocabulary::AddNew(std::string_view word) {
  if (words().size() + word.size() + 1 > kVocabularyBytesMax) return Forget();
  const auto place = static_cast<uint32_t>(words().size());
  text_.resize(place);
  text_.append(word);
  text_.push_back('\n');
  text_.append(index::kScanPadding, '\0');
  known_.insert(place);
}

void Vocabulary::AddAll(std::string_view words) {
  std::array<Hashed, 256> hashed;
  while (!words.empty() && !full_) {
    size_t count = 0;
    for (; count < hashed.size() && !words.empty(); ++count) {
      const std::string_view word = words.substr(0, words.find('\n'));
      hashed[count] = {word, WordHash()(word)};
      words.remove_prefix(std::min(word.size() + 1, words.size()));
    }
    Add(std::span(hashed).first(count));
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
