#include <algorithm>
#include <map>
#include <set>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/api/result_json.h"

namespace varve::api {
namespace {

constexpr std::string_view kTruncated = "results truncated due to limit";

// Runs one lookup per selector (or one without) and merges the sorted answers.
template <typename Lookup>
Result<LookupResult> Union(const std::vector<std::vector<Matcher>>& selectors, size_t limit,
                           Lookup lookup) {
  if (selectors.empty()) return lookup(std::span<const Matcher>());
  if (selectors.size() == 1) return lookup(std::span<const Matcher>(selectors.front()));
  std::set<std::string> merged;
  LookupResult out;
  for (const std::vector<Matcher>& matchers : selectors) {
    VARVE_ASSIGN_OR_RETURN(LookupResult one, lookup(std::span<const Matcher>(matchers)));
    out.truncated |= one.truncated;
    for (std::string& value : one.values) merged.insert(std::move(value));
  }
  for (const std::string& value : merged) {
    if (limit != 0 && out.values.size() == limit) {
      out.truncated = true;
      break;
    }
    out.values.push_back(value);
  }
  return out;
}

http::Response AnswerValues(const Result<LookupResult>& found) {
  if (!found.ok()) return Error(found.status());
  std::string data;
  json::Writer json(&data);
  json.BeginArray();
  for (const std::string& value : found->values) json.String(value);
  json.EndArray();
  Notes notes;
  if (found->truncated) notes.warnings.emplace_back(kTruncated);
  return Success(data, notes);
}

struct LookupParameters {
  std::vector<std::vector<Matcher>> selectors;
  TimeRange range;
  size_t limit = 0;
};

Result<LookupParameters> ReadLookup(const http::Params& params) {
  LookupParameters out;
  VARVE_ASSIGN_OR_RETURN(out.limit, LimitParameter(params));
  VARVE_ASSIGN_OR_RETURN(out.range, RangeParameters(params));
  VARVE_ASSIGN_OR_RETURN(out.selectors, SelectorParameters(params));
  return out;
}

http::Response LabelNames(Context&, Database& database, http::Request& request) {
  const Result<LookupParameters> parameters = ReadLookup(request.params);
  if (!parameters.ok()) return Error(parameters.status());
  const auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  return AnswerValues(
      Union(parameters->selectors, parameters->limit, [&](std::span<const Matcher> matchers) {
        return (*snapshot)->LabelNames(matchers, parameters->range, {parameters->limit});
      }));
}

http::Response LabelValues(Context&, Database& database, http::Request& request) {
  const std::string name = UnescapeName(request.path_params.Get("name"));
  if (name.empty() || !IsValidUtf8(name)) {
    return Error(400, "bad_data", Concat("invalid label name: ", GoQuote(name)));
  }
  const Result<LookupParameters> parameters = ReadLookup(request.params);
  if (!parameters.ok()) return Error(parameters.status());
  const auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  return AnswerValues(
      Union(parameters->selectors, parameters->limit, [&](std::span<const Matcher> matchers) {
        return (*snapshot)->LabelValues(name, matchers, parameters->range, {parameters->limit});
      }));
}

// Writes the label sets of one selection as they are read; keeps nothing but the selection.
class SeriesSource final : public http::BodySource {
 public:
  SeriesSource(std::shared_ptr<const Snapshot> snapshot, std::unique_ptr<SeriesSet> set,
               size_t limit)
      : snapshot_(std::move(snapshot)), set_(std::move(set)) {
    size_ = limit == 0 ? set_->size() : std::min(limit, set_->size());
  }

  Result<bool> Next(size_t bytes_hint, std::string* out) override {
    const size_t begin = out->size();
    if (!started_) {
      AppendSuccessHead(out);
      out->push_back('[');
      started_ = true;
    }
    while (next_ < size_ && out->size() - begin < bytes_hint) {
      if (next_ > 0) out->push_back(',');
      json::Writer json(out);
      set_->GetLabels(next_++, &labels_);
      WriteLabels(labels_, &json);
    }
    if (next_ < size_) return true;
    out->push_back(']');
    Notes notes;
    if (size_ < set_->size()) notes.warnings.emplace_back(kTruncated);
    AppendSuccessTail(notes, out);
    return false;
  }

