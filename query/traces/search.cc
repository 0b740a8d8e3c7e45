#include "query/traces/search.h"

#include <re2/re2.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/any_value.h"
#include "engine/base/macros.h"
#include "engine/base/stray_bytes.h"
#include "engine/base/strings.h"
#include "query/traces/pipeline.h"
#include "query/traces/trace_crew.h"

namespace varve::query {
namespace {

using traceql::Expr;
using traceql::FieldKind;

// What a table entry for one trace takes, its share of empty slots included.
constexpr uint64_t kBytesPerTrace = 64;
// A span with its attributes in a SpanBatch takes about this much at least.
constexpr uint64_t kBytesPerSpan = 256;
// Larger traces are read column by column where that is possible.
constexpr size_t kWholeSpansMax = 50'000;

struct TraceIdHash {
  size_t operator()(const TraceId& id) const {
    uint64_t a = 0;
    uint64_t b = 0;
    std::memcpy(&a, id.bytes.data(), 8);
    std::memcpy(&b, id.bytes.data() + 8, 8);
    return static_cast<size_t>((a ^ (b * 0x9e3779b97f4a7c15ull)) * 0xff51afd7ed558ccdull >> 7);
  }
};
using TraceTimes = absl::flat_hash_map<TraceId, int64_t, TraceIdHash>;
using TraceSet = absl::flat_hash_set<TraceId, TraceIdHash>;

/// Where a page ends: order is newest first, then by id.
struct Position {
  int64_t time_ns = 0;
  TraceId id;
  friend bool operator<(const Position& a, const Position& b) {
    return a.time_ns != b.time_ns ? a.time_ns > b.time_ns : a.id < b.id;
  }
};

std::string EncodeCursor(const Position& position) {
  char time[32];
  std::snprintf(time, sizeof time, "%016llx", static_cast<unsigned long long>(position.time_ns));
  return Concat("v1-", std::string_view(time), "-", varve::ToString(position.id));
}

Result<Position> DecodeCursor(std::string_view text) {
  const auto bad = [&] {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("bad cursor ", GoQuote(text)));
  };
  if (text.size() != 3 + 16 + 1 + 32 || !text.starts_with("v1-") || text[19] != '-') return bad();
  // An identifier of a trace is 16 bytes, a time 8: both are hex here.
  const auto time = ParseSpanId(text.substr(3, 16));
  const auto id = ParseTraceId(text.substr(20));
  if (!time || !id) return bad();
  uint64_t bits = 0;
  for (const uint8_t byte : time->bytes) bits = bits << 8 | byte;
  return Position{static_cast<int64_t>(bits), *id};
}

/// Finds out which fields of matched spans are shown: all that the query names, but not what
/// MatchedSpan has anyway and not what is the same for the whole trace.
std::vector<std::pair<uint32_t, std::string>> ShownFields(const Program& program) {
  std::vector<std::pair<uint32_t, std::string>> out;
  for (uint32_t s = 0; s < program.fields().size(); ++s) {
    const traceql::Field& field = program.fields()[s];
    switch (field.of_parent ? FieldKind::kAttribute : field.kind) {
      case FieldKind::kDuration:
      case FieldKind::kName:
      case FieldKind::kTraceId:
      case FieldKind::kStart:
      case FieldKind::kRootName:
      case FieldKind::kRootServiceName:
      case FieldKind::kTraceDuration:
        continue;
      default:
        out.emplace_back(s, traceql::ToString(field));
    }
  }
  return out;
}

/// Tests rows of a trace as the scans of a drive test spans: the store's own semantics of
/// predicates, on values that are at hand.
class DriveTest {
 public:
  DriveTest(const Drive& drive, Program* program) : program_(*program) {
    for (const DriveScan& scan : drive.scans) {
      Alternative alternative;
      alternative.residual = scan.residual;
      for (const SpanPredicate& predicate : scan.predicates) {
        Test test;
        test.predicate = &predicate;
        const traceql::Field field = traceql::FromSpanField(predicate.field);
        test.slot = program->AddField(field);
        const auto* text = std::get_if<std::string>(&predicate.value);
        if (predicate.op == SpanPredicate::Op::kRegex ||
            predicate.op == SpanPredicate::Op::kNotRegex) {
          re2::RE2::Options options;
          options.set_log_errors(false);
          options.set_dot_nl(true);
          test.regex = std::make_unique<re2::RE2>(*text, options);
        } else if (text != nullptr) {
          test.text = *text;
          if (IsId(field.kind)) test.text = HexOf(*text);
          test.literal = Val::String(test.text);
        } else if (const auto* b = std::get_if<bool>(&predicate.value)) {
          test.literal = Val::Bool(*b);
        } else if (const auto* i = std::get_if<int64_t>(&predicate.value)) {
          test.literal = Val::Int(*i);
        } else if (const auto* d = std::get_if<double>(&predicate.value)) {
          test.literal = Val::Double(*d);
        }
        alternative.tests.push_back(std::move(test));
      }
      alternatives_.push_back(std::move(alternative));
    }
    // Texts of short strings moved with their tests.
    for (Alternative& alternative : alternatives_) {
      for (Test& test : alternative.tests) {
        if (test.literal.type == Val::Type::kString) test.literal.text = test.text;
      }
    }
  }

