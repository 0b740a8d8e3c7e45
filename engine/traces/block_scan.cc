#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <utility>

#include "engine/base/arena.h"
#include "engine/base/macros.h"
#include "engine/traces/block_impl.h"

/// How a scan runs over a block: each predicate first rules out groups by postings, zone maps and
/// filters; then, group by group, rows by the few columns it needs. Rows that columns alone do not
/// decide (events, links, rare keys) are decoded whole and tested as they are.
namespace varve::traces {
namespace {

using Op = SpanPredicate::Op;

constexpr int32_t kAbsent = -1;  // the shape has no such key
constexpr int32_t kDecode = -2;  // the shape has it among rare values, or may have it
// Verdicts on a value or a row.
constexpr uint8_t kNo = 0;
constexpr uint8_t kYes = 1;
constexpr uint8_t kUnknown = 2;

/// What a field is in this block.
struct FieldPlan {
  enum class Kind : uint8_t {
    kScope,  // follows from the scope alone
    kText,   // name, status message
    kKind,   // kind or status
    kStart,
    kDuration,
    kTraceId,
    kSpanId,
    kParentId,
    kAttribute,  // of the span, or else (kAny) of resource, scope, events, links
    kOther,      // only whole spans tell
  };
  Kind kind = Kind::kOther;
  bool any = false;                     // kAttribute: kAny
  bool elsewhere = false;               // ... events or links have the key, too
  std::vector<ValueView> scope_values;  // kScope, kAttribute under kAny: by scope
  std::vector<bool> scope_has;
  uint32_t column = 0;                 // kText
  std::vector<uint32_t> columns;       // kAttribute: of the key, in the spans' family
  std::vector<int32_t> shape_columns;  // by shape: place in `columns`, kAbsent, kDecode
  bool decodes = false;                // kAttribute: some shape says kDecode
};

/// The rows of a group that are still in question. It only shrinks.
class Selection {
 public:
  explicit Selection(uint32_t rows) : size_(rows) {}
  bool all() const { return all_; }
  uint32_t count() const { return all_ ? size_ : static_cast<uint32_t>(rows_.size()); }
  bool empty() const { return count() == 0; }
  bool unknown(uint32_t row) const { return !unknown_.empty() && unknown_[row] != 0; }
  /// Says whether reading values one by one beats reading all.
  bool sparse() const { return !all_ && rows_.size() * 16 < size_; }
  /// The rows, ascending. Precondition: not all().
  const std::vector<uint32_t>& rows() const { return rows_; }
  /// Lists the rows even if they are all.
  const std::vector<uint32_t>& Listed() {
    if (all_) {
      rows_.resize(size_);
      for (uint32_t r = 0; r < size_; ++r) rows_[r] = r;
      all_ = false;
    }
    return rows_;
  }
  /// Keeps the rows for which `verdict(row, place in the selection)` is not kNo.
  template <typename F>
  void Keep(F&& verdict) {
    const uint32_t before = count();
    uint32_t kept = 0;
    if (all_) {
      rows_.resize(size_);
      kept = KeepOf(before, verdict, [](uint32_t i) { return i; });
    } else {
      kept = KeepOf(before, verdict, [rows = rows_.data()](uint32_t i) { return rows[i]; });
    }
    rows_.resize(kept);
    all_ = false;
  }
  void KeepNone() {
    all_ = false;
    rows_.clear();
  }
  void KeepUnknown() {
    Keep([](uint32_t, uint32_t) { return kUnknown; });
  }

 private:
  /// Writes the rows that stay to rows_ and returns how many. Eight verdicts at a time: most
  /// predicates are selective, and rows that none of eight stays of cost little more than those.
  template <typename F, typename RowOf>
  uint32_t KeepOf(uint32_t before, F& verdict, RowOf row_of) {
    uint32_t* const rows = rows_.data();
    uint32_t kept = 0;
    for (uint32_t i = 0; i < before; i += 8) {
      const uint32_t n = std::min(8u, before - i);
      uint64_t verdicts = 0;
      for (uint32_t k = 0; k < n; ++k) {
        verdicts |= static_cast<uint64_t>(verdict(row_of(i + k), i + k)) << 8 * k;
      }
      if (verdicts == 0) continue;
      for (uint32_t k = 0; k < n; ++k) {
        const uint32_t row = row_of(i + k);
        const auto says = static_cast<uint8_t>(verdicts >> 8 * k);
        if (says == kUnknown) [[unlikely]] {
          if (unknown_.empty()) unknown_.resize(size_);
          unknown_[row] = 1;
        }
        // Written in any case: a branch here would be guessed wrong half of the time.
        rows[kept] = row;
        kept += says != kNo;
      }
    }
    return kept;
  }

  uint32_t size_;
  bool all_ = true;
  std::vector<uint32_t> rows_;
  std::vector<uint8_t> unknown_;  // by row; empty: none
};

/// A predicate on integers as an interval: what most predicates on numbers are.
struct IntegerTest {
  bool fits = false;
  int64_t low = 1;  // an empty interval
  int64_t high = 0;
  bool outside = false;
  uint8_t operator()(int64_t value) const { return (value >= low && value <= high) != outside; }

  static IntegerTest Of(const SpanPredicate& predicate) {
    IntegerTest out;
    const auto* integer = std::get_if<int64_t>(&predicate.value);
    if (integer == nullptr) return out;
    out.fits = true;
    const int64_t value = *integer;
    switch (predicate.op) {
      case Op::kEqual:
      case Op::kNotEqual:
        out.low = out.high = value;
        out.outside = predicate.op == Op::kNotEqual;
        break;
      case Op::kLess:
      case Op::kGreaterEqual:
        // Not from the value on.
        out.low = value;
        out.high = INT64_MAX;
        out.outside = predicate.op == Op::kLess;
        break;
      case Op::kGreater:
      case Op::kLessEqual:
        out.low = INT64_MIN;
        out.high = value;
        out.outside = predicate.op == Op::kGreater;
        break;
      default:
        out.fits = false;
    }
    return out;
  }
};

/// Decoded columns of one group, as needed.
class GroupColumns {
 public:
  GroupColumns(const Block& block, uint32_t number)
      : block_(block), number_(number), group_(block.groups()[number]), selection_(group_.rows) {}

