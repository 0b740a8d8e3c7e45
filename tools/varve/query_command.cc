#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <iostream>

#include "engine/base/clock.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/lang/promql/parse.h"
#include "tools/server/api/envelope.h"
#include "tools/server/api/parameters.h"
#include "tools/server/api/result_json.h"
#include "tools/server/http/client.h"
#include "tools/server/http/url.h"
#include "tools/server/json/writer.h"
#include "tools/varve/commands.h"
#include "varve/database.h"

namespace varve::cli {
namespace {

// A result as the table shows it, wherever it came from.
struct Point {
  int64_t time_ms = 0;
  std::string value;
};
struct Row {
  std::string labels;
  std::vector<Point> points;
};
struct Table {
  bool range = false;
  std::vector<Row> rows;
  std::vector<std::string> notes;
};

struct Times {
  bool range = false;
  int64_t time_ms = 0;
  query::QueryRange steps;
};

// "now", "-1h" (before now), or what the API takes.
Result<int64_t> ReadTime(const std::string& text, int64_t now_ms) {
  if (text == "now") return now_ms;
  if (text.size() > 1 && text.front() == '-' && text.back() >= 'a' && text.back() <= 'z') {
    VARVE_ASSIGN_OR_RETURN(const auto before, api::ParseDuration(text.substr(1)));
    return now_ms - before.count();
  }
  return api::ParseTime(text);
}

Result<Times> ReadTimes(const QueryCommand& command, int64_t now_ms) {
  Times out;
  out.range = command.start.has_value() || command.end.has_value() || command.step.has_value();
  if (!out.range) {
    VARVE_ASSIGN_OR_RETURN(out.time_ms, ReadTime(command.time.value_or("now"), now_ms));
    return out;
  }
  if (command.time.has_value()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      "--time does not go with --start, --end and --step");
  }
  VARVE_ASSIGN_OR_RETURN(out.steps.end_ms, ReadTime(command.end.value_or("now"), now_ms));
  if (command.start.has_value()) {
    VARVE_ASSIGN_OR_RETURN(out.steps.start_ms, ReadTime(*command.start, now_ms));
  } else {
    out.steps.start_ms = out.steps.end_ms - 3'600'000;
  }
  if (out.steps.end_ms < out.steps.start_ms) {
    return MakeStatus(StatusCode::kInvalidArgument, "--end is before --start");
  }
  if (command.step.has_value()) {
    VARVE_ASSIGN_OR_RETURN(const auto step, api::ParseDuration(*command.step));
    if (step.count() <= 0) {
      return MakeStatus(StatusCode::kInvalidArgument, "--step must be positive");
    }
    out.steps.step_ms = step.count();
  } else {
    out.steps.step_ms =
        std::max<int64_t>(1000, (out.steps.end_ms - out.steps.start_ms) / 250 / 1000 * 1000);
  }
  return out;
}

std::string FloatText(double value) {
  std::string out;
  json::AppendFloat(value, &out);
  return out;
}

Table ToTable(const query::QueryResult& result) {
  Table out;
  out.notes = result.annotations.warnings;
  out.notes.insert(out.notes.end(), result.annotations.infos.begin(),
                   result.annotations.infos.end());
  const auto text = [](double value, const query::HistogramPtr& histogram) {
    return histogram != nullptr ? query::ToString(*histogram) : FloatText(value);
  };
  if (const auto* scalar = std::get_if<query::Scalar>(&result.value)) {
    out.rows.push_back({"", {{scalar->time_ms, FloatText(scalar->value)}}});
  } else if (const auto* string = std::get_if<query::StringValue>(&result.value)) {
    out.rows.push_back({"", {{string->time_ms, string->value}}});
  } else if (const auto* vector = std::get_if<query::Vector>(&result.value)) {
    for (const query::VectorSample& sample : *vector) {
      out.rows.push_back({ToString(sample.labels.view()),
                          {{sample.time_ms, text(sample.value, sample.histogram)}}});
    }
  } else if (const auto* matrix = std::get_if<query::Matrix>(&result.value)) {
    out.range = true;
    for (const query::Series& series : *matrix) {
      Row row;
      row.labels = ToString(series.labels.view());
      for (size_t i = 0; i < series.times_ms.size(); ++i) {
        row.points.push_back({series.times_ms[i], FloatText(series.values[i])});
      }
      for (size_t i = 0; i < series.histograms.size(); ++i) {
        row.points.push_back(
            {series.histogram_times_ms[i], query::ToString(*series.histograms[i])});
      }
      std::stable_sort(row.points.begin(), row.points.end(),
                       [](const Point& a, const Point& b) { return a.time_ms < b.time_ms; });
      out.rows.push_back(std::move(row));
    }
  }
  return out;
}

Result<Point> ToPoint(simdjson::dom::array pair) {
  Point out;
  double seconds = 0;
  if (pair.at(0).get(seconds) != simdjson::SUCCESS) {
    return MakeStatus(StatusCode::kInvalidArgument, "the server's answer has no times");
  }
  out.time_ms = std::llround(seconds * 1000);
  std::string_view value;
  simdjson::dom::element element;
  if (pair.at(1).get(element) != simdjson::SUCCESS) {
    return MakeStatus(StatusCode::kInvalidArgument, "the server's answer has no values");
  }
  out.value =
      element.get(value) == simdjson::SUCCESS ? std::string(value) : simdjson::minify(element);
  return out;
}

Result<Table> ToTable(const std::string& body) {
  const auto bad = [](std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("the server's answer ", what));
  };
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(body).get(root) != simdjson::SUCCESS) return bad("is not JSON");
  std::string_view text;
  if (root["error"].get(text) == simdjson::SUCCESS) {
    return MakeStatus(StatusCode::kInvalidArgument, text);
  }
  Table out;
  for (const char* key : {"warnings", "infos"}) {
    simdjson::dom::array notes;
    if (root[key].get(notes) != simdjson::SUCCESS) continue;
    for (const simdjson::dom::element note : notes) {
      if (note.get(text) == simdjson::SUCCESS) out.notes.emplace_back(text);
    }
  }
  simdjson::dom::array result;
  if (root["data"]["resultType"].get(text) != simdjson::SUCCESS ||
      root["data"]["result"].get(result) != simdjson::SUCCESS) {
    return bad("has no result");
  }
  if (text == "scalar" || text == "string") {
    VARVE_ASSIGN_OR_RETURN(Point point, ToPoint(result));
    out.rows.push_back({"", {std::move(point)}});
    return out;
  }
  out.range = text == "matrix";
  for (const simdjson::dom::element series : result) {
    Row row;
    simdjson::dom::object metric;
    std::vector<LabelView> labels;
    if (series["metric"].get(metric) == simdjson::SUCCESS) {
      for (const auto& [name, value] : metric) {
        if (value.get(text) == simdjson::SUCCESS) labels.push_back({name, text});
      }
    }
    VARVE_ASSIGN_OR_RETURN(const Labels owned, Labels::Make(labels));
    row.labels = ToString(owned.view());
    simdjson::dom::array array;
    for (const char* key : {"value", "histogram"}) {
      if (series[key].get(array) != simdjson::SUCCESS) continue;
      VARVE_ASSIGN_OR_RETURN(Point point, ToPoint(array));
      row.points.push_back(std::move(point));
    }
    for (const char* key : {"values", "histograms"}) {
      if (series[key].get(array) != simdjson::SUCCESS) continue;
      for (const simdjson::dom::element pair : array) {
        simdjson::dom::array inner;
        if (pair.get(inner) != simdjson::SUCCESS) return bad("has a malformed sample");
        VARVE_ASSIGN_OR_RETURN(Point point, ToPoint(inner));
        row.points.push_back(std::move(point));
      }
    }
    out.rows.push_back(std::move(row));
  }
  return out;
}

