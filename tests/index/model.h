#pragma once

#include <re2/re2.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/strings.h"
#include "engine/index/matchers.h"
#include "varve/labels.h"

namespace varve::index {

/// Says what a matcher means by RE2 alone, without any plan.
class PlainMatcher {
 public:
  explicit PlainMatcher(const Matcher& matcher) : matcher_(matcher) {
    if (matcher.type == MatchType::kRegex || matcher.type == MatchType::kNotRegex) {
      RE2::Options options(RE2::Quiet);
      options.set_dot_nl(true);
      regex_ = std::make_unique<RE2>(re2::StringPiece(matcher.value), options);
    }
  }
  bool ok() const { return regex_ == nullptr || regex_->ok(); }
  bool Matches(std::string_view value) const {
    switch (matcher_.type) {
      case MatchType::kEqual:
        return value == matcher_.value;
      case MatchType::kNotEqual:
        return value != matcher_.value;
      case MatchType::kRegex:
        return Run(value);
      case MatchType::kNotRegex:
        return !Run(value);
    }
    return false;
  }
  const std::string& name() const { return matcher_.name; }

 private:
  bool Run(std::string_view value) const {
    // Go reads a byte that belongs to no rune as U+FFFD.
    std::string text;
    while (!value.empty()) {
      size_t bytes = 1;
      while (bytes <= 4 && bytes <= value.size() && !IsValidUtf8(value.substr(0, bytes))) ++bytes;
      if (bytes > 4 || bytes > value.size()) {
        text += "\xef\xbf\xbd";
        value.remove_prefix(1);
      } else {
        text += value.substr(0, bytes);
        value.remove_prefix(bytes);
      }
    }
    return RE2::FullMatch(text, *regex_);
  }
  Matcher matcher_;
  std::unique_ptr<RE2> regex_;
};

/// Series with their ordinals, searched one by one.
class ModelIndex {
 public:
  std::map<uint32_t, Labels> series;

  std::vector<uint32_t> Select(std::span<const Matcher> matchers) const {
    std::vector<PlainMatcher> plain;
    for (const Matcher& matcher : matchers) plain.emplace_back(matcher);
    std::vector<uint32_t> out;
    for (const auto& [ordinal, labels] : series) {
      if (std::all_of(plain.begin(), plain.end(), [&, l = &labels](const PlainMatcher& matcher) {
            return matcher.Matches(l->Get(matcher.name()));
          })) {
        out.push_back(ordinal);
      }
    }
    return out;
  }
  std::vector<std::string> Names(const std::set<uint32_t>* within) const {
    std::set<std::string> out;
    for (const auto& [ordinal, labels] : series) {
      if (within && !within->contains(ordinal)) continue;
      for (const LabelView& label : labels) out.emplace(label.name);
    }
    return {out.begin(), out.end()};
  }
  std::vector<std::string> Values(std::string_view name, const std::set<uint32_t>* within) const {
    std::set<std::string> out;
    for (const auto& [ordinal, labels] : series) {
      if (within && !within->contains(ordinal)) continue;
      if (!labels.Get(name).empty()) out.emplace(labels.Get(name));
    }
    return {out.begin(), out.end()};
  }
};

/// Draws label sets, matchers and patterns from small worlds, so that they meet.
class Draw {
 public:
  explicit Draw(uint64_t seed) : random_(seed) {}

  uint32_t Below(uint32_t n) { return std::uniform_int_distribution<uint32_t>(0, n - 1)(random_); }
  bool Chance(uint32_t one_in) { return Below(one_in) == 0; }
  template <typename T>
  const T& OneOf(const std::vector<T>& items) {
    return items[Below(static_cast<uint32_t>(items.size()))];
  }

