#include "engine/index/postings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace varve::index {
namespace {

using Model = std::set<uint32_t>;

std::vector<uint32_t> Members(const Model& model) { return {model.begin(), model.end()}; }

/// Draws sets of every form: ranges, tiny ones, lists, dense and sparse bitmaps, runs.
Model DrawModel(std::mt19937_64* random) {
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>((*random)() % n); };
  Model out;
  switch (below(7)) {
    case 0:
      break;
    case 1: {
      const uint32_t begin = below(3000);
      for (uint32_t i = 0; i < below(2000); ++i) out.insert(begin + i);
      break;
    }
    case 2:
      for (uint32_t i = below(6); i > 0; --i) out.insert(below(1000));
      break;
    case 3:
      for (uint32_t i = below(300); i > 0; --i) out.insert(below(4000));
      break;
    case 4:
      for (uint32_t i = below(3000); i > 0; --i) out.insert(below(200000));
      break;
    case 5:
      for (uint32_t i = below(40); i > 0; --i) {
        const uint32_t begin = below(140000);
        for (uint32_t j = below(400); j > 0; --j) out.insert(begin + j);
      }
      break;
    default:
      for (uint32_t i = 0; i < 6000; ++i) out.insert(below(12000));
      if (below(2) == 0) out.insert(kOrdinalEnd - 1);
  }
  return out;
}

Postings Make(const Model& model, std::mt19937_64* random) {
  std::vector<uint32_t> members = Members(model);
  switch ((*random)() % 4) {
    case 0:
      return Postings::FromSorted(std::span<const uint32_t>(members));
    case 1: {
      std::shuffle(members.begin(), members.end(), *random);
      if (!members.empty()) members.push_back(members[0]);
      return Postings::FromUnsorted(std::move(members));
    }
    case 2: {
      std::string bytes;
      Postings::FromSorted(std::move(members)).AppendTo(&bytes);
      auto parsed = Postings::Parse(bytes);
      EXPECT_TRUE(parsed.ok()) << parsed.status();
      return *std::move(parsed);
    }
    default: {
      PostingsUnion all;
      for (size_t i = 0; i < members.size();) {
        const size_t n = std::min<size_t>(members.size() - i, (*random)() % 700 + 1);
        all.Add(Postings::FromSorted(std::span<const uint32_t>(members).subspan(i, n)));
        i += n;
      }
      return all.Finish();
    }
  }
}

TEST(Postings, BehavesAsASet) {
  for (uint64_t seed = 1; seed <= 250; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const Model a = DrawModel(&random);
    const Model b = DrawModel(&random);
    const Postings x = Make(a, &random);
    const Postings y = Make(b, &random);
    ASSERT_EQ(x.size(), a.size());
    ASSERT_EQ(x.ToVector(), Members(a));
    std::vector<uint32_t> seen;
    x.ForEach([&](uint32_t ordinal) { seen.push_back(ordinal); });
    ASSERT_EQ(seen, Members(a));
    if (!a.empty()) {
      EXPECT_EQ(x.front(), *a.begin());
      EXPECT_EQ(x.back(), *a.rbegin());
    }
    for (int i = 0; i < 50; ++i) {
      const auto ordinal = static_cast<uint32_t>(random() % 13000);
      ASSERT_EQ(x.Contains(ordinal), a.contains(ordinal));
    }

    Model both;
    Model either = a;
    Model left;
    for (const uint32_t ordinal : a) (b.contains(ordinal) ? both : left).insert(ordinal);
    either.insert(b.begin(), b.end());
    ASSERT_EQ(And(x, y).ToVector(), Members(both));
    ASSERT_EQ(Or(x, y).ToVector(), Members(either));
    ASSERT_EQ(AndNot(x, y).ToVector(), Members(left));
    EXPECT_EQ(Intersects(x, y), !both.empty());
    EXPECT_EQ(AndSize(x, y), both.size());
    EXPECT_EQ(x == y, a == b);
    EXPECT_TRUE(x == Make(a, &random));
    EXPECT_TRUE(Or(And(x, y), AndNot(x, y)) == x);
    EXPECT_EQ(AndAll({x, y, x}).ToVector(), Members(both));

    // A cursor that now reads, now skips.
    Postings::Cursor cursor(x);
    auto at = a.begin();
    uint32_t batch[100];
    while (true) {
      if (random() % 3 == 0) {
        const uint32_t target = at == a.end() ? 5 : *at + static_cast<uint32_t>(random() % 500);
        cursor.SeekTo(target);
        while (at != a.end() && *at < target) ++at;
      }
      const size_t n = cursor.Next(std::span(batch, random() % 100 + 1));
      if (n == 0) break;
      for (size_t i = 0; i < n; ++i) {
        ASSERT_NE(at, a.end());
        ASSERT_EQ(batch[i], *at++);
      }
    }
    EXPECT_EQ(at, a.end());
  }
}