  bool Holds(const TraceTable& table, uint32_t row) const {
    return std::any_of(alternatives_.begin(), alternatives_.end(), [&](const Alternative& one) {
      return std::all_of(one.tests.begin(), one.tests.end(),
                         [&](const Test& test) { return Holds(test, table, row); }) &&
             (one.residual == nullptr || program_.Test(*one.residual, table, row));
    });
  }

 private:
  struct Test {
    const SpanPredicate* predicate = nullptr;
    uint32_t slot = 0;
    Val literal;
    std::string text;
    std::unique_ptr<re2::RE2> regex;
  };
  struct Alternative {
    std::vector<Test> tests;
    const traceql::FieldExpr* residual = nullptr;
  };

  static bool IsId(FieldKind kind) {
    return kind == FieldKind::kTraceId || kind == FieldKind::kSpanId ||
           kind == FieldKind::kParentId || kind == FieldKind::kLinkTraceId ||
           kind == FieldKind::kLinkSpanId;
  }
  static std::string HexOf(std::string_view bytes) {
    static constexpr char kHex[] = "0123456789abcdef";
    std::string out;
    for (const char c : bytes) {
      out.push_back(kHex[static_cast<uint8_t>(c) >> 4]);
      out.push_back(kHex[static_cast<uint8_t>(c) & 15]);
    }
    return out;
  }

  static bool Holds(const Test& test, const TraceTable& table, uint32_t row) {
    using Op = SpanPredicate::Op;
    const Op op = test.predicate->op;
    Vals values;
    table.Get(test.slot, row, &values);
    if (op == Op::kNotExists) return values.empty();
    if (op == Op::kExists) return !values.empty();
    // A root has no parent here, but the empty one in stores.
    if (values.empty() && test.predicate->field.intrinsic == Intrinsic::kParentId) {
      values.push_back(Val::String(""));
    }
    for (const Val& value : values) {
      if (value.type != Val::Type::kArray || op == Op::kTextEqual) {
        if (HoldsScalar(test, value)) return true;
      }
      if (value.type != Val::Type::kArray) continue;
      std::string_view wire = value.text;
      ValueView element;
      bool malformed = false;
      while (NextElement(&wire, &element, &malformed)) {
        if (HoldsScalar(test, Val::Of(FieldKind::kAttribute, element))) return true;
      }
    }
    return false;
  }

