#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/server/api/context.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/fuzzy_match.h"
#include "tools/server/api/parameters.h"
#include "tools/server/json/writer.h"

/// Prometheus's experimental search API: names and values that look like what was typed, as lines
/// of JSON in batches, the last line saying whether there is more.
namespace varve::api {
namespace {

constexpr size_t kLimit = 100;
constexpr size_t kBatch = 100;
/// Counting series costs a selection each, so that many results are counted at most.
constexpr size_t kCountedMax = 20'000;

struct SearchParameters {
  std::vector<std::vector<Matcher>> selectors;
  TimeRange range;
  std::optional<FuzzyMatcher> matcher;  // none: everything matches
  std::string_view sort_by;
  bool descending = false;
  size_t limit = kLimit;
  size_t batch = kBatch;
};

struct Found {
  std::string name;
  double score = 1;
  std::optional<uint64_t> cardinality;
  std::optional<uint64_t> frequency;
};

Status Bad(std::string_view what) { return MakeStatus(StatusCode::kInvalidArgument, what); }

/// Reads a parameter that is a whole number from 0 to `most`; `otherwise` if it is absent.
Result<size_t> Number(const http::Params& params, std::string_view name, size_t most,
                      size_t otherwise, std::string_view what) {
  const std::string_view text = params.Get(name);
  if (text.empty()) return otherwise;
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > most) {
    return Bad(Concat("invalid ", name, " ", GoQuote(text), ": must be ", what));
  }
  return value;
}

Result<SearchParameters> ReadSearch(const http::Params& params,
                                    std::initializer_list<std::string_view> orders) {
  constexpr std::string_view kNatural = "non-negative integer";
  SearchParameters out;
  VARVE_ASSIGN_OR_RETURN(out.range, RangeParameters(params));
  VARVE_ASSIGN_OR_RETURN(out.selectors, SelectorParameters(params));
  VARVE_ASSIGN_OR_RETURN(const size_t threshold, Number(params, "fuzz_threshold", 100, 0, "0-100"));
  const std::string_view algorithm = params.Get("fuzz_alg");
  if (!algorithm.empty() && algorithm != "subsequence" && algorithm != "jarowinkler") {
    return Bad(Concat("unsupported fuzz_alg ", GoQuote(algorithm),
                      ": must be \"subsequence\" or \"jarowinkler\""));
  }
  const std::string_view case_text = params.Get("case_sensitive");
  const std::optional<bool> case_sensitive = case_text.empty() ? true : ParseGoBool(case_text);
  if (!case_sensitive) {
    return Bad(Concat("invalid case_sensitive ", GoQuote(case_text), ": must be boolean"));
  }
  if (const std::string_view search = params.Get("search"); !search.empty()) {
    if (search.size() > FuzzyMatcher::kBytesMax) {
      return Bad(Concat("search is longer than ", FuzzyMatcher::kBytesMax, " bytes"));
    }
    out.matcher.emplace(search, static_cast<double>(threshold) / 100, *case_sensitive,
                        algorithm == "jarowinkler" ? FuzzyMatcher::Algorithm::kJaroWinkler
                                                   : FuzzyMatcher::Algorithm::kSubsequence);
  }
  out.sort_by = params.Get("sort_by");
  if (!out.sort_by.empty() && std::ranges::find(orders, out.sort_by) == orders.end()) {
    std::string list;
    for (const std::string_view order : orders) list += Concat(list.empty() ? "" : ", ", order);
    return Bad(Concat("invalid sort_by ", GoQuote(out.sort_by), ": must be one of ", list));
  }
  const std::string_view direction = params.Get("sort_dir");
  if (!direction.empty() && out.sort_by.empty()) {
    return Bad("sort_dir is only valid when sort_by is set");
  }
  if (!direction.empty() && direction != "asc" && direction != "dsc") {
    return Bad(Concat("invalid sort_dir ", GoQuote(direction), ": must be \"asc\" or \"dsc\""));
  }
  out.descending = direction == "dsc";
  VARVE_ASSIGN_OR_RETURN(out.limit, Number(params, "limit", SIZE_MAX, 0, kNatural));
  if (out.limit == 0) out.limit = kLimit;
  VARVE_ASSIGN_OR_RETURN(out.batch, Number(params, "batch_size", SIZE_MAX, 0, kNatural));
  if (out.batch == 0) out.batch = kBatch;
  return out;
}

/// One search while it runs.
class Search {
 public:
  Search(const Snapshot& snapshot, const SearchParameters& parameters, const http::Request& request)
      : snapshot_(snapshot), parameters_(parameters), request_(request) {}

