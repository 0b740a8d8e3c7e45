#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/logs/rows.h"
#include "varve/status.h"

namespace varve::logs {

/// A page: entries encoded in arrival order, LZ4-compressed where that is smaller. The body of a
/// WAL record and a closed page of a head are the same bytes, so that a large batch is compressed
/// once. Spec: engine/docs/format/logs-wal.md, "Pages".

/// Bounds what a page may inflate to.
inline constexpr uint64_t kPageRawBytesMax = uint64_t{1} << 30;

/// Appends a page of `entries`; `one_stream` leaves out which stream each is of.
void EncodePage(std::span<const EntryView> entries, bool one_stream, std::string* out);

/// Returns the LZ4 block in a page that DecodePage takes, empty if there is none.
std::string_view BlockOfPage(std::string_view page);

/// Replaces `rows` by the entries of a page, and `streams` by their streams (empty for a page of
/// one). Safe on any bytes: memory is bounded by kPageRawBytesMax and by 255 times the page's
/// bytes. rows->text is the inflated page, whose lines are at its end, and metadata points into it.
/// Errors: kDataLoss.
Status DecodePage(std::string_view page, Rows* rows, std::vector<uint32_t>* streams);

}  // namespace varve::logs
