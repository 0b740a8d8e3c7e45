#include "engine/index/label_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "engine/index/memory_index.h"
#include "tests/index/model.h"

namespace varve::index {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Serialise(const std::vector<Labels>& sorted) {
  LabelIndexBuilder builder;
  for (const Labels& labels : sorted) EXPECT_TRUE(builder.Add(labels).ok());
  return builder.Finish();
}

std::unique_ptr<LabelIndexView> Reopen(std::string_view bytes) {
  auto view = LabelIndexView::Open(bytes);
  EXPECT_TRUE(view.ok()) << view.status();
  return std::move(view).value();
}

Postings Select(const LabelIndexView& view, const std::vector<Matcher>& matchers) {
  const auto compiled = CompileMatchers(matchers);
  EXPECT_TRUE(compiled.ok()) << compiled.status();
  return view.Select(*compiled);
}

/// Asks both index and model the same; `Index` is the immutable or the mutable one.
template <typename Index>
void CompareQueries(const Index& index, const ModelIndex& model, Draw* draw, int rounds) {
  for (int round = 0; round < rounds; ++round) {
    std::vector<Matcher> matchers;
    std::string shown;
    for (uint32_t i = draw->Below(4); i > 0; --i) {
      matchers.push_back(draw->OneMatcher());
      shown += ToString(matchers.back()) + " ";
    }
    SCOPED_TRACE(shown);
    const auto compiled = CompileMatchers(matchers);
    ASSERT_TRUE(compiled.ok()) << compiled.status();
    const Postings found = index.Select(*compiled);
    const std::vector<uint32_t> wanted = model.Select(matchers);
    ASSERT_EQ(found.ToVector(), wanted);

    const std::set<uint32_t> set(wanted.begin(), wanted.end());
    const std::vector<std::string> names = model.Names(&set);
    EXPECT_EQ(Strings(index.LabelNames(&found, 0).values), names);
    const std::string name = draw->Name();
    const std::vector<std::string> values = model.Values(name, &set);
    const LabelStrings all = index.LabelValues(name, &found, 0);
    EXPECT_EQ(Strings(all.values), values);
    EXPECT_FALSE(all.truncated);
    const size_t limit = draw->Below(4) + 1;
    const LabelStrings some = index.LabelValues(name, &found, limit);
    EXPECT_EQ(some.truncated, values.size() > limit);
    EXPECT_EQ(Strings(some.values),
              std::vector<std::string>(
                  values.begin(),
                  values.begin() + static_cast<ptrdiff_t>(std::min(limit, values.size()))));
  }
}

template <typename Index>
void CompareContents(const Index& index, const ModelIndex& model, Draw* draw) {
  std::vector<LabelView> labels;
  for (const auto& [ordinal, wanted] : model.series) {
    index.GetLabels(ordinal, &labels);
    ASSERT_EQ(ToString(labels), ToString(wanted));
    for (int i = 0; i < 3; ++i) {
      const std::string name = draw->Name();
      ASSERT_EQ(index.GetLabel(ordinal, name), wanted.Get(name));
    }
  }
  EXPECT_EQ(Strings(index.LabelNames(nullptr, 0).values), model.Names(nullptr));
  for (const std::string& name : model.Names(nullptr)) {
    const std::vector<std::string> values = model.Values(name, nullptr);
    EXPECT_EQ(Strings(index.LabelValues(name, nullptr, 0).values), values);
    for (const std::string& value : values) {
      EXPECT_TRUE(index.Contains(name, value));
      if (!draw->Chance(static_cast<uint32_t>(values.size()) / 4 + 1)) continue;
      const std::vector<Matcher> equal = {{MatchType::kEqual, name, value}};
      EXPECT_EQ(index.SeriesOf(name, value).ToVector(), model.Select(equal));
    }
    EXPECT_FALSE(index.Contains(name, "no such value"));
  }
  EXPECT_TRUE(index.LabelValues("absent", nullptr, 0).values.empty());
  EXPECT_TRUE(index.SeriesOf("absent", "a").empty());
}

TEST(LabelIndexView, AnswersAsTheModelDoes) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    Draw draw(seed);
    std::set<std::string> seen;
    std::vector<Labels> sorted;
    for (uint32_t i = draw.Below(seed % 10 == 0 ? 1200 : 60); i > 0; --i) {
      sorted.push_back(draw.LabelSet());
    }
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    ModelIndex model;
    for (uint32_t i = 0; i < sorted.size(); ++i) model.series[i] = sorted[i];
    const auto view = Reopen(Serialise(sorted));
    ASSERT_EQ(view->size(), sorted.size());
    CompareContents(*view, model, &draw);
    CompareQueries(*view, model, &draw, 100);
    for (uint32_t i = 0; i < sorted.size(); ++i) EXPECT_EQ(view->Find(sorted[i]), i);
    for (int i = 0; i < 50; ++i) {
      const Labels other = draw.LabelSet();
      const auto at = std::lower_bound(sorted.begin(), sorted.end(), other);
      const bool there = at != sorted.end() && *at == other;
      EXPECT_EQ(view->Find(other).has_value(), there);
    }
  }
}

