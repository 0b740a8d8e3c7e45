#include <algorithm>
#include <array>
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
  std::vector<int32_t> shape_columns;  // by shape: number of the column, kAbsent, kDecode
};

/// Decoded columns of one group, as needed.
class GroupColumns {
 public:
  GroupColumns(const Block& block, uint32_t number)
      : block_(block), number_(number), group_(block.groups()[number]) {}

  const Block::Group& group() const { return group_; }
  Result<const std::vector<int64_t>*> Integers(uint32_t chunk) {
    std::vector<int64_t>& column = integers_[chunk];
    if (column.empty()) {
      VARVE_RETURN_IF_ERROR(block_.Integers(group_, chunk, group_.rows, &column));
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
    pieces_.resize(group_.rows);
    for (uint32_t p = 0; p + 1 < begins_.size(); ++p) {
      std::fill(pieces_.begin() + begins_[p], pieces_.begin() + begins_[p + 1], p);
    }
    return absl::OkStatus();
  }
  const TraceId& trace_id(uint32_t row) const { return ids_[pieces_[row]]; }
  Result<std::string_view> SpanIds() {
    VARVE_ASSIGN_OR_RETURN(const std::string_view ids, block_.ChunkBytes(group_, kSpanIdsChunk));
    if (ids.size() != uint64_t{group_.rows} * 8) return block_.Damage(group_, "traces: span ids");
    return ids;
  }
  /// The scopes of rows, checked.
  Result<const std::vector<int64_t>*> Scopes() {
    VARVE_ASSIGN_OR_RETURN(const auto* scopes, Integers(kScopesChunk));
    for (const int64_t scope : *scopes) {
      if (scope < 0 || scope >= block_.scope_count()) {
        return block_.Damage(group_, "traces: no such scope");
      }
    }
    return scopes;
  }
  Result<const std::vector<int64_t>*> Shapes() {
    VARVE_ASSIGN_OR_RETURN(const auto* shapes, Integers(kSpanShapesChunk));
    if (shapes_checked_) return shapes;
    for (const int64_t shape : *shapes) {
      if (shape < 0 || shape >= block_.shape_count()) {
        return block_.Damage(group_, "traces: no such shape");
      }
    }
    shapes_checked_ = true;
    return shapes;
  }
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
  std::vector<uint32_t> pieces_;
  std::vector<int64_t> parents_;
  bool shapes_checked_ = false;
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

  Status Read(size_t i, FoundRows* out, SpanScanStats* stats) override {
    GroupColumns columns(*block_, unit_groups_[i]);
    const Block::Group& group = columns.group();
    stats->spans += group.rows;
    out->columns.columns.resize(columns_.size());
    alive_.assign(group.rows, 1);
    unknown_.assign(group.rows, 0);
    const NsRange range = scan_->spec.range;
    if (group.min_start < range.min_ns || group.max_start > range.max_ns) {
      VARVE_ASSIGN_OR_RETURN(const auto* starts, columns.Integers(kStartsChunk));
      for (uint32_t r = 0; r < group.rows; ++r) alive_[r] = range.Contains((*starts)[r]);
    }
    for (size_t p = 0; p < predicates_.size(); ++p) {
      VARVE_RETURN_IF_ERROR(Apply(scan_->predicates[p], &predicates_[p], &columns));
      if (std::none_of(alive_.begin(), alive_.end(), [](uint8_t a) { return a != 0; })) {
        return absl::OkStatus();
      }
    }
    std::vector<uint32_t> rows;
    for (uint32_t r = 0; r < group.rows; ++r) {
      if (alive_[r] == 0) continue;
      if (unknown_[r] != 0) {
        VARVE_ASSIGN_OR_RETURN(const DecodedGroup* whole, columns.Whole());
        if (!MatchesAll(*scan_, BatchRow(*block_, whole->rows, whole->rows.spans()[r]))) continue;
      }
      rows.push_back(r);
    }
    if (rows.empty()) return absl::OkStatus();
    return Give(&columns, rows, out);
  }

 private:
  struct PredicateState {
    FieldPlan field;
    std::vector<uint8_t> scopes;  // by scope: verdict of its value
    std::array<uint8_t, 256> kinds{};
    /// By column, then place in its dictionary: verdict, kUnknown for one not asked yet.
    std::vector<std::vector<uint8_t>> places;
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
        if (std::find(plan.columns.begin(), plan.columns.end(), number) == plan.columns.end()) {
          continue;
        }
        plan.shape_columns[s] = block_->columns()[number].coding == Coding::kCold
                                    ? kDecode
                                    : static_cast<int32_t>(number);
      }
    }
    if (!plan.columns.empty()) plan.shape_columns[kInlineShape] = kDecode;
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
        const bool absence = compiled.predicate.op == Op::kNotExists;
        if (absence || block_->has_inline_shapes()) {
          may.assign(may.size(), true);
          break;
        }
        for (const uint32_t number : field.columns) {
          const Block::Column& column = block_->columns()[number];
          if (column.coding == Coding::kDictionary) {
            VARVE_RETURN_IF_ERROR(allow_dictionary(number, column.type));
            continue;
          }
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

  static std::vector<uint8_t>& Places(PredicateState* state, uint32_t column, size_t size) {
    if (column >= state->places.size()) state->places.resize(column + 1);
    std::vector<uint8_t>& places = state->places[column];
    if (places.empty()) places.assign(size, kUnknown);
    return places;
  }

  void Set(uint32_t row, uint8_t verdict) {
    if (verdict == kNo) alive_[row] = 0;
    if (verdict == kUnknown) unknown_[row] = 1;
  }

  /// Replaces `verdicts` by one for each of `count` texts of a column in a group.
  Status TestTexts(const CompiledPredicate& compiled, PredicateState* state, uint32_t number,
                   ValueType type, uint32_t count, const Block::Group& group,
                   std::vector<uint8_t>* verdicts) const {
    const Block::Column& column = block_->columns()[number];
    verdicts->assign(count, kNo);
    if (count == 0) return absl::OkStatus();
    ValueView value;
    value.type = type;
    VARVE_ASSIGN_OR_RETURN(const std::string_view bytes, block_->ChunkBytes(group, column.chunk));
    if (bytes.empty() && column.text_chunk != 0) {
      verdicts->assign(count, TestPresent(compiled, ValueView::String("")));
      return absl::OkStatus();
    }
    if (column.coding == Coding::kDictionary) {
      std::vector<int64_t> integers;
      VARVE_RETURN_IF_ERROR(block_->Integers(group, column.chunk, count, &integers));
      VARVE_ASSIGN_OR_RETURN(const Block::Dictionary* dictionary, block_->DictionaryOf(number));
      std::vector<uint8_t>& places = Places(state, number, dictionary->values.size());
      for (uint32_t i = 0; i < count; ++i) {
        const auto place = static_cast<uint64_t>(integers[i]);
        if (place >= places.size()) {
          return block_->Damage(group, "traces: no such text in the dictionary");
        }
        if (places[place] == kUnknown) {
          value.text = dictionary->values[place];
          places[place] = TestPresent(compiled, value);
        }
        (*verdicts)[i] = places[place];
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
    VARVE_RETURN_IF_ERROR(block_->Texts(group, column, count, &texts, &owners));
    for (uint32_t i = 0; i < count; ++i) {
      value.text = texts[i];
      (*verdicts)[i] = TestPresent(compiled, value);
    }
    return absl::OkStatus();
  }

  Status Apply(const CompiledPredicate& compiled, PredicateState* state, GroupColumns* columns) {
    using Kind = FieldPlan::Kind;
    const Block::Group& group = columns->group();
    const uint32_t rows = group.rows;
    switch (state->field.kind) {
      case Kind::kScope: {
        VARVE_ASSIGN_OR_RETURN(const auto* scopes, columns->Scopes());
        for (uint32_t r = 0; r < rows; ++r) Set(r, state->scopes[(*scopes)[r]]);
        return absl::OkStatus();
      }
      case Kind::kText: {
        std::vector<uint8_t> verdicts;
        VARVE_RETURN_IF_ERROR(TestTexts(compiled, state, state->field.column, ValueType::kString,
                                        rows, group, &verdicts));
        for (uint32_t r = 0; r < rows; ++r) Set(r, verdicts[r]);
        return absl::OkStatus();
      }
      case Kind::kKind: {
        VARVE_ASSIGN_OR_RETURN(const auto* kinds, columns->Integers(kKindsChunk));
        for (uint32_t r = 0; r < rows; ++r) Set(r, state->kinds[(*kinds)[r] & 255]);
        return absl::OkStatus();
      }
      case Kind::kStart: {
        VARVE_ASSIGN_OR_RETURN(const auto* starts, columns->Integers(kStartsChunk));
        for (uint32_t r = 0; r < rows; ++r) {
          if (alive_[r]) Set(r, TestPresent(compiled, ValueView::Int((*starts)[r])));
        }
        return absl::OkStatus();
      }
      case Kind::kDuration: {
        VARVE_ASSIGN_OR_RETURN(const auto* durations, columns->Integers(kDurationsChunk));
        VARVE_ASSIGN_OR_RETURN(const auto* starts, columns->Integers(kStartsChunk));
        for (uint32_t r = 0; r < rows; ++r) {
          if (!alive_[r]) continue;
          const int64_t start = (*starts)[r];
          const int64_t duration = DurationOf(start, WrapAdd(start, (*durations)[r]));
          Set(r, TestPresent(compiled, ValueView::Int(duration)));
        }
        return absl::OkStatus();
      }
      case Kind::kTraceId:
        VARVE_RETURN_IF_ERROR(columns->LoadPieces());
        for (uint32_t r = 0; r < rows; ++r) {
          if (alive_[r]) {
            Set(r, TestPresent(compiled, ValueView::Bytes(BytesOf(columns->trace_id(r)))));
          }
        }
        return absl::OkStatus();
      case Kind::kSpanId: {
        VARVE_ASSIGN_OR_RETURN(const std::string_view ids, columns->SpanIds());
        for (uint32_t r = 0; r < rows; ++r) {
          if (alive_[r]) Set(r, TestPresent(compiled, ValueView::Bytes(ids.substr(r * 8, 8))));
        }
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
        for (uint32_t r = 0; r < rows; ++r) Set(r, (*parents)[r] == 0 ? of_root : of_child);
        return absl::OkStatus();
      }
      case Kind::kAttribute:
        return ApplyAttribute(compiled, state, columns);
      case Kind::kOther:
        std::fill(unknown_.begin(), unknown_.end(), 1);
        return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  Status ApplyAttribute(const CompiledPredicate& compiled, PredicateState* state,
                        GroupColumns* columns) {
    const FieldPlan& field = state->field;
    const Block::Group& group = columns->group();
    VARVE_ASSIGN_OR_RETURN(const auto* shapes, columns->Shapes());
    const std::vector<int64_t>* scopes = nullptr;
    if (field.any) {
      VARVE_ASSIGN_OR_RETURN(scopes, columns->Scopes());
    }
    const Op op = compiled.predicate.op;
    const bool by_key = op == Op::kExists || op == Op::kNotExists;
    // One cursor a column of the key: its values stand in the order of rows.
    struct Cursor {
      uint32_t count = 0;
      uint32_t at = 0;
      std::vector<uint8_t> verdicts;
    };
    std::vector<Cursor> cursors(field.columns.size());
    const auto cursor_of = [&](int32_t column) -> Cursor& {
      const auto at =
          std::find(field.columns.begin(), field.columns.end(), static_cast<uint32_t>(column));
      return cursors[static_cast<size_t>(at - field.columns.begin())];
    };
    if (!by_key) {
      for (const int64_t shape : *shapes) {
        const int32_t column = field.shape_columns[shape];
        if (column >= 0) ++cursor_of(column).count;
      }
      for (size_t c = 0; c < cursors.size(); ++c) {
        VARVE_RETURN_IF_ERROR(TestColumn(compiled, state, field.columns[c], cursors[c].count, group,
                                         &cursors[c].verdicts));
      }
    }
    for (uint32_t r = 0; r < group.rows; ++r) {
      const auto shape = static_cast<size_t>((*shapes)[r]);
      const int32_t column = field.shape_columns[shape];
      if (column == kAbsent) {
        Set(r, field.any ? state->scopes[(*scopes)[r]] : VerdictOfAbsence(compiled));
      } else if (column == kDecode) {
        // By key alone a rare value is as good as another, but inline keys are not known.
        Set(r, by_key && shape != kInlineShape ? (op == Op::kExists ? kYes : kNo) : kUnknown);
      } else if (by_key) {
        Set(r, op == Op::kExists ? kYes : kNo);
      } else {
        Cursor& cursor = cursor_of(column);
        Set(r, cursor.verdicts[cursor.at++]);
      }
    }
    return absl::OkStatus();
  }

  Status TestColumn(const CompiledPredicate& compiled, PredicateState* state, uint32_t number,
                    uint32_t count, const Block::Group& group,
                    std::vector<uint8_t>* verdicts) const {
    const Block::Column& column = block_->columns()[number];
    if (column.coding == Coding::kNothing) {
      verdicts->assign(count, TestPresent(compiled, ValueView()));
      return absl::OkStatus();
    }
    if (column.coding != Coding::kIntegers) {
      return column.coding == Coding::kCold
                 ? absl::OkStatus()
                 : TestTexts(compiled, state, number, column.type, count, group, verdicts);
    }
    if (count == 0) return absl::OkStatus();
    std::vector<int64_t> integers;
    VARVE_RETURN_IF_ERROR(block_->Integers(group, column.chunk, count, &integers));
    verdicts->resize(count);
    uint8_t verdict = kNo;
    for (uint32_t i = 0; i < count; ++i) {
      if (i == 0 || integers[i] != integers[i - 1]) {
        verdict = TestPresent(compiled, IntegerValue(column.type, integers[i]));
      }
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
  Status Give(GroupColumns* columns, const std::vector<uint32_t>& rows, FoundRows* out) {
    VARVE_RETURN_IF_ERROR(columns->LoadPieces());
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
    VARVE_RETURN_IF_ERROR(block_->Texts(group, column, count, texts, owners.get()));
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
    const auto cursor_of = [&](int32_t column) -> Cursor& {
      const auto at =
          std::find(plan.columns.begin(), plan.columns.end(), static_cast<uint32_t>(column));
      return cursors[static_cast<size_t>(at - plan.columns.begin())];
    };
    for (const int64_t shape : *shapes) {
      const int32_t column = plan.shape_columns[shape];
      if (column >= 0) ++cursor_of(column).count;
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
        Cursor& cursor = cursor_of(column);
        const Block::Column& info = block_->columns()[static_cast<uint32_t>(column)];
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
  std::vector<uint8_t> alive_, unknown_;
};

}  // namespace

Result<std::unique_ptr<SourceScan>> Block::StartScan(std::shared_ptr<const CompiledScan> scan,
                                                     SpanScanStats* stats) const {
  auto out = std::make_unique<BlockScan>(shared_from_this(), std::move(scan));
  VARVE_RETURN_IF_ERROR(out->Start(stats));
  return std::unique_ptr<SourceScan>(std::move(out));
}

}  // namespace varve::traces
