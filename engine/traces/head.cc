#include "engine/traces/head.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "engine/base/any_value.h"
#include "engine/base/coding.h"
#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/traces/block_format.h"

namespace varve::traces {
namespace {

/// So far ahead a span's place in the table of keys is fetched: nearly every look-up there misses
/// the caches.
constexpr size_t kPrefetchSpans = 12;

uint64_t Load64(const uint8_t* bytes) {
  uint64_t out = 0;
  std::memcpy(&out, bytes, sizeof out);
  return out;
}
uint64_t Mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a ^ 0x9e3779b97f4a7c15) *
                       static_cast<unsigned __int128>(b ^ 0xd6e8feb86659fd93);
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}
uint64_t HashOf(const TraceId& trace) {
  return Mix(Load64(trace.bytes.data()), Load64(trace.bytes.data() + 8));
}
uint64_t HashOf(const TraceId& trace, const SpanId& span, SpanKind kind) {
  return Mix(HashOf(trace) + static_cast<uint64_t>(kind), Load64(span.bytes.data()));
}
bool IsText(ValueType type) {
  switch (type) {
    case ValueType::kString:
    case ValueType::kBytes:
    case ValueType::kArray:
    case ValueType::kMap:
      return true;
    default:
      return false;
  }
}
void Lower(std::atomic<int64_t>* to, int64_t value) {
  if (value < to->load(std::memory_order_relaxed)) to->store(value, std::memory_order_relaxed);
}
void Raise(std::atomic<int64_t>* to, int64_t value) {
  if (value > to->load(std::memory_order_relaxed)) to->store(value, std::memory_order_relaxed);
}
SpanKind KnownKind(SpanKind kind) {
  return kind <= SpanKind::kConsumer ? kind : SpanKind::kUnspecified;
}
SpanStatus KnownStatus(SpanStatus status) {
  return status <= SpanStatus::kError ? status : SpanStatus::kUnset;
}

}  // namespace

size_t Head::TraceIdHash::operator()(const TraceId& id) const { return HashOf(id); }

Head::Head(const Limits& limits, int64_t newest_time_ns, std::shared_ptr<Clock> clock)
    : limits_(limits),
      clock_(std::move(clock)),
      newest_time_ns_(newest_time_ns),
      arena_(64 * 1024) {
  absl::MutexLock lock(&index_mutex_);
  Intern("");
}
Head::~Head() = default;

NsRange Head::range() const {
  return {min_start_ns_.load(std::memory_order_relaxed),
          max_start_ns_.load(std::memory_order_relaxed)};
}

// --- Interning ---

uint32_t Head::Intern(std::string_view text) {
  if (text.empty() && strings_.size() > 0) return 0;  // the first one of all
  const auto found = string_table_.find(text);
  if (found != string_table_.end()) return found->second;
  const std::string_view kept = arena_.Copy(text);
  const uint32_t number = strings_.size();
  strings_.emplace_back(kept);
  string_table_.emplace(kept, number);
  return number;
}

uint32_t Head::InternKey(std::string_view text) {
  const auto found = key_table_.find(text);
  if (found != key_table_.end()) return found->second;
  const std::string_view kept = arena_.Copy(text);
  const uint32_t number = keys_.size();
  Key& key = keys_.emplace_back();
  key.text = kept;
  key.last_value = 0;
  key_table_.emplace(kept, number);
  key_stamp_.push_back(0);
  return number;
}

