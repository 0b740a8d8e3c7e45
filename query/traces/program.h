#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "query/lang/traceql/ast.h"
#include "query/traces/values.h"
#include "varve/status.h"

namespace varve::query {

/// Gives the values of fields: rows of a scan, or spans of a trace.
class Rows {
 public:
  virtual ~Rows() = default;
  /// Replaces `out` by the values of field `slot` of a row; none if it is absent.
  virtual void Get(uint32_t slot, uint32_t row, Vals* out) const = 0;
};

/// The field expressions of a query, made ready to run: fields numbered, regular expressions
/// compiled. Immutable once made; thread-safe.
class Program {
 public:
  Program();
  ~Program();

  /// Compiles an expression; it is known by its address afterwards. Precondition: it passed the
  /// check, and lives as long as the program.
  Status Add(const traceql::FieldExpr& expr);
  /// Numbers a field that is only shown.
  uint32_t AddField(const traceql::Field& field);

  const std::vector<traceql::Field>& fields() const { return fields_; }
  bool needs_trace() const { return needs_trace_; }
  bool has_multiple() const { return has_multiple_; }

  /// Test and evaluate an added expression. Of several values (events, links) one must satisfy a
  /// comparison; arithmetic and grouping take the first.
  bool Test(const traceql::FieldExpr& expr, const Rows& rows, uint32_t row) const;
  Val Evaluate(const traceql::FieldExpr& expr, const Rows& rows, uint32_t row) const;

 private:
  struct Node;
  using NodePtr = std::unique_ptr<Node>;
  Result<NodePtr> Compile(const traceql::FieldExpr& expr);
  static bool TestNode(const Node& node, const Rows& rows, uint32_t row);
  static void EvaluateNode(const Node& node, const Rows& rows, uint32_t row, Vals* out);
  static bool TestComparison(const Node& node, const Rows& rows, uint32_t row);

  std::vector<traceql::Field> fields_;
  bool needs_trace_ = false;
  bool has_multiple_ = false;
  absl::flat_hash_map<const traceql::FieldExpr*, NodePtr> nodes_;
};

}  // namespace varve::query
