// The recorded answers of a Loki: push the bodies over HTTP, ask each case, compare. Asked with the
// data in the head, flushed, compacted, and after a restart.

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "tests/loki/loki_app.h"
#include "tests/support/shared_data.h"

namespace varve::loki {
namespace {

using simdjson::dom::element;

// Labels with sorted keys, as the recorded order has them.
std::string Key(element labels) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : labels.get_object()) {
    parts.push_back(Concat("\"", name, "\": ", simdjson::minify(value)));
  }
  std::sort(parts.begin(), parts.end());
  std::string out;
  for (const std::string& part : parts) out += part + ", ";
  return out;
}

bool SameNumber(std::string_view a, std::string_view b) {
  if (a == b) return true;
  const double x = std::strtod(std::string(a).c_str(), nullptr);
  const double y = std::strtod(std::string(b).c_str(), nullptr);
  return std::abs(x - y) <= 1e-9 * std::max(std::abs(x), std::abs(y));
}

bool SameSample(element a, element b) {
  double x = 0;
  double y = 0;
  std::string_view u;
  std::string_view v;
  if (a.at(0).get(x) != simdjson::SUCCESS || b.at(0).get(y) != simdjson::SUCCESS) return false;
  if (a.at(1).get(u) != simdjson::SUCCESS || b.at(1).get(v) != simdjson::SUCCESS) return false;
  return std::abs(x - y) < 1e-6 && SameNumber(u, v);
}

// Entries in order of their times; among equal times of one stream Loki's order is arbitrary (it
// differs between directions), so those are sorted by line.
std::vector<std::pair<std::string, std::string>> Entries(element values) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const element value : values.get_array()) {
    out.emplace_back(simdjson::minify(value.at(0)), simdjson::minify(value));
  }
  for (size_t begin = 0; begin < out.size();) {
    size_t end = begin;
    while (end < out.size() && out[end].first == out[begin].first) ++end;
    std::sort(out.begin() + begin, out.begin() + end);
    begin = end;
  }
  return out;
}