  static bool HoldsScalar(const Test& test, Val value) {
    using Op = SpanPredicate::Op;
    const Op op = test.predicate->op;
    if (test.regex != nullptr) {
      return value.type == Val::Type::kString &&
             AcceptsText(value.text, [&](std::string_view text) {
               return re2::RE2::FullMatch(re2::StringPiece(text.data(), text.size()), *test.regex);
             }) == (op == Op::kRegex);
    }
    if (op == Op::kTextEqual) return PrintVal(value) == test.text;
    if (value.type == Val::Type::kStatus || value.type == Val::Type::kKind) {
      value.type = Val::Type::kInt;
    }
    if (op == Op::kNotEqual) return !CompareVals(traceql::Op::kEqual, value, test.literal);
    const traceql::Op compare = op == Op::kEqual       ? traceql::Op::kEqual
                                : op == Op::kLess      ? traceql::Op::kLess
                                : op == Op::kLessEqual ? traceql::Op::kLessEqual
                                : op == Op::kGreater   ? traceql::Op::kGreater
                                                       : traceql::Op::kGreaterEqual;
    return CompareVals(compare, value, test.literal);
  }

  const Program& program_;
  std::vector<Alternative> alternatives_;
};

class Searcher {
 public:
  Searcher(const TraceSnapshot& snapshot, const Expr& expr, const TraceSearch& search,
           QueryContext& context)
      : snapshot_(snapshot),
        expr_(expr),
        search_(search),
        context_(context),
        kept_(context),
        crew_(snapshot, program_, context),
        made_(crew_.slots()) {}