  /// Finds what matches among what `lookup` lists for each selector, by name.
  template <typename Lookup>
  Status Run(Lookup lookup, std::vector<Found>* out) const {
    std::set<std::string> names;
    VARVE_RETURN_IF_ERROR(ForEachSelector({}, [&](std::span<const Matcher> matchers) -> Status {
      VARVE_ASSIGN_OR_RETURN(LookupResult found, lookup(matchers));
      for (std::string& name : found.values) names.insert(std::move(name));
      return absl::OkStatus();
    }));
    for (const std::string& name : names) {
      std::optional<double> score = 1;
      if (parameters_.matcher) score = parameters_.matcher->Score(name);
      if (score) out->push_back({name, *score, std::nullopt, std::nullopt});
    }
    return absl::OkStatus();
  }

  /// Counts the series under any of the selectors for which `extra` holds too.
  Result<uint64_t> CountSeries(const Matcher& extra) const {
    std::set<Labels> several;
    uint64_t one = 0;
    VARVE_RETURN_IF_ERROR(ForEachSelector(extra, [&](std::span<const Matcher> matchers) -> Status {
      VARVE_ASSIGN_OR_RETURN(const auto set, snapshot_.Select(matchers, parameters_.range));
      one = set->size();
      if (parameters_.selectors.size() <= 1) return absl::OkStatus();
      std::vector<LabelView> labels;
      for (size_t i = 0; i < set->size(); ++i) {
        set->GetLabels(i, &labels);
        several.insert(Labels(LabelsView(labels)));
      }
      return absl::OkStatus();
    }));
    return parameters_.selectors.size() <= 1 ? one : several.size();
  }
  /// Counts the values of a label under the selectors.
  Result<uint64_t> CountValues(std::string_view name) const {
    std::set<std::string> several;
    VARVE_RETURN_IF_ERROR(ForEachSelector({}, [&](std::span<const Matcher> matchers) -> Status {
      VARVE_ASSIGN_OR_RETURN(LookupResult found,
                             snapshot_.LabelValues(name, matchers, parameters_.range, {}));
      several.insert(std::make_move_iterator(found.values.begin()),
                     std::make_move_iterator(found.values.end()));
      return absl::OkStatus();
    }));
    return several.size();
  }

  /// Fills a count of each result.
  template <typename CountOne>
  Status Count(std::optional<uint64_t> Found::* count, std::vector<Found>* found,
               CountOne count_one) const {
    if (found->size() > kCountedMax) {
      return Bad(Concat("the search finds more than ", kCountedMax,
                        " results, too many to count the series of each"));
    }
    for (Found& one : *found) {
      VARVE_ASSIGN_OR_RETURN(one.*count, count_one(one.name));
    }
    return absl::OkStatus();
  }

  /// Orders the results, which come by name.
  void Sort(std::vector<Found>* found) const {
    const auto by = [&](auto key) {
      std::ranges::stable_sort(*found, [&](const Found& a, const Found& b) {
        return parameters_.descending ? key(b) < key(a) : key(a) < key(b);
      });
    };
    if (parameters_.sort_by == "alpha") by([](const Found& f) { return std::string_view(f.name); });
    if (parameters_.sort_by == "cardinality") by([](const Found& f) { return f.cardinality; });
    if (parameters_.sort_by == "frequency") by([](const Found& f) { return f.frequency; });
    // The best come first, whatever the direction.
    if (parameters_.sort_by == "score") {
      std::ranges::stable_sort(*found,
                               [](const Found& a, const Found& b) { return a.score > b.score; });
    }
  }

  /// Writes the answer; `extra` adds fields to a result.
  template <typename Extra>
  http::Response Answer(std::vector<Found> found, Extra extra) const {
    const bool more = found.size() > parameters_.limit;
    if (more) found.resize(parameters_.limit);
    std::string body;
    for (size_t begin = 0; begin == 0 || begin < found.size(); begin += parameters_.batch) {
      json::Writer json(&body);
      json.BeginObject().Key("results").BeginArray();
      const size_t end = begin + std::min(parameters_.batch, found.size() - begin);
      for (size_t i = begin; i < end; ++i) {
        json.BeginObject().Field("name", found[i].name);
        if (found[i].cardinality) json.Key("cardinality").Uint(*found[i].cardinality);
        if (found[i].frequency) json.Key("frequency").Uint(*found[i].frequency);
        extra(found[i].name, &json);
        json.EndObject();
      }
      json.EndArray().EndObject();
      body += '\n';
      if (end == found.size()) break;
    }
    json::Writer json(&body);
    json.BeginObject().Field("status", "success").Key("has_more").Bool(more).EndObject();
    body += '\n';
    http::Response response = http::Response::Json(200, std::move(body));
    response.headers.Set("Content-Type", "application/x-ndjson; charset=utf-8");
    return response;
  }

 private:
  /// Calls `body` with the matchers of each selector, once if there is none, with `extra` added.
  template <typename Body>
  Status ForEachSelector(const std::optional<Matcher>& extra, Body body) const {
    std::vector<std::vector<Matcher>> all = parameters_.selectors;
    if (all.empty()) all.emplace_back();
    for (std::vector<Matcher>& matchers : all) {
      if (request_.cancel->cancelled()) {
        return MakeStatus(StatusCode::kCancelled, "request was canceled");
      }
      if (extra) matchers.push_back(*extra);
      VARVE_RETURN_IF_ERROR(body(std::span<const Matcher>(matchers)));
    }
    return absl::OkStatus();
  }

