#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/bounded_regex.h"
#include "query/lang/logql/ast.h"
#include "query/logs/stages.h"
#include "varve/labels.h"
#include "varve/status.h"

/// What stages share that compare lines and labels; private to this folder.
namespace varve::query {

/// Marks an entry; the details live as long as it is processed.
void MarkError(EntryContext& entry, std::string_view error, std::string_view details);

/// Compiles an expression of a query; `anchored`: at both ends. Errors: kInvalidArgument in Go's
/// words.
Result<std::shared_ptr<const BoundedRegex>> CompileRegex(std::string_view text, bool anchored);

/// Takes the answer of an expression; one that needs too many steps fails the query.
bool IsYes(BoundedRegex::Answer answer, const BoundedRegex& regex, std::string_view text,
           EntryContext& entry);

/// A matcher as label filters, drop and keep have it: anchored, the dot stops at a newline.
class StringTest {
 public:
  static Result<StringTest> Make(const Matcher& matcher);
  /// `entry` is what the value is of.
  bool Matches(std::string_view value, EntryContext& entry) const;
  /// Says surely that the value does not match: where the expression needs too many steps, false.
  bool Refuses(std::string_view value) const;

 private:
  Matcher matcher_;
  std::shared_ptr<const BoundedRegex> regex_;
};

/// A label filter, compiled.
class LabelTest {
 public:
  LabelTest();
  LabelTest(LabelTest&&) noexcept;
  LabelTest& operator=(LabelTest&&) noexcept;
  ~LabelTest();
  static Result<LabelTest> Make(const logql::LabelFilter& filter);

  /// Tests an entry. A value that does not convert marks it and counts as holding.
  bool Holds(EntryContext& entry) const;
  void AddNames(std::vector<std::string>* out) const;
  /// Adds the parts of which each must hold and asks for one label only.
  void AddEarlyTests(std::vector<EarlyTest>* out) const;

 private:
  std::unique_ptr<const LabelTestNode> root_;
};

/// Null if nothing is asked of the label.
const EarlyTest* FindEarlyTest(const std::vector<EarlyTest>& tests, std::string_view name);

}  // namespace varve::query