  Result<SearchResult> Run() {
    if (search_.limit == 0 || search_.limit > context_.options().traces_max) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("limit must be between 1 and ", context_.options().traces_max));
    }
    if (search_.spans_per_spanset > context_.options().spans_per_spanset_max) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("at most ", context_.options().spans_per_spanset_max,
                               " spans per spanset may be asked for"));
    }
    NsRange range = search_.range;
    if (!search_.cursor.empty()) {
      VARVE_ASSIGN_OR_RETURN(after_, DecodeCursor(search_.cursor));
      paged_ = true;
      range.max_ns = std::min(range.max_ns, after_.time_ns);
    }
    VARVE_RETURN_IF_ERROR(AddExpressions(expr_, &program_));
    shown_ = ShownFields(program_);
    drive_ = PlanDrive(expr_);
    VARVE_RETURN_IF_ERROR(AddResiduals(drive_, &residuals_));
    if (paged_) drive_test_.emplace(drive_, &program_);
    if (!range.empty()) VARVE_RETURN_IF_ERROR(Collect(range));
    result_.stats.scan = context_.scan;
    result_.stats.traces_inspected = context_.traces_inspected;
    result_.stats.spans_inspected = context_.spans_inspected;
    result_.stats.peak_bytes = context_.budget().peak_bytes();
    result_.stats.total_time = context_.elapsed();
    return std::move(result_);
  }

 private:
  /// What the query makes of one trace.
  struct Made {
    bool found = false;
    TraceSummary summary;
    uint64_t bytes = 0;
  };

  Status Collect(NsRange range) {
    DriveReader reader(drive_, residuals_, context_);
    VARVE_RETURN_IF_ERROR(reader.Open(snapshot_, range));
    TraceTimes pending;  // newest row seen so far
    TraceSet done;
    std::vector<Position> ready;
    std::vector<TraceId> ids;
    bool more = true;
    while (more) {
      uint64_t added = 0;
      VARVE_ASSIGN_OR_RETURN(more,
                             reader.Next([&](const TraceId& id, const SpanId&, int64_t start_ns) {
                               if (done.contains(id)) return;
                               const auto [found, fresh] = pending.emplace(id, start_ns);
                               if (fresh) {
                                 ++added;
                               } else {
                                 found->second = std::max(found->second, start_ns);
                               }
                             }));
      VARVE_RETURN_IF_ERROR(kept_.Add(added * kBytesPerTrace));
      // A row that is still to come starts at the bound at the latest, so what lies above it is
      // settled. Looking costs a pass over all that wait: done only where the bound has moved.
      const int64_t bound = more ? reader.bound_ns() : kMinTime;
      if (more && bound >= last_bound_) continue;
      last_bound_ = bound;
      ready.clear();
      for (auto it = pending.begin(); it != pending.end();) {
        if (more && it->second <= bound) {
          ++it;
          continue;
        }
        ready.push_back({it->second, it->first});
        done.insert(it->first);
        pending.erase(it++);
      }
      std::sort(ready.begin(), ready.end());
      // On later pages, those behind the cursor only.
      const auto first =
          paged_ ? std::upper_bound(ready.begin(), ready.end(), after_) : ready.begin();
      ids.clear();
      for (auto it = first; it != ready.end(); ++it) ids.push_back(it->id);
      bool full = false;
      VARVE_RETURN_IF_ERROR(crew_.Run(
          ids, [&](size_t slot, const TraceTable& table) { made_[slot] = Inspect(table); },
          [&](size_t index, size_t slot, const TraceTable&) -> Result<bool> {
            VARVE_RETURN_IF_ERROR(Take(first[static_cast<ptrdiff_t>(index)], &made_[slot], &full));
            return !full;
          }));
      if (full) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  /// Evaluates the query on one trace. Thread-safe.
  Made Inspect(const TraceTable& table) const {
    Made made;
    if (paged_ && ShownBefore(table)) return made;
    const RowSets sets = EvaluateSpansets(expr_, table, AllRows(table));
    if (sets.empty()) return made;
    made.found = true;
    made.summary = Summarize(table);
    made.bytes = sizeof(TraceSummary) + 64 * made.summary.services.size();
    for (const RowSet& set : sets) {
      made.summary.spansets.push_back(MakeSpanset(table, set, &made.bytes));
    }
    return made;
  }

  /// Adds it to the answer, and sets `full` once that is complete.
  Status Take(const Position& position, Made* made, bool* full) {
    if (!made->found) return absl::OkStatus();
    if (result_.traces.size() == search_.limit) {
      // One more than fits: only then is there a next page, and it has something.
      result_.next = EncodeCursor(last_shown_);
      *full = true;
      return absl::OkStatus();
    }
    VARVE_RETURN_IF_ERROR(kept_.Add(made->bytes));
    result_.traces.push_back(std::move(made->summary));
    last_shown_ = position;
    return absl::OkStatus();
  }

  /// A trace whose newest driving span lies above the cursor was on a page before.
  bool ShownBefore(const TraceTable& table) const {
    for (uint32_t row = table.size(); row-- > 0;) {
      const int64_t start_ns = table.row(row).start_ns;
      if (start_ns <= after_.time_ns) return false;
      if (start_ns <= search_.range.max_ns && drive_test_->Holds(table, row)) return true;
    }
    return false;
  }

  Spanset MakeSpanset(const TraceTable& table, const RowSet& set, uint64_t* bytes) const {
    Spanset out;
    out.values = set.values;
    out.matched = set.rows.size();
    size_t listed = set.rows.size();
    if (search_.spans_per_spanset != 0) {
      listed = std::min<size_t>(listed, search_.spans_per_spanset);
    }
    out.spans.reserve(listed);
    Vals values;
    for (size_t i = 0; i < listed; ++i) {
      const uint32_t row = set.rows[i];
      const TraceTable::Row& span = table.row(row);
      MatchedSpan matched;
      matched.id = span.id;
      matched.parent_id = span.parent_id;
      matched.name = span.name;
      matched.service = span.service;
      matched.start_ns = span.start_ns;
      matched.duration_ns = span.duration_ns;
      *bytes += sizeof(MatchedSpan) + span.name.size() + span.service.size();
      for (const auto& [slot, name] : shown_) {
        table.Get(slot, row, &values);
        if (values.empty()) continue;
        matched.values.push_back({name, ToTraceValue(values[0])});
        *bytes += sizeof(NamedTraceValue) + values[0].text.size();
      }
      out.spans.push_back(std::move(matched));
    }
    return out;
  }

  const TraceSnapshot& snapshot_;
  const Expr& expr_;
  const TraceSearch& search_;
  QueryContext& context_;
  Charge kept_;
  Program program_;
  Program residuals_;
  std::vector<std::pair<uint32_t, std::string>> shown_;
  Drive drive_;
  std::optional<DriveTest> drive_test_;  // of later pages
  TraceCrew crew_;
  std::vector<Made> made_;  // by slot of the crew
  bool paged_ = false;
  Position after_;
  Position last_shown_;
  int64_t last_bound_ = kMaxTime;
  SearchResult result_;
};

}  // namespace

