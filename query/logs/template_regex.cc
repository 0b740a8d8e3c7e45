#include <re2/re2.h>

#include <charconv>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/bounded_regex.h"
#include "engine/base/strings.h"
#include "query/functions/log_values.h"
#include "query/logs/template_arguments.h"

namespace varve::query::templates {
namespace {

/// Keeps the expressions that templates used last, for the process. Thread-safe.
class RegexCache {
 public:
  Result<std::shared_ptr<const BoundedRegex>> Find(std::string_view text) {
    {
      absl::MutexLock lock(&mutex_);
      const auto found = by_text_.find(text);
      if (found != by_text_.end()) return found->second;
    }
    auto compiled = std::make_shared<const BoundedRegex>(text, 1 << 20);
    if (!compiled->ok()) {
      return Fail(compiled->too_large()
                      ? Concat("error parsing regexp: expression too large: ", compiled->Describe())
                      : Concat("error parsing regexp: ", GoRegexError(compiled->re2())));
    }
    absl::MutexLock lock(&mutex_);
    // Expressions may come from the lines themselves: what grows past all bounds starts anew.
    if (by_text_.size() >= 256) by_text_.clear();
    by_text_.emplace(text, compiled);
    return compiled;
  }

 private:
  absl::Mutex mutex_;
  StringMap<std::shared_ptr<const BoundedRegex>> by_text_ ABSL_GUARDED_BY(mutex_);
};
RegexCache& Regexes() {
  static auto* const cache = new RegexCache();
  return *cache;
}

/// Calls `visit(begin, end, captures)` for the matches of an expression, none overlapping, as Go
/// finds them. Each look for a match may read all that is left of the text, and is charged for
/// that.
template <typename Visit>
Status ForEachMatch(const Context& context, const BoundedRegex& expression, std::string_view text,
                    Visit&& visit) {
  constexpr size_t kBytesPerStep = 1024;
  std::vector<re2::StringPiece> captures(
      static_cast<size_t>(expression.re2().NumberOfCapturingGroups()) + 1);
  size_t at = 0;
  size_t last_end = std::string_view::npos;
  while (at <= text.size()) {
    const uint64_t steps = (text.size() - at) / kBytesPerStep;
    if (steps > context.steps_left) return Fail("exceeded the limit of template steps");
    context.steps_left -= steps;
    switch (expression.Capture(text, at, captures.data(), static_cast<int>(captures.size()))) {
      case BoundedRegex::Answer::kNo:
        return absl::OkStatus();
      case BoundedRegex::Answer::kRefused:
        return Fail(Concat("expression ", expression.Describe(),
                           " needs too many steps for a text of ", text.size(), " bytes"));
      case BoundedRegex::Answer::kYes:
        break;
    }
    const size_t begin = static_cast<size_t>(captures[0].data() - text.data());
    const size_t end = begin + captures[0].size();
    // An empty match right behind the last one does not count.
    if (begin != end || begin != last_end) {
      visit(begin, end, captures);
      last_end = end;
    }
    at = end > begin ? end : end + (end < text.size() ? RuneLength(text, end) : 1);
  }
  return absl::OkStatus();
}

/// Appends a replacement with Go's $1, ${1}, $name, ${name}, $$.
void Expand(std::string_view replacement, const re2::RE2& expression,
            const std::vector<re2::StringPiece>& captures, std::string* out) {
  while (!replacement.empty()) {
    const size_t dollar = replacement.find('$');
    *out += replacement.substr(0, dollar);
    if (dollar == std::string_view::npos) return;
    replacement.remove_prefix(dollar + 1);
    if (replacement.starts_with('$')) {
      *out += '$';
      replacement.remove_prefix(1);
      continue;
    }
    const bool braces = replacement.starts_with('{');
    size_t end = braces ? 1 : 0;
    const size_t begin = end;
    while (end < replacement.size() && IsLabelByte(replacement[end])) ++end;
    const std::string_view name = replacement.substr(begin, end - begin);
    if (name.empty() || (braces && (end >= replacement.size() || replacement[end] != '}'))) {
      *out += '$';
      continue;
    }
    replacement.remove_prefix(end + (braces ? 1 : 0));
    int index = -1;
    const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), index);
    if (error != std::errc() || stop != name.data() + name.size()) {
      const auto& names = expression.NamedCapturingGroups();
      const auto found = names.find(std::string(name));
      index = found == names.end() ? -1 : found->second;
    }
    if (index >= 0 && static_cast<size_t>(index) < captures.size() &&
        captures[static_cast<size_t>(index)].data() != nullptr) {
      out->append(captures[static_cast<size_t>(index)].data(),
                  captures[static_cast<size_t>(index)].size());
    }
  }
}

Result<Value> RegexReplace(const Context& context, Arguments arguments, bool literal) {
  VARVE_ASSIGN_OR_RETURN(const std::string_view pattern, Text(arguments[0]));
  VARVE_ASSIGN_OR_RETURN(const std::string_view text, Text(arguments[1]));
  VARVE_ASSIGN_OR_RETURN(const std::string_view replacement, Text(arguments[2]));
  VARVE_ASSIGN_OR_RETURN(const auto expression, Regexes().Find(pattern));
  std::string out;
  size_t at = 0;
  bool too_long = false;
  VARVE_RETURN_IF_ERROR(
      ForEachMatch(context, *expression, text, [&](size_t begin, size_t end, const auto& captures) {
        if (out.size() > context.bytes_left) {
          too_long = true;
          return;
        }
        out += text.substr(at, begin - at);
        if (literal) {
          out += replacement;
        } else {
          Expand(replacement, expression->re2(), captures, &out);
        }
        at = end;
      }));
  if (too_long) return Fail("exceeded the limit of template output");
  out += text.substr(at);
  return context.Keep(out);
}

}  // namespace

FunctionList RegexFunctions() {
  return {
      {"regexReplaceAll", 3, 3,
       [](const Context& c, Arguments a) { return RegexReplace(c, a, false); }},
      {"regexReplaceAllLiteral", 3, 3,
       [](const Context& c, Arguments a) { return RegexReplace(c, a, true); }},
      {"count", 2, 2,
       [](const Context& c, Arguments a) {
         return OnTwoTexts(a, [&](auto pattern, auto text) -> Result<Value> {
           VARVE_ASSIGN_OR_RETURN(const auto expression, Regexes().Find(pattern));
           int64_t matches = 0;
           VARVE_RETURN_IF_ERROR(
               ForEachMatch(c, *expression, text, [&](size_t, size_t, const auto&) { ++matches; }));
           return Value::Int(matches);
         });
       }},
  };
}

}  // namespace varve::query::templates