  const Block::Group& group() const { return group_; }
  Selection& selection() { return selection_; }
  /// Returns a column, of which only the rows of the selection need be right. Since that only
  /// shrinks, what was read once serves for good.
  Result<const std::vector<int64_t>*> Integers(uint32_t chunk) {
    std::vector<int64_t>& column = integers_[chunk];
    if (column.empty()) {
      VARVE_RETURN_IF_ERROR(
          selection_.sparse()
              ? block_.IntegersAt(group_, chunk, group_.rows, selection_.rows(), &column)
              : block_.Integers(group_, chunk, group_.rows, &column));
    }
    return &column;
  }
  Result<const DecodedGroup*> Whole() {
    if (whole_ == nullptr) {
      VARVE_ASSIGN_OR_RETURN(whole_, block_.LoadGroup(number_));
    }
    return whole_.get();
  }
  const std::shared_ptr<const DecodedGroup>& whole() const { return whole_; }
  Status LoadPieces() {
    if (!begins_.empty()) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(block_.Pieces(group_, &ids_, &begins_));
    return absl::OkStatus();
  }
  /// The trace of a row. Cheap where rows come in ascending order. Precondition: LoadPieces.
  const TraceId& trace_id(uint32_t row) {
    if (row < begins_[piece_]) piece_ = 0;
    while (row >= begins_[piece_ + 1]) ++piece_;
    return ids_[piece_];
  }
  Result<std::string_view> SpanIds() {
    VARVE_ASSIGN_OR_RETURN(const std::string_view ids, block_.ChunkBytes(group_, kSpanIdsChunk));
    if (ids.size() != uint64_t{group_.rows} * 8) return block_.Damage(group_, "traces: span ids");
    return ids;
  }
  /// The scopes of rows, checked.
  Result<const std::vector<int64_t>*> Scopes() {
    VARVE_ASSIGN_OR_RETURN(const auto* scopes, Integers(kScopesChunk));
    if (scopes_checked_) return scopes;
    uint64_t most = 0;  // a negative one is the largest of all
    for (const int64_t scope : *scopes) most = std::max(most, static_cast<uint64_t>(scope));
    if (most >= block_.scope_count()) return block_.Damage(group_, "traces: no such scope");
    scopes_checked_ = true;
    return scopes;
  }
  /// The shapes of all rows, checked: those before a row tell where its values stand.
  Result<const std::vector<int64_t>*> Shapes() {
    if (!shapes_.empty()) return &shapes_;
    VARVE_RETURN_IF_ERROR(block_.Integers(group_, kSpanShapesChunk, group_.rows, &shapes_));
    uint64_t most = 0;
    uint64_t differ = 0;
    for (const int64_t shape : shapes_) {
      most = std::max(most, static_cast<uint64_t>(shape));
      differ |= static_cast<uint64_t>(shape ^ shapes_[0]);
    }
    if (most >= block_.shape_count()) return block_.Damage(group_, "traces: no such shape");
    one_shape_ = differ == 0;
    return &shapes_;
  }
  /// Tells that all rows have the same shape. Precondition: Shapes.
  bool one_shape() const { return one_shape_; }
  /// Reads the codes of parents: 0 is a root.
  Result<const std::vector<int64_t>*> Parents() {
    if (parents_.empty()) {
      VARVE_ASSIGN_OR_RETURN(const std::string_view bytes,
                             block_.ChunkBytes(group_, kParentsChunk));
      ByteReader in(bytes);
      codec::IntStreamReader stream;
      parents_.resize(group_.rows);
      if (!stream.Open(&in, bytes, group_.rows) || !in.ok() ||
          !stream.Decode(0, group_.rows, parents_.data())) {
        return block_.Damage(group_, "traces: parents do not decode");
      }
    }
    return &parents_;
  }

 private:
  const Block& block_;
  const uint32_t number_;
  const Block::Group& group_;
  std::array<std::vector<int64_t>, kAttributeChunks> integers_;
  std::vector<TraceId> ids_;
  std::vector<uint32_t> begins_;
  uint32_t piece_ = 0;
  std::vector<int64_t> parents_;
  std::vector<int64_t> shapes_;
  bool one_shape_ = false;
  bool scopes_checked_ = false;
  Selection selection_;
  std::shared_ptr<const DecodedGroup> whole_;
};

class BlockScan final : public SourceScan {
 public:
  BlockScan(std::shared_ptr<const Block> block, std::shared_ptr<const CompiledScan> scan)
      : block_(std::move(block)), scan_(std::move(scan)) {}

  Status Start(SpanScanStats* stats) {
    ++stats->blocks;
    const std::vector<Block::Group>& groups = block_->groups();
    std::vector<bool> wanted(groups.size());
    for (size_t g = 0; g < groups.size(); ++g) {
      wanted[g] = scan_->spec.range.Overlaps({groups[g].min_start, groups[g].max_start});
    }
    for (const CompiledPredicate& compiled : scan_->predicates) {
      PredicateState state;
      state.field = PlanField(compiled.predicate.field);
      state.integers = IntegerTest::Of(compiled.predicate);
      VARVE_RETURN_IF_ERROR(RuleOut(compiled, &state, &wanted));
      predicates_.push_back(std::move(state));
    }
    for (const SpanField& field : scan_->spec.columns) columns_.push_back(PlanField(field));
    for (uint32_t g = 0; g < groups.size(); ++g) {
      if (!wanted[g]) continue;
      units_.push_back({groups[g].min_start, groups[g].max_start, groups[g].rows});
      unit_groups_.push_back(g);
    }
    if (units_.empty()) ++stats->blocks_skipped;
    return absl::OkStatus();
  }

