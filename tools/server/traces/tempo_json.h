#pragma once

#include <string>

#include "varve/traceql.h"

namespace varve::api {

/// Writes a search's result as Tempo's /api/search does. With `details` it also says what Tempo's
/// answers leave out and Varve's own clients show: full names of fields, durations to the
/// nanosecond, services of spans, the root of a trace whose root span is missing.
void WriteTempoSearch(const query::SearchResult& found, bool details, std::string* body);

}  // namespace varve::api
