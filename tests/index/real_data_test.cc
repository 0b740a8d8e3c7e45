// Real label sets and the matchers of real dashboards, where the shared data is at hand.

#include <gtest/gtest.h>
#include <zstd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/base/strings.h"
#include "engine/index/label_index.h"
#include "engine/index/memory_index.h"
#include "tests/index/model.h"

namespace varve::index {
namespace {

std::optional<std::filesystem::path> Shared(const std::string& file) {
  std::vector<std::filesystem::path> roots;
  if (const char* shared = std::getenv("VARVE_SHARED"); shared && *shared)
    roots.emplace_back(shared);
  if (const char* source = std::getenv("VARVE_SOURCE"); source && *source) {
    roots.push_back(std::filesystem::path(source) / "../shared");
  }
  for (const auto& root : roots) {
    if (std::filesystem::exists(root / file)) return root / file;
  }
  std::printf("skipped: no %s\n", file.c_str());
  return std::nullopt;
}

/// Calls `f` for each line of a zstd file, cut after `line_bytes_max`.
template <typename F>
void ForEachLine(const std::filesystem::path& path, size_t line_bytes_max, F&& f) {
  std::ifstream in(path, std::ios::binary);
  ZSTD_DStream* stream = ZSTD_createDStream();
  ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, 27);
  std::vector<char> packed(1 << 20);
  std::vector<char> raw(1 << 20);
  std::string line;
  while (in.read(packed.data(), static_cast<std::streamsize>(packed.size())), in.gcount() > 0) {
    ZSTD_inBuffer input{packed.data(), static_cast<size_t>(in.gcount()), 0};
    while (input.pos < input.size) {
      ZSTD_outBuffer output{raw.data(), raw.size(), 0};
      ASSERT_FALSE(ZSTD_isError(ZSTD_decompressStream(stream, &output, &input)));
      std::string_view text(raw.data(), output.pos);
      while (!text.empty()) {
        const size_t end = text.find('\n');
        const std::string_view part = text.substr(0, end);
        if (line.size() < line_bytes_max) line.append(part.substr(0, line_bytes_max - line.size()));
        if (end == std::string_view::npos) break;
        f(std::string_view(line));
        line.clear();
        text.remove_prefix(end + 1);
      }
    }
  }
  ZSTD_freeDStream(stream);
}

/// Reads a JSON string that begins at `at` (behind its quote); enough for this data.
std::string ReadJsonString(std::string_view text, size_t* at) {
  std::string out;
  while (*at < text.size() && text[*at] != '"') {
    if (text[*at] != '\\') {
      out += text[(*at)++];
      continue;
    }
    const char c = text[*at + 1];
    *at += 2;
    switch (c) {
      case 'n':
        out += '\n';
        break;
      case 't':
        out += '\t';
        break;
      case 'u': {
        const auto code =
            static_cast<uint32_t>(std::stoul(std::string(text.substr(*at, 4)), nullptr, 16));
        *at += 4;
        if (code < 0x80) {
          out += static_cast<char>(code);
        } else if (code < 0x800) {
          out += static_cast<char>(0xc0 | code >> 6);
          out += static_cast<char>(0x80 | (code & 0x3f));
        } else {
          out += static_cast<char>(0xe0 | code >> 12);
          out += static_cast<char>(0x80 | (code >> 6 & 0x3f));
          out += static_cast<char>(0x80 | (code & 0x3f));
        }
        break;
      }
      default:
        out += c;
    }
  }
  ++*at;
  return out;
}

std::vector<Labels> RealSeries() {
  std::vector<Labels> out;
  const auto path = Shared("data/metrics/prometheus-tsdb-series.ndjson.zst");
  if (!path) return out;
  ForEachLine(*path, 16384, [&](std::string_view line) {
    size_t at = line.find("{\"metric\":{");
    ASSERT_EQ(at, 0);
    at += 11;
    std::vector<std::string> strings;
    while (line[at] != '}') {
      if (line[at] == '"') {
        ++at;
        strings.push_back(ReadJsonString(line, &at));
      } else {
        ++at;
      }
    }
    std::vector<LabelView> labels;
    for (size_t i = 0; i + 1 < strings.size(); i += 2) {
      labels.push_back({strings[i], strings[i + 1]});
    }
    auto made = Labels::Make(labels);
    ASSERT_TRUE(made.ok()) << made.status();
    out.push_back(*std::move(made));
  });
  std::sort(out.begin(), out.end());
  return out;
}

/// Finds label matchers in the text of PromQL expressions: name, operator, quoted string.
std::vector<Matcher> RealMatchers() {
  std::vector<Matcher> out;
  const auto path = Shared("conformance/promql/real_world.ndjson.zst");
  if (!path) return out;
  std::set<std::string> seen;
  ForEachLine(*path, 1 << 20, [&](std::string_view line) {
    size_t at = line.find("\"exec\": \"");
    if (at == std::string_view::npos) return;
    at += 9;
    const std::string text = ReadJsonString(line, &at);
    for (size_t i = 0; i + 3 < text.size(); ++i) {
      const char quote = text[i];
      if (quote != '"' && quote != '\'') continue;
      const size_t end = text.find(quote, i + 1);
      if (end == std::string::npos) break;
      Matcher matcher;
      size_t name_end = i;
      while (name_end > 0 && text[name_end - 1] == ' ') --name_end;
      const std::string_view before = std::string_view(text).substr(0, name_end);
      if (before.ends_with("=~")) {
        matcher.type = MatchType::kRegex;
        name_end -= 2;
      } else if (before.ends_with("!~")) {
        matcher.type = MatchType::kNotRegex;
        name_end -= 2;
      } else if (before.ends_with("!=")) {
        matcher.type = MatchType::kNotEqual;
        name_end -= 2;
      } else if (before.ends_with("=")) {
        name_end -= 1;
      } else {
        i = end;
        continue;
      }
      while (name_end > 0 && text[name_end - 1] == ' ') --name_end;
      size_t begin = name_end;
      while (begin > 0 && (std::isalnum(static_cast<unsigned char>(text[begin - 1])) != 0 ||
                           text[begin - 1] == '_')) {
        --begin;
      }
      matcher.name = text.substr(begin, name_end - begin);
      for (size_t j = i + 1; j < end; ++j) {
        if (text[j] == '\\' && j + 1 < end) ++j;
        matcher.value += text[j];
      }
      if (!matcher.name.empty() && seen.insert(ToString(matcher)).second) out.push_back(matcher);
      i = end;
    }
  });
  return out;
}

TEST(RealData, IndexIsSmallAndExact) {
  const std::vector<Labels> series = RealSeries();
  if (series.empty()) GTEST_SKIP();
  LabelIndexBuilder builder;
  for (const Labels& labels : series) ASSERT_TRUE(builder.Add(labels).ok());
  const std::string bytes = builder.Finish();
  const auto view = LabelIndexView::Open(bytes);
  ASSERT_TRUE(view.ok()) << view.status();
  std::printf("%zu series: %zu bytes serialised (%.2f a series), %zu in memory (%.1f a series)\n",
              series.size(), bytes.size(),
              static_cast<double>(bytes.size()) / static_cast<double>(series.size()),
              (*view)->memory_bytes(),
              static_cast<double>((*view)->memory_bytes()) / static_cast<double>(series.size()));
  // Prometheus needs 1.75 MB (with chunk references); 150 KB was the aim.
  EXPECT_LT(bytes.size(), 40'000);
  std::vector<LabelView> labels;
  for (uint32_t i = 0; i < series.size(); ++i) {
    (*view)->GetLabels(i, &labels);
    ASSERT_TRUE(CompareLabels(labels, series[i]) == std::strong_ordering::equal);
  }
}

TEST(RealData, RealMatchersSelectTheSameFromBothIndexesAndOneByOne) {
  const std::vector<Labels> series = RealSeries();
  std::vector<Matcher> matchers = RealMatchers();
  if (series.empty() || matchers.empty()) GTEST_SKIP();
  LabelIndexBuilder builder;
  MemoryIndex memory;
  std::set<std::string> names;
  for (const Labels& labels : series) {
    ASSERT_TRUE(builder.Add(labels).ok());
    memory.Add(labels);
    for (const LabelView& label : labels) names.emplace(label.name);
  }
  const auto view = LabelIndexView::Open(builder.Finish());
  ASSERT_TRUE(view.ok()) << view.status();
  // The expressions name labels of many other systems: ask such patterns of labels that exist.
  const std::vector<std::string> known(names.begin(), names.end());
  size_t plans_exact = 0;
  size_t regexes = 0;
  size_t nonempty = 0;
  Draw draw(1);
  for (size_t i = 0; i < matchers.size(); ++i) {
    Matcher matcher = matchers[i];
    if (!names.contains(matcher.name)) matcher.name = draw.OneOf(known);
    SCOPED_TRACE(ToString(matcher));
    const PlainMatcher plain(matcher);
    const auto made = CompiledMatcher::Make(matcher);
    ASSERT_EQ(made.ok(), plain.ok()) << made.status();
    if (!made.ok()) continue;
    if (matcher.type == MatchType::kRegex || matcher.type == MatchType::kNotRegex) {
      ++regexes;
      const bool known_plan = made->literals() || made->needle_suffices() || made->accepts_all() ||
                              made->accepts_all_but_empty() || !made->prefixes().empty();
      plans_exact += known_plan ? 1 : 0;
    }
    const std::vector<CompiledMatcher> one = {*made};
    const Postings from_view = (*view)->Select(one);
    ASSERT_TRUE(from_view == memory.Select(one));
    nonempty += from_view.empty() ? 0 : 1;
    if (i % 8 != 0) continue;  // one by one is slow
    std::vector<uint32_t> wanted;
    for (uint32_t s = 0; s < series.size(); ++s) {
      if (plain.Matches(series[s].Get(matcher.name))) wanted.push_back(s);
    }
    ASSERT_EQ(from_view.ToVector(), wanted);
  }
  std::printf("%zu matchers, %zu regular expressions, %zu of them planned; %zu selected series\n",
              matchers.size(), regexes, plans_exact, nonempty);
  EXPECT_GT(plans_exact, regexes * 3 / 4);
}

}  // namespace
}  // namespace varve::index
