#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "varve/status.h"

namespace varve::query {

/// A pattern such as `<ip> - <_> "<method>`: literals and captures in turn. The grammar of the
/// pattern stage and of the line filters |> and !>.
class TextPattern {
 public:
  /// Errors: kInvalidArgument in Loki's words for neighbouring captures. With `filter` only `<_>`
  /// may capture, and an empty pattern is allowed; else at least one capture must have a name, and
  /// names must differ.
  static Result<TextPattern> Parse(std::string_view text, bool filter);

  /// Tells whether a whole line has the form of a filter: literals one after the other, the first
  /// one anywhere, captures not empty, the end reached.
  bool Test(std::string_view line) const;
  /// Replaces `captures` by the values of the first names(), as many as there are.
  void Match(std::string_view line, std::vector<std::string_view>* captures) const;
  const std::vector<std::string>& names() const { return names_; }
  /// The literals, for those who can skip lines without them.
  std::vector<std::string> Literals() const;

 private:
  struct Part {
    bool capture = false;
    bool named = false;
    std::string text;  // the literal or the name
  };
  std::vector<Part> parts_;
  std::vector<std::string> names_;
};

}  // namespace varve::query