  std::string Name() {
    static const std::vector<std::string> kNames = {"__name__", "job",  "instance", "le",
                                                    "mode",     "path", "Über",     "z.q"};
    return OneOf(kNames);
  }
  /// Short strings over few letters, some not ASCII, some not UTF-8.
  std::string Value() {
    static const std::vector<std::string> kPieces = {
        "a",  "b", "ab", "foo",  "bar",  "-",       "é",    ".", "\xf0\x9f\x98\x80",
        "\n", "0", "1",  "\xff", "\xc3", "10.0.0.", ":9090"};
    std::string out;
    for (uint32_t i = Below(4) + 1; i > 0; --i) {
      out += kPieces[Chance(6) ? Below(static_cast<uint32_t>(kPieces.size())) : Below(8)];
    }
    return out;
  }
  Labels LabelSet() {
    std::vector<LabelView> labels;
    std::vector<std::string> bytes;
    std::set<std::string> names;
    for (uint32_t i = Below(7); i > 0; --i) names.insert(Name());
    bytes.reserve(names.size());
    for (const std::string& name : names) {
      bytes.push_back(Value());
      labels.push_back({name, bytes.back()});
    }
    return Labels(LabelsView(labels));
  }

  /// A pattern of the kinds that people write and a few that nobody does.
  std::string Pattern(int depth = 0) {
    static const std::vector<std::string> kAtoms = {"a",           "b",
                                                    "foo",         "bar",
                                                    ".*",          ".+",
                                                    ".",           "[ab]",
                                                    "[^a]",        "[a-c0-2]",
                                                    "\\.",         "\\d",
                                                    "\\w+",        "é",
                                                    "x?",          "a*",
                                                    "(ab)+",       "^",
                                                    "$",           "",
                                                    "0",           "1",
                                                    "10\\.",       ":9090",
                                                    "-",           "\\-",
                                                    "a{2}",        "b{1,2}",
                                                    ".{2}",        "(?:a|)",
                                                    "\\n",         "[é-ü]",
                                                    "[]a]",        "[^]a]",
                                                    "\\x61",       "(?i:FOO)",
                                                    "\\bfoo",      "\\pL",
                                                    "[[:alpha:]]", "\\Qa.b\\E",
                                                    ".*?",         ".+?",
                                                    "(.*)",        "(a.*b)",
                                                    "[\\d_]",      "\xf0\x9f\x98\x80",
                                                    "\\_"};
    std::string out;
    for (uint32_t i = Below(4) + (depth == 0 ? 1 : 0); i > 0; --i) {
      if (depth < 3 && Chance(4)) {
        out += Chance(3) ? "(?:" : Chance(4) ? "(?P<n" + std::to_string(serial_++) + ">" : "(";
        out += Pattern(depth + 1) + "|" + Pattern(depth + 1);
        if (Chance(3)) out += "|" + Pattern(depth + 1);
        out += ")";
        if (Chance(4))
          out += OneOf(std::vector<std::string>{"*", "+", "?", "{2}", "{0,1}", "{,2}"});
      } else {
        out += OneOf(kAtoms);
      }
    }
    if (depth == 0 && Chance(4)) out += "|" + Pattern(1);
    if (depth == 0 && Chance(20)) out = "(?i)" + out;
    if (depth == 0 && Chance(50)) out += OneOf(std::vector<std::string>{"(", ")", "[", "*", "\\"});
    return out;
  }

  Matcher OneMatcher() {
    Matcher out;
    out.type = static_cast<MatchType>(Below(4));
    out.name = Chance(12) ? "absent" : Name();
    if (out.type == MatchType::kEqual || out.type == MatchType::kNotEqual) {
      out.value = Chance(5) ? "" : Value();
      return out;
    }
    do {
      out.value = Pattern();
    } while (!PlainMatcher(out).ok());
    return out;
  }

 private:
  std::mt19937_64 random_;
  int serial_ = 0;
};

inline std::vector<std::string> Strings(const std::vector<std::string_view>& views) {
  return {views.begin(), views.end()};
}

}  // namespace varve::index
