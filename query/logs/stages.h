#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/arena.h"
#include "query/lang/logql/ast.h"
#include "query/logs/entry_labels.h"
#include "query/logs/hints.h"
#include "query/logs/template.h"
#include "varve/log_scan.h"
#include "varve/status.h"

namespace varve::query {

struct LabelTestNode;

/// What the label filters behind a parser ask of one label. The parser knows the value for good as
/// soon as it has found it, so it can reject the entry without looking at the rest of the line.
struct EarlyTest {
  std::string name;
  std::vector<const LabelTestNode*> filters;

  /// Says whether one of the filters drops each entry in which the label has this value.
  bool Refuses(std::string_view value) const;
};

/// Remembers, for the keys that a parser meets, the label names that they become. Keys of nested
/// JSON objects hang below that of the object. Usually the same keys come in the same order, so the
/// key behind a key is tried first.
class KeyCache {
 public:
  struct Node {
    uint32_t parent = 0;
    std::string_view key;        // as it stands in the line
    std::string_view name;       // the label; empty if there is none
    std::string_view extracted;  // the label where `name` is taken
    bool needed = true;
    bool extracted_needed = true;
    bool prefix_needed = true;        // labels below this one
    const EarlyTest* test = nullptr;  // what filters ask of `name`, of `extracted`; mostly nothing
    const EarlyTest* extracted_test = nullptr;
    uint32_t next = 0;  // the node that followed last time
  };
  static constexpr uint32_t kRoot = 0;

  KeyCache() { Clear(); }
  /// Forgets everything if there is too much; only between entries.
  void Trim() {
    if (nodes_.size() > kNodesMax) Clear();
  }
  /// Finds or makes the node of `key` below `parent`. `hints` and `early` are always the same ones.
  uint32_t Find(uint32_t parent, std::string_view key, uint32_t previous, const ParserHints& hints,
                const std::vector<EarlyTest>& early);
  const Node& operator[](uint32_t i) const { return nodes_[i]; }

 private:
  static constexpr size_t kNodesMax = 16 * 1024;
  struct Hash {
    size_t operator()(const std::pair<uint32_t, std::string_view>& key) const {
      return StringHash()(key.second) * 31 + key.first;
    }
  };
  void Clear();
  std::vector<Node> nodes_;
  absl::flat_hash_map<std::pair<uint32_t, std::string_view>, uint32_t, Hash> index_;
  Arena bytes_{4096};
};

/// How many entries went into a stage and came out, for `explain analyze`.
struct StageCount {
  uint64_t in = 0;
  uint64_t out = 0;
};

/// One entry on its way through the stages, and the scratch memory of one thread.
struct EntryContext {
  int64_t time_ns = 0;
  std::string_view line;
  EntryLabels labels;
  const ParserHints* hints = nullptr;
  TemplateLimits limits;
  std::vector<KeyCache> caches;  // one a stage
  /// One a stage, unwrap and the stages behind it included; empty: nobody counts.
  std::vector<StageCount> counts;
  std::vector<std::string_view> captures;
  std::string text;
  Status fault;  // not OK: the query ends with it; the stage has dropped the entry

  /// Counts steps inside one entry, about a byte each, and looks now and then whether the query
  /// should go on. If not, sets `fault` and returns true: the stage drops the entry.
  bool Tire(size_t steps) {
    work_ += steps;
    return work_ >= kWork && Rest();
  }