  const std::vector<Unit>& units() const override { return units_; }

  Status Read(size_t i, FoundRows* out, SpanScanStats* stats) const override {
    GroupColumns columns(*block_, unit_groups_[i]);
    const Block::Group& group = columns.group();
    Selection& rows = columns.selection();
    stats->spans += group.rows;
    out->columns.columns.resize(columns_.size());
    const NsRange range = scan_->spec.range;
    if (group.min_start < range.min_ns || group.max_start > range.max_ns) {
      VARVE_ASSIGN_OR_RETURN(const auto* starts, columns.Integers(kStartsChunk));
      rows.Keep([&](uint32_t r, uint32_t) -> uint8_t { return range.Contains((*starts)[r]); });
    }
    for (size_t p = 0; p < predicates_.size() && !rows.empty(); ++p) {
      VARVE_RETURN_IF_ERROR(Apply(scan_->predicates[p], predicates_[p], &columns));
    }
    if (rows.empty()) return absl::OkStatus();
    std::vector<uint32_t> found;
    for (const uint32_t r : rows.Listed()) {
      if (rows.unknown(r)) {
        VARVE_ASSIGN_OR_RETURN(const DecodedGroup* whole, columns.Whole());
        if (!MatchesAll(*scan_, BatchRow(*block_, whole->rows, whole->rows.spans()[r]))) continue;
      }
      found.push_back(r);
    }
    if (found.empty()) return absl::OkStatus();
    return Give(&columns, found, out);
  }

 private:
  struct PredicateState {
    FieldPlan field;
    std::vector<uint8_t> scopes;  // by scope: verdict of its value
    std::array<uint8_t, 256> kinds{};
    /// By column, then place in its dictionary: verdict, kUnknown for one not asked yet. Threads
    /// that ask at the same time write the same.
    std::vector<std::vector<uint8_t>> places;
    IntegerTest integers;
  };

  FieldPlan PlanField(const SpanField& field) const {
    FieldPlan plan;
    using Kind = FieldPlan::Kind;
    const auto by_scope = [&](auto&& value_of) {
      for (uint32_t s = 0; s < block_->scope_count(); ++s) {
        const ScopeView scope = block_->GetScope(s);
        ValueView value;
        plan.scope_has.push_back(value_of(scope, &value));
        plan.scope_values.push_back(value);
      }
    };
    const auto find = [&](AttributesView attributes, ValueView* value) {
      const ValueView* found = FindAttribute(attributes, field.key);
      if (found != nullptr) *value = *found;
      return found != nullptr;
    };
    switch (field.intrinsic) {
      case Intrinsic::kNone:
        break;
      case Intrinsic::kServiceName:
      case Intrinsic::kScopeName:
      case Intrinsic::kScopeVersion:
        plan.kind = Kind::kScope;
        by_scope([&](const ScopeView& scope, ValueView* value) {
          *value = ValueView::String(field.intrinsic == Intrinsic::kScopeName ? scope.name
                                                                              : scope.version);
          if (field.intrinsic == Intrinsic::kServiceName) {
            const ValueView* name =
                FindAttribute(block_->GetResource(scope.resource).attributes, kServiceNameKey);
            const bool text = name != nullptr && name->type == ValueType::kString;
            *value = text ? *name : ValueView::String("");
          }
          return true;
        });
        return plan;
      case Intrinsic::kName:
      case Intrinsic::kStatusMessage:
        plan.kind = Kind::kText;
        plan.column =
            TextColumn(field.intrinsic == Intrinsic::kName ? kNamesChunk : kStatusMessagesChunk);
        return plan;
      case Intrinsic::kKind:
      case Intrinsic::kStatus:
        plan.kind = Kind::kKind;
        return plan;
      case Intrinsic::kStart:
        plan.kind = Kind::kStart;
        return plan;
      case Intrinsic::kDuration:
        plan.kind = Kind::kDuration;
        return plan;
      case Intrinsic::kTraceId:
        plan.kind = Kind::kTraceId;
        return plan;
      case Intrinsic::kSpanId:
        plan.kind = Kind::kSpanId;
        return plan;
      case Intrinsic::kParentId:
        plan.kind = Kind::kParentId;
        return plan;
      default:
        return plan;
    }
    if (field.scope == AttributeScope::kResource ||
        field.scope == AttributeScope::kInstrumentation) {
      plan.kind = Kind::kScope;
      by_scope([&](const ScopeView& scope, ValueView* value) {
        return find(field.scope == AttributeScope::kResource
                        ? block_->GetResource(scope.resource).attributes
                        : scope.attributes,
                    value);
      });
      return plan;
    }
    if (field.scope != AttributeScope::kSpan && field.scope != AttributeScope::kAny) return plan;
    plan.kind = Kind::kAttribute;
    plan.any = field.scope == AttributeScope::kAny;
    for (uint32_t c = kTextChunks.size(); c < block_->columns().size(); ++c) {
      const Block::Column& column = block_->columns()[c];
      if (block_->key(column.key) != field.key) continue;
      if (column.family == Family::kSpan) {
        plan.columns.push_back(c);
      } else {
        plan.elsewhere = true;
      }
    }
    plan.elsewhere = plan.elsewhere || block_->has_inline_shapes();
    plan.shape_columns.assign(block_->shape_count(), kAbsent);
    for (uint32_t s = 0; s < block_->shape_count() && !plan.columns.empty(); ++s) {
      for (const uint32_t number : block_->shape(s)) {
        const auto at = std::find(plan.columns.begin(), plan.columns.end(), number);
        if (at == plan.columns.end()) continue;
        const bool cold = block_->columns()[number].coding == Coding::kCold;
        plan.decodes = plan.decodes || cold;
        plan.shape_columns[s] = cold ? kDecode : static_cast<int32_t>(at - plan.columns.begin());
      }
    }
    if (!plan.columns.empty()) plan.shape_columns[kInlineShape] = kDecode;
    plan.decodes = plan.decodes || block_->has_inline_shapes();
    if (plan.any) {
      by_scope([&](const ScopeView& scope, ValueView* value) {
        return find(block_->GetResource(scope.resource).attributes, value) ||
               find(scope.attributes, value);
      });
    }
    return plan;
  }