  const Snapshot& snapshot_;
  const SearchParameters& parameters_;
  const http::Request& request_;
};

bool Wants(const http::Request& request, std::string_view what) {
  return request.params.Get(what) == "true";
}

Result<http::Response> MetricNames(const Snapshot& snapshot, const http::Request& request) {
  VARVE_ASSIGN_OR_RETURN(const SearchParameters parameters,
                         ReadSearch(request.params, {"alpha", "cardinality", "score"}));
  const Search search(snapshot, parameters, request);
  std::vector<Found> found;
  VARVE_RETURN_IF_ERROR(search.Run(
      [&](std::span<const Matcher> matchers) {
        return snapshot.LabelValues(kMetricName, matchers, parameters.range, {});
      },
      &found));
  if (parameters.sort_by == "cardinality" || Wants(request, "include_cardinality")) {
    VARVE_RETURN_IF_ERROR(search.Count(&Found::cardinality, &found, [&](const std::string& name) {
      return search.CountSeries({MatchType::kEqual, std::string(kMetricName), name});
    }));
  }
  search.Sort(&found);
  std::map<std::string, std::vector<Metadata>> families;
  if (Wants(request, "include_metadata")) families = snapshot.FamilyMetadata();
  return search.Answer(std::move(found), [&](const std::string& name, json::Writer* json) {
    const auto family = families.find(name);
    if (family == families.end() || family->second.empty()) return;
    const Metadata& metadata = family->second.front();
    json->Field("type", ToString(metadata.type));
    if (!metadata.help.empty()) json->Field("help", metadata.help);
    if (!metadata.unit.empty()) json->Field("unit", metadata.unit);
  });
}

constexpr auto kNoExtra = [](const std::string&, json::Writer*) {};

Result<http::Response> LabelNames(const Snapshot& snapshot, const http::Request& request) {
  VARVE_ASSIGN_OR_RETURN(
      const SearchParameters parameters,
      ReadSearch(request.params, {"alpha", "cardinality", "frequency", "score"}));
  const Search search(snapshot, parameters, request);
  std::vector<Found> found;
  VARVE_RETURN_IF_ERROR(search.Run(
      [&](std::span<const Matcher> matchers) {
        return snapshot.LabelNames(matchers, parameters.range, {});
      },
      &found));
  if (parameters.sort_by == "frequency" || Wants(request, "include_frequency")) {
    VARVE_RETURN_IF_ERROR(search.Count(&Found::frequency, &found, [&](const std::string& name) {
      return search.CountSeries({MatchType::kNotEqual, name, ""});
    }));
  }
  if (parameters.sort_by == "cardinality" || Wants(request, "include_cardinality")) {
    VARVE_RETURN_IF_ERROR(search.Count(&Found::cardinality, &found, [&](const std::string& name) {
      return search.CountValues(name);
    }));
  }
  search.Sort(&found);
  return search.Answer(std::move(found), kNoExtra);
}

Result<http::Response> LabelValues(const Snapshot& snapshot, const http::Request& request) {
  VARVE_ASSIGN_OR_RETURN(const SearchParameters parameters,
                         ReadSearch(request.params, {"alpha", "frequency", "score"}));
  const std::string label(request.params.Get("label"));
  if (label.empty()) return Bad("missing required parameter \"label\"");
  const Search search(snapshot, parameters, request);
  std::vector<Found> found;
  VARVE_RETURN_IF_ERROR(search.Run(
      [&](std::span<const Matcher> matchers) {
        return snapshot.LabelValues(label, matchers, parameters.range, {});
      },
      &found));
  if (parameters.sort_by == "frequency" || Wants(request, "include_frequency")) {
    VARVE_RETURN_IF_ERROR(search.Count(&Found::frequency, &found, [&](const std::string& value) {
      return search.CountSeries({MatchType::kEqual, label, value});
    }));
  }
  search.Sort(&found);
  return search.Answer(std::move(found), kNoExtra);
}

}  // namespace

void AddSearchRoutes(Context* context, http::Router* router) {
  constexpr http::RouteOptions kForm{
      .lane = http::Lane::kQuery, .body_bytes_max = 10u << 20, .form = true};
  const auto add = [&](std::string_view path, auto handler) {
    AddRoute(context, router, http::kGetPost, path, kForm,
             [handler](Context&, Database& database, http::Request& request) {
               const auto snapshot = database.TakeSnapshot();
               if (!snapshot.ok()) return Error(snapshot.status());
               Result<http::Response> response = handler(**snapshot, request);
               return response.ok() ? *std::move(response) : Error(response.status());
             });
  };
  add("/api/v1/search/metric_names", MetricNames);
  add("/api/v1/search/label_names", LabelNames);
  add("/api/v1/search/label_values", LabelValues);
}

}  // namespace varve::api
