#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "query/logs/entry_labels.h"
#include "varve/status.h"

namespace varve::query {

/// Bounds one execution of a template.
struct TemplateLimits {
  uint32_t steps_max = 1 << 20;  // nodes evaluated
  uint32_t bytes_max = 1 << 20;  // output, and bytes that functions make
};

/// What a template sees of an entry.
struct TemplateInput {
  int64_t time_ns = 0;
  std::string_view line;
  EntryLabels* labels = nullptr;  // also holds the bytes that are made
};

/// A template of Go's text/template language with Loki's functions. Actions: pipelines, variables,
/// if, with, range, break, continue, comments, trim markers; no definitions of further templates.
/// Immutable and thread-safe.
class LogTemplate {
 public:
  /// `name` stands in errors: "line" or "label". Errors: kInvalidArgument in Go's words. Depth is
  /// bounded.
  static Result<std::shared_ptr<const LogTemplate>> Parse(std::string_view name,
                                                          std::string_view text);
  ~LogTemplate();

  /// Appends the output. On failure, `output` holds what was written before it, and the message is
  /// Go's.
  Status Execute(const TemplateInput& input, const TemplateLimits& limits,
                 std::string* output) const;
  /// The labels that the template names, sorted and unique; all fields that stand for one.
  const std::vector<std::string>& labels() const { return labels_; }
  /// Gives the output if it is the same for every entry: text without actions.
  bool IsConstant(std::string* text) const;

  struct Node;

 private:
  LogTemplate();
  friend class TemplateParser;
  friend class TemplateRun;
  std::string name_;
  std::string text_;
  std::unique_ptr<Node> root_;
  std::vector<std::string> labels_;
};

}  // namespace varve::query