 private:
  static constexpr size_t kWork = 256 << 10;
  bool Rest();
  size_t work_ = 0;
};

/// Transforms or drops entries. Immutable and thread-safe.
class StageOp {
 public:
  virtual ~StageOp() = default;
  /// Returns false if the entry is dropped.
  virtual bool Process(EntryContext& entry) const = 0;
  /// Adds the labels that the stage reads.
  virtual void AddRequired(std::vector<std::string>*) const {}
  /// Gives the list that a parser goes by if it can reject entries early, null otherwise.
  virtual std::vector<EarlyTest>* early_tests() { return nullptr; }
  /// Says that no label that a parser before has set changes here, and none leaves.
  virtual bool KeepsParsed() const { return false; }
  /// Adds what a label filter asks of single labels. The stage must outlive the tests.
  virtual void AddEarlyTests(std::vector<EarlyTest>*) const {}
  uint32_t index = 0;  // of the stage's cache
};

/// The stages of a log query or of the input of a range aggregation, compiled, and what of them a
/// store can do. Immutable and thread-safe.
class Pipeline {
 public:
  /// What the labels of the entries are needed for.
  struct Use {
    bool metric = false;
    bool bytes = false;               // the line itself is measured
    std::vector<std::string> groups;  // labels of `by` or `without`
    bool without = false;
    bool no_labels = false;  // no label shows in the result
  };
  /// Compiles the stages up to `unwrap`, and the label filters behind it. Errors: kInvalidArgument
  /// in Loki's words: `parse error : stage '|~ "("' : ...`.
  static Result<std::shared_ptr<const Pipeline>> Compile(std::string_view query,
                                                         const logql::Expr& log, const Use& use,
                                                         const TemplateLimits& limits);

  /// Line filters that a store applies exactly; they are no stages any more.
  const std::vector<LineFilter>& line_filters() const { return line_filters_; }
  /// Filters on names that come before any parser: a store may apply them where no stream has such
  /// a label. They stay stages.
  const std::vector<Matcher>& early_matchers() const { return early_matchers_; }
  /// Says whether stages look at the line's bytes, or the result shows them.
  bool reads_line() const { return reads_line_; }
  const ParserHints& hints() const { return hints_; }
  bool empty() const { return stages_.empty(); }
  const logql::Stage* unwrap() const { return unwrap_; }

  /// Says that one entry may take long: readers look for a cancellation after each.
  bool slow() const { return slow_; }

  /// Prepares a thread's context; with `count`, it counts what each stage does.
  void Prepare(EntryContext& entry, bool count = false) const;
  /// Runs the stages on the entry whose time, line and labels are set. False if it is dropped, see
  /// EntryContext::fault.
  bool Process(EntryContext& entry) const {
    if (!entry.counts.empty()) [[unlikely]]
      return ProcessCounting(entry);
    for (const auto& stage : stages_) {
      if (!stage->Process(entry)) return false;
    }
    return true;
  }
  /// Takes the sample of an unwrapped query: the value, and the filters behind unwrap. False if
  /// there is none.
  bool Unwrap(EntryContext& entry, double* value) const;

  /// Names the stages, for explain: those of the store first.
  std::vector<std::string> Describe() const;
  /// Names what the store does, and the stages in the order of EntryContext::counts.
  std::vector<std::string> StoreFilters() const;
  const std::vector<std::string>& stage_names() const { return names_; }
  /// Says which labels parsers extract if those are not all, and by which they reject entries.
  std::vector<std::string> ParserNotes() const;

 private:
  bool ProcessCounting(EntryContext& entry) const;
  /// Gives the label filters to the parsers before them.
  void PushFilters();

  std::vector<LineFilter> line_filters_;
  std::vector<Matcher> early_matchers_;
  std::vector<std::unique_ptr<StageOp>> stages_;
  std::vector<std::unique_ptr<const StageOp>> after_unwrap_;
  std::vector<std::string> names_;
  std::vector<std::string> early_names_;  // of the labels that parsers test
  const logql::Stage* unwrap_ = nullptr;  // of the tree, which outlives this
  bool reads_line_ = false;
  bool slow_ = false;
  ParserHints hints_;
  TemplateLimits limits_;
};

/// Makes a label name of a key, see SanitizeLogLabel; `first` says that it starts the name.
void AppendSanitized(std::string_view key, bool first, std::string* out);

}  // namespace varve::query
