#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/rows.h"
#include "engine/logs/vocabulary.h"
#include "varve/status.h"

namespace varve::logs {

/// Encodes and decodes the lines of a row group, byte for byte. Spec:
/// engine/docs/format/logs-block.md, "Lines".
///
/// Words with a digit are variables; the rest of a line is its template. Variables of one place in
/// one template form a column, written as what they are: a constant, numbers, hexadecimal, few
/// distinct values, or text. Lines of rare templates stay whole. Where all that is not smaller than
/// Zstd over the whole lines, those are kept. (Source of the idea: Rodrigues, Luo, Yuan, "CLP:
/// Efficient and Scalable Search on Compressed Text Logs", OSDI 2021.)

/// Appends the smallest encoding of `lines`, and to `keys` the hashes of what a filter should know:
/// WordKey of every word with a letter, AddIdKeys of long ones with a digit, AddNumberKeys of all
/// words, and the keys that AddPairKeys may ask for. Keys may repeat.
/// `vocabulary`, if not null, gets every word for which InVocabulary holds.
void EncodeLines(std::span<const std::string_view> lines, std::string* out,
                 std::vector<uint64_t>* keys, Vocabulary* vocabulary = nullptr);

/// Fills text and line_begin of `rows` with `count` lines of `text_bytes` bytes together. Safe on
/// any bytes. Errors: kDataLoss.
Status DecodeLines(std::string_view bytes, uint32_t count, uint64_t text_bytes, Rows* rows);

/// Tells that some line may contain `needle`, from the templates and the columns of text alone.
/// Much cheaper than decoding; may say yes wrongly. Errors: kDataLoss.
Result<bool> LinesMayContain(std::string_view bytes, uint32_t count, uint64_t text_bytes,
                             std::string_view needle);

/// Returns the longest part of `needle` that no way of cutting lines cuts through: in every encoded
/// line that holds the needle, this part lies in one piece in a template or in a value that is
/// neither number nor hexadecimal. May be empty.
std::string_view UncutPart(std::string_view needle);

// --- Words and ids, as filters see them ---

/// Bytes of words: ASCII letters and digits, the underscore, all that is not ASCII.
enum CharClass : uint8_t { kDelimiter = 0, kLetter = 1, kDigit = 2 };
/// The class of each byte: 256 of them.
extern const uint8_t* const kCharClass;

/// Tells that a word has a letter that hexadecimal has not: such words are few enough to be listed.
bool InVocabulary(std::string_view word);
/// Hashes a word, whatever the case of its ASCII letters.
uint64_t WordKey(std::string_view word);
/// Words of at least this many bytes with letters and digits are ids: every piece of an id that is
/// as long has one of its minimizers.
inline constexpr size_t kIdBytesMin = 13;
/// Appends the keys of pairs of neighbouring words: of two words of letters with one space between.
/// In every encoded line that holds `needle` those lie in one piece, and so does what the filter
/// was told. Words at the ends of the needle may go on outside of it and make no pair.
void AddPairKeys(std::string_view needle, std::vector<uint64_t>* keys);
/// Appends the keys of the minimizers of `id` (k = 6, windows of 8). Source: Schleimer, Wilkerson,
/// Aiken, "Winnowing: Local Algorithms for Document Fingerprinting" (2003).
void AddIdKeys(std::string_view id, std::vector<uint64_t>* keys);
/// Runs of at least this many digits are numbers, whatever stands around them: every piece of a
/// number that is as long has one of its minimizers.
inline constexpr size_t kNumberBytesMin = 9;
/// Appends the keys of the minimizers of all numbers in `word` (k = 6, windows of 4).
void AddNumberKeys(std::string_view word, std::vector<uint64_t>* keys);

}  // namespace varve::logs
