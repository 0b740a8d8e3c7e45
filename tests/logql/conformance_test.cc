// Loki's recorded answers: every case is asked of the head, of flushed blocks, of compacted ones,
// and after a restart.
#include <gtest/gtest.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/io/memory_file_system.h"
#include "tests/support/shared_data.h"
#include "tools/loki/log_intake.h"
#include "tools/loki/push_decode.h"
#include "varve/database.h"
#include "varve/logql.h"

namespace varve::query {
namespace {

using simdjson::dom::element;

std::string Text(element value) { return std::string(std::string_view(value)); }

std::string Field(element object, const char* name, const char* fallback = "") {
  element value;
  if (object[name].get(value) != simdjson::SUCCESS) return fallback;
  return value.is_string() ? Text(value) : simdjson::minify(value);
}

using LabelMap = std::map<std::string, std::string>;
using Points = std::vector<std::pair<std::string, std::string>>;  // time, line or value
using Answer = std::map<LabelMap, Points>;

std::string Show(const LabelMap& labels) {
  std::string out = "{";
  for (const auto& [name, value] : labels) out += name + "=\"" + value + "\" ";
  return out + "}";
}

/// A step or interval: a number of seconds or a duration such as 5m.
int64_t DurationNs(const std::string& text) {
  if (text.empty()) return 0;
  const char unit = text.back();
  const double number = std::stod(text);
  const double scale = unit == 'm' ? 60 : unit == 'h' ? 3600 : 1;
  return static_cast<int64_t>(number * scale * 1e9);
}

bool SameNumber(const std::string& a, const std::string& b) {
  if (a == b) return true;
  const double x = std::stod(a);
  const double y = std::stod(b);
  if (x == y) return true;
  if (std::isnan(x) || std::isnan(y)) return std::isnan(x) && std::isnan(y);
  return std::fabs(x - y) <= 1e-9 * std::max(std::fabs(x), std::fabs(y));
}

std::string Number(double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.17g", value);
  return buffer;
}
std::string Seconds(int64_t time_ms) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.3f", static_cast<double>(time_ms) / 1e3);
  return buffer;
}

LabelMap MapOf(const Labels& labels) {
  LabelMap out;
  for (const LabelView& label : labels) out.emplace(label.name, label.value);
  return out;
}

class Conformance : public ::testing::Test {
 protected:
  static constexpr int64_t kSecond = 1'000'000'000;

