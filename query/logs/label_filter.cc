#include "query/logs/label_filter.h"

#include <re2/re2.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "query/functions/log_values.h"
#include "query/logs/ip_match.h"

namespace varve::query {

using logql::CompareOp;
using logql::LabelFilter;

struct LabelTestNode {
  LabelFilter::Kind kind = LabelFilter::Kind::kString;
  CompareOp compare = CompareOp::kEqual;
  std::string name;
  double number = 0;
  std::optional<StringTest> test;
  std::shared_ptr<const IpMatcher> ip;
  std::vector<LabelTestNode> sides;  // two or none
};

void MarkError(EntryContext& entry, std::string_view error, std::string_view details) {
  entry.labels.SetError(error, entry.labels.arena().Copy(details));
  if (entry.hints->preserve_error)
    entry.labels.Set(EntryLabels::Part::kParsed, kPreserveErrorLabel, "true");
}

Result<std::shared_ptr<const BoundedRegex>> CompileRegex(std::string_view text, bool anchored) {
  auto out = std::make_shared<const BoundedRegex>(anchored ? Concat("^(?:", text, ")$")
                                                           : std::string(text));
  if (out->ok()) return out;
  if (out->too_large()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("error parsing regexp: expression too large: ", out->Describe()));
  }
  const re2::RE2 plain(re2::StringPiece(text.data(), text.size()), re2::RE2::Quiet);
  return MakeStatus(
      StatusCode::kInvalidArgument,
      Concat("error parsing regexp: ", GoRegexError(plain.ok() ? out->re2() : plain)));
}

bool IsYes(BoundedRegex::Answer answer, const BoundedRegex& regex, std::string_view text,
           EntryContext& entry) {
  if (answer == BoundedRegex::Answer::kRefused) [[unlikely]] {
    entry.fault.Update(MakeStatus(StatusCode::kInvalidArgument,
                                  Concat("expression ", regex.Describe(), " needs too many steps ",
                                         "for a text of ", text.size(), " bytes")));
  }
  return answer == BoundedRegex::Answer::kYes;
}

Result<StringTest> StringTest::Make(const Matcher& matcher) {
  StringTest out;
  out.matcher_ = matcher;
  if (matcher.type == MatchType::kRegex || matcher.type == MatchType::kNotRegex) {
    VARVE_ASSIGN_OR_RETURN(out.regex_, CompileRegex(matcher.value, true));
  }
  return out;
}

bool StringTest::Matches(std::string_view value, EntryContext& entry) const {
  switch (matcher_.type) {
    case MatchType::kEqual:
      return value == matcher_.value;
    case MatchType::kNotEqual:
      return value != matcher_.value;
    case MatchType::kRegex:
      return IsYes(regex_->Find(value), *regex_, value, entry);
    default:
      return !IsYes(regex_->Find(value), *regex_, value, entry);
  }
}

bool StringTest::Refuses(std::string_view value) const {
  switch (matcher_.type) {
    case MatchType::kEqual:
      return value != matcher_.value;
    case MatchType::kNotEqual:
      return value == matcher_.value;
    case MatchType::kRegex:
      return regex_->Find(value) == BoundedRegex::Answer::kNo;
    default:
      return regex_->Find(value) == BoundedRegex::Answer::kYes;
  }
}