HeadAttributes Head::InternAttributes(AttributesView attributes, AttributeScope level) {
  if (attributes.empty()) return {};
  auto* out = AllocateArray<HeadAttribute>(attributes.size());
  uint32_t count = 0;
  ++stamp_;
  if (stamp_ == 0) {
    std::fill(key_stamp_.begin(), key_stamp_.end(), 0);
    stamp_ = 1;
  }
  const bool spans = level == AttributeScope::kSpan;
  for (size_t i = 0; i < attributes.size(); ++i) {
    const AttributeView& attribute = attributes[i];
    // Spans of one program carry the same keys in the same order: look there first.
    uint32_t key = 0;
    if (spans && i < last_keys_.size() && keys_[last_keys_[i]].text == attribute.key) {
      key = last_keys_[i];
    } else {
      key = InternKey(attribute.key);
      if (spans) {
        if (i >= last_keys_.size()) last_keys_.resize(i + 1, key);
        last_keys_[i] = key;
      }
    }
    HeadAttribute* to = &out[count];
    if (key_stamp_[key] == stamp_) {
      // A repeated key keeps its first place and its last value.
      for (uint32_t j = 0; j < count; ++j) {
        if (out[j].key == key) to = &out[j];
      }
    } else {
      key_stamp_[key] = stamp_;
      new (to) HeadAttribute();
      ++count;
    }
    Key& known = keys_[key];
    to->key = key;
    to->type = attribute.value.type;
    switch (attribute.value.type) {
      case ValueType::kEmpty:
        to->bits = 0;
        break;
      case ValueType::kBool:
        to->bits = attribute.value.boolean ? 1 : 0;
        break;
      case ValueType::kInt:
        to->bits = static_cast<uint64_t>(attribute.value.integer);
        break;
      case ValueType::kDouble:
        to->bits = std::bit_cast<uint64_t>(attribute.value.number);
        break;
      default:
        if (strings_[known.last_value] != attribute.value.text) {
          known.last_value = Intern(attribute.value.text);
        }
        to->bits = known.last_value;
    }
    known.types[static_cast<size_t>(level)] |=
        static_cast<uint8_t>(1u << static_cast<uint32_t>(to->type));
  }
  return {out, count};
}

ValueView Head::ValueOf(const HeadAttribute& attribute) const {
  ValueView out;
  out.type = attribute.type;
  switch (attribute.type) {
    case ValueType::kEmpty:
      break;
    case ValueType::kBool:
      return ValueView::Bool(attribute.bits != 0);
    case ValueType::kInt:
      out.integer = static_cast<int64_t>(attribute.bits);
      break;
    case ValueType::kDouble:
      out.number = std::bit_cast<double>(attribute.bits);
      break;
    default:
      out.text = strings_[static_cast<uint32_t>(attribute.bits)];
  }
  return out;
}

std::vector<AttributeView> Head::Decode(HeadAttributes attributes) const {
  std::vector<AttributeView> out;
  for (const HeadAttribute& attribute : attributes.view()) {
    out.push_back({keys_[attribute.key].text, ValueOf(attribute)});
  }
  return out;
}

namespace {
void PutKeyOf(const HeadAttributes& attributes, std::string* out) {
  PutFixed(out, attributes.count);
  for (const HeadAttribute& attribute : attributes.view()) {
    PutFixed(out, attribute.key);
    PutFixed(out, static_cast<uint8_t>(attribute.type));
    PutFixed(out, attribute.bits);
  }
}
}  // namespace

uint32_t Head::InternResource(const SpanBatch& batch, const SpanBatch::Resource& resource) {
  HeadResource made;
  made.attributes =
      InternAttributes(batch.attributes(resource.attributes), AttributeScope::kResource);
  made.schema_url = Intern(resource.schema_url);
  made.dropped_attributes = resource.dropped_attributes;
  std::string content;
  PutKeyOf(made.attributes, &content);
  PutFixed(&content, made.schema_url);
  PutFixed(&content, made.dropped_attributes);
  const auto [found, fresh] = resource_table_.try_emplace(std::move(content), resources_.size());
  if (!fresh) return found->second;
  made.decoded = Decode(made.attributes);
  for (const HeadAttribute& attribute : made.attributes.view()) {
    if (attribute.type == ValueType::kString && keys_[attribute.key].text == kServiceNameKey) {
      made.service = static_cast<uint32_t>(attribute.bits);
    }
  }
  resources_.emplace_back() = std::move(made);
  return found->second;
}