  void Open() {
    Options options;
    options.dir = "/db";
    options.background_threads = 0;
    options.file_system = files_;
    auto opened = Database::Open(options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    db_ = *std::move(opened);
  }

  void Push(std::string_view body) {
    loki::Limits limits;
    limits.reject_old_samples = false;
    LogBatch batch;
    loki::LogIntake intake(&limits);
    intake.Reset((base_s_ + 86'400) * kSecond, &batch);
    std::string text(body);
    text.resize(text.size() + simdjson::SIMDJSON_PADDING);
    loki::PushCounts counts;
    const Status status = loki::DecodePushJson(text.data(), body.size(), &intake, &counts);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_TRUE(intake.errors().empty()) << intake.errors().Text();
    const auto appended = db_->AppendLogs(batch);
    ASSERT_TRUE(appended.ok()) << appended.status();
    ASSERT_EQ(appended->rejected, 0u);
  }

  Answer Expected(element result) {
    Answer out;
    for (element item : simdjson::dom::array(result)) {
      LabelMap labels;
      element map;
      if (item["stream"].get(map) != simdjson::SUCCESS) {
        EXPECT_EQ(item["metric"].get(map), simdjson::SUCCESS);
      }
      for (auto [name, value] : simdjson::dom::object(map)) labels.emplace(name, Text(value));
      Points& points = out[labels];
      element values;
      if (item["values"].get(values) == simdjson::SUCCESS) {
        for (element point : simdjson::dom::array(values)) points.push_back(Point(point));
      } else {
        points.push_back(Point(item["value"]));
      }
    }
    return out;
  }
  static std::pair<std::string, std::string> Point(element point) {
    element time = point.at(0);
    if (time.is_string()) return {Text(time), Text(point.at(1))};
    return {Seconds(std::llround(double(time) * 1000)), Text(point.at(1))};
  }

  /// Asks one case; returns what is wrong with the answer.
  std::string Ask(LogEngine& engine, std::shared_ptr<const LogSnapshot> snapshot, element test) {
    const std::string query = Field(test, "query");
    element expected = test["expected"];
    const int64_t status = int64_t(expected["status"]);
    Result<LogQueryResult> result = MakeStatus(StatusCode::kUnknown, "not asked");
    bool backward = true;
    LogQueryOptions options;
    options.max_query_series = 5000;
    if (Field(test, "endpoint") == "query") {
      result =
          engine.Instant(snapshot, query, (base_s_ + int64_t(test["time"])) * kSecond, options);
    } else {
      LogQueryRange range;
      range.start_ns = (base_s_ + int64_t(test["start"])) * kSecond;
      range.end_ns = (base_s_ + int64_t(test["end"])) * kSecond;
      range.step_ns = DurationNs(Field(test, "step"));
      range.interval_ns = DurationNs(Field(test, "interval"));
      range.limit = static_cast<uint32_t>(std::stoul(Field(test, "limit", "100")));
      backward = Field(test, "direction", "backward") == "backward";
      range.direction = backward ? LogDirection::kBackward : LogDirection::kForward;
      result = engine.Range(snapshot, query, range, options);
    }
    if (status != 200) {
      if (result.ok()) return "answered, though Loki says: " + Field(expected, "error");
      const StatusCode code = result.status().code();
      const bool is_400 = code == StatusCode::kInvalidArgument ||
                          code == StatusCode::kFailedPrecondition ||
                          code == StatusCode::kResourceExhausted;
      return is_400 ? "" : "wrong class of error: " + result.status().ToString();
    }
    if (!result.ok()) return "failed: " + result.status().ToString();
    const std::string type = Field(expected, "resultType");
    Answer got;
    if (type == "scalar") {
      const auto* scalar = std::get_if<Scalar>(&result->value);
      if (scalar == nullptr) return "not a scalar";
      // The time of a scalar is in milliseconds in Loki's answers.
      const std::string want = Text(expected["result"].at(1));
      if (!SameNumber(want, Number(scalar->value)) ||
          scalar->time_ms != std::llround(double(expected["result"].at(0)))) {
        return "scalar " + Number(scalar->value) + " instead of " + want;
      }
      return "";
    }
    if (type == "streams") {
      const auto* streams = std::get_if<Streams>(&result->value);
      if (streams == nullptr) return "not streams";
      for (const StreamGroup& group : GroupStreams(*streams, false, backward)) {
        Points& points = got[LabelMap(group.labels.begin(), group.labels.end())];
        for (const StreamGroup::Item& item : group.items) {
          const LogEntry& entry = (*streams)[item.stream].entries[item.entry];
          points.emplace_back(std::to_string(entry.time_ns), entry.line);
        }
      }
    } else if (type == "matrix") {
      const auto* matrix = std::get_if<Matrix>(&result->value);
      if (matrix == nullptr) return "not a matrix";
      for (const Series& series : *matrix) {
        Points& points = got[MapOf(series.labels)];
        for (size_t i = 0; i < series.values.size(); ++i) {
          points.emplace_back(Seconds(series.times_ms[i]), Number(series.values[i]));
        }
      }
    } else {
      const auto* vector = std::get_if<Vector>(&result->value);
      if (vector == nullptr) return "not a vector";
      for (const VectorSample& sample : *vector) {
        got[MapOf(sample.labels)].emplace_back(Seconds(sample.time_ms), Number(sample.value));
      }
    }
    Answer want = Expected(expected["result"]);
    if (query.starts_with("topk") || query.starts_with("bottomk")) {
      // Which of several equal series Loki keeps depends on the order of a hash table; their values
      // do not.
      want = ValuesByTime(want);
      got = ValuesByTime(got);
    }
    return Compare(std::move(want), std::move(got), type != "streams");
  }

  /// Forgets which series a value belongs to.
  static Answer ValuesByTime(const Answer& answer) {
    Answer out;
    for (const auto& [labels, points] : answer) {
      for (const auto& [time, value] : points)
        out[{{"time", time}}].emplace_back(time, Number(std::stod(value)));
    }
    OrderTies(&out);
    return out;
  }

  /// Orders lines of equal times. Loki's order of those within one stream depends on where its
  /// batches of reading end (backward is not even the reverse of forward); ours is arrival.
  static void OrderTies(Answer* answer) {
    for (auto& [labels, points] : *answer) {
      for (size_t begin = 0; begin < points.size();) {
        size_t end = begin;
        while (end < points.size() && points[end].first == points[begin].first) ++end;
        std::sort(points.begin() + static_cast<ptrdiff_t>(begin),
                  points.begin() + static_cast<ptrdiff_t>(end));
        begin = end;
      }
    }
  }

  static std::string Compare(Answer want, Answer got, bool numbers) {
    if (!numbers) {
      OrderTies(&want);
      OrderTies(&got);
    }
    for (const auto& [labels, points] : want) {
      const auto found = got.find(labels);
      if (found == got.end()) {
        std::string near;
        for (const auto& [other, other_points] : got) {
          if (!other_points.empty() && !points.empty() && other_points[0] == points[0])
            near = Show(other);
        }
        return "missing " + Show(labels) + (near.empty() ? "" : "\n    there is " + near) +
               (points.empty()
                    ? ""
                    : "\n    at " + points[0].first + " " + points[0].second.substr(0, 300)) +
               "\n    want " + std::to_string(want.size()) + " got " + std::to_string(got.size());
      }
      if (found->second.size() != points.size()) {
        return std::to_string(found->second.size()) + " points instead of " +
               std::to_string(points.size()) + " in " + Show(labels);
      }
      for (size_t i = 0; i < points.size(); ++i) {
        const auto& a = points[i];
        const auto& b = found->second[i];
        const bool same =
            a.first == b.first && (numbers ? SameNumber(a.second, b.second) : a.second == b.second);
        if (!same) {
          return "point " + std::to_string(i) + " of " + Show(labels) + "\n    want " + a.first +
                 " " + a.second + "\n    got  " + b.first + " " + b.second;
        }
      }
    }
    for (const auto& [labels, points] : got) {
      if (!want.contains(labels)) return "too much: " + Show(labels);
    }
    return "";
  }

  void AskAll(element cases, const char* state) {
    LogEngineOptions options;
    options.threads = 2;
    const auto engine = LogEngine::Make(options);
    const auto snapshot = db_->TakeLogSnapshot();
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    size_t asked = 0;
    size_t wrong = 0;
    for (element test : simdjson::dom::array(cases)) {
      ++asked;
      const std::string fault = Ask(*engine, *snapshot, test);
      if (fault.empty()) continue;
      ++wrong;
      ADD_FAILURE() << state << ", " << Field(test, "id") << ": " << Field(test, "query")
                    << "\n    " << fault;
    }
    std::printf("%s: %zu cases, %zu wrong\n", state, asked, wrong);
    EXPECT_GE(asked, 303u);
  }

  int64_t base_s_ = 0;
  std::shared_ptr<io::MemoryFileSystem> files_ = std::make_shared<io::MemoryFileSystem>();
  std::unique_ptr<Database> db_;
};

TEST_F(Conformance, LokiAnswers) {
  const auto cases_path = testing::SharedPath("conformance/logql/cases.json.zst");
  const auto data_path = testing::SharedPath("conformance/logql/dataset.ndjson");
  if (!cases_path || !data_path) {
    std::printf("skipped: no conformance/logql in the shared data\n");
    return;
  }
  simdjson::dom::parser parser;
  element root;
  const std::string cases_text = testing::ReadFile(*cases_path);
  ASSERT_EQ(parser.parse(cases_text).get(root), simdjson::SUCCESS);
  base_s_ = int64_t(root["base_unix_s"]);
  element cases = root["cases"];
  Open();
  const std::string data = testing::ReadFile(*data_path);
  for (const std::string_view body : testing::SplitLines(data)) Push(body);

  AskAll(cases, "head");
  ASSERT_TRUE(db_->Flush().ok());
  AskAll(cases, "flushed");
  ASSERT_TRUE(db_->Compact().ok());
  AskAll(cases, "compacted");
  ASSERT_TRUE(db_->Close().ok());
  db_.reset();
  Open();
  AskAll(cases, "restarted");
}

}  // namespace
}  // namespace varve::query
