#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "varve/labels.h"
#include "varve/status.h"

namespace varve::query {

/// Parses a selector such as `up{job="x"}`, for Snapshot::Select and its like. Errors:
/// kInvalidArgument with the place (TextPlaceOf); at least one matcher must not match the empty
/// string.
Result<std::vector<Matcher>> ParseSelector(std::string_view text);

/// Shows the line of `text` that `status` speaks of, with a caret under the place and the message:
/// three lines. Gives the bare message if the status carries no place.
std::string RenderError(std::string_view text, const Status& status);

}  // namespace varve::query