TEST(MemoryIndex, AnswersAsTheModelDoesWhileSeriesComeAndGo) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    Draw draw(seed);
    ModelIndex model;
    auto index = std::make_unique<MemoryIndex>();
    std::map<std::string, uint32_t> known;
    std::map<uint32_t, Labels> removed;  // still readable
    for (int step = 0; step < 8; ++step) {
      for (uint32_t i = draw.Below(seed % 10 == 0 ? 500 : 60); i > 0; --i) {
        const Labels labels = draw.LabelSet();
        const std::string text = ToString(labels);
        const auto at = known.find(text);
        if (at == known.end()) {
          const uint32_t ordinal = index->Add(labels);
          ASSERT_FALSE(model.series.contains(ordinal));
          ASSERT_FALSE(removed.contains(ordinal));
          model.series[ordinal] = labels;
          known[text] = ordinal;
        } else if (draw.Chance(2)) {
          index->Remove(at->second);
          removed[at->second] = labels;
          model.series.erase(at->second);
          known.erase(at);
        }
      }
      std::vector<LabelView> labels;
      for (const auto& [ordinal, wanted] : removed) {
        index->GetLabels(ordinal, &labels);
        ASSERT_EQ(ToString(labels), ToString(wanted));
        EXPECT_FALSE(index->IsLive(ordinal));
      }
      EXPECT_EQ(index->size(), model.series.size());
      CompareContents(*index, model, &draw);
      CompareQueries(*index, model, &draw, 15);
      if (draw.Chance(2)) {
        for (const auto& [ordinal, unused] : removed) index->Recycle(ordinal);
        removed.clear();
        CompareContents(*index, model, &draw);
      }
      if (removed.empty() && draw.Chance(3)) {
        index = index->CopyLive();
        EXPECT_EQ(index->stats().strings_unused, 0);
        CompareContents(*index, model, &draw);
      }
    }
  }
}

TEST(LabelIndex, BothIndexesCountAlike) {
  Draw draw(7);
  std::vector<Labels> sorted;
  for (int i = 0; i < 500; ++i) sorted.push_back(draw.LabelSet());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  const auto view = Reopen(Serialise(sorted));
  MemoryIndex memory;
  std::map<std::string, uint64_t> pairs;
  std::map<std::string, uint64_t> bytes;
  for (const Labels& labels : sorted) {
    memory.Add(labels);
    for (const LabelView& label : labels) {
      ++pairs[Concat(label.name, "=", label.value)];
      bytes[std::string(label.name)] += label.value.size();
    }
  }
  for (const size_t top : {size_t{0}, size_t{1}, size_t{5}, size_t{1000}}) {
    const Cardinality a = view->CardinalityStats(top);
    const Cardinality b = memory.CardinalityStats(top);
    EXPECT_EQ(a.series, sorted.size());
    EXPECT_EQ(a.label_pairs, pairs.size());
    EXPECT_EQ(b.label_pairs, pairs.size());
    const auto compare = [](const std::vector<CardinalityEntry>& x,
                            const std::vector<CardinalityEntry>& y) {
      ASSERT_EQ(x.size(), y.size());
      for (size_t i = 0; i < x.size(); ++i) {
        EXPECT_EQ(x[i].name, y[i].name);
        EXPECT_EQ(x[i].value, y[i].value);
        EXPECT_TRUE(i == 0 || x[i - 1].value >= x[i].value);
      }
    };
    compare(a.series_by_metric, b.series_by_metric);
    compare(a.values_by_label, b.values_by_label);
    compare(a.bytes_by_label, b.bytes_by_label);
    compare(a.series_by_label_pair, b.series_by_label_pair);
    EXPECT_EQ(a.series_by_label_pair.size(), top == 0 ? pairs.size() : std::min(top, pairs.size()));
    for (const CardinalityEntry& entry : a.series_by_label_pair) {
      EXPECT_EQ(entry.value, pairs[entry.name]);
    }
    for (const CardinalityEntry& entry : a.bytes_by_label) {
      EXPECT_EQ(entry.value, bytes[entry.name]);
    }
  }
}