namespace {

constexpr std::string_view kLabelFilterError = "LabelFilterErr";

template <typename T>
bool CompareValues(CompareOp op, T a, T b) {
  switch (op) {
    case CompareOp::kEqual:
      return a == b;
    case CompareOp::kNotEqual:
      return a != b;
    case CompareOp::kGreater:
      return a > b;
    case CompareOp::kGreaterEqual:
      return a >= b;
    case CompareOp::kLess:
      return a < b;
    default:
      return a <= b;
  }
}

Result<LabelTestNode> Compile(const LabelFilter& filter) {
  LabelTestNode out;
  out.kind = filter.kind;
  out.compare = filter.compare;
  out.name = filter.name;
  out.number = filter.number;
  switch (filter.kind) {
    case LabelFilter::Kind::kAnd:
    case LabelFilter::Kind::kOr: {
      VARVE_ASSIGN_OR_RETURN(LabelTestNode left, Compile(*filter.left));
      VARVE_ASSIGN_OR_RETURN(LabelTestNode right, Compile(*filter.right));
      out.sides.push_back(std::move(left));
      out.sides.push_back(std::move(right));
      break;
    }
    case LabelFilter::Kind::kString: {
      VARVE_ASSIGN_OR_RETURN(out.test, StringTest::Make(filter.matcher));
      break;
    }
    case LabelFilter::Kind::kIp: {
      VARVE_ASSIGN_OR_RETURN(auto ip, IpMatcher::Parse(filter.text));
      out.ip = std::make_shared<const IpMatcher>(ip);
      break;
    }
    default:
      break;
  }
  return out;
}

/// Compares a value that is there with what a node asks; nothing if it does not convert.
std::optional<bool> Compare(const LabelTestNode& node, std::string_view value) {
  switch (node.kind) {
    case LabelFilter::Kind::kIp:
      return node.ip->FindIn(value) == (node.compare == CompareOp::kEqual);
    case LabelFilter::Kind::kNumber: {
      const auto number = ParseGoFloat(value);
      if (!number) return std::nullopt;
      return CompareValues(node.compare, *number, node.number);
    }
    case LabelFilter::Kind::kDuration: {
      const auto ns = ParseGoDuration(value);
      if (!ns) return std::nullopt;
      return CompareValues(node.compare, *ns, static_cast<int64_t>(node.number));
    }
    default: {
      const auto bytes = ParseHumanBytes(value);
      if (!bytes) return std::nullopt;
      return CompareValues(node.compare, *bytes, static_cast<uint64_t>(node.number));
    }
  }
}

/// Says why a value does not convert.
std::string ConversionError(const LabelTestNode& node, std::string_view value) {
  switch (node.kind) {
    case LabelFilter::Kind::kNumber:
      return GoFloatError(value);
    case LabelFilter::Kind::kDuration:
      return GoDurationError(value);
    default:
      return HumanBytesError(value);
  }
}

bool Test(const LabelTestNode& node, EntryContext& entry) {
  EntryLabels& labels = entry.labels;
  switch (node.kind) {
    case LabelFilter::Kind::kString:
      return node.test->Matches(labels.Value(node.name), entry);
    case LabelFilter::Kind::kAnd: {
      // Both sides run, as in Loki: the second may mark an error though the first fails.
      const bool left = Test(node.sides[0], entry);
      const bool right = Test(node.sides[1], entry);
      return left && right;
    }
    case LabelFilter::Kind::kOr:
      return Test(node.sides[0], entry) || Test(node.sides[1], entry);
    default:
      break;
  }
  const auto value = labels.Get(node.name);
  if (!value) return false;
  const std::optional<bool> holds = Compare(node, *value);
  if (holds) return *holds;
  MarkError(entry, kLabelFilterError, ConversionError(node, *value));
  return true;
}

/// Says that no entry passes in which the one label of the node has this value.
bool Refuses(const LabelTestNode& node, std::string_view value) {
  switch (node.kind) {
    case LabelFilter::Kind::kString:
      return node.test->Refuses(value);
    case LabelFilter::Kind::kAnd:
      return Refuses(node.sides[0], value) || Refuses(node.sides[1], value);
    case LabelFilter::Kind::kOr:
      return Refuses(node.sides[0], value) && Refuses(node.sides[1], value);
    default:
      return !Compare(node, value).value_or(true);
  }
}

/// Returns the label that a node asks for if it is one only, else "".
std::string_view OneName(const LabelTestNode& node) {
  if (node.sides.empty()) return node.name;
  const std::string_view left = OneName(node.sides[0]);
  return left == OneName(node.sides[1]) ? left : std::string_view();
}

void AddNamesOf(const LabelTestNode& node, std::vector<std::string>* out) {
  for (const LabelTestNode& side : node.sides) AddNamesOf(side, out);
  if (node.sides.empty()) out->push_back(node.name);
}

void AddTestsOf(const LabelTestNode& node, std::vector<EarlyTest>* out) {
  if (node.kind == LabelFilter::Kind::kAnd) {
    for (const LabelTestNode& side : node.sides) AddTestsOf(side, out);
    return;
  }
  const std::string_view name = OneName(node);
  // Labels of errors change while the entry is parsed.
  if (name.empty() || name.starts_with("__")) return;
  const auto found = std::find_if(out->begin(), out->end(),
                                  [&](const EarlyTest& test) { return test.name == name; });
  if (found != out->end()) {
    found->filters.push_back(&node);
  } else {
    out->push_back({std::string(name), {&node}});
  }
}

}  // namespace

LabelTest::LabelTest() = default;
LabelTest::LabelTest(LabelTest&&) noexcept = default;
LabelTest& LabelTest::operator=(LabelTest&&) noexcept = default;
LabelTest::~LabelTest() = default;

Result<LabelTest> LabelTest::Make(const LabelFilter& filter) {
  LabelTest out;
  VARVE_ASSIGN_OR_RETURN(LabelTestNode root, Compile(filter));
  out.root_ = std::make_unique<const LabelTestNode>(std::move(root));
  return out;
}

bool LabelTest::Holds(EntryContext& entry) const { return Test(*root_, entry); }
void LabelTest::AddNames(std::vector<std::string>* out) const { AddNamesOf(*root_, out); }
void LabelTest::AddEarlyTests(std::vector<EarlyTest>* out) const { AddTestsOf(*root_, out); }

bool EarlyTest::Refuses(std::string_view value) const {
  return std::any_of(filters.begin(), filters.end(),
                     [value](const LabelTestNode* node) { return query::Refuses(*node, value); });
}

const EarlyTest* FindEarlyTest(const std::vector<EarlyTest>& tests, std::string_view name) {
  const auto found = std::find_if(tests.begin(), tests.end(),
                                  [name](const EarlyTest& test) { return test.name == name; });
  return found == tests.end() ? nullptr : &*found;
}

}  // namespace varve::query
