#include <algorithm>
#include <array>

#include "engine/base/any_value.h"
#include "engine/base/strings.h"
#include "tools/otlp/decode_common.h"
#include "tools/otlp/label_names.h"
#include "tools/otlp/logs.h"

namespace varve::otlp {
namespace {

// Loki's default for resource attributes that become labels of the stream.
constexpr std::string_view kStreamAttributes[] = {
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
};
// Where the service's name is looked for when there is no service.name, the first one first.
constexpr std::string_view kServiceLabels[] = {"container_name", "k8s_container_name",
                                               "k8s_job_name"};
constexpr int kFlattenDepthMax = 16;
// Labels of all entries together: those of a resource repeat with each of its records.
constexpr size_t kMetadataMax = 12'000'000;

constexpr char kHex[] = "0123456789abcdef";

class LogDecoder {
 public:
  LogDecoder(const LogOptions& options, LogBatch* out, WireFault* fault)
      : options_(options), out_(*out), fault_(fault) {}

  bool Request(std::string_view wire) {
    return ForEachMessage(wire, fault_, "ExportLogsServiceRequest", 1,
                          [&](std::string_view message) { return ResourceLogs(message); });
  }

 private:
  bool ResourceLogs(std::string_view wire) {
    resource_.Clear();
    std::string_view schema_url;  // stored nowhere
    if (!ReadLevel(wire, fault_, "ResourceLogs", &schema_url, [&](std::string_view bytes) {
          return ReadResource(bytes, fault_, &resource_);
        })) {
      return false;
    }

    metadata_.clear();
    std::vector<LabelView> labels;
    for (const AttributeView& attribute : resource_.attributes) {
      const bool is_label =
          std::ranges::find(kStreamAttributes, attribute.key) != std::end(kStreamAttributes);
      Flatten({}, attribute, kFlattenDepthMax, is_label ? &labels : &metadata_);
    }
    const auto find = [&](std::string_view name) {
      return std::ranges::find_if(labels, [&](const LabelView& label) {
        return label.name == name && !label.value.empty();
      });
    };
    if (find("service_name") == labels.end()) {
      std::string_view service = "unknown_service";
      for (const std::string_view name : kServiceLabels) {
        if (const auto found = find(name); found != labels.end()) {
          service = found->value;
          break;
        }
      }
      labels.push_back({"service_name", service});
    }
    stream_labels_ = CanonicalLabels(std::move(labels));
    stream_added_ = false;
    const size_t resource_metadata = metadata_.size();

    return ForEachMessage(wire, fault_, "ResourceLogs", 2, [&](std::string_view message) {
      metadata_.resize(resource_metadata);
      return ScopeLogs(message);
    });
  }

  bool ScopeLogs(std::string_view wire) {
    scope_.Clear();
    std::string_view schema_url;
    if (!ReadLevel(wire, fault_, "ScopeLogs", &schema_url,
                   [&](std::string_view bytes) { return ReadScope(bytes, fault_, &scope_); })) {
      return false;
    }
    if (!scope_.name.empty()) metadata_.push_back({"scope_name", scope_.name});
    if (!scope_.version.empty()) metadata_.push_back({"scope_version", scope_.version});
    if (scope_.dropped_attributes != 0) {
      metadata_.push_back({"scope_dropped_attributes_count", Decimal(scope_.dropped_attributes)});
    }
    for (const AttributeView& attribute : scope_.attributes) {
      Flatten({}, attribute, kFlattenDepthMax, &metadata_);
    }
    const size_t outer_metadata = metadata_.size();
    return ForEachMessage(wire, fault_, "ScopeLogs", 2, [&](std::string_view message) {
      metadata_.resize(outer_metadata);
      return Record(message);
    });
  }

