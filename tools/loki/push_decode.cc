#include "tools/loki/push_decode.h"

#include <charconv>
#include <chrono>

#include "engine/base/strings.h"
#include "tools/ingest/label_wire.h"
#include "tools/ingest/protobuf.h"
#include "tools/loki/json_text.h"

namespace varve::loki {
namespace {

bool ParseInteger(std::string_view text, int64_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return !text.empty() && error == std::errc() && end == text.data() + text.size();
}

class JsonPush {
 public:
  JsonPush(char* text, size_t size, LogIntake* intake, PushCounts* counts)
      : json_(text, size), intake_(intake), counts_(counts) {}

  Status Decode() {
    if (Body() && !json_.AtEnd()) json_.Fail("unexpected text after the body");
    if (json_.ok()) return absl::OkStatus();
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("malformed push body: ", json_.ErrorText()));
  }

 private:
  bool Body() {
    JsonList members(&json_, '{', '}');
    while (members.Next()) {
      std::string_view key;
      if (!Key(&key)) return false;
      if (key != "streams") {
        if (!json_.Skip()) return false;
        continue;
      }
      if (json_.TakeNull()) continue;
      JsonList streams(&json_, '[', ']');
      while (streams.Next()) {
        ++counts_->streams;
        if (!Stream()) return false;
      }
      if (!json_.ok()) return false;
    }
    return json_.ok();
  }

  bool Key(std::string_view* key) { return json_.String(key) && json_.Take(':', "expected \":\""); }

  // Labels usually come first. Where entries do, they are skipped and read again afterwards.
  bool Stream() {
    enum class Place : uint8_t { kNone, kValues, kEntries };
    bool labelled = false;
    Place later = Place::kNone;
    size_t later_at = 0;
    JsonList members(&json_, '{', '}');
    while (members.Next()) {
      std::string_view key;
      if (!Key(&key)) return false;
      if (key == "stream") {
        if (!LabelMap(&labels_)) return false;
        intake_->BeginStream(LabelsView(labels_));
        labelled = true;
      } else if (key == "labels") {
        std::string_view selector;
        if (!json_.String(&selector)) return false;
        intake_->BeginStream(selector);
        labelled = true;
      } else if (key == "values" || key == "entries") {
        const Place place = key == "values" ? Place::kValues : Place::kEntries;
        if (labelled) {
          if (!(place == Place::kValues ? Values() : Entries())) return false;
        } else {
          json_.Peek();
          later_at = json_.offset();
          later = place;
          if (!json_.Skip()) return false;
        }
      } else if (!json_.Skip()) {
        return false;
      }
    }
    if (!json_.ok()) return false;
    if (!labelled) intake_->BeginStream(LabelsView());
    if (later == Place::kNone) return true;
    const size_t after = json_.offset();
    json_.Seek(later_at);
    if (!(later == Place::kValues ? Values() : Entries())) return false;
    json_.Seek(after);
    return true;
  }

  bool LabelMap(std::vector<LabelView>* out) {
    out->clear();
    if (json_.TakeNull()) return true;
    JsonList members(&json_, '{', '}');
    while (members.Next()) {
      LabelView label;
      if (!Key(&label.name) || !json_.String(&label.value)) return false;
      out->push_back(label);
    }
    return json_.ok();
  }

  bool Values() {
    if (json_.TakeNull()) return true;
    JsonList entries(&json_, '[', ']');
    while (entries.Next()) {
      if (!json_.Take('[', "expected an array of time and line")) return false;
      int64_t time_ns = 0;
      if (!json_.TakeNanoseconds(&time_ns) && !Time(&time_ns)) return false;
      std::string_view line;
      if (!json_.Take(',', "expected \",\" and a line") || !json_.String(&line)) return false;
      metadata_.clear();
      if (json_.TakeIf(',')) {
        if (!LabelMap(&metadata_)) return false;
      }
      if (!json_.Take(']', "expected \"]\" after an entry")) return false;
      intake_->AddEntry(time_ns, line, LabelsView(metadata_));
    }
    return json_.ok();
  }

  // Loki takes the digits with or without quotes.
  bool Time(int64_t* time_ns) {
    std::string_view digits;
    if (!(json_.Peek() == '"' ? json_.String(&digits) : json_.Number(&digits))) return false;
    return ParseInteger(digits, time_ns) ||
           json_.Fail("expected Unix nanoseconds before this place");
  }

  bool Entries() {
    if (json_.TakeNull()) return true;
    JsonList entries(&json_, '[', ']');
    while (entries.Next()) {
      std::string_view line;
      int64_t time_ns = intake_->now_ns();
      metadata_.clear();
      JsonList members(&json_, '{', '}');
      while (members.Next()) {
        std::string_view key;
        if (!Key(&key)) return false;
        if (key == "line") {
          if (!json_.String(&line)) return false;
        } else if (key == "ts") {
          std::string_view time;
          if (!json_.String(&time)) return false;
          if (!ParseRfc3339(time, &time_ns)) {
            return json_.Fail("expected an RFC 3339 time before this place");
          }
        } else if (key == "structuredMetadata") {
          if (!LabelMap(&metadata_)) return false;
        } else if (!json_.Skip()) {
          return false;
        }
      }
      if (!json_.ok()) return false;
      intake_->AddEntry(time_ns, line, LabelsView(metadata_));
    }
    return json_.ok();
  }