// All values by time, without the labels: which of several equal series topk takes is arbitrary.
std::vector<std::string> ValuesByTime(element result) {
  std::vector<std::string> out;
  for (const element series : result.get_array()) {
    for (const element sample : series["values"].get_array()) {
      out.push_back(simdjson::minify(sample));
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::string Differences(std::string_view query, element expected, element got) {
  std::string_view type;
  std::string_view got_type;
  if (expected["resultType"].get(type) != simdjson::SUCCESS ||
      got["data"]["resultType"].get(got_type) != simdjson::SUCCESS || type != got_type) {
    return Concat("type ", got_type, " instead of ", type);
  }
  if (type == "scalar") {
    return SameSample(expected["result"], got["data"]["result"]) ? "" : "another scalar";
  }
  if (type == "matrix" && query.starts_with("topk(")) {
    return ValuesByTime(expected["result"]) == ValuesByTime(got["data"]["result"])
               ? ""
               : "other values of topk";
  }
  const std::string_view label_key = type == "streams" ? "stream" : "metric";
  // An ordered vector (sort, topk) is recorded sorted by labels like the others.
  const auto sorted = [&](element list) {
    std::vector<std::pair<std::string, element>> out;
    for (const element one : list.get_array()) out.emplace_back(Key(one[label_key]), one);
    std::stable_sort(out.begin(), out.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    return out;
  };
  const auto want = sorted(expected["result"]);
  const auto have = sorted(got["data"]["result"]);
  for (size_t i = 0; i < std::max(want.size(), have.size()); ++i) {
    if (i >= want.size()) return Concat("too much: ", have[i].first);
    if (i >= have.size()) return Concat("missing: ", want[i].first);
    if (want[i].first != have[i].first) {
      return Concat("labels ", have[i].first, " instead of ", want[i].first);
    }
    if (type == "vector") {
      if (!SameSample(want[i].second["value"], have[i].second["value"])) {
        return Concat("value of ", want[i].first, ": ", simdjson::minify(have[i].second["value"]),
                      " instead of ", simdjson::minify(want[i].second["value"]));
      }
      continue;
    }
    if (type == "streams") {
      const auto a = Entries(want[i].second["values"]);
      const auto b = Entries(have[i].second["values"]);
      const auto at = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
      if (at.first == a.end() && at.second == b.end()) continue;
      return Concat(b.size(), " entries instead of ", a.size(), " of ", want[i].first, ": ",
                    at.second == b.end() ? "none" : at.second->second, " instead of ",
                    at.first == a.end() ? "none" : at.first->second);
    }
    const simdjson::dom::array a = want[i].second["values"].get_array();
    const simdjson::dom::array b = have[i].second["values"].get_array();
    for (size_t k = 0; k < std::max(a.size(), b.size()); ++k) {
      if (k >= a.size() || k >= b.size()) {
        return Concat(b.size(), " instead of ", a.size(), " values of ", want[i].first);
      }
      if (!SameSample(a.at(k), b.at(k))) {
        return Concat("value ", k, " of ", want[i].first, ": ", simdjson::minify(b.at(k)),
                      " instead of ", simdjson::minify(a.at(k)));
      }
    }
  }
  return {};
}

class ConformanceTest : public LokiAppTest {
 protected:
  // Returns how many cases disagree.
  int Ask(std::string_view phase) {
    simdjson::dom::parser parser;
    simdjson::dom::parser answer_parser;
    const element root = parser.parse(cases_);
    const int64_t base = root["base_unix_s"].get_int64();
    int failures = 0;
    int cases = 0;
    for (const element one : root["cases"].get_array()) {
      ++cases;
      const std::string_view endpoint = one["endpoint"].get_string();
      std::string path = Concat("/loki/api/v1/", endpoint, "?",
                                Query(std::string_view(one["query"].get_string())));
      const auto time = [&](const char* key) {
        double seconds = 0;
        if (one[key].get(seconds) != simdjson::SUCCESS) return;
        path += Concat("&", key, "=", base * 1'000'000'000 + static_cast<int64_t>(seconds * 1e9));
      };
      time("start");
      time("end");
      time("time");
      for (const char* key : {"limit", "direction", "step", "interval"}) {
        element value;
        if (one[key].get(value) != simdjson::SUCCESS) continue;
        std::string_view text;
        path += Concat(
            "&", key, "=",
            value.get(text) == simdjson::SUCCESS ? std::string(text) : simdjson::minify(value));
      }
      const auto response = Get(path);
      const int64_t status = one["expected"]["status"].get_int64();
      std::string difference;
      if (response.status / 100 != status / 100) {
        difference = Concat("status ", response.status, " instead of ", status, ": ",
                            response.body.substr(0, 200));
      } else if (status == 200) {
        element got;
        difference =
            answer_parser.parse(response.body).get(got) == simdjson::SUCCESS
                ? Differences(std::string_view(one["query"].get_string()), one["expected"], got)
                : "not JSON";
      }
      if (difference.empty()) continue;
      ++failures;
      if (failures <= 20) {
        ADD_FAILURE() << phase << ", " << std::string_view(one["id"].get_string()) << " "
                      << std::string_view(one["query"].get_string()) << "\n  "
                      << difference.substr(0, 1000);
      }
    }
    std::printf("%.*s: %d of %d cases agree\n", static_cast<int>(phase.size()), phase.data(),
                cases - failures, cases);
    return failures;
  }

  std::string cases_;
};

TEST_F(ConformanceTest, EqualsARecordedLoki) {
  const auto dataset = varve::testing::SharedPath("conformance/logql/dataset.ndjson");
  const auto cases = varve::testing::SharedPath("conformance/logql/cases.json.zst");
  if (!dataset.has_value() || !cases.has_value()) {
    GTEST_SKIP() << "skipped: conformance/logql is not there";
  }
  cases_ = varve::testing::ReadFile(*cases);
  // The reference ran with these.
  options_.limits.reject_old_samples = false;
  options_.engine.max_query_series = 5000;
  options_.engine.max_entries_limit_per_query = 5000;
  Start();
  const std::string bodies = varve::testing::ReadFile(*dataset);
  for (const std::string_view body : varve::testing::SplitLines(bodies)) {
    const auto response = Push(std::string(body));
    ASSERT_EQ(response.status, 204) << response.body;
  }
  EXPECT_EQ(Ask("head"), 0);
  ASSERT_TRUE(database_->Flush().ok());
  EXPECT_EQ(Ask("flushed"), 0);
  ASSERT_TRUE(database_->Compact().ok());
  EXPECT_EQ(Ask("compacted"), 0);
  Stop();
  Start();
  EXPECT_EQ(Ask("restarted"), 0);
}

}  // namespace
}  // namespace varve::loki
