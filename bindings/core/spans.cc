#include "bindings/core/spans.h"

#include <set>
#include <utility>
#include <vector>

namespace varve::bindings {
namespace {

using arrow::ArrayPtr;

constexpr size_t kTracesAtOnce = 256;

constexpr const char* kKindNames[] = {"unspecified", "internal", "server",
                                      "client",      "producer", "consumer"};
constexpr const char* kStatusNames[] = {"unset", "ok", "error"};

void Append(AttributesView attributes, arrow::MapBuilder* out) {
  for (const AttributeView& attribute : attributes) {
    out->Add(attribute.key, ToString(attribute.value));
  }
  out->EndRow();
}

class SpanSourceImpl final : public arrow::Source {
 public:
  SpanSourceImpl(std::shared_ptr<const TraceSnapshot> snapshot, std::unique_ptr<SpanCursor> cursor,
                 NsRange range)
      : snapshot_(std::move(snapshot)),
        cursor_(std::move(cursor)),
        range_(range),
        fields_(SpanFields()) {}

  const std::vector<arrow::Field>& fields() const override { return fields_; }

  Result<bool> Next(std::vector<ArrayPtr>* columns) override {
    for (;;) {
      while (!ended_ && waiting_.size() < kTracesAtOnce) {
        SpanColumns found;
        const Result<bool> more = cursor_->Next(&found);
        if (!more.ok()) return more.status();
        ended_ = !*more;
        if (ended_) break;
        for (const TraceId& id : found.trace_ids) {
          if (seen_.insert(id).second) waiting_.push_back(id);
        }
      }
      if (waiting_.empty()) return false;
      const size_t count = std::min(kTracesAtOnce, waiting_.size());
      SpanBatch spans;
      if (Status status =
              snapshot_->GetTraces(std::span<const TraceId>(waiting_).first(count), 0, &spans);
          !status.ok()) {
        return status;
      }
      waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(count));
      columns->clear();
      if (AppendSpanColumns(spans, range_, columns) > 0) return true;
    }
  }

 private:
  const std::shared_ptr<const TraceSnapshot> snapshot_;
  const std::unique_ptr<SpanCursor> cursor_;
  const NsRange range_;
  const std::vector<arrow::Field> fields_;
  std::set<TraceId> seen_;
  std::vector<TraceId> waiting_;  // seen and not yet read
  bool ended_ = false;
};

class SpanBatchSourceImpl final : public arrow::Source {
 public:
  explicit SpanBatchSourceImpl(std::shared_ptr<const SpanBatch> spans)
      : spans_(std::move(spans)), fields_(SpanFields()) {}
  const std::vector<arrow::Field>& fields() const override { return fields_; }
  Result<bool> Next(std::vector<ArrayPtr>* columns) override {
    if (std::exchange(done_, true) || spans_->empty()) return false;
    return AppendSpanColumns(*spans_, NsRange(), columns) > 0;
  }

 private:
  const std::shared_ptr<const SpanBatch> spans_;
  const std::vector<arrow::Field> fields_;
  bool done_ = false;
};

}  // namespace

std::vector<arrow::Field> SpanFields() {
  return {arrow::Utf8("trace_id"),
          arrow::Utf8("span_id"),
          arrow::Nullable(arrow::Utf8("parent_id")),
          arrow::Utf8("service"),
          arrow::Utf8("name"),
          arrow::Utf8("kind"),
          arrow::Utf8("status"),
          arrow::Utf8("status_message"),
          arrow::TimestampNs("start"),
          arrow::Int64("duration_ns"),
          arrow::Map("attributes"),
          arrow::Map("resource")};
}

int64_t AppendSpanColumns(const SpanBatch& batch, NsRange range, std::vector<ArrayPtr>* columns) {
  arrow::TextBuilder texts[8];
  std::vector<int64_t> starts;
  std::vector<int64_t> durations;
  arrow::MapBuilder attributes;
  arrow::MapBuilder resources;
  for (const SpanBatch::Span& span : batch.spans()) {
    if (!range.Contains(span.start_ns)) continue;
    const AttributesView resource = batch.attributes(batch.resource_of(span).attributes);
    const ValueView* const service = FindAttribute(resource, "service.name");
    texts[0].Append(ToString(span.trace_id));
    texts[1].Append(ToString(span.span_id));
    if (span.parent_id.empty()) {
      texts[2].AppendNull();
    } else {
      texts[2].Append(ToString(span.parent_id));
    }
    texts[3].Append(service == nullptr ? std::string() : ToString(*service));
    texts[4].Append(span.name);
    texts[5].Append(NameOf(span.kind));
    texts[6].Append(NameOf(span.status));
    texts[7].Append(span.status_message);
    starts.push_back(span.start_ns);
    durations.push_back(span.end_ns > span.start_ns ? span.end_ns - span.start_ns : 0);
    Append(batch.attributes(span.attributes), &attributes);
    Append(resource, &resources);
  }
  const auto rows = static_cast<int64_t>(starts.size());
  for (arrow::TextBuilder& text : texts) columns->push_back(text.Finish());
  columns->push_back(arrow::Fixed(std::move(starts)));
  columns->push_back(arrow::Fixed(std::move(durations)));
  columns->push_back(attributes.Finish());
  columns->push_back(resources.Finish());
  return rows;
}

const char* NameOf(SpanKind kind) {
  const auto index = static_cast<size_t>(kind);
  return index < std::size(kKindNames) ? kKindNames[index] : kKindNames[0];
}
const char* NameOf(SpanStatus status) {
  const auto index = static_cast<size_t>(status);
  return index < std::size(kStatusNames) ? kStatusNames[index] : kStatusNames[0];
}
std::optional<SpanKind> SpanKindOf(std::string_view name) {
  for (size_t i = 0; i < std::size(kKindNames); ++i) {
    if (name == kKindNames[i]) return static_cast<SpanKind>(i);
  }
  return std::nullopt;
}
std::optional<SpanStatus> SpanStatusOf(std::string_view name) {
  for (size_t i = 0; i < std::size(kStatusNames); ++i) {
    if (name == kStatusNames[i]) return static_cast<SpanStatus>(i);
  }
  return std::nullopt;
}

Result<std::unique_ptr<arrow::Source>> SpanSource(std::shared_ptr<const TraceSnapshot> snapshot,
                                                  const std::string& service, NsRange range) {
  SpanScanSpec spec;
  spec.range = range;
  if (!service.empty()) {
    SpanPredicate predicate;
    predicate.field.intrinsic = Intrinsic::kServiceName;
    predicate.op = SpanPredicate::Op::kEqual;
    predicate.value = service;
    spec.predicates.push_back(std::move(predicate));
  }
  Result<std::unique_ptr<SpanCursor>> cursor = snapshot->Scan(spec);
  if (!cursor.ok()) return cursor.status();
  std::unique_ptr<arrow::Source> out =
      std::make_unique<SpanSourceImpl>(std::move(snapshot), *std::move(cursor), range);
  return out;
}

std::unique_ptr<arrow::Source> SpanBatchSource(std::shared_ptr<const SpanBatch> spans) {
  return std::make_unique<SpanBatchSourceImpl>(std::move(spans));
}

}  // namespace varve::bindings
