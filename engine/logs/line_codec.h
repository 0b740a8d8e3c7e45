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
/// what a KeyCollector collects of them, which knows of words, ids, numbers and pairs of words
/// (line_keys.h). Keys may repeat. `vocabulary`, if not null, gets the words that belong there.
/// What did not help in groups that the thread encoded before is not tried in each: the same lines
/// may be encoded in another way. Precondition: behind each line are kTextPadding bytes that may be
/// read (text_kernels.h).
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

}  // namespace varve::logs