struct DriveReader::Scan {
  const DriveScan* plan = nullptr;
  std::unique_ptr<SpanCursor> cursor;
  SpanColumns columns;
  int64_t bound_ns = kMaxTime;
  bool done = false;
};

DriveReader::DriveReader(const Drive& drive, const Program& residuals, QueryContext& context)
    : drive_(drive), residuals_(residuals), context_(context) {}

DriveReader::~DriveReader() {
  for (const auto& scan : scans_) context_.scan.Add(scan->cursor->stats());
}

Status AddResiduals(const Drive& drive, Program* program) {
  for (const DriveScan& scan : drive.scans) {
    if (scan.residual != nullptr) VARVE_RETURN_IF_ERROR(program->Add(*scan.residual));
  }
  return absl::OkStatus();
}

Status DriveReader::Open(const TraceSnapshot& snapshot, NsRange range,
                         const std::vector<SpanPredicate>& extra) {
  for (const DriveScan& plan : drive_.scans) {
    SpanScanSpec spec;
    spec.range = range;
    spec.predicates = plan.predicates;
    spec.threads = context_.threads();
    spec.predicates.insert(spec.predicates.end(), extra.begin(), extra.end());
    if (plan.residual != nullptr) {
      for (const auto& field : residuals_.fields()) {
        spec.columns.push_back(traceql::ToSpanField(field));
      }
    }
    auto scan = std::make_unique<Scan>();
    scan->plan = &plan;
    VARVE_ASSIGN_OR_RETURN(scan->cursor, snapshot.Scan(spec));
    scans_.push_back(std::move(scan));
  }
  return absl::OkStatus();
}

Result<bool> DriveReader::Next(
    const std::function<void(const TraceId& id, const SpanId& span, int64_t start_ns)>& row) {
  VARVE_RETURN_IF_ERROR(context_.Poll());
  Scan* newest = nullptr;
  for (const auto& scan : scans_) {
    if (!scan->done && (newest == nullptr || scan->bound_ns > newest->bound_ns)) {
      newest = scan.get();
    }
  }
  if (newest == nullptr) return false;
  VARVE_ASSIGN_OR_RETURN(const bool more, newest->cursor->Next(&newest->columns));
  if (!more) {
    newest->done = true;
    return std::any_of(scans_.begin(), scans_.end(), [](const auto& scan) { return !scan->done; });
  }
  const SpanColumns& columns = newest->columns;
  newest->bound_ns = columns.bound_ns;
  ColumnRows rows(residuals_, 0);
  rows.Bind(&columns);
  for (size_t r = 0; r < columns.size(); ++r) {
    if (newest->plan->residual != nullptr &&
        !residuals_.Test(*newest->plan->residual, rows, static_cast<uint32_t>(r))) {
      continue;
    }
    row(columns.trace_ids[r], columns.span_ids[r], columns.starts_ns[r]);
  }
  return true;
}

int64_t DriveReader::bound_ns() const {
  int64_t bound = kMinTime;
  for (const auto& scan : scans_) {
    if (!scan->done) bound = std::max(bound, scan->bound_ns);
  }
  return bound;
}