uint32_t Head::InternScope(const SpanBatch& batch, const SpanBatch::Scope& scope,
                           uint32_t resource) {
  HeadScope made;
  made.resource = resource;
  made.name = Intern(scope.name);
  made.version = Intern(scope.version);
  made.schema_url = Intern(scope.schema_url);
  made.dropped_attributes = scope.dropped_attributes;
  made.attributes =
      InternAttributes(batch.attributes(scope.attributes), AttributeScope::kInstrumentation);
  std::string content;
  for (const uint32_t number :
       {resource, made.name, made.version, made.schema_url, made.dropped_attributes}) {
    PutFixed(&content, number);
  }
  PutKeyOf(made.attributes, &content);
  const auto [found, fresh] = scope_table_.try_emplace(std::move(content), scopes_.size());
  if (!fresh) return found->second;
  made.decoded = Decode(made.attributes);
  scopes_.emplace_back() = std::move(made);
  return found->second;
}

// --- Judging ---

std::string Head::CheckAttributes(AttributesView attributes, uint64_t* count, uint64_t* bytes,
                                  SpanRejectReason* reason) const {
  *count += attributes.size();
  for (const AttributeView& attribute : attributes) {
    const ValueView& value = attribute.value;
    *bytes += attribute.key.size() + sizeof(HeadAttribute);
    if (IsText(value.type)) *bytes += value.text.size();
    if (value.type != ValueType::kArray && value.type != ValueType::kMap) continue;
    if (value.text.size() > limits_.span_bytes_max) {
      *reason = SpanRejectReason::kTooLarge;
      return Concat("attribute ", GoQuote(attribute.key.substr(0, 64)), " has ", value.text.size(),
                    " bytes; at most ", limits_.span_bytes_max, " are allowed");
    }
    if (!ValidateValue(value, limits_.attribute_depth_max)) {
      *reason = SpanRejectReason::kInvalidAttribute;
      return Concat("attribute ", GoQuote(attribute.key.substr(0, 64)),
                    " is malformed or nested deeper than ", limits_.attribute_depth_max);
    }
  }
  const uint64_t count_max = std::min(limits_.attributes_max, kSpanPartsMax);
  if (*count > count_max) {
    *reason = SpanRejectReason::kTooLarge;
    return Concat(*count, " attributes; at most ", count_max, " are allowed");
  }
  if (*bytes > limits_.span_bytes_max) {
    *reason = SpanRejectReason::kTooLarge;
    return Concat("more than ", limits_.span_bytes_max, " bytes");
  }
  return {};
}

std::string Head::CheckSpan(const SpanBatch& batch, const SpanBatch::Span& span,
                            SpanRejectReason* reason) const {
  *reason = SpanRejectReason::kInvalidId;
  if (span.trace_id.empty()) return "trace id is zero";
  if (span.span_id.empty()) return "span id is zero";
  if (uint64_t{span.events.count} + span.links.count > kSpanPartsMax) {
    *reason = SpanRejectReason::kTooLarge;
    return Concat(uint64_t{span.events.count} + span.links.count, " events and links; at most ",
                  kSpanPartsMax, " are allowed");
  }
  uint64_t count = 0;
  uint64_t bytes = span.name.size() + span.trace_state.size() + span.status_message.size();
  std::string fault = CheckAttributes(batch.attributes(span.attributes), &count, &bytes, reason);
  for (const SpanBatch::Event& event : batch.events(span)) {
    if (!fault.empty()) return fault;
    bytes += event.name.size() + sizeof(HeadEvent);
    fault = CheckAttributes(batch.attributes(event.attributes), &count, &bytes, reason);
  }
  for (const SpanBatch::Link& link : batch.links(span)) {
    if (!fault.empty()) return fault;
    bytes += link.trace_state.size() + sizeof(HeadLink);
    fault = CheckAttributes(batch.attributes(link.attributes), &count, &bytes, reason);
  }
  return fault;
}

// --- Appending ---

void Head::PrefetchKey(const SpanBatch::Span& span) const {
  span_keys_.prefetch(HashOf(span.trace_id, span.span_id, KnownKind(span.kind)));
}

