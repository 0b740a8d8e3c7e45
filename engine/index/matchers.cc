#include "engine/index/matchers.h"

#include <re2/re2.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/bounded_regex.h"
#include "engine/base/macros.h"
#include "engine/base/stray_bytes.h"
#include "engine/base/strings.h"
#include "engine/index/regex_plan.h"

namespace varve::index {
namespace {

Status BadMatcher(const Matcher& matcher, std::string_view why) {
  // A pattern may be long; its beginning is enough to find it.
  Matcher shown = matcher;
  if (shown.value.size() > 200) shown.value = Concat(shown.value.substr(0, 200), "...");
  return MakeStatus(StatusCode::kInvalidArgument, Concat("matcher ", ToString(shown), ": ", why));
}

}  // namespace

struct CompiledMatcher::Compiled {
  class Recent;
  Matcher matcher;
  std::optional<RegexPlan> plan;                  // of regular expressions
  std::optional<std::vector<std::string>> equal;  // of equalities: the one value
  std::unique_ptr<RE2> regex;                     // where the plan does not decide alone
  bool accepts_empty = false;

  bool RunRegex(std::string_view value) const {
    return AcceptsText(value, [this](std::string_view text) {
      return regex->Match(re2::StringPiece(text.data(), text.size()), 0, text.size(),
                          RE2::ANCHOR_BOTH, nullptr, 0);
    });
  }
  bool Accepts(std::string_view value) const {
    if (equal) return value == matcher.value;
    switch (plan->Test(value)) {
      case RegexPlan::Verdict::kNo:
        return false;
      case RegexPlan::Verdict::kYes:
        return true;
      case RegexPlan::Verdict::kMaybe:
        break;
    }
    return RunRegex(value);
  }
};

/// The last few regular expressions that matchers had, since dashboards ask the same again and
/// again and compiling costs more than matching some hundred values. Only short patterns, with an
/// automaton of bounded size, are kept. Thread-safe.
class CompiledMatcher::Compiled::Recent {
 public:
  static constexpr size_t kPatternBytesMax = 256;
  static constexpr size_t kMemoryBytesMax = 1u << 20;

  static Recent& Instance() {
    static auto* const instance = new Recent;
    return *instance;
  }
  std::shared_ptr<const Compiled> Find(const Matcher& matcher) {
    const absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i]->matcher != matcher) continue;
      std::rotate(entries_.begin(), entries_.begin() + i, entries_.begin() + i + 1);
      return entries_.front();
    }
    return nullptr;
  }
  void Put(std::shared_ptr<const Compiled> compiled) {
    const absl::MutexLock lock(&mutex_);
    if (entries_.size() == kEntriesMax) entries_.pop_back();
    entries_.insert(entries_.begin(), std::move(compiled));
  }

 private:
  static constexpr size_t kEntriesMax = 32;
  absl::Mutex mutex_;
  // The last used first.
  std::vector<std::shared_ptr<const Compiled>> entries_ ABSL_GUARDED_BY(mutex_);
};

Result<CompiledMatcher> CompiledMatcher::Make(const Matcher& matcher) {
  using Recent = Compiled::Recent;
  const bool keep = matcher.type != MatchType::kEqual && matcher.type != MatchType::kNotEqual &&
                    matcher.value.size() <= Recent::kPatternBytesMax &&
                    matcher.name.size() <= Recent::kPatternBytesMax;
  if (keep) {
    if (auto found = Recent::Instance().Find(matcher)) return CompiledMatcher(std::move(found));
  }
  bool small = keep;
  auto compiled = std::make_shared<Compiled>();
  compiled->matcher = matcher;
  if (matcher.type == MatchType::kEqual || matcher.type == MatchType::kNotEqual) {
    compiled->equal.emplace(1, matcher.value);
  } else {
    if (matcher.value.size() > kPatternBytesMax) {
      return BadMatcher(matcher, Concat("the pattern has ", matcher.value.size(),
                                        " bytes, more than ", kPatternBytesMax));
    }
    compiled->plan = RegexPlan::Analyse(matcher.value);
    if (!compiled->plan->valid() || !compiled->plan->exact()) {
      const std::optional<std::string> pattern = FromGoSyntax(matcher.value);
      if (!pattern) return BadMatcher(matcher, "invalid escape sequence: `\\C`");
      RE2::Options options(RE2::Quiet);
      options.set_dot_nl(true);
      const re2::StringPiece text(pattern->data(), pattern->size());
      if (BoundedRegex::HasTooManyParts(*pattern)) {
        return BadMatcher(matcher, "expression too large");
      }
      std::unique_ptr<RE2> regex;
      if (small) {
        options.set_max_mem(Recent::kMemoryBytesMax);
        regex = std::make_unique<RE2>(text, options);
        small = regex->ok();  // else it may be too large, like a{1000}
      }
      if (!small) {
        options.set_max_mem(kRegexMemoryBytesMax);
        regex = std::make_unique<RE2>(text, options);
      }
      if (!regex->ok()) return BadMatcher(matcher, regex->error());
      if (!compiled->plan->exact()) compiled->regex = std::move(regex);
    }
  }
  compiled->accepts_empty = compiled->Accepts({});
  if (small) Recent::Instance().Put(compiled);
  return CompiledMatcher(std::move(compiled));
}

const Matcher& CompiledMatcher::matcher() const { return compiled_->matcher; }

bool CompiledMatcher::Accepts(std::string_view value) const { return compiled_->Accepts(value); }

bool CompiledMatcher::accepts_empty() const { return compiled_->accepts_empty; }

bool CompiledMatcher::accepts_all() const {
  return compiled_->plan && compiled_->plan->accepts_all();
}

bool CompiledMatcher::accepts_all_but_empty() const {
  return compiled_->plan && compiled_->plan->accepts_all_but_empty();
}

const std::vector<std::string>* CompiledMatcher::literals() const {
  return compiled_->equal ? &*compiled_->equal : compiled_->plan->literals();
}

std::span<const std::string> CompiledMatcher::prefixes() const {
  if (!compiled_->plan) return {};
  return compiled_->plan->prefixes();
}

std::string_view CompiledMatcher::needle() const {
  return compiled_->plan ? compiled_->plan->needle() : std::string_view();
}

bool CompiledMatcher::needle_suffices() const {
  return compiled_->plan && compiled_->plan->needle_suffices();
}

Result<std::vector<CompiledMatcher>> CompileMatchers(std::span<const Matcher> matchers) {
  std::vector<CompiledMatcher> out;
  out.reserve(matchers.size());
  for (const Matcher& matcher : matchers) {
    VARVE_ASSIGN_OR_RETURN(CompiledMatcher compiled, CompiledMatcher::Make(matcher));
    out.push_back(std::move(compiled));
  }
  return out;
}

}  // namespace varve::index
