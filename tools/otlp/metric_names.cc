#include "tools/otlp/metric_names.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/base/strings.h"
#include "tools/otlp/label_names.h"

namespace varve::otlp {
namespace {

using UnitName = std::pair<std::string_view, std::string_view>;

// UCUM codes and the words that Prometheus uses for them.
constexpr UnitName kUnits[] = {
    {"d", "days"},
    {"h", "hours"},
    {"min", "minutes"},
    {"s", "seconds"},
    {"ms", "milliseconds"},
    {"us", "microseconds"},
    {"ns", "nanoseconds"},
    {"By", "bytes"},
    {"KiBy", "kibibytes"},
    {"MiBy", "mebibytes"},
    {"GiBy", "gibibytes"},
    {"TiBy", "tibibytes"},
    {"KBy", "kilobytes"},
    {"MBy", "megabytes"},
    {"GBy", "gigabytes"},
    {"TBy", "terabytes"},
    {"m", "meters"},
    {"V", "volts"},
    {"A", "amperes"},
    {"J", "joules"},
    {"W", "watts"},
    {"g", "grams"},
    {"Cel", "celsius"},
    {"Hz", "hertz"},
    {"1", ""},
    {"%", "percent"},
};
constexpr UnitName kPerUnits[] = {{"s", "second"}, {"m", "minute"}, {"h", "hour"}, {"d", "day"},
                                  {"w", "week"},   {"mo", "month"}, {"y", "year"}};

template <size_t kSize>
std::string_view Lookup(const UnitName (&table)[kSize], std::string_view unit) {
  for (const auto& [code, word] : table) {
    if (code == unit) return word;
  }
  return unit;
}

std::string_view TrimBlanks(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

struct UnitSuffixes {
  std::string_view main;
  std::string_view per;  // without "per_"
};

UnitSuffixes SuffixesOf(std::string_view unit) {
  // What stands in braces is a comment: "{packets}".
  const auto usable = [](std::string_view text) {
    return !text.empty() && text.find_first_of("{}") == std::string_view::npos;
  };
  UnitSuffixes suffixes;
  const size_t slash = unit.find('/');
  const std::string_view main = TrimBlanks(unit.substr(0, slash));
  if (usable(main)) suffixes.main = Lookup(kUnits, main);
  if (slash != std::string_view::npos) {
    const std::string_view per = TrimBlanks(unit.substr(slash + 1));
    if (usable(per)) suffixes.per = Lookup(kPerUnits, per);
  }
  return suffixes;
}

bool IsAlnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// Splits at runs of what `keep` refuses.
template <typename Keep>
std::vector<std::string> Tokens(std::string_view text, Keep keep) {
  std::vector<std::string> tokens;
  bool open = false;
  for (const char c : text) {
    if (!keep(c)) {
      open = false;
      continue;
    }
    if (!open) tokens.emplace_back();
    open = true;
    tokens.back().push_back(c);
  }
  return tokens;
}

std::string Join(const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& token : tokens) {
    if (!text.empty()) text.push_back('_');
    text.append(token);
  }
  return text;
}

void MoveToEnd(std::string_view word, std::vector<std::string>* tokens) {
  std::erase(*tokens, word);
  tokens->emplace_back(word);
}

std::string NotDigitFirst(std::string name) {
  if (!name.empty() && name[0] >= '0' && name[0] <= '9') name.insert(0, 1, '_');
  return name;
}

std::string Escaped(std::string_view name, std::string_view unit, NameKind kind) {
  std::vector<std::string> tokens = Tokens(name, [](char c) { return IsAlnum(c) || c == ':'; });
  const UnitSuffixes suffixes = SuffixesOf(unit);
  const auto clean = [](std::string_view text) { return Join(Tokens(text, IsAlnum)); };
  const std::string main = clean(suffixes.main);
  const std::string per = clean(suffixes.per);
  const auto has = [&](const std::string& word) {
    return std::ranges::find(tokens, word) != tokens.end();
  };
  const bool add_main = !main.empty() && !has(main);
  const bool add_per = !per.empty() && !has(per);
  if (add_main) tokens.push_back(main);
  if (add_per) {
    tokens.emplace_back("per");
    tokens.push_back(per);
  }
  if (kind == NameKind::kCounter) MoveToEnd("total", &tokens);
  // Only gauges: counters of objects often carry the unit 1 for want of a better one.
  if (unit == "1" && kind == NameKind::kGauge) MoveToEnd("ratio", &tokens);
  return NotDigitFirst(Join(tokens));
}

// With the character before it, whatever that is.
void DropSuffix(std::string_view suffix, std::string* name) {
  if (name->size() > suffix.size() + 1 && name->ends_with(suffix)) {
    name->resize(name->size() - suffix.size() - 1);
  }
}

std::string Unescaped(std::string_view name, std::string_view unit, NameKind kind) {
  std::string out(name);
  const UnitSuffixes suffixes = SuffixesOf(unit);
  const bool ratio = unit == "1" && kind == NameKind::kGauge;
  if (kind == NameKind::kCounter) DropSuffix("total", &out);
  if (ratio) DropSuffix("ratio", &out);
  std::string wanted(suffixes.main);
  if (!suffixes.per.empty()) wanted += Concat(wanted.empty() ? "" : "_", "per_", suffixes.per);
  if (!wanted.empty()) {
    DropSuffix(wanted, &out);
    out += Concat("_", wanted);
  }
  if (kind == NameKind::kCounter) out += "_total";
  if (ratio) out += "_ratio";
  return out;
}

}  // namespace

std::optional<Translation> ParseTranslation(std::string_view name) {
  if (name == "UnderscoreEscapingWithSuffixes") return Translation::kUnderscoreEscapingWithSuffixes;
  if (name == "NoUTF8EscapingWithSuffixes") return Translation::kNoUtf8EscapingWithSuffixes;
  if (name == "UnderscoreEscapingWithoutSuffixes") {
    return Translation::kUnderscoreEscapingWithoutSuffixes;
  }
  if (name == "NoTranslation") return Translation::kNoTranslation;
  return std::nullopt;
}

std::string MetricName(std::string_view name, std::string_view unit, NameKind kind,
                       Translation translation) {
  switch (translation) {
    case Translation::kUnderscoreEscapingWithSuffixes:
      return Escaped(name, unit, kind);
    case Translation::kNoUtf8EscapingWithSuffixes:
      return Unescaped(name, unit, kind);
    case Translation::kUnderscoreEscapingWithoutSuffixes:
      return NotDigitFirst(
          Join(Tokens(name, [](char c) { return IsAlnum(c) || c == ':' || c == '_'; })));
    case Translation::kNoTranslation:
      return std::string(name);
  }
  return {};
}

std::string LabelName(std::string_view key, Translation translation) {
  if (translation == Translation::kNoUtf8EscapingWithSuffixes ||
      translation == Translation::kNoTranslation) {
    return std::string(key);
  }
  return NormalizeLabelName(key, {});
}

}  // namespace varve::otlp
