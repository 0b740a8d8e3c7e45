#pragma once

#include "tools/ingest/context.h"

namespace varve::ingest {

/// Builds an answer that carries an error text, ending in a newline as net/http's do.
HttpOutcome ErrorOutcome(int status, std::string_view text);

/// Chooses the answer to an error of a decoder or of Database::Append: 400 for what is wrong with
/// the rows, 507 for a full disk or an exhausted limit and 503 for a store that cannot write, both
/// with Retry-After, 500 for the rest.
HttpOutcome OutcomeOfStoreError(const Status& status);

/// Chooses the answer to an error of DecodeBody: 413 for a limit, 400 for bad bytes.
HttpOutcome OutcomeOfBodyError(const Status& status);

}  // namespace varve::ingest
