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

/// So many words wait for the vocabulary.
constexpr size_t kWordsAtOnce = 1024;

/// The key of two neighbouring words, from their hashes.
uint64_t PairOf(uint64_t first, uint64_t second) { return first * 0x9e3779b97f4a7c15 + second; }

}  // namespace

void KeyCollector::Start(std::vector<uint64_t>* keys, Vocabulary* vocabulary) {
  keys_ = keys;
  vocabulary_ = vocabulary;
  words_.clear();
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
  AddWords(text);
}

void KeyCollector::Add(std::string_view text) {
  AddWords(text);
  PassWords();
}

void KeyCollector::AddWords(std::string_view text) {
  const TextKernel& kernel = BestTextKernel();
  Before before;
  for (size_t at = 0; at < text.size();) {
    if (words_.size() >= kWordsAtOnce) PassWords();
    const size_t left = text.size() - at;
    const WordBytes bytes = kernel.word_bytes(text.data() + at);
    uint64_t words = left >= 64 ? bytes.words : bytes.words & ((uint64_t{1} << left) - 1);
    size_t step = 64;
    while (words != 0) {
      const auto begin = static_cast<size_t>(std::countr_zero(words));
      const auto size = static_cast<size_t>(std::countr_one(words >> begin));
      if (begin + size == 64 && left > 64) {
        // The word may go on: it is looked at again from where it begins, or byte by byte.
        step = begin > 0 ? begin : AddLongWord(text.substr(at), &before);
        break;
      }
      const uint64_t mask = ~uint64_t{0} >> (64 - size) << begin;
      words ^= words & mask;
      AddWord({text.data() + at + begin, size}, bytes, mask, &before);
    }
    at += step;
  }
}

/// Adds the word that `text` begins with, however long it is, and returns its size.
size_t KeyCollector::AddLongWord(std::string_view text, Before* before) {
  uint8_t all = 0;
  size_t digits = 0;
  size_t size = 0;
  for (; size < text.size(); ++size) {
    const uint8_t bits = kWordBits[static_cast<uint8_t>(text[size])];
    if (bits == 0) break;
    all |= bits;
    if ((bits & kWordDigit) != 0) ++digits;
  }
  // As if it were of two bytes that have what it has.
  constexpr uint64_t kBoth = 3;
  WordBytes bytes{};
  bytes.words = kBoth;
  bytes.digits = digits == size ? kBoth : digits != 0 ? 1 : 0;
  bytes.upper = (all & kWordUpper) != 0 ? 1 : 0;
  bytes.beyond_hex = (all & kWordBeyondHex) != 0 ? 1 : 0;
  AddWord(text.substr(0, size), bytes, kBoth, before);
  return size;
}

/// Adds a word; `mask`: its bytes in `bytes`.
///
/// Whether something came lately is told by hashes of this process: of those that are stored,
/// whoever writes lines can make two words share one, and the second would be taken for the first.
inline void KeyCollector::AddWord(std::string_view word, const WordBytes& bytes, uint64_t mask,
                                  Before* before) {
  const uint64_t digits = bytes.digits & mask;
  if (digits == mask) return AddDigits(word);
  const uint64_t hash = hash_.Padded(word);
  if (digits == 0) {
    const std::string_view first = before->word;
    if (!first.empty() && first.data() + first.size() + 1 == word.data() &&
        word.data()[-1] == ' ' && !Recent(PairOf(before->hash, hash))) {
      keys_->push_back(PairOf(Hash64(first), Hash64(word)));
    }
    *before = {word, hash};
  }
  if (Recent(hash)) return;
  keys_->push_back((bytes.upper & mask) != 0 ? WordKey(word) : Hash64(word));
  if ((bytes.beyond_hex & mask) != 0) words_.push_back({word, hash});
  if (digits == 0) return;
  if (word.size() >= kIdBytesMin) AddIdKeys(word, keys_);
  AddNumberKeys(word, keys_);
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

/// Appends of each window of `kWindow` neighbouring grams the smallest hash, where it is not that
/// of the window before. Source for the windows: van Herk, "A fast algorithm for local minimum and
/// maximum filters on rectangular and octagonal kernels" (1992): each is the end of one block of
/// kWindow grams and the beginning of the next, of which the smallest are known.
template <size_t kWindow>
void AddMinimizers(std::string_view text, std::vector<uint64_t>* keys) {
  if (text.size() < kGram + kWindow - 1) return;
  uint64_t gram = 0;
  const auto add_byte = [&gram](char c) {
    const auto byte = static_cast<uint8_t>(c);
    gram = gram << 8 | (byte >= 'A' && byte <= 'Z' ? byte + 32u : byte);
  };
  for (size_t i = 0; i + 1 < kGram; ++i) add_byte(text[i]);
  const auto next_hash = [&](size_t i) {
    add_byte(text[i]);
    uint64_t hash = gram & ((uint64_t{1} << 8 * kGram) - 1);
    hash ^= hash >> 29;
    hash *= 0xbf58476d1ce4e5b9;
    hash ^= hash >> 32;
    hash *= 0x94d049bb133111eb;
    return hash ^ hash >> 29;
  };
  std::array<uint64_t, kWindow> block;
  std::array<uint64_t, kWindow + 1> ends;  // from each gram of the block before to its last one
  ends.fill(UINT64_MAX);
  std::array<uint64_t, kWindow> found;
  uint64_t last = 0;
  size_t at = kGram - 1;
  // The first window is whole with the last gram of the first block.
  size_t skipped = kWindow - 1;
  while (at < text.size()) {
    const size_t grams = std::min(kWindow, text.size() - at);
    uint64_t begin = UINT64_MAX;
    size_t count = 0;
    for (size_t i = 0; i < grams; ++i) {
      block[i] = next_hash(at + i);
      begin = std::min(begin, block[i]);
      const uint64_t smallest = std::min(begin, ends[i + 1]);
      if (i < skipped) continue;
      found[count] = smallest;
      count += smallest != last ? 1 : 0;
      last = smallest;
    }
    keys->insert(keys->end(), found.begin(), found.begin() + static_cast<ptrdiff_t>(count));
    at += grams;
    skipped = 0;
    for (size_t i = kWindow; i-- > 0;) ends[i] = std::min(ends[i + 1], block[i]);
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
