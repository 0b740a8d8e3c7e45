#pragma once

#include <simdjson.h>

#include <string_view>

#include "varve/logql.h"
#include "varve/query.h"
#include "varve/status.h"

/// What servers answer, read.
namespace varve::cli::shell {

/// Reads what Prometheus's HTTP API answers. Errors: the server's own, with its place in the query;
/// kInvalidArgument for what is no answer.
Result<query::QueryResult> ParseAnswer(std::string_view body);

/// Reads the streams of Loki's answer, or of a frame of its tail. Errors: kInvalidArgument.
Result<query::Streams> ReadStreams(simdjson::dom::array list);

}  // namespace varve::cli::shell