bool Head::StageSpan(const SpanBatch& batch, const SpanBatch::Span& span, uint32_t scope) {
  const SpanKind kind = KnownKind(span.kind);
  const uint64_t hash = HashOf(span.trace_id, span.span_id, kind);
  const uint32_t number = rows_staged_;
  const auto [slot, fresh] = span_keys_.try_emplace(hash, number);
  if (!fresh) {
    const HeadRow& stored = row_store_[slot->second];
    if (stored.trace_id == span.trace_id && stored.span_id == span.span_id && stored.kind == kind) {
      return false;
    }
    // Two keys with one hash, which takes 2^32 spans to expect: reading collapses their repeats.
    hashes_met_.store(true, std::memory_order_relaxed);
  }
  HeadRow& row =
      number < row_store_.size() ? (row_store_[number] = HeadRow()) : row_store_.emplace_back();
  row.trace_id = span.trace_id;
  row.span_id = span.span_id;
  row.parent_id = span.parent_id;
  row.start_ns = span.start_ns;
  row.end_ns = span.end_ns;
  row.name = Intern(span.name);
  row.scope = scope;
  row.trace_state = Intern(span.trace_state);
  row.status_message = Intern(span.status_message);
  row.flags = span.flags;
  row.dropped_attributes = span.dropped_attributes;
  row.dropped_events = span.dropped_events;
  row.dropped_links = span.dropped_links;
  row.kind = kind;
  row.status = KnownStatus(span.status);
  row.attributes = InternAttributes(batch.attributes(span.attributes), AttributeScope::kSpan);
  if (span.events.count > 0) {
    auto* events = AllocateArray<HeadEvent>(span.events.count);
    for (const SpanBatch::Event& event : batch.events(span)) {
      HeadEvent* made = new (&events[row.event_count++]) HeadEvent();
      made->time_ns = event.time_ns;
      made->name = Intern(event.name);
      made->dropped_attributes = event.dropped_attributes;
      made->attributes =
          InternAttributes(batch.attributes(event.attributes), AttributeScope::kEvent);
    }
    row.events = events;
  }
  if (span.links.count > 0) {
    auto* links = AllocateArray<HeadLink>(span.links.count);
    for (const SpanBatch::Link& link : batch.links(span)) {
      HeadLink* made = new (&links[row.link_count++]) HeadLink();
      made->trace_id = link.trace_id;
      made->span_id = link.span_id;
      made->trace_state = Intern(link.trace_state);
      made->dropped_attributes = link.dropped_attributes;
      made->flags = link.flags;
      made->attributes = InternAttributes(batch.attributes(link.attributes), AttributeScope::kLink);
    }
    row.links = links;
  }
  const auto [trace, first] = traces_.try_emplace(span.trace_id, number);
  if (!first) {
    row.previous = trace->second;
    trace->second = number;
  }
  const OperationKey operation{resources_[scopes_[scope].resource].service, row.name, kind};
  if (operation != last_operation_) {
    operations_.insert(operation);
    last_operation_ = operation;
  }
  rows_staged_ = number + 1;
  return true;
}

void Head::RollBack(uint32_t rows) {
  while (rows_staged_ > rows) {
    const HeadRow& row = row_store_[--rows_staged_];
    const auto key = span_keys_.find(HashOf(row.trace_id, row.span_id, row.kind));
    if (key != span_keys_.end() && key->second == rows_staged_) span_keys_.erase(key);
    if (row.previous == kNone) {
      traces_.erase(row.trace_id);
    } else {
      traces_[row.trace_id] = row.previous;
    }
  }
}

void Head::Publish() {
  if (clock_ != nullptr) {
    const int64_t now = clock_->NowMs() * 1'000'000;
    if (rows() == 0) first_arrival_ns_.store(now, std::memory_order_relaxed);
    last_arrival_ns_.store(now, std::memory_order_relaxed);
  }
  absl::MutexLock lock(&index_mutex_);
  for (uint32_t i = rows_published_.load(std::memory_order_relaxed); i < rows_staged_; ++i) {
    const int64_t start = row_store_[i].start_ns;
    Lower(&min_start_ns_, start);
    Raise(&max_start_ns_, start);
    Raise(&newest_time_ns_, start);
    if ((i + 1) % kUnitRows == 0) {
      Unit unit{start, start, kUnitRows};
      for (uint32_t j = i + 1 - kUnitRows; j <= i; ++j) {
        unit.min_start_ns = std::min(unit.min_start_ns, row_store_[j].start_ns);
        unit.max_start_ns = std::max(unit.max_start_ns, row_store_[j].start_ns);
      }
      units_.emplace_back(unit);
    }
  }
  constexpr uint64_t kSlot = 1;
  const uint64_t tables = string_table_.capacity() * (sizeof(std::string_view) + 8 + kSlot) +
                          traces_.capacity() * (sizeof(TraceId) + 4 + kSlot) +
                          span_keys_.capacity() * (16 + kSlot) +
                          operations_.capacity() * (sizeof(OperationKey) + kSlot) +
                          (resource_table_.capacity() + scope_table_.capacity()) * 256;
  bytes_.store(arena_.bytes_allocated() + tables + rows_staged_ * sizeof(HeadRow) +
                   strings_.size() * sizeof(std::string_view),
               std::memory_order_relaxed);
  rows_published_.store(rows_staged_, std::memory_order_release);
}