void Print(const Table& table) {
  if (table.range) {
    for (const Row& row : table.rows) {
      std::cout << (row.labels.empty() ? "{}" : row.labels) << "\n";
      for (const Point& point : row.points) {
        std::cout << "  " << api::FormatTime(point.time_ms) << "  " << point.value << "\n";
      }
    }
  } else {
    size_t width = 0;
    for (const Row& row : table.rows) width = std::max(width, row.labels.size());
    width = std::min<size_t>(width, 120);
    for (const Row& row : table.rows) {
      std::cout << row.labels;
      if (!row.labels.empty()) {
        const size_t pad = width > row.labels.size() ? width - row.labels.size() : 0;
        std::cout << std::string(pad + 2, ' ');
      }
      std::cout << row.points.front().value << "\n";
    }
  }
  for (const std::string& note : table.notes) std::cerr << "varve: " << note << "\n";
  if (table.rows.empty()) std::cerr << "varve: empty result\n";
}

int FailQuery(const std::string& expression, const Status& status) {
  std::cerr << "varve: " << promql::RenderError(expression, status) << "\n";
  return kFailed;
}

int QueryServer(const QueryCommand& command, const Times& times) {
  const Result<http::Target> target = http::ParseTarget(command.url, http::UrlLimits());
  if (!target.ok() || target->authority.empty() || command.url.starts_with("https:")) {
    return Fail("--url must look like http://HOST:PORT");
  }
  const Result<http::HostPort> host = http::ParseHost(target->authority);
  if (!host.ok()) return Fail(host.status());
  uint16_t port = 80;
  if (!host->port.empty()) port = static_cast<uint16_t>(std::stoi(host->port));
  const auto seconds = [](int64_t ms) {
    std::string out;
    json::AppendTimeMs(ms, &out);
    return out;
  };
  http::ClientRequest request;
  request.method = http::Method::kPost;
  request.path = times.range ? "/api/v1/query_range" : "/api/v1/query";
  request.headers.Add("Content-Type", "application/x-www-form-urlencoded");
  request.body = Concat("query=", http::PercentEncode(command.expression));
  if (times.range) {
    request.body +=
        Concat("&start=", seconds(times.steps.start_ms), "&end=", seconds(times.steps.end_ms),
               "&step=", seconds(times.steps.step_ms));
  } else {
    request.body += Concat("&time=", seconds(times.time_ms));
  }
  const auto response = http::Fetch(host->host, port, request, std::chrono::seconds(150));
  if (!response.ok()) return Fail(response.status());
  if (command.json) {
    std::cout << response->body << "\n";
    return response->status == 200 ? kOk : kFailed;
  }
  const Result<Table> table = ToTable(response->body);
  if (!table.ok()) return Fail(table.status());
  Print(*table);
  return kOk;
}

}  // namespace

