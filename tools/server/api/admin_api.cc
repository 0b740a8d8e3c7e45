#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>

#include "engine/base/strings.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/json/writer.h"

namespace varve::api {
namespace {

http::Response Snapshot(Context& context, Database& database, http::Request& request) {
  BackupOptions options;
  if (const std::string_view text = request.params.Get("skip_head"); !text.empty()) {
    const std::optional<bool> skip = ParseGoBool(text);
    if (!skip) {
      return Error(400, "bad_data",
                   Concat("invalid parameter \"skip_head\": unable to parse boolean ",
                          "strconv.ParseBool: parsing ", GoQuote(text), ": invalid syntax"));
    }
    options.skip_heads = *skip;
  }
  // 20260102T030405Z-1f2e3d4c5b6a7988, as Prometheus names them.
  std::string name = FormatTime(context.clock->NowMs()).substr(0, 19);
  std::erase(name, '-');
  std::erase(name, ':');
  char random[24];
  std::random_device device;
  std::snprintf(random, sizeof(random), "Z-%08x%08x", device(), device());
  name += random;
  const std::string parent = context.data_dir + "/snapshots";
  if (mkdir(parent.c_str(), 0700) != 0 && errno != EEXIST) {
    return Error(500, "internal", Concat("create snapshots directory: ", std::strerror(errno)));
  }
  const std::string dir = parent + "/" + name;
  Status status = database.Backup(dir, options);
  if (status.ok() && context.backup_beside != nullptr) {
    status = context.backup_beside(dir, options);
  }
  if (!status.ok()) {
    return Error(500, "internal", Concat("create snapshot: ", ToStd(status.message())));
  }
  std::string data;
  json::Writer json(&data);
  json.BeginObject().Field("name", name).EndObject();
  return Success(data);
}

http::Response NoContent() {
  http::Response response;
  response.status = 204;
  return response;
}

http::Response DeleteSeries(Context&, Database& database, http::Request& request) {
  if (!request.params.Has("match[]")) {
    return Error(400, "bad_data", "no match[] parameter provided");
  }
  const Result<TimeRange> range = RangeParameters(request.params);
  if (!range.ok()) return Error(range.status());
  const auto selectors = SelectorParameters(request.params);
  if (!selectors.ok()) return Error(selectors.status());
  for (const std::vector<Matcher>& matchers : *selectors) {
    if (const Status status = database.DeleteSeries(matchers, *range); !status.ok()) {
      return Error(status);
    }
  }
  return NoContent();
}

http::Response CleanTombstones(Context&, Database& database, http::Request&) {
  if (const Status status = database.Compact(); !status.ok()) return Error(status);
  return NoContent();
}

}  // namespace

void AddAdminRoutes(Context* context, http::Router* router) {
  constexpr http::RouteOptions kAdmin{.lane = http::Lane::kWrite,
                                      .body_bytes_max = 1u << 20,
                                      .form = true,
                                      .ignore_disconnect = true};
  const auto add = [&](std::string_view path, DatabaseHandler handler) {
    AddRoute(context, router, http::kPostPut, path, kAdmin,
             [handler = std::move(handler)](Context& context_, Database& database,
                                            http::Request& request) {
               if (!context_.enable_admin_api) {
                 return Error(500, "unavailable", "admin APIs disabled");
               }
               return handler(context_, database, request);
             });
  };
  add("/api/v1/admin/tsdb/snapshot", Snapshot);
  add("/api/v1/admin/tsdb/delete_series", DeleteSeries);
  add("/api/v1/admin/tsdb/clean_tombstones", CleanTombstones);
}

}  // namespace varve::api