Status Head::JudgeScope(const SpanBatch& batch, uint32_t scope, ScopeVerdict* out) const {
  out->judged = true;
  const SpanBatch::Scope& given = batch.scopes()[scope];
  if (given.resource >= batch.resources().size()) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("scope ", scope, " has no resource"));
  }
  const SpanBatch::Resource& resource = batch.resources()[given.resource];
  uint64_t count = 0;
  uint64_t bytes = resource.schema_url.size();
  out->fault = CheckAttributes(batch.attributes(resource.attributes), &count, &bytes, &out->reason);
  if (!out->fault.empty()) {
    out->fault = "resource: " + out->fault;
    return absl::OkStatus();
  }
  count = 0;
  bytes = given.name.size() + given.version.size() + given.schema_url.size();
  out->fault = CheckAttributes(batch.attributes(given.attributes), &count, &bytes, &out->reason);
  if (!out->fault.empty()) out->fault = "scope: " + out->fault;
  return absl::OkStatus();
}

Result<std::vector<bool>> Head::Judge(const SpanBatch& batch, const WriteOptions& options,
                                      SpanAppendResult* result) const {
  const std::vector<SpanBatch::Span>& spans = batch.spans();
  std::vector<ScopeVerdict> scopes(batch.scopes().size());
  std::vector<bool> rejected(spans.size(), false);
  for (uint32_t i = 0; i < spans.size(); ++i) {
    if (spans[i].scope >= scopes.size()) {
      return MakeStatus(StatusCode::kInvalidArgument, Concat("span ", i, " has no scope"));
    }
    ScopeVerdict& scope = scopes[spans[i].scope];
    if (!scope.judged) VARVE_RETURN_IF_ERROR(JudgeScope(batch, spans[i].scope, &scope));
    SpanRejectReason reason = scope.reason;
    std::string fault = scope.fault.empty() ? CheckSpan(batch, spans[i], &reason) : scope.fault;
    if (fault.empty()) continue;
    if (!options.partial) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("span ", i, ": ", ToString(reason), ": ", fault));
    }
    rejected[i] = true;
    ++result->rejected;
    if (result->rejections.size() < options.rejections_max) {
      result->rejections.push_back({i, reason, std::move(fault)});
    }
  }
  result->spans = spans.size() - result->rejected;
  return rejected;
}

void Head::StageBatch(const SpanBatch& batch, const std::vector<bool>& rejected) {
  const std::vector<SpanBatch::Span>& spans = batch.spans();
  std::vector<uint32_t> resources(batch.resources().size(), kNone);
  std::vector<uint32_t> scopes(batch.scopes().size(), kNone);
  for (size_t i = 0; i < spans.size(); ++i) {
    if (i + kPrefetchSpans < spans.size()) PrefetchKey(spans[i + kPrefetchSpans]);
    if (!rejected.empty() && rejected[i]) continue;
    uint32_t& scope = scopes[spans[i].scope];
    if (scope == kNone) {
      const SpanBatch::Scope& given = batch.scopes()[spans[i].scope];
      uint32_t& resource = resources[given.resource];
      if (resource == kNone) resource = InternResource(batch, batch.resources()[given.resource]);
      scope = InternScope(batch, given, resource);
    }
    StageSpan(batch, spans[i], scope);
  }
}