TEST(LabelIndexView, KnowsTheEmptyIndexAndTheEmptyLabelSet) {
  const auto none = Reopen(Serialise({}));
  EXPECT_EQ(none->size(), 0);
  EXPECT_TRUE(Select(*none, {}).empty());
  EXPECT_TRUE(Select(*none, {{MatchType::kEqual, "a", ""}}).empty());
  EXPECT_TRUE(none->LabelNames(nullptr, 0).values.empty());

  const auto one = Reopen(Serialise({Labels(), Labels({{"a", "1"}})}));
  EXPECT_THAT(Select(*one, {{MatchType::kEqual, "a", ""}}).ToVector(), ElementsAre(0));
  EXPECT_THAT(Select(*one, {}).ToVector(), ElementsAre(0, 1));
  EXPECT_EQ(one->Find({}), 0u);
}

TEST(LabelIndexBuilder, RefusesWhatIsNotInOrder) {
  LabelIndexBuilder builder;
  const std::vector<LabelView> twice = {{"a", "1"}, {"a", "2"}};
  EXPECT_EQ(builder.Add(twice).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(builder.Add(Labels({{"a", "2"}})).ok());
  EXPECT_EQ(builder.Add(Labels({{"a", "2"}})).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(builder.Add(Labels({{"a", "1"}, {"b", "1"}})).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(builder.Add(Labels({{"a", "2"}, {"b", "1"}})).ok());
  EXPECT_EQ(builder.size(), 2);
  EXPECT_EQ(Reopen(builder.Finish())->size(), 2);
  EXPECT_EQ(builder.size(), 0);
}

TEST(LabelIndexView, SelectsFromThousandsOfSeriesThroughEveryPath) {
  // Large enough for bitmaps, lazy postings, the direct path and the cache.
  std::vector<Labels> sorted;
  ModelIndex model;
  for (int metric = 0; metric < 20; ++metric) {
    for (int host = 0; host < 1500; ++host) {
      const std::string name = Concat("metric_", metric);
      const std::string instance = Concat("host-", host, ".example.org:9100");
      const std::string job = Concat("job", host % 7);
      if (host % 3 == 0) {
        sorted.push_back(Labels({{"__name__", name}, {"instance", instance}, {"job", job}}));
      } else {
        sorted.push_back(Labels({{"__name__", name}, {"instance", instance}}));
      }
    }
  }
  std::sort(sorted.begin(), sorted.end());
  for (uint32_t i = 0; i < sorted.size(); ++i) model.series[i] = sorted[i];
  const auto view = Reopen(Serialise(sorted));
  const std::vector<std::vector<Matcher>> selections = {
      {{MatchType::kEqual, "__name__", "metric_3"}},
      {{MatchType::kEqual, "job", "job3"}},
      {{MatchType::kEqual, "__name__", "metric_3"}, {MatchType::kEqual, "job", "job3"}},
      {{MatchType::kEqual, "__name__", "metric_3"}, {MatchType::kNotEqual, "job", "job3"}},
      {{MatchType::kNotEqual, "job", ""}},
      {{MatchType::kEqual, "job", ""}, {MatchType::kRegex, "__name__", "metric_1.*"}},
      {{MatchType::kRegex, "instance", ".*-1[0-9]*\\.example.*"}},
      {{MatchType::kRegex, "instance", ".*99.*"}},
      {{MatchType::kNotRegex, "instance", ".*99.*"}},
      {{MatchType::kRegex, "instance", "host-(1|2|3)[.].*"}},
      {{MatchType::kRegex, "job", "job[0-5]|"}},
      {{MatchType::kRegex, "job", "job(0|1|2|3|4|5|6|7|8|9|10)"}},
      {{MatchType::kRegex, "job", ".+"}, {MatchType::kRegex, "instance", ".*[13579]\\..*"}},
      {{MatchType::kNotRegex, "job", ".+"}},
      {{MatchType::kRegex, "job", ".*"}, {MatchType::kEqual, "__name__", "metric_19"}},
      {{MatchType::kNotRegex, "job", ".*"}},
      {{MatchType::kEqual, "instance", "host-77.example.org:9100"},
       {MatchType::kRegex, "__name__", "metric_(1|2).*"}},
  };
  for (int round = 0; round < 3; ++round) {
    for (const std::vector<Matcher>& matchers : selections) {
      SCOPED_TRACE(ToString(matchers[0]));
      EXPECT_EQ(Select(*view, matchers).ToVector(), model.Select(matchers));
    }
  }
  const Postings odd = Select(*view, {{MatchType::kRegex, "instance", ".*[13579]\\.example.*"}});
  const std::vector<uint32_t> members = odd.ToVector();
  const std::set<uint32_t> set(members.begin(), members.end());
  EXPECT_EQ(Strings(view->LabelValues("job", &odd, 0).values), model.Values("job", &set));
  EXPECT_EQ(Strings(view->LabelValues("__name__", &odd, 0).values), model.Values("__name__", &set));
}

TEST(LabelIndexView, ServesManyThreadsFromTheFirstQueryOn) {
  std::vector<Labels> sorted;
  for (int i = 0; i < 4000; ++i) {
    sorted.push_back(Labels({{"__name__", Concat("m", i % 40)}, {"i", std::to_string(i)}}));
  }
  std::sort(sorted.begin(), sorted.end());
  const auto view = Reopen(Serialise(sorted));
  std::vector<std::thread> threads;
  std::vector<size_t> sizes(4);
  for (size_t t = 0; t < sizes.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 50; ++round) {
        sizes[t] += Select(*view, {{MatchType::kRegex, "i", ".*7.*"},
                                   {MatchType::kNotRegex, "__name__", "m1."}})
                        .size();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(sizes[0], 0);
  for (const size_t size : sizes) EXPECT_EQ(size, sizes[0]);
}

TEST(MemoryIndex, LetsReadersOfLabelsRunBesideAWriter) {
  MemoryIndex index;
  std::vector<Labels> first;
  for (int i = 0; i < 500; ++i) {
    first.push_back(Labels({{"__name__", Concat("m", i % 7)}, {"i", std::to_string(i)}}));
    index.Add(first.back());
  }
  std::thread writer([&] {
    std::vector<uint32_t> mine;
    for (int i = 0; i < 20000; ++i) {
      mine.push_back(index.Add(
          Labels({{"__name__", "new"}, {Concat("n", i % 300), "x"}, {"i", std::to_string(i)}})));
      if (mine.size() > 1000) {
        for (const uint32_t ordinal : mine) index.Remove(ordinal);
        for (const uint32_t ordinal : mine) index.Recycle(ordinal);
        mine.clear();
      }
    }
  });
  std::vector<LabelView> labels;
  for (int round = 0; round < 40; ++round) {
    for (uint32_t i = 0; i < first.size(); ++i) {
      index.GetLabels(i, &labels);
      ASSERT_TRUE(CompareLabels(labels, first[i]) == std::strong_ordering::equal);
      ASSERT_EQ(index.GetLabel(i, "i"), first[i].Get("i"));
    }
  }
  writer.join();
}

TEST(MemoryIndex, GivesMemoryBackWhenSeriesChurn) {
  MemoryIndex index;
  std::vector<uint32_t> live;
  size_t after_first = 0;
  for (int generation = 0; generation < 30; ++generation) {
    for (const uint32_t ordinal : live) index.Remove(ordinal);
    for (const uint32_t ordinal : live) index.Recycle(ordinal);
    live.clear();
    for (int i = 0; i < 3000; ++i) {
      live.push_back(index.Add(Labels({{"__name__", Concat("m", i % 50)},
                                       {"pod", Concat("pod-", generation, "-", i % 100)},
                                       {"job", "api"},
                                       {"le", std::to_string(i / 50)}})));
    }
    if (generation == 0) after_first = index.stats().memory_bytes;
  }
  const MemoryIndex::Stats stats = index.stats();
  EXPECT_EQ(stats.series, 3000);
  EXPECT_EQ(index.slots(), 3000);
  // Only strings stay: 100 names of pods a generation.
  EXPECT_LT(stats.memory_bytes, after_first + 30 * 100 * 100);
  EXPECT_EQ(stats.strings_unused, 29 * 100);
  EXPECT_EQ(index.CopyLive()->stats().strings_unused, 0);
  // Each value on top of strings, less than the reference asks for.
  EXPECT_LT(index.CopyLive()->stats().memory_bytes / 3000, 150);
}

}  // namespace
}  // namespace varve::index