 private:
  const std::shared_ptr<const Snapshot> snapshot_;
  const std::unique_ptr<SeriesSet> set_;
  std::vector<LabelView> labels_;
  size_t size_ = 0;
  size_t next_ = 0;
  bool started_ = false;
};

http::Response Series(Context&, Database& database, http::Request& request) {
  if (!request.params.Has("match[]")) {
    return Error(400, "bad_data", "no match[] parameter provided");
  }
  const Result<LookupParameters> parameters = ReadLookup(request.params);
  if (!parameters.ok()) return Error(parameters.status());
  auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  if (parameters->selectors.size() == 1) {
    auto set = (*snapshot)->Select(parameters->selectors.front(), parameters->range);
    if (!set.ok()) return Error(set.status());
    http::Response response = http::Response::Json(200, "");
    response.source =
        std::make_unique<SeriesSource>(*std::move(snapshot), *std::move(set), parameters->limit);
    return response;
  }
  // Several selectors may find the same series, so they are merged by labels.
  std::set<Labels> merged;
  std::vector<LabelView> labels;
  for (const std::vector<Matcher>& matchers : parameters->selectors) {
    const auto set = (*snapshot)->Select(matchers, parameters->range);
    if (!set.ok()) return Error(set.status());
    for (size_t i = 0; i < (*set)->size(); ++i) {
      if (request.cancel->cancelled()) return Error(499, "canceled", "request was canceled");
      (*set)->GetLabels(i, &labels);
      merged.insert(Labels(LabelsView(labels)));
    }
  }
  std::string data;
  json::Writer json(&data);
  json.BeginArray();
  size_t count = 0;
  Notes notes;
  for (const Labels& series : merged) {
    if (parameters->limit != 0 && count == parameters->limit) {
      notes.warnings.emplace_back(kTruncated);
      break;
    }
    ++count;
    WriteLabels(series, &json);
  }
  json.EndArray();
  return Success(data, notes);
}

http::Response FamilyMetadata(Context&, Database& database, http::Request& request) {
  const auto number = [&](std::string_view name) -> Result<int64_t> {
    const std::string_view text = request.params.Get(name);
    if (text.empty()) return -1;
    const Result<size_t> value = LimitParameter(request.params, name);
    if (!value.ok()) {
      return MakeStatus(StatusCode::kInvalidArgument, Concat(name, " must be a number"));
    }
    return static_cast<int64_t>(*value);
  };
  const Result<int64_t> limit = number("limit");
  if (!limit.ok()) return Error(limit.status());
  const Result<int64_t> per_metric = number("limit_per_metric");
  if (!per_metric.ok()) return Error(per_metric.status());
  const std::string_view metric = request.params.Get("metric");
  const auto snapshot = database.TakeSnapshot();
  if (!snapshot.ok()) return Error(snapshot.status());
  std::string data;
  json::Writer json(&data);
  json.BeginObject();
  int64_t families = 0;
  for (const auto& [family, entries] : (*snapshot)->FamilyMetadata()) {
    if (!metric.empty() && family != metric) continue;
    if (*limit >= 0 && families == *limit) break;
    ++families;
    json.Key(family).BeginArray();
    int64_t count = 0;
    for (const Metadata& entry : entries) {
      if (*per_metric > 0 && count == *per_metric) break;
      ++count;
      json.BeginObject().Field("type", ToString(entry.type)).Field("help", entry.help);
      json.Field("unit", entry.unit).EndObject();
    }
    json.EndArray();
  }
  json.EndObject();
  return Success(data);
}

}  // namespace

void AddSeriesRoutes(Context* context, http::Router* router) {
  constexpr http::RouteOptions kForm{
      .lane = http::Lane::kQuery, .body_bytes_max = 10u << 20, .form = true};
  constexpr http::RouteOptions kPlain{.lane = http::Lane::kQuery};
  AddRoute(context, router, http::kGetPost, "/api/v1/series", kForm, Series);
  AddRoute(context, router, http::kGetPost, "/api/v1/labels", kForm, LabelNames);
  AddRoute(context, router, http::kGetOnly, "/api/v1/label/:name/values", kPlain, LabelValues);
  AddRoute(context, router, http::kGetOnly, "/api/v1/metadata", kPlain, FamilyMetadata);
}

}  // namespace varve::api