  static uint8_t TestPresent(const CompiledPredicate& compiled, const ValueView& value) {
    if (compiled.predicate.op == Op::kExists) return kYes;
    if (compiled.predicate.op == Op::kNotExists) return kNo;
    return compiled.TestValue(value) ? kYes : kNo;
  }
  static uint8_t VerdictOfAbsence(const CompiledPredicate& compiled) {
    return compiled.predicate.op == Op::kNotExists ? kYes : kNo;
  }

  /// Strikes groups from `wanted` in which no row can satisfy the predicate.
  Status RuleOut(const CompiledPredicate& compiled, PredicateState* state,
                 std::vector<bool>* wanted) {
    using Kind = FieldPlan::Kind;
    const FieldPlan& field = state->field;
    std::vector<bool> may(wanted->size(), false);
    const auto allow = [&may](const index::Postings& groups) {
      groups.ForEach([&may](uint32_t g) { may[g] = true; });
    };
    for (size_t s = 0; s < field.scope_has.size(); ++s) {
      state->scopes.push_back(field.scope_has[s] ? TestPresent(compiled, field.scope_values[s])
                              : field.kind == Kind::kScope ? VerdictOfAbsence(compiled)
                              : field.elsewhere            ? kUnknown
                                                           : VerdictOfAbsence(compiled));
    }
    const auto allow_scopes = [&]() -> Status {
      const bool all = std::all_of(state->scopes.begin(), state->scopes.end(),
                                   [](uint8_t verdict) { return verdict != kNo; });
      const bool none = std::all_of(state->scopes.begin(), state->scopes.end(),
                                    [](uint8_t verdict) { return verdict == kNo; });
      if (none) return absl::OkStatus();
      if (all) {
        may.assign(may.size(), true);
        return absl::OkStatus();
      }
      VARVE_ASSIGN_OR_RETURN(const auto postings, block_->ScopePostings());
      for (size_t s = 0; s < state->scopes.size(); ++s) {
        if (state->scopes[s] != kNo) allow(postings[s]);
      }
      return absl::OkStatus();
    };
    const auto allow_dictionary = [&](uint32_t number, ValueType type) -> Status {
      VARVE_ASSIGN_OR_RETURN(const Block::Dictionary* dictionary, block_->DictionaryOf(number));
      VARVE_ASSIGN_OR_RETURN(const auto postings, block_->DictionaryPostings(number));
      std::vector<uint8_t>& places = Places(state, number, dictionary->values.size());
      const std::string* only = compiled.only_string();
      // Without postings and with many texts to match, only those that occur are asked about.
      if (postings.empty() && only == nullptr) {
        may.assign(may.size(), true);
        return absl::OkStatus();
      }
      bool found = false;
      for (size_t i = 0; i < dictionary->values.size(); ++i) {
        if (only != nullptr && type == ValueType::kString && dictionary->values[i] != *only) {
          places[i] = kNo;
          continue;
        }
        ValueView value;
        value.type = type;
        value.text = dictionary->values[i];
        places[i] = TestPresent(compiled, value);
        if (places[i] != kYes) continue;
        found = true;
        if (!postings.empty()) allow(postings[i]);
      }
      if (found && postings.empty()) may.assign(may.size(), true);
      return absl::OkStatus();
    };
    switch (field.kind) {
      case Kind::kScope:
        VARVE_RETURN_IF_ERROR(allow_scopes());
        break;
      case Kind::kText:
        if (block_->columns()[field.column].coding == Coding::kDictionary) {
          VARVE_RETURN_IF_ERROR(allow_dictionary(field.column, ValueType::kString));
        } else {
          may.assign(may.size(), true);
        }
        break;
      case Kind::kKind: {
        VARVE_ASSIGN_OR_RETURN(const auto postings, block_->KindPostings());
        for (const auto& [kind, groups] : postings) {
          if (kind < 0 || kind > 255) continue;
          const bool of_kind = compiled.predicate.field.intrinsic == Intrinsic::kKind;
          const uint8_t verdict =
              TestPresent(compiled, ValueView::Int(of_kind ? kind & 15 : kind >> 4));
          state->kinds[static_cast<size_t>(kind)] = verdict;
          if (verdict == kYes) allow(groups);
        }
        break;
      }
      case Kind::kDuration:
        for (size_t g = 0; g < may.size(); ++g) {
          const Block::Group& group = block_->groups()[g];
          const Op op = compiled.predicate.op;
          may[g] = op == Op::kLess || op == Op::kLessEqual
                       ? compiled.TestValue(ValueView::Int(group.min_duration))
                   : op == Op::kGreater || op == Op::kGreaterEqual
                       ? compiled.TestValue(ValueView::Int(group.max_duration))
                       : true;
        }
        break;
      case Kind::kAttribute: {
        if (field.any) VARVE_RETURN_IF_ERROR(allow_scopes());
        const bool all = compiled.predicate.op == Op::kNotExists || block_->has_inline_shapes();
        for (const uint32_t number : field.columns) {
          const Block::Column& column = block_->columns()[number];
          if (column.coding == Coding::kDictionary) {
            VARVE_RETURN_IF_ERROR(allow_dictionary(number, column.type));
            continue;
          }
          if (all) continue;
          std::vector<std::pair<int64_t, index::Postings>> postings;
          if (column.coding == Coding::kIntegers) {
            VARVE_ASSIGN_OR_RETURN(postings, block_->IntegerPostings(number));
          }
          if (postings.empty()) {
            may.assign(may.size(), true);
            continue;
          }
          for (const auto& [integer, groups] : postings) {
            const ValueView value = column.type == ValueType::kBool ? ValueView::Bool(integer != 0)
                                                                    : ValueView::Int(integer);
            if (TestPresent(compiled, value) == kYes) allow(groups);
          }
        }
        if (all) may.assign(may.size(), true);
        break;
      }
      case Kind::kTraceId: {
        const std::string* only = compiled.only_string();
        TraceId id;
        if (only != nullptr && only->size() == sizeof id.bytes) {
          std::memcpy(id.bytes.data(), only->data(), only->size());
          if (!block_->MayHaveTrace(id)) break;
        }
        may.assign(may.size(), true);
        break;
      }
      default:
        may.assign(may.size(), true);
    }
    for (size_t g = 0; g < may.size(); ++g) (*wanted)[g] = (*wanted)[g] && may[g];
    return absl::OkStatus();
  }