Result<SpanAppendResult> Head::Append(const SpanBatch& batch, const WriteOptions& options,
                                      const LogFn& log) {
  SpanAppendResult result;
  VARVE_ASSIGN_OR_RETURN(const std::vector<bool> rejected, Judge(batch, options, &result));
  const uint32_t before = rows();
  uint32_t staged = 0;
  {
    absl::MutexLock lock(&index_mutex_);
    if (batch.spans().size() > kNone - 1 - before) {
      return MakeStatus(StatusCode::kResourceExhausted, "head is full");
    }
    StageBatch(batch, rejected);
    staged = rows_staged_;
  }
  if (staged == before) return result;
  if (const Status status = log(encoder_.Encode(*this, before, staged)); !status.ok()) {
    absl::MutexLock lock(&index_mutex_);
    RollBack(before);
    return status;
  }
  Publish();
  return result;
}

Status Head::Replay(std::string_view payload) {
  SpanBatch batch;
  VARVE_RETURN_IF_ERROR(DecodeWalBatch(payload, &batch));
  {
    absl::MutexLock lock(&index_mutex_);
    StageBatch(batch, {});
  }
  Publish();
  return absl::OkStatus();
}

// --- Reading ---

uint64_t Head::trace_count() const {
  absl::ReaderMutexLock lock(&index_mutex_);
  return traces_.size();
}

std::vector<Unit> Head::Units(uint32_t rows) const {
  std::vector<Unit> out;
  for (uint32_t i = 0; i < rows / kUnitRows; ++i) out.push_back(units_[i]);
  const uint32_t begin = rows / kUnitRows * kUnitRows;
  if (begin == rows) return out;
  Unit rest{INT64_MAX, INT64_MIN, rows - begin};
  for (uint32_t i = begin; i < rows; ++i) {
    rest.min_start_ns = std::min(rest.min_start_ns, row_store_[i].start_ns);
    rest.max_start_ns = std::max(rest.max_start_ns, row_store_[i].start_ns);
  }
  out.push_back(rest);
  return out;
}

uint32_t Head::LastRowOf(const TraceId& id) const {
  absl::ReaderMutexLock lock(&index_mutex_);
  const auto found = traces_.find(id);
  return found == traces_.end() ? kNone : found->second;
}

std::vector<uint32_t> Head::LastRows() const {
  absl::ReaderMutexLock lock(&index_mutex_);
  std::vector<uint32_t> out;
  out.reserve(traces_.size());
  for (const auto& [id, row] : traces_) out.push_back(row);
  return out;
}

uint32_t Head::FindString(std::string_view text) const {
  absl::ReaderMutexLock lock(&index_mutex_);
  const auto found = string_table_.find(text);
  return found == string_table_.end() ? kNone : found->second;
}

uint32_t Head::FindKey(std::string_view text) const {
  absl::ReaderMutexLock lock(&index_mutex_);
  const auto found = key_table_.find(text);
  return found == key_table_.end() ? kNone : found->second;
}

uint32_t Head::scope_count() const {
  absl::ReaderMutexLock lock(&index_mutex_);
  return scopes_.size();
}

void Head::AddServices(std::set<std::string>* out) const {
  absl::ReaderMutexLock lock(&index_mutex_);
  for (const OperationKey& operation : operations_) {
    const std::string_view service = strings_[operation.service];
    if (!service.empty()) out->emplace(service);
  }
}

void Head::AddOperations(std::string_view service, std::set<Operation>* out) const {
  absl::ReaderMutexLock lock(&index_mutex_);
  for (const OperationKey& operation : operations_) {
    if (!service.empty() && strings_[operation.service] != service) continue;
    out->insert(Operation{std::string(strings_[operation.name]), operation.kind});
  }
}

void Head::AddTagNames(AttributeScope scope, TagNameMap* out) const {
  absl::ReaderMutexLock lock(&index_mutex_);
  for (uint32_t i = 0; i < keys_.size(); ++i) {
    for (uint32_t level = 1; level < 6; ++level) {
      const auto at = static_cast<AttributeScope>(level);
      if (scope != AttributeScope::kAny && scope != at) continue;
      if (keys_[i].types[level] == 0) continue;
      (*out)[{at, std::string(keys_[i].text)}] |= keys_[i].types[level];
    }
  }
}

}  // namespace varve::traces
