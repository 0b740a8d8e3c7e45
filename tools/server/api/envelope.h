#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tools/server/http/message.h"
#include "varve/status.h"

/// The envelope around every answer of the Prometheus API.
namespace varve::api {

/// Notes that go with an answer.
struct Notes {
  std::vector<std::string> warnings;
  std::vector<std::string> infos;
};

/// Wraps JSON `data`: {"status":"success","data":...}.
http::Response Success(std::string_view data, const Notes& notes = {});

/// Writes what stands before and after the data of a success, for streamed answers.
void AppendSuccessHead(std::string* out);
void AppendSuccessTail(const Notes& notes, std::string* out);

/// The error types that a Status cannot tell.
http::Response Error(int status, std::string_view type, std::string_view message);
/// Chooses type and HTTP status: bad_data 400, execution 422, timeout 503, canceled 499, not_found
/// 404, internal 500. A full budget is an execution error.
http::Response Error(const Status& status);

/// What every handler under /api/v1 answers while the WAL is being replayed.
http::Response NotReady();

}  // namespace varve::api