  /// The verdicts on the texts of a dictionary. Made before the first group is read.
  static std::vector<uint8_t>& Places(PredicateState* state, uint32_t column, size_t size) {
    if (column >= state->places.size()) state->places.resize(column + 1);
    std::vector<uint8_t>& places = state->places[column];
    if (places.empty()) places.assign(size, kUnknown);
    return places;
  }

  /// The verdict on a place of a dictionary; asks `test` where none is known.
  template <typename F>
  static uint8_t VerdictOf(const std::vector<uint8_t>& places, uint64_t place, F&& test) {
    // The verdicts are shared by threads.
    auto known = std::atomic_ref<uint8_t>(const_cast<uint8_t&>(places[place]));
    uint8_t verdict = known.load(std::memory_order_relaxed);
    if (verdict == kUnknown) {
      verdict = test();
      known.store(verdict, std::memory_order_relaxed);
    }
    return verdict;
  }

  /// Replaces `verdicts` by one for each of `places`, ascending, of the `count` texts that a column
  /// has in a group; nullptr stands for all.
  Status TestTexts(const CompiledPredicate& compiled, const PredicateState& state, uint32_t number,
                   ValueType type, uint32_t count, const std::vector<uint32_t>* places,
                   const Block::Group& group, std::vector<uint8_t>* verdicts) const {
    const Block::Column& column = block_->columns()[number];
    const size_t wanted = places == nullptr ? count : places->size();
    verdicts->assign(wanted, kNo);
    if (wanted == 0) return absl::OkStatus();
    ValueView value;
    value.type = type;
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, block_->ChunkBytes(group, column.chunk));
    if (bytes.empty() && column.text_chunk != 0) {
      verdicts->assign(wanted, TestPresent(compiled, ValueView::String("")));
      return absl::OkStatus();
    }
    if (column.coding == Coding::kDictionary) {
      std::vector<int64_t> integers;
      VARVE_RETURN_IF_ERROR(ReadIntegers(group, column, count, places, &integers));
      VARVE_ASSIGN_OR_RETURN(const Block::Dictionary* dictionary, block_->DictionaryOf(number));
      const std::vector<uint8_t>& known = state.places[number];
      for (size_t i = 0; i < wanted; ++i) {
        const auto place = static_cast<uint64_t>(integers[places == nullptr ? i : (*places)[i]]);
        if (place >= known.size()) {
          return block_->Damage(group, "traces: no such text in the dictionary");
        }
        (*verdicts)[i] = VerdictOf(known, place, [&] {
          value.text = dictionary->values[place];
          return TestPresent(compiled, value);
        });
      }
      return absl::OkStatus();
    }
    const std::string* only = compiled.only_string();
    if (only != nullptr && type == ValueType::kString) {
      VARVE_ASSIGN_OR_RETURN(const bool may, block_->MayHaveText(group, column, *only));
      if (!may) return absl::OkStatus();
    }
    std::vector<std::string_view> texts;
    std::vector<std::string> owners;
    owners.reserve(1);
    VARVE_RETURN_IF_ERROR(block_->Texts(group, column, count, {0, count}, &texts, &owners));
    for (size_t i = 0; i < wanted; ++i) {
      value.text = texts[places == nullptr ? i : (*places)[i]];
      (*verdicts)[i] = TestPresent(compiled, value);
    }
    return absl::OkStatus();
  }

  Status ReadIntegers(const Block::Group& group, const Block::Column& column, uint32_t count,
                      const std::vector<uint32_t>* places, std::vector<int64_t>* out) const {
    if (places != nullptr && places->size() * 16 < count) {
      return block_->IntegersAt(group, column.chunk, count, *places, out);
    }
    return block_->Integers(group, column.chunk, count, out);
  }