int RunQuery(const QueryCommand& command) {
  const int64_t now_ms = Clock::Real()->NowMs();
  const Result<Times> times = ReadTimes(command, now_ms);
  if (!times.ok()) return Fail(times.status());
  if (!command.url.empty()) return QueryServer(command, *times);

  // A mistake in the expression shows before a large store is opened.
  if (const auto tree = promql::Parse(command.expression); !tree.ok()) {
    return FailQuery(command.expression, tree.status());
  }
  const std::unique_ptr<query::Engine> engine = query::Engine::Make(command.engine);
  if (command.explain) {
    query::QueryRange steps = times->steps;
    if (!times->range) steps = {times->time_ms, times->time_ms, 1};
    const Result<std::string> plan = engine->Explain(command.expression, steps);
    if (!plan.ok()) return FailQuery(command.expression, plan.status());
    std::cout << *plan;
    return kOk;
  }
  Options options;
  options.dir = command.data;
  options.create_if_missing = false;
  options.read_only = true;
  const auto database = Database::Open(options);
  if (!database.ok()) return Fail(database.status());
  auto snapshot = (*database)->TakeSnapshot();
  if (!snapshot.ok()) return Fail(snapshot.status());
  query::QueryOptions query_options;
  query_options.analyze = command.analyze;
  Result<query::QueryResult> result =
      times->range
          ? engine->Range(*std::move(snapshot), command.expression, times->steps, query_options)
          : engine->Instant(*std::move(snapshot), command.expression, times->time_ms,
                            query_options);
  if (command.json) {
    http::Response response =
        result.ok() ? api::ResultResponse(*std::move(result), {}) : api::Error(result.status());
    const bool ok = response.status == 200;
    std::cout << response.body;
    for (bool more = response.source != nullptr; more;) {
      std::string piece;
      const Result<bool> next = response.source->Next(1 << 16, &piece);
      if (!next.ok()) return Fail(next.status());
      std::cout << piece;
      more = *next;
    }
    std::cout << "\n";
    return ok ? kOk : kFailed;
  }
  if (!result.ok()) return FailQuery(command.expression, result.status());
  Print(ToTable(*result));
  if (command.analyze) std::cerr << query::Engine::FormatAnalysis(result->statistics);
  return kOk;
}

}  // namespace varve::cli