  bool Record(std::string_view wire) {
    uint64_t time = 0;
    uint64_t observed = 0;
    ValueView body;
    TraceId trace_id;
    SpanId span_id;
    WireReader reader(wire, fault_, "LogRecord");
    while (reader.Next()) {
      std::string_view message;
      uint64_t number;
      uint32_t word;
      switch (reader.field()) {
        case 1:
          if (!reader.Fixed64(&time)) return false;
          break;
        case 2:
          if (!reader.Varint(&number)) return false;
          if (number != 0) metadata_.push_back({"severity_number", Decimal(number)});
          break;
        case 3:
          if (!reader.Bytes(&message)) return false;
          if (!message.empty()) metadata_.push_back({"severity_text", message});
          break;
        case 5:
          if (!reader.Bytes(&message) || !ReadAnyValue(message, fault_, &body)) return false;
          break;
        case 6: {
          AttributeView attribute;
          if (!reader.Bytes(&message) || !ReadAttribute(message, fault_, &attribute)) return false;
          Flatten({}, attribute, kFlattenDepthMax, &metadata_);
          break;
        }
        case 7:
          if (!reader.Varint(&number)) return false;
          if (number != 0) metadata_.push_back({"dropped_attributes_count", Decimal(number)});
          break;
        case 8:
          if (!reader.Fixed32(&word)) return false;
          if (word != 0) metadata_.push_back({"flags", Decimal(word)});
          break;
        case 9:
          if (!ReadId(&reader, &trace_id)) return false;
          break;
        case 10:
          if (!ReadId(&reader, &span_id)) return false;
          break;
        case 11:
          if (!reader.Fixed64(&observed)) return false;
          break;
        case 12:
          if (!reader.Bytes(&message)) return false;
          if (!message.empty()) metadata_.push_back({"event_name", message});
          break;
        default:
          if (!reader.Skip()) return false;
      }
    }
    if (!fault_->ok()) return false;
    elements_ += 1 + metadata_.size();
    if (elements_ > kMetadataMax) {
      return reader.Fail(Concat("more than ", kMetadataMax, " records and their attributes"));
    }
    if (observed != 0) metadata_.push_back({"observed_timestamp", Decimal(observed)});
    if (!trace_id.empty()) metadata_.push_back({"trace_id", Hex(trace_id.bytes)});
    if (!span_id.empty()) metadata_.push_back({"span_id", Hex(span_id.bytes)});

    const std::string_view line =
        body.type == ValueType::kString ? body.text : out_.Copy(ToString(body));
    if (!stream_added_) {
      stream_ = out_.AddStream(stream_labels_);
      stream_added_ = true;
    }
    SortMetadata();
    if (options_.detect_level && FindLabel(sorted_, "detected_level").empty()) {
      const std::string_view level = options_.detect_level(stream_labels_, sorted_, line);
      if (!level.empty()) {
        const auto at = std::ranges::lower_bound(sorted_, std::string_view("detected_level"), {},
                                                 &LabelView::name);
        if (at != sorted_.end() && at->name == "detected_level") {
          at->value = level;
        } else {
          sorted_.insert(at, {"detected_level", level});
        }
      }
    }
    const uint64_t when = time != 0 ? time : observed;
    out_.AddEntry(stream_, when != 0 ? TimeOf(when) : options_.now_ns, line, sorted_);
    return true;
  }

  // Of a repeated name the last one counts: the record's own over the scope's over the resource's.
  void SortMetadata() {
    sorted_.assign(metadata_.begin(), metadata_.end());
    std::ranges::stable_sort(sorted_, {}, &LabelView::name);
    size_t kept = 0;
    for (size_t i = 0; i < sorted_.size(); ++i) {
      if (i + 1 < sorted_.size() && sorted_[i + 1].name == sorted_[i].name) continue;
      sorted_[kept++] = sorted_[i];
    }
    sorted_.resize(kept);
  }

  // Appends an attribute as a label; of a map one label for each value at its bottom.
  void Flatten(std::string_view prefix, const AttributeView& attribute, int depth,
               std::vector<LabelView>* labels) {
    const std::string_view name =
        prefix.empty() ? NameOf(attribute.key) : NameOf(Concat(prefix, "_", attribute.key));
    if (name.empty()) return;
    if (attribute.value.type == ValueType::kMap && depth > 0) {
      std::string_view wire = attribute.value.text;
      AttributeView entry;
      bool malformed = false;
      while (NextEntry(&wire, &entry, &malformed) && ++elements_ <= kMetadataMax) {
        Flatten(name, entry, depth - 1, labels);
      }
      return;
    }
    labels->push_back({name, attribute.value.type == ValueType::kString
                                 ? attribute.value.text
                                 : out_.Copy(ToString(attribute.value))});
  }

  // Keys repeat in every record, so each is normalised once a body.
  std::string_view NameOf(std::string_view key) {
    const auto found = names_.find(key);
    if (found != names_.end()) return found->second;
    const std::string_view name =
        out_.Copy(NormalizeLabelName(key, {.collapse = true, .key_before_one = false}));
    if (names_.size() < 10'000) names_.emplace(std::string(key), name);
    return name;
  }

  std::string_view Decimal(uint64_t value) { return out_.Copy(std::to_string(value)); }
  template <size_t kBytes>
  std::string_view Hex(const std::array<uint8_t, kBytes>& bytes) {
    char text[2 * kBytes];
    for (size_t i = 0; i < kBytes; ++i) {
      text[2 * i] = kHex[bytes[i] >> 4];
      text[2 * i + 1] = kHex[bytes[i] & 15];
    }
    return out_.Copy(std::string_view(text, 2 * kBytes));
  }

  const LogOptions& options_;
  LogBatch& out_;
  WireFault* const fault_;
  size_t elements_ = 0;
  ResourceParts resource_;
  ScopeParts scope_;
  Labels stream_labels_;
  bool stream_added_ = false;
  uint32_t stream_ = 0;
  std::vector<LabelView> metadata_;  // the resource's, the scope's, the record's
  std::vector<LabelView> sorted_;
  StringMap<std::string_view> names_;
};

}  // namespace

Status DecodeLogs(std::string_view wire, const LogOptions& options, LogBatch* out) {
  WireFault fault;
  fault.body = wire.data();
  LogDecoder decoder(options, out, &fault);
  if (decoder.Request(wire)) return absl::OkStatus();
  return StatusOf(fault);
}

}  // namespace varve::otlp