  Status Apply(const CompiledPredicate& compiled, const PredicateState& state,
               GroupColumns* columns) const {
    using Kind = FieldPlan::Kind;
    const Block::Group& group = columns->group();
    Selection& selection = columns->selection();
    switch (state.field.kind) {
      case Kind::kScope: {
        VARVE_ASSIGN_OR_RETURN(const auto* scopes, columns->Scopes());
        selection.Keep([&](uint32_t r, uint32_t) { return state.scopes[(*scopes)[r]]; });
        return absl::OkStatus();
      }
      case Kind::kText: {
        std::vector<uint8_t> verdicts;
        VARVE_RETURN_IF_ERROR(TestTexts(compiled, state, state.field.column, ValueType::kString,
                                        group.rows, selection.all() ? nullptr : &selection.rows(),
                                        group, &verdicts));
        selection.Keep([&](uint32_t, uint32_t i) { return verdicts[i]; });
        return absl::OkStatus();
      }
      case Kind::kKind: {
        VARVE_ASSIGN_OR_RETURN(const auto* kinds, columns->Integers(kKindsChunk));
        selection.Keep([&](uint32_t r, uint32_t) { return state.kinds[(*kinds)[r] & 255]; });
        return absl::OkStatus();
      }
      case Kind::kStart: {
        VARVE_ASSIGN_OR_RETURN(const auto* starts, columns->Integers(kStartsChunk));
        selection.Keep([&](uint32_t r, uint32_t) {
          return TestInteger(compiled, state, ValueType::kInt, (*starts)[r]);
        });
        return absl::OkStatus();
      }
      case Kind::kDuration: {
        VARVE_ASSIGN_OR_RETURN(const auto* durations, columns->Integers(kDurationsChunk));
        // What stands here is end - start in 64 bits. Only where that did not hold the difference,
        // and the zone map then says another thing, the start matters.
        bool wraps = group.max_duration == INT64_MAX;
        for (const int64_t duration : *durations) wraps |= duration > group.max_duration;
        if (!wraps) {
          selection.Keep([&](uint32_t r, uint32_t) {
            return TestInteger(compiled, state, ValueType::kInt,
                               std::max<int64_t>(0, (*durations)[r]));
          });
          return absl::OkStatus();
        }
        VARVE_ASSIGN_OR_RETURN(const auto* starts, columns->Integers(kStartsChunk));
        selection.Keep([&](uint32_t r, uint32_t) {
          const int64_t start = (*starts)[r];
          return TestInteger(compiled, state, ValueType::kInt,
                             DurationOf(start, WrapAdd(start, (*durations)[r])));
        });
        return absl::OkStatus();
      }
      case Kind::kTraceId:
        VARVE_RETURN_IF_ERROR(columns->LoadPieces());
        selection.Keep([&](uint32_t r, uint32_t) {
          return TestPresent(compiled, ValueView::Bytes(BytesOf(columns->trace_id(r))));
        });
        return absl::OkStatus();
      case Kind::kSpanId: {
        VARVE_ASSIGN_OR_RETURN(const std::string_view ids, columns->SpanIds());
        selection.Keep([&](uint32_t r, uint32_t) {
          return TestPresent(compiled, ValueView::Bytes(ids.substr(size_t{r} * 8, 8)));
        });
        return absl::OkStatus();
      }
      case Kind::kParentId: {
        VARVE_ASSIGN_OR_RETURN(const auto* parents, columns->Parents());
        const Op op = compiled.predicate.op;
        const std::string* only = compiled.only_string();
        const uint8_t of_root = op == Op::kExists                          ? kNo
                                : op == Op::kNotExists                     ? kYes
                                : compiled.TestValue(ValueView::Bytes("")) ? kYes
                                                                           : kNo;
        const uint8_t of_child = op == Op::kExists                      ? kYes
                                 : op == Op::kNotExists                 ? kNo
                                 : only != nullptr && only->size() != 8 ? kNo
                                                                        : kUnknown;
        selection.Keep(
            [&](uint32_t r, uint32_t) { return (*parents)[r] == 0 ? of_root : of_child; });
        return absl::OkStatus();
      }
      case Kind::kAttribute:
        return ApplyAttribute(compiled, state, columns);
      case Kind::kOther:
        selection.KeepUnknown();
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  Status ApplyAttribute(const CompiledPredicate& compiled, const PredicateState& state,
                        GroupColumns* columns) const {
    const FieldPlan& field = state.field;
    const Block::Group& group = columns->group();
    Selection& selection = columns->selection();
    const Op op = compiled.predicate.op;
    // One text at one place: the filters of the texts alone rule most groups out.
    if (compiled.only_string() != nullptr && !field.any && !field.decodes) {
      bool may = false;
      for (const uint32_t number : field.columns) {
        const Block::Column& column = block_->columns()[number];
        if (column.type != ValueType::kString || column.coding != Coding::kPlain) {
          may = true;
        } else if (!may) {
          VARVE_ASSIGN_OR_RETURN(may, block_->MayHaveText(group, column, *compiled.only_string()));
        }
      }
      if (!may) {
        selection.KeepNone();
        return absl::OkStatus();
      }
    }
    VARVE_ASSIGN_OR_RETURN(const auto* shapes, columns->Shapes());
    const std::vector<int64_t>* scopes = nullptr;
    if (field.any) {
      VARVE_ASSIGN_OR_RETURN(scopes, columns->Scopes());
    }
    const bool by_key = op == Op::kExists || op == Op::kNotExists;
    const auto of_others = [&](uint32_t r, int32_t column) -> uint8_t {
      if (column == kAbsent) {
        return field.any ? state.scopes[(*scopes)[r]] : VerdictOfAbsence(compiled);
      }
      if (column != kDecode) return op == Op::kExists ? kYes : kNo;  // by key
      // By key alone a rare value is as good as another, but inline keys are not known.
      return by_key && (*shapes)[r] != kInlineShape ? (op == Op::kExists ? kYes : kNo) : kUnknown;
    };
    std::vector<uint8_t> verdicts;
    if (columns->one_shape()) {
      const int32_t column = field.shape_columns[(*shapes)[0]];
      if (column < 0 || by_key) {
        selection.Keep([&](uint32_t r, uint32_t) { return of_others(r, column); });
        return absl::OkStatus();
      }
      // Each row has its value at its own place.
      VARVE_RETURN_IF_ERROR(TestColumn(compiled, state, field.columns[column], group.rows,
                                       selection.all() ? nullptr : &selection.rows(), group,
                                       &verdicts));
      selection.Keep([&](uint32_t, uint32_t i) { return verdicts[i]; });
      return absl::OkStatus();
    }
    // One cursor a column of the key: its values stand in the order of rows.
    struct Cursor {
      uint32_t count = 0;
      uint32_t at = 0;
      std::vector<uint32_t> places;  // of the rows selected
      std::vector<uint8_t> verdicts;
    };
    std::vector<Cursor> cursors(field.columns.size());
    if (!by_key) {
      const std::vector<uint32_t>& rows = selection.Listed();
      size_t next = 0;
      for (uint32_t r = 0; r < group.rows; ++r) {
        const int32_t column = field.shape_columns[(*shapes)[r]];
        const bool selected = next < rows.size() && rows[next] == r;
        next += selected;
        if (column < 0) continue;
        Cursor& cursor = cursors[column];
        if (selected) cursor.places.push_back(cursor.count);
        ++cursor.count;
      }
      for (size_t c = 0; c < cursors.size(); ++c) {
        VARVE_RETURN_IF_ERROR(TestColumn(compiled, state, field.columns[c], cursors[c].count,
                                         &cursors[c].places, group, &cursors[c].verdicts));
      }
    }
    selection.Keep([&](uint32_t r, uint32_t) {
      const int32_t column = field.shape_columns[(*shapes)[r]];
      if (column < 0 || by_key) return of_others(r, column);
      Cursor& cursor = cursors[column];
      return cursor.verdicts[cursor.at++];
    });
    return absl::OkStatus();
  }

  static uint8_t TestInteger(const CompiledPredicate& compiled, const PredicateState& state,
                             ValueType type, int64_t bits) {
    if (state.integers.fits && type == ValueType::kInt) return state.integers(bits);
    return TestPresent(compiled, IntegerValue(type, bits));
  }

  /// As TestTexts, for any column.
  Status TestColumn(const CompiledPredicate& compiled, const PredicateState& state, uint32_t number,
                    uint32_t count, const std::vector<uint32_t>* places, const Block::Group& group,
                    std::vector<uint8_t>* verdicts) const {
    const Block::Column& column = block_->columns()[number];
    const size_t wanted = places == nullptr ? count : places->size();
    if (column.coding == Coding::kNothing) {
      verdicts->assign(wanted, TestPresent(compiled, ValueView()));
      return absl::OkStatus();
    }
    if (column.coding != Coding::kIntegers) {
      return column.coding == Coding::kCold
                 ? absl::OkStatus()
                 : TestTexts(compiled, state, number, column.type, count, places, group, verdicts);
    }
    verdicts->resize(wanted);
    if (wanted == 0) return absl::OkStatus();
    std::vector<int64_t> integers;
    VARVE_RETURN_IF_ERROR(ReadIntegers(group, column, count, places, &integers));
    if (state.integers.fits && column.type == ValueType::kInt) {
      // Copies: a byte that is written may be a part of anything the compiler does not know.
      const IntegerTest test = state.integers;
      const int64_t* const values = integers.data();
      uint8_t* const out = verdicts->data();
      if (places == nullptr) {
        for (size_t i = 0; i < wanted; ++i) out[i] = test(values[i]);
      } else {
        for (size_t i = 0; i < wanted; ++i) out[i] = test(values[(*places)[i]]);
      }
      return absl::OkStatus();
    }
    uint8_t verdict = kNo;
    int64_t before = 0;
    for (size_t i = 0; i < wanted; ++i) {
      const int64_t bits = integers[places == nullptr ? i : (*places)[i]];
      if (i == 0 || bits != before) {
        verdict = TestPresent(compiled, IntegerValue(column.type, bits));
      }
      before = bits;
      (*verdicts)[i] = verdict;
    }
    return absl::OkStatus();
  }
  static ValueView IntegerValue(ValueType type, int64_t bits) {
    if (type == ValueType::kBool) return ValueView::Bool(bits != 0);
    if (type == ValueType::kDouble) return ValueView::Double(std::bit_cast<double>(bits));
    return ValueView::Int(bits);
  }

  /// Appends `rows` of a group with their columns.
  Status Give(GroupColumns* columns, const std::vector<uint32_t>& rows, FoundRows* out) const {
    VARVE_RETURN_IF_ERROR(columns->LoadPieces());
    out->columns.trace_ids.reserve(rows.size());
    out->columns.span_ids.reserve(rows.size());
    out->columns.starts_ns.reserve(rows.size());
    out->columns.durations_ns.reserve(rows.size());
    VARVE_ASSIGN_OR_RETURN(const std::string_view ids, columns->SpanIds());
    VARVE_ASSIGN_OR_RETURN(const auto* starts, columns->Integers(kStartsChunk));
    VARVE_ASSIGN_OR_RETURN(const auto* durations, columns->Integers(kDurationsChunk));
    for (const uint32_t r : rows) {
      SpanId id;
      std::memcpy(id.bytes.data(), ids.data() + size_t{r} * 8, 8);
      out->columns.trace_ids.push_back(columns->trace_id(r));
      out->columns.span_ids.push_back(id);
      out->columns.starts_ns.push_back((*starts)[r]);
      out->columns.durations_ns.push_back(
          DurationOf((*starts)[r], WrapAdd((*starts)[r], (*durations)[r])));
    }
    if (out->with_kinds) {
      VARVE_ASSIGN_OR_RETURN(const auto* kinds, columns->Integers(kKindsChunk));
      for (const uint32_t r : rows) out->kinds.push_back(static_cast<SpanKind>((*kinds)[r] & 15));
    }
    for (size_t c = 0; c < columns_.size(); ++c) {
      VARVE_RETURN_IF_ERROR(GiveColumn(scan_->spec.columns[c], columns_[c], columns, rows, out,
                                       &out->columns.columns[c]));
    }
    if (columns->whole() != nullptr) out->owners.push_back(columns->whole());
    return absl::OkStatus();
  }

  Status GiveColumn(const SpanField& field, const FieldPlan& plan, GroupColumns* columns,
                    const std::vector<uint32_t>& rows, FoundRows* out,
                    std::vector<ValueView>* to) const {
    using Kind = FieldPlan::Kind;
    const Block::Group& group = columns->group();
    switch (plan.kind) {
      case Kind::kScope: {
        VARVE_ASSIGN_OR_RETURN(const auto* scopes, columns->Scopes());
        for (const uint32_t r : rows) to->push_back(plan.scope_values[(*scopes)[r]]);
        return absl::OkStatus();
      }
      case Kind::kText: {
        std::vector<std::string_view> texts;
        VARVE_RETURN_IF_ERROR(
            GiveTexts(block_->columns()[plan.column], group.rows, group, out, &texts));
        for (const uint32_t r : rows) to->push_back(ValueView::String(texts[r]));
        return absl::OkStatus();
      }
      case Kind::kKind: {
        VARVE_ASSIGN_OR_RETURN(const auto* kinds, columns->Integers(kKindsChunk));
        const bool of_kind = field.intrinsic == Intrinsic::kKind;
        for (const uint32_t r : rows) {
          to->push_back(ValueView::Int(of_kind ? (*kinds)[r] & 15 : (*kinds)[r] >> 4 & 15));
        }
        return absl::OkStatus();
      }
      case Kind::kStart:
      case Kind::kDuration: {
        const auto& from =
            plan.kind == Kind::kStart ? out->columns.starts_ns : out->columns.durations_ns;
        for (size_t i = from.size() - rows.size(); i < from.size(); ++i) {
          to->push_back(ValueView::Int(from[i]));
        }
        return absl::OkStatus();
      }
      case Kind::kSpanId: {
        VARVE_ASSIGN_OR_RETURN(const std::string_view ids, columns->SpanIds());
        for (const uint32_t r : rows) to->push_back(ValueView::Bytes(ids.substr(r * 8, 8)));
        return absl::OkStatus();
      }
      case Kind::kTraceId: {
        auto arena = std::make_shared<Arena>();
        for (const uint32_t r : rows) {
          to->push_back(ValueView::Bytes(arena->Copy(BytesOf(columns->trace_id(r)))));
        }
        out->owners.push_back(std::move(arena));
        return absl::OkStatus();
      }
      case Kind::kAttribute:
        return GiveAttribute(field, plan, columns, rows, out, to);
      case Kind::kParentId:
      case Kind::kOther:
        break;
    }
    VARVE_ASSIGN_OR_RETURN(const DecodedGroup* whole, columns->Whole());
    for (const uint32_t r : rows) to->push_back(FromWhole(field, *whole, r));
    return absl::OkStatus();
  }

  ValueView FromWhole(const SpanField& field, const DecodedGroup& whole, uint32_t row) const {
    return FirstValue(BatchRow(*block_, whole.rows, whole.rows.spans()[row]), field,
                      std::string_view(field.key));
  }

  Status GiveTexts(const Block::Column& column, uint32_t count, const Block::Group& group,
                   FoundRows* out, std::vector<std::string_view>* texts) const {
    auto owners = std::make_shared<std::vector<std::string>>();
    owners->reserve(1);
    VARVE_RETURN_IF_ERROR(block_->Texts(group, column, count, {0, count}, texts, owners.get()));
    if (!owners->empty()) out->owners.push_back(std::move(owners));
    return absl::OkStatus();
  }

  Status GiveAttribute(const SpanField& field, const FieldPlan& plan, GroupColumns* columns,
                       const std::vector<uint32_t>& rows, FoundRows* out,
                       std::vector<ValueView>* to) const {
    const Block::Group& group = columns->group();
    VARVE_ASSIGN_OR_RETURN(const auto* shapes, columns->Shapes());
    const std::vector<int64_t>* scopes = nullptr;
    if (plan.any) {
      VARVE_ASSIGN_OR_RETURN(scopes, columns->Scopes());
    }
    struct Cursor {
      uint32_t count = 0;
      uint32_t at = 0;
      std::vector<int64_t> integers;
      std::vector<std::string_view> texts;
    };
    std::vector<Cursor> cursors(plan.columns.size());
    for (const int64_t shape : *shapes) {
      const int32_t column = plan.shape_columns[shape];
      if (column >= 0) ++cursors[column].count;
    }
    for (size_t c = 0; c < cursors.size(); ++c) {
      const Block::Column& column = block_->columns()[plan.columns[c]];
      if (cursors[c].count == 0) continue;
      if (column.coding == Coding::kIntegers) {
        VARVE_RETURN_IF_ERROR(
            block_->Integers(group, column.chunk, cursors[c].count, &cursors[c].integers));
      } else if (column.coding == Coding::kDictionary || column.coding == Coding::kPlain) {
        VARVE_RETURN_IF_ERROR(GiveTexts(column, cursors[c].count, group, out, &cursors[c].texts));
      }
    }
    size_t next = 0;
    for (uint32_t r = 0; r < group.rows && next < rows.size(); ++r) {
      const auto shape = static_cast<size_t>((*shapes)[r]);
      const int32_t column = plan.shape_columns[shape];
      ValueView value;
      bool decode = column == kDecode;
      if (column >= 0) {
        Cursor& cursor = cursors[column];
        const Block::Column& info = block_->columns()[plan.columns[column]];
        const uint32_t at = cursor.at++;
        if (info.coding == Coding::kIntegers) {
          value = IntegerValue(info.type, cursor.integers[at]);
        } else if (info.coding != Coding::kNothing) {
          value.type = info.type;
          value.text = cursor.texts[at];
        }
      } else if (column == kAbsent && plan.any) {
        const auto scope = static_cast<size_t>((*scopes)[r]);
        if (plan.scope_has[scope]) {
          value = plan.scope_values[scope];
        } else {
          decode = plan.elsewhere;
        }
      }
      if (rows[next] != r) continue;
      ++next;
      if (decode) {
        VARVE_ASSIGN_OR_RETURN(const DecodedGroup* whole, columns->Whole());
        value = FromWhole(field, *whole, r);
      }
      to->push_back(value);
    }
    return absl::OkStatus();
  }

  const std::shared_ptr<const Block> block_;
  const std::shared_ptr<const CompiledScan> scan_;
  std::vector<PredicateState> predicates_;
  std::vector<FieldPlan> columns_;
  std::vector<Unit> units_;
  std::vector<uint32_t> unit_groups_;
};

}  // namespace

Result<std::unique_ptr<SourceScan>> Block::StartScan(std::shared_ptr<const CompiledScan> scan,
                                                     SpanScanStats* stats) const {
  auto out = std::make_unique<BlockScan>(shared_from_this(), std::move(scan));
  VARVE_RETURN_IF_ERROR(out->Start(stats));
  return std::unique_ptr<SourceScan>(std::move(out));
}

}  // namespace varve::traces