  JsonText json_;
  LogIntake* const intake_;
  PushCounts* const counts_;
  std::vector<LabelView> labels_;
  std::vector<LabelView> metadata_;
};

// --- Protobuf ---

using ingest::WireFault;
using ingest::WireReader;

bool ReadTimestamp(std::string_view bytes, WireFault* fault, int64_t* time_ns) {
  WireReader reader(bytes, fault, "Timestamp");
  int64_t seconds = 0;
  int32_t nanos = 0;
  while (reader.Next()) {
    switch (reader.field()) {
      case 1:
        if (!reader.Int64(&seconds)) return false;
        break;
      case 2:
        if (!reader.Int32(&nanos)) return false;
        break;
      default:
        if (!reader.Skip()) return false;
    }
  }
  if (!fault->ok()) return false;
  if (nanos < 0 || nanos > 999'999'999 || __builtin_mul_overflow(seconds, 1'000'000'000, time_ns) ||
      __builtin_add_overflow(*time_ns, nanos, time_ns)) {
    return reader.Fail("time out of range");
  }
  return true;
}

bool ReadEntry(std::string_view bytes, WireFault* fault, std::vector<LabelView>* metadata,
               LogIntake* intake) {
  WireReader reader(bytes, fault, "Entry");
  int64_t time_ns = 0;
  std::string_view line;
  std::string_view message;
  metadata->clear();
  while (reader.Next()) {
    switch (reader.field()) {
      case 1:
        if (!reader.Bytes(&message) || !ReadTimestamp(message, fault, &time_ns)) return false;
        break;
      case 2:
        if (!reader.Bytes(&line)) return false;
        break;
      case 3: {
        LabelView label;
        if (!reader.Bytes(&message) || !ingest::ReadLabel(message, fault, "LabelPair", &label)) {
          return false;
        }
        metadata->push_back(label);
        break;
      }
      default:
        if (!reader.Skip()) return false;
    }
  }
  if (!fault->ok()) return false;
  intake->AddEntry(time_ns, line, LabelsView(*metadata));
  return true;
}

bool ReadStream(std::string_view bytes, WireFault* fault, std::vector<LabelView>* metadata,
                LogIntake* intake) {
  // Labels first, wherever they stand; writers put them first, so this costs one tag.
  WireReader labels(bytes, fault, "Stream");
  std::string_view selector;
  while (labels.Next()) {
    if (labels.field() == 1) {
      if (!labels.Bytes(&selector)) return false;
      break;
    }
    if (!labels.Skip()) return false;
  }
  if (!fault->ok()) return false;
  intake->BeginStream(selector);
  WireReader reader(bytes, fault, "Stream");
  std::string_view message;
  while (reader.Next()) {
    if (reader.field() == 2) {
      if (!reader.Bytes(&message) || !ReadEntry(message, fault, metadata, intake)) return false;
    } else if (!reader.Skip()) {
      return false;
    }
  }
  return fault->ok();
}

}  // namespace

Status DecodePushJson(char* text, size_t size, LogIntake* intake, PushCounts* counts) {
  return JsonPush(text, size, intake, counts).Decode();
}

Status DecodePushProtobuf(std::string_view body, LogIntake* intake, PushCounts* counts) {
  WireFault fault;
  fault.body = body.data();
  WireReader reader(body, &fault, "PushRequest");
  std::vector<LabelView> metadata;
  std::string_view message;
  while (reader.Next()) {
    if (reader.field() == 1) {
      if (!reader.Bytes(&message)) break;
      ++counts->streams;
      if (!ReadStream(message, &fault, &metadata, intake)) break;
    } else if (!reader.Skip()) {
      break;
    }
  }
  return fault.ok() ? absl::OkStatus() : fault.ToStatus();
}

bool ParseRfc3339(std::string_view text, int64_t* time_ns) {
  const auto number = [&](size_t at, size_t digits, int* out) {
    if (at + digits > text.size()) return false;
    *out = 0;
    for (size_t i = at; i < at + digits; ++i) {
      if (text[i] < '0' || text[i] > '9') return false;
      *out = *out * 10 + (text[i] - '0');
    }
    return true;
  };
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  int second = 0;
  if (text.size() < 20 || !number(0, 4, &year) || text[4] != '-' || !number(5, 2, &month) ||
      text[7] != '-' || !number(8, 2, &day) ||
      (text[10] != 'T' && text[10] != 't' && text[10] != ' ') || !number(11, 2, &hour) ||
      text[13] != ':' || !number(14, 2, &minute) || text[16] != ':' || !number(17, 2, &second)) {
    return false;
  }
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60) return false;
  size_t at = 19;
  int64_t nanos = 0;
  if (text[at] == '.' || text[at] == ',') {
    const size_t begin = ++at;
    int64_t scale = 100'000'000;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, scale /= 10) {
      nanos += (text[at] - '0') * scale;
    }
    if (at == begin) return false;
  }
  if (at >= text.size()) return false;
  int64_t offset_s = 0;
  if (text[at] == 'Z' || text[at] == 'z') {
    ++at;
  } else if (text[at] == '+' || text[at] == '-') {
    const int sign = text[at] == '-' ? -1 : 1;
    int hours = 0;
    int minutes = 0;
    const bool colon = at + 3 < text.size() && text[at + 3] == ':';
    if (!number(at + 1, 2, &hours) || !number(at + (colon ? 4 : 3), 2, &minutes) || hours > 23 ||
        minutes > 59) {
      return false;
    }
    offset_s = sign * (hours * 3600 + minutes * 60);
    at += colon ? 6 : 5;
  } else {
    return false;
  }
  if (at != text.size()) return false;
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  const int64_t seconds = days * 86'400 + hour * 3600 + minute * 60 + second - offset_s;
  return !__builtin_mul_overflow(seconds, 1'000'000'000, time_ns) &&
         !__builtin_add_overflow(*time_ns, nanos, time_ns);
}

}  // namespace varve::loki