TEST(Postings, BorrowsUntilOwned) {
  Postings kept;
  std::vector<uint32_t> members;
  for (uint32_t i = 0; i < 100; ++i) members.push_back(i * 3);
  const std::vector<uint32_t> copy = members;
  kept = Postings::Borrow(members).Own();
  std::fill(members.begin(), members.end(), 0);
  EXPECT_EQ(kept.ToVector(), copy);
}

TEST(Postings, SerialisedFormDependsOnMembersAlone) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    std::mt19937_64 random(seed);
    const Model model = DrawModel(&random);
    std::string a;
    std::string b;
    Make(model, &random).AppendTo(&a);
    Make(model, &random).AppendTo(&b);
    EXPECT_EQ(a, b);
    const uint32_t end = model.empty() ? 1 : *model.rbegin() + 1;
    EXPECT_TRUE(Postings::Parse(a, end).ok());
    EXPECT_EQ(Postings::Parse(a, end - 1).ok(), model.empty());
  }
}

TEST(Postings, ParseRefusesDamage) {
  struct Case {
    const char* what;
    std::string bytes;
    const char* message;
  };
  using std::string_literals::operator""s;
  const std::vector<Case> cases = {
      {"nothing", "", "empty"},
      {"form", "\x07"s, "unknown form"},
      {"list that ends early", "\x00\x03\x01\x01"s, "list too long|truncated|out of range"},
      {"list with more behind it", "\x00\x01\x05\x05"s, "bytes after the end"},
      {"list past 2^32", "\x00\x02\xff\xff\xff\xff\x0f\x00"s, "out of range"},
      {"no containers", "\x01\x00"s, "container count"},
      {"more containers than bytes", "\x01\x7f\x00\x00"s, "container count"},
      {"array that descends", "\x01\x01\x00\x00\x00\x01\x00\x05\x00\x04\x00"s, "do not ascend"},
      {"array with a repetition", "\x01\x01\x00\x00\x00\x01\x00\x05\x00\x05\x00"s, "do not ascend"},
      {"array that ends early", "\x01\x01\x00\x00\x00\xff\xff\x05\x00"s, "truncated"},
      {"bitset that ends early", "\x01\x01\x00\x00\x01\xff\xff\x05\x00"s, "truncated"},
      {"run past the container", "\x01\x01\x00\x00\x02\x00\x00\xff\xff\x01\x00"s, "bad run"},
      {"runs that touch", "\x01\x01\x00\x00\x02\x01\x00\x00\x00\x01\x00\x02\x00\x01\x00"s,
       "bad run"},
      {"container", "\x01\x01\x00\x00\x03\x00\x00\x05\x00"s, "unknown container"},
      {"keys that repeat", "\x01\x02\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x06\x00"s,
       "keys do not ascend"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    const auto parsed = Postings::Parse(c.bytes);
    ASSERT_FALSE(parsed.ok());
    EXPECT_EQ(parsed.status().code(), StatusCode::kDataLoss);
    EXPECT_THAT(std::string(parsed.status().message()), ::testing::ContainsRegex(c.message));
  }
}

TEST(Postings, ParseSurvivesEveryFlippedBit) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    std::mt19937_64 random(seed);
    Model model = DrawModel(&random);
    std::string bytes;
    Make(model, &random).AppendTo(&bytes);
    for (int round = 0; round < 300; ++round) {
      std::string damaged = bytes;
      const size_t bit = random() % (damaged.size() * 8);
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ 1 << bit % 8);
      if (random() % 4 == 0) damaged.resize(random() % damaged.size());
      const auto parsed = Postings::Parse(damaged);
      if (!parsed.ok()) continue;
      // What is accepted is a set like any other.
      const std::vector<uint32_t> members = parsed->ToVector();
      ASSERT_EQ(members.size(), parsed->size());
      ASSERT_TRUE(std::is_sorted(members.begin(), members.end()));
    }
  }
}

TEST(MutablePostings, BehavesAsASet) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    MutablePostings set;
    Model model;
    // The size wanders over the limits between forms, up and down.
    const uint32_t span = 1u << (random() % 14 + 1);
    for (int step = 0; step < 6000; ++step) {
      const auto ordinal = static_cast<uint32_t>(random() % span);
      const bool grow = step / 1000 % 2 == 0 ? random() % 4 != 0 : random() % 4 == 0;
      if (grow) {
        ASSERT_EQ(set.Add(ordinal), model.insert(ordinal).second);
      } else {
        ASSERT_EQ(set.Remove(ordinal), model.erase(ordinal) == 1);
      }
      ASSERT_EQ(set.size(), model.size());
      ASSERT_EQ(set.Contains(ordinal), model.contains(ordinal));
      if (step % 97 == 0) {
        ASSERT_EQ(set.Borrow().ToVector(), Members(model));
        MutablePostings moved = std::move(set);
        ASSERT_TRUE(set.empty());
        set = std::move(moved);
      }
    }
    ASSERT_EQ(set.Borrow().ToVector(), Members(model));
  }
}

}  // namespace
}  // namespace varve::index