void ColumnRows::Get(uint32_t slot, uint32_t row, Vals* out) const {
  out->clear();
  const traceql::Field& field = program_.fields()[slot];
  const ValueView& value = columns_->columns[first_column_ + slot][row];
  switch (field.kind) {
    case FieldKind::kParentId:
      if (value.text.empty()) return;
      [[fallthrough]];
    case FieldKind::kSpanId:
    case FieldKind::kTraceId:
    case FieldKind::kLinkTraceId:
    case FieldKind::kLinkSpanId: {
      if (value.type == ValueType::kEmpty) return;
      char* text = bytes_.Allocate(2 * value.text.size());
      static constexpr char kHex[] = "0123456789abcdef";
      for (size_t i = 0; i < value.text.size(); ++i) {
        text[2 * i] = kHex[static_cast<uint8_t>(value.text[i]) >> 4];
        text[2 * i + 1] = kHex[static_cast<uint8_t>(value.text[i]) & 15];
      }
      return out->push_back(Val::String({text, 2 * value.text.size()}));
    }
    default: {
      const Val typed = Val::Of(field.kind, value);
      if (!typed.is_nil()) out->push_back(typed);
    }
  }
}

Status TraceLoader::Read(const TraceId& id) {
  // The whole spans of a usual trace are one lookup. Of a huge one only the columns are read that
  // the query names, unless it needs all values of events and links.
  batch_.Clear();
  scan_ = SpanScanStats();
  const uint64_t bytes_max = context_.options().memory_bytes_max;
  const size_t spans_fit = bytes_max == 0 ? 0 : std::max<size_t>(1, bytes_max / kBytesPerSpan);
  const bool by_columns = !table_.program().has_multiple();
  size_t spans_max = spans_fit;
  if (by_columns && (spans_fit == 0 || spans_fit > kWholeSpansMax)) spans_max = kWholeSpansMax;
  VARVE_RETURN_IF_ERROR(snapshot_.GetTraces({&id, 1}, spans_max, &batch_));
  if (spans_max != 0 && batch_.spans().size() >= spans_max) {
    if (!by_columns) {
      return MakeStatus(StatusCode::kResourceExhausted,
                        Concat("trace ", varve::ToString(id), " has ", spans_max,
                               " spans or more: too many for the query's memory"));
    }
    batch_.Clear();
    VARVE_RETURN_IF_ERROR(table_.FromScan(snapshot_, id, context_, &scan_));
  } else {
    Charge charge(context_);
    VARVE_RETURN_IF_ERROR(charge.Add(batch_.spans().size() * kBytesPerSpan));
    VARVE_RETURN_IF_ERROR(table_.FromBatch(id, batch_, context_));
  }
  return absl::OkStatus();
}

void TraceLoader::Count() {
  context_.scan.Add(scan_);
  ++context_.traces_inspected;
  context_.spans_inspected += table_.size();
}

Result<SearchResult> RunSearch(const TraceSnapshot& snapshot, const Expr& expr,
                               const TraceSearch& search, QueryContext& context) {
  return Searcher(snapshot, expr, search, context).Run();
}

std::string ExplainSearch(const Expr& expr) {
  Program program;
  if (!AddExpressions(expr, &program).ok()) return {};
  const Drive drive = PlanDrive(expr);
  std::string out = Concat("search ", traceql::ToString(expr), "\n");
  out.append(program.has_multiple() ? "  whole spans of traces, for " : "  traces, for ");
  for (size_t s = 0; s < program.fields().size(); ++s) {
    out.append(Concat(s == 0 ? "" : ", ", traceql::ToString(program.fields()[s])));
  }
  out.append(Concat("\n  driven by ", drive.text, ", newest first\n"));
  for (const DriveScan& scan : drive.scans) {
    out.append("    scan");
    for (size_t i = 0; i < scan.predicates.size(); ++i) {
      out.append(Concat(i == 0 ? " where " : " and ", ToString(scan.predicates[i])));
    }
    if (scan.residual != nullptr) {
      out.append(Concat(", then ", traceql::ToString(*scan.residual)));
    }
    out.push_back('\n');
  }
  return out;
}

}  // namespace varve::query
