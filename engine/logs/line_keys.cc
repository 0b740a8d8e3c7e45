#include "engine/logs/line_keys.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string>

#include "engine/base/hash.h"
#include "engine/base/short_text.h"
#include "engine/logs/char_class.h"

namespace varve::logs {
namespace {

/// The key of two neighbouring words, from their hashes.
uint64_t PairOf(uint64_t first, uint64_t second) { return first * 0x9e3779b97f4a7c15 + second; }

}  // namespace

void KeyCollector::Start(std::vector<uint64_t>* keys, Vocabulary* vocabulary) {
  keys_ = keys;
  vocabulary_ = vocabulary;
  // A slot begins with a hash that belongs to another one.
  recent_.fill(0);
  recent_[0] = uint64_t{1} << 63;
  values_.fill({});
}

void KeyCollector::AddValue(std::string_view text) {
  if (text.size() >= sizeof(uint64_t)) {
    uint64_t first = 0;
    uint64_t last = 0;
    std::memcpy(&first, text.data(), sizeof first);
    std::memcpy(&last, text.data() + text.size() - sizeof last, sizeof last);
    std::string_view& slot =
        values_[((first ^ std::rotl(last, 29)) * 0x9e3779b97f4a7c15 + text.size()) >> 53];
    if (SameShort(slot, text)) return;
    slot = text;
  }
  Add(text);
}

void KeyCollector::Add(std::string_view text) {
  const auto* at = reinterpret_cast<const uint8_t*>(text.data());
  const uint8_t* const end = at + text.size();
  // The last word of letters, where it ended, and its hash. Whether something came lately is told
  // by hashes of this process: of those that are stored, whoever writes lines can make two words
  // share one, and the second would be taken for the first.
  const uint8_t* last_end = nullptr;
  std::string_view last_word;
  uint64_t last = 0;
  while (at < end) {
    uint8_t bits = kWordBits[*at];
    if (bits == 0) {
      ++at;
      continue;
    }
    const uint8_t* const begin = at;
    for (uint8_t more = bits; more != 0; more = ++at < end ? kWordBits[*at] : 0) bits |= more;
    const std::string_view word(reinterpret_cast<const char*>(begin),
                                static_cast<size_t>(at - begin));
    if (bits == kWordDigit) {
      AddDigits(word);
      continue;
    }
    const uint64_t hash = Hash64(word, seed_);  // what StringHash gives, which vocabularies want
    const bool digits = (bits & kWordDigit) != 0;
    if (!digits) {
      if (last_end != nullptr && last_end + 1 == begin && *last_end == ' ') {
        if (!Recent(PairOf(last, hash))) keys_->push_back(PairOf(Hash64(last_word), Hash64(word)));
      }
      last = hash;
      last_word = word;
      last_end = at;
    }
    if (Recent(hash)) continue;
    keys_->push_back((bits & kWordUpper) != 0 ? WordKey(word) : Hash64(word));
    if (vocabulary_ != nullptr && (bits & kWordBeyondHex) != 0) vocabulary_->Add(word, hash);
    if (digits && word.size() >= kIdBytesMin) AddIdKeys(word, keys_);
    if (digits) AddNumberKeys(word, keys_);
  }
}
bool InVocabulary(std::string_view word) {
  return std::any_of(word.begin(), word.end(), [](char c) {
    const char low = static_cast<char>(c | 0x20);
    return kCharClass[static_cast<uint8_t>(c)] == kLetter && !(low >= 'a' && low <= 'f');
  });
}

uint64_t WordKey(std::string_view word) {
  char folded[64];
  std::string longer;
  char* to = folded;
  if (word.size() > sizeof folded) {
    longer.resize(word.size());
    to = longer.data();
  }
  for (size_t i = 0; i < word.size(); ++i) {
    const char c = word[i];
    to[i] = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return Hash64({to, word.size()});
}

void AddPairKeys(std::string_view needle, std::vector<uint64_t>* keys) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(needle[i]); };
  // Whether the word before is one of letters that no cut parts from what follows, and its hash.
  bool open = false;
  uint64_t last = 0;
  for (size_t i = 1; i < needle.size();) {
    if (kCharClass[byte(i - 1)] != kDelimiter || kCharClass[byte(i)] == kDelimiter) {
      if (needle[i] != ' ' || kCharClass[byte(i - 1)] == kDelimiter) open = false;
      ++i;
      continue;
    }
    const size_t begin = i;
    uint8_t classes = 0;
    while (i < needle.size() && kCharClass[byte(i)] != kDelimiter) classes |= kCharClass[byte(i++)];
    if (i == needle.size()) return;
    const bool ends = EndsField(needle[i]);
    const uint64_t hash = Hash64(needle.substr(begin, i - begin));
    if (classes != kLetter) {
      open = false;
      continue;
    }
    if (open && ends) keys->push_back(PairOf(last, hash));
    const char before = needle[begin - 1];
    open = EndsField(before) && before != '=' && before != ':';
    last = hash;
  }
}

namespace {

constexpr size_t kGram = 6;

/// Appends of each window of `kWindow` neighbouring grams the smallest hash.
template <size_t kWindow>
void AddMinimizers(std::string_view text, std::vector<uint64_t>* keys) {
  if (text.size() < kGram + kWindow - 1) return;
  const size_t grams = text.size() - kGram + 1;
  const auto hash_at = [&](size_t i) {
    uint64_t gram = 0;
    for (size_t k = 0; k < kGram; ++k) {
      const char c = text[i + k];
      gram = gram << 8 | static_cast<uint8_t>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    gram ^= gram >> 29;
    gram *= 0xbf58476d1ce4e5b9;
    gram ^= gram >> 32;
    gram *= 0x94d049bb133111eb;
    return gram ^ gram >> 29;
  };
  // The hashes of one window, in a ring; the smallest is looked for again when it leaves.
  std::array<uint64_t, kWindow> ring;
  uint64_t last = 0;
  uint64_t smallest = UINT64_MAX;
  for (size_t i = 0; i < grams; ++i) {
    const uint64_t leaves = i >= kWindow ? ring[i % kWindow] : UINT64_MAX;
    const uint64_t hash = ring[i % kWindow] = hash_at(i);
    smallest = i >= kWindow && leaves == smallest ? *std::min_element(ring.begin(), ring.end())
                                                  : std::min(smallest, hash);
    if (i + 1 < kWindow) continue;
    if (smallest != last) keys->push_back(smallest);
    last = smallest;
  }
}

}  // namespace

void AddIdKeys(std::string_view id, std::vector<uint64_t>* keys) {
  AddMinimizers<kIdBytesMin - kGram + 1>(id, keys);
}

void AddNumberKeys(std::string_view word, std::vector<uint64_t>* keys) {
  for (size_t at = 0; at + kNumberBytesMin <= word.size(); ++at) {
    const size_t begin = at;
    while (at < word.size() && kCharClass[static_cast<uint8_t>(word[at])] == kDigit) ++at;
    if (at - begin >= kNumberBytesMin) {
      AddMinimizers<kNumberBytesMin - kGram + 1>(word.substr(begin, at - begin), keys);
    }
  }
}

}  // namespace varve::logs
