#include "tools/loki/bulk.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <optional>
#include <tuple>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/ingest/compression.h"
#include "tools/loki/json_text.h"
#include "tools/loki/push_decode.h"
#include "tools/server/json/writer.h"

namespace varve::loki {
namespace {

using http::Request;
using http::Response;

constexpr size_t kFlattenDepthMax = 8;
constexpr size_t kItemsMax = 1'000'000;
constexpr size_t kNameBytesMax = 512;

// Reads RFC 3339, or an epoch in seconds, milliseconds, microseconds or nanoseconds by its size.
bool ParseAnyTime(std::string_view text, int64_t* time_ns) {
  if (ParseRfc3339(text, time_ns)) return true;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || !(value > 0)) {
    return false;
  }
  int64_t whole = 0;
  const auto [int_end, int_error] = std::from_chars(text.data(), text.data() + text.size(), whole);
  const bool integer = int_error == std::errc() && int_end == text.data() + text.size();
  const double scale = value < 1e11 ? 1e9 : value < 1e14 ? 1e6 : value < 1e17 ? 1e3 : 1;
  if (value * scale >= 9.2e18) return false;
  *time_ns = integer ? whole * static_cast<int64_t>(scale) : static_cast<int64_t>(value * scale);
  return true;
}

class BulkDecoder {
 public:
  BulkDecoder(const BulkOptions& options, PushScratch* scratch, std::vector<BulkItem>* items)
      : options_(options), scratch_(*scratch), items_(*items) {}

  Status Decode(char* text, size_t size) {
    char* at = text;
    char* const end = text + size;
    size_t line = 0;
    while (at != end) {
      char* const stop = LineEnd(at, end);
      ++line;
      char* const next = stop == end ? end : stop + 1;
      if (IsBlank(at, stop)) {
        at = next;
        continue;
      }
      if (items_.size() >= kItemsMax) return Bad(line, "too many actions");
      BulkItem item;
      if (!ReadAction(at, stop, &item)) {
        return Bad(line, Concat("malformed action: ", error_));
      }
      at = next;
      if (item.action == BulkItem::Action::kDelete) {
        item.status = 400;
        item.error = "log entries are not deleted one by one";
        items_.push_back(std::move(item));
        continue;
      }
      if (at == end) return Bad(line, "an action without its document");
      char* const document_end = LineEnd(at, end);
      ++line;
      ReadDocument(at, document_end, &item);
      items_.push_back(std::move(item));
      at = document_end == end ? end : document_end + 1;
    }
    return absl::OkStatus();
  }

  /// Adds the entry of one document, or says in `item` why not.
  void ReadDocument(char* begin, char* end, BulkItem* item) {
    const auto fail = [&](std::string text) {
      item->status = 400;
      item->error = std::move(text);
    };
    if (item->action == BulkItem::Action::kUpdate) {
      return fail("log entries are not updated");
    }
    if (end != begin && end[-1] == '\r') --end;
    std::string_view line;
    if (options_.message_field.empty()) {
      // Reading fields changes the text, so the line is kept apart.
      line = scratch_.batch.Copy(std::string_view(begin, static_cast<size_t>(end - begin)));
    }
    fields_.clear();
    stream_values_.assign(options_.stream_fields.size(), {});
    JsonText json(begin, static_cast<size_t>(end - begin));
    time_rank_ = options_.time_fields.size();
    message_ = {};
    prefix_.clear();
    if (json.Peek() != '{') json.Fail("expected an object");
    if (json.ok()) Object(&json, 0);
    if (json.ok() && !json.AtEnd()) json.Fail("unexpected text after the document");
    if (!json.ok()) return fail(Concat("malformed document: ", json.ErrorText()));
    labels_.clear();
    if (!item->index.empty()) labels_.push_back({"index", item->index});
    for (size_t i = 0; i < options_.stream_fields.size(); ++i) {
      if (stream_values_[i].empty()) continue;
      labels_.push_back({Name(options_.stream_fields[i]), stream_values_[i]});
    }
    const uint64_t errors_before = scratch_.intake.errors().total();
    BeginStream();
    const int64_t time_ns =
        time_rank_ < options_.time_fields.size() ? time_ns_ : scratch_.intake.now_ns();
    const bool whole = options_.message_field.empty();
    const bool added = scratch_.intake.AddEntry(time_ns, whole ? line : message_,
                                                whole ? LabelsView() : LabelsView(fields_));
    if (!added) {
      const bool fresh = scratch_.intake.errors().total() != errors_before;
      fail(fresh ? scratch_.intake.errors().Last() : "the stream was refused");
    }
  }

 private:
  static char* LineEnd(char* at, char* end) {
    void* const found = std::memchr(at, '\n', static_cast<size_t>(end - at));
    return found == nullptr ? end : static_cast<char*>(found);
  }
  static bool IsBlank(const char* at, const char* end) {
    return std::all_of(at, end, [](char c) { return c == ' ' || c == '\r' || c == '\t'; });
  }
  static Status Bad(size_t line, std::string_view what) {
    return MakeStatus(StatusCode::kInvalidArgument, Concat("line ", line, ": ", what));
  }

  bool ReadAction(char* begin, char* end, BulkItem* item) {
    JsonText json(begin, static_cast<size_t>(end - begin));
    bool known = false;
    JsonList actions(&json, '{', '}');
    while (actions.Next()) {
      std::string_view name;
      if (!json.String(&name) || !json.Take(':', "expected \":\"")) break;
      known = true;
      if (name == "index") {
        item->action = BulkItem::Action::kIndex;
      } else if (name == "create") {
        item->action = BulkItem::Action::kCreate;
      } else if (name == "update") {
        item->action = BulkItem::Action::kUpdate;
      } else if (name == "delete") {
        item->action = BulkItem::Action::kDelete;
      } else {
        json.Fail("unknown action");
        break;
      }
      JsonList members(&json, '{', '}');
      while (members.Next()) {
        std::string_view key;
        std::string_view value;
        if (!json.String(&key) || !json.Take(':', "expected \":\"")) break;
        if ((key == "_index" || key == "_id") && json.Peek() == '"') {
          if (!json.String(&value)) break;
          (key == "_index" ? item->index : item->id) = value.substr(0, kNameBytesMax);
        } else if (!json.Skip()) {
          break;
        }
      }
      if (!json.ok()) break;
    }
    if (json.ok() && !json.AtEnd()) json.Fail("unexpected text");
    if (json.ok() && !known) json.Fail("no action");
    if (!json.ok()) {
      error_ = json.ErrorText();
      return false;
    }
    if (item->index.empty()) item->index = options_.index;
    return true;
  }

  std::string_view Name(std::string_view name) {
    return IsNormalizedName(name) ? name : scratch_.batch.Copy(NormalizeName(name));
  }

  // Neighbours usually share their stream.
  void BeginStream() {
    const bool same = begun_ && std::equal(labels_.begin(), labels_.end(), owned_.begin(),
                                           owned_.end(), [](const LabelView& a, const auto& b) {
                                             return a.name == b.first && a.value == b.second;
                                           });
    if (same) return;
    owned_.clear();
    for (const LabelView& label : labels_) owned_.emplace_back(label.name, label.value);
    views_.clear();
    for (const auto& [name, value] : owned_) views_.push_back({name, value});
    begun_ = scratch_.intake.BeginStream(LabelsView(views_));
  }

  bool Object(JsonText* json, size_t depth) {
    JsonList members(json, '{', '}');
    while (members.Next()) {
      std::string_view key;
      if (!json->String(&key) || !json->Take(':', "expected \":\"")) return false;
      const size_t before = prefix_.size();
      if (!prefix_.empty()) prefix_.push_back('.');
      prefix_ += key;
      const char next = json->Peek();
      bool good = true;
      std::string_view value;
      if (next == '{' && depth < kFlattenDepthMax) {
        good = Object(json, depth + 1);
      } else if (next == '"') {
        good = json->String(&value);
        if (good) Value(value);
      } else {
        good = json->Skip(&value);
        if (good && value != "null") Value(value);
      }
      if (!good) return false;
      prefix_.resize(before);
    }
    return json->ok();
  }

  // Looks at a field, its full name in prefix_.
  void Value(std::string_view value) {
    for (size_t rank = 0; rank < time_rank_; ++rank) {
      if (options_.time_fields[rank] == prefix_ && ParseAnyTime(value, &time_ns_)) {
        time_rank_ = rank;
        return;
      }
    }
    bool label = false;
    for (size_t i = 0; i < options_.stream_fields.size(); ++i) {
      if (options_.stream_fields[i] == prefix_) {
        stream_values_[i] = value;
        label = true;
      }
    }
    if (label || options_.message_field.empty()) return;
    if (prefix_ == options_.message_field) {
      message_ = value;
    } else if (fields_.size() < 1000) {
      fields_.push_back({scratch_.batch.Copy(NormalizeName(prefix_)), value});
    }
  }

  const BulkOptions& options_;
  PushScratch& scratch_;
  std::vector<BulkItem>& items_;
  std::string error_;
  std::string prefix_;
  std::vector<LabelView> fields_;
  std::vector<std::string_view> stream_values_;
  std::string_view message_;
  int64_t time_ns_ = 0;
  size_t time_rank_ = 0;  // index of the time field found
  std::vector<LabelView> labels_;
  bool begun_ = false;
  std::vector<std::pair<std::string, std::string>> owned_;
  std::vector<LabelView> views_;
};

Response ElasticJson(int status, std::string body) {
  Response response = Response::Json(status, std::move(body));
  // Official clients refuse to talk to anything that does not say so.
  response.headers.Add("X-Elastic-Product", "Elasticsearch");
  return response;
}

Response ElasticError(int status, std::string_view type, std::string_view reason) {
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("error").BeginObject().Field("type", type).Field("reason", reason);
  json.EndObject().Key("status").Int(status).EndObject();
  return ElasticJson(status, std::move(body));
}

void AddNames(std::string_view list, std::vector<std::string>* out) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const std::string_view name = http::Trim(list.substr(0, comma));
    if (!name.empty()) out->emplace_back(name);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

/// A request's body, decoded, and what the request says about its documents.
struct Intake {
  char* text = nullptr;
  size_t size = 0;
  BulkOptions options;
};

/// Reads what all requests with documents have in common. Returns the answer of one that is
/// refused.
std::optional<Response> ReadIntake(Context& context, Request& request, PushScratch* scratch,
                                   Intake* out) {
  const Result<ingest::BodyEncoding> coding =
      ingest::ParseContentEncoding(request.headers.Joined("Content-Encoding"));
  if (!coding.ok()) {
    return ElasticError(415, "illegal_argument_exception", ToStd(coding.status().message()));
  }
  out->text = request.body.data();
  out->size = request.body.size();
  context.counters.bytes_received += out->size;
  ++context.counters.requests;
  if (*coding != ingest::BodyEncoding::kIdentity) {
    const Result<std::string_view> decoded = ingest::DecodeBody(
        *coding, request.body, context.limits.max_recv_msg_size, &scratch->decoded);
    if (!decoded.ok()) {
      const bool large = decoded.status().code() == StatusCode::kResourceExhausted;
      return ElasticError(large ? 413 : 400, "illegal_argument_exception",
                          ToStd(decoded.status().message()));
    }
    out->text = scratch->decoded.data();
    out->size = decoded->size();
  }
  context.counters.bytes_decoded += out->size;
  BulkOptions& options = out->options;
  options.index = request.path_params.Get("index");
  const auto parameter = [&](std::string_view name, std::string_view header) {
    const std::string_view value = request.params.Get(name);
    return value.empty() ? request.headers.Get(header) : value;
  };
  options.message_field = parameter("_msg_field", "X-Varve-Msg-Field");
  AddNames(parameter("_stream_fields", "X-Varve-Stream-Fields"), &options.stream_fields);
  if (const std::string_view names = parameter("_time_field", "X-Varve-Time-Field");
      !names.empty()) {
    options.time_fields.clear();
    AddNames(names, &options.time_fields);
  }
  if (options.stream_fields.size() > 32 || options.time_fields.size() > 32) {
    return ElasticError(400, "illegal_argument_exception", "more than 32 field names");
  }
  return std::nullopt;
}

Response Bulk(Context& context, Database& database, Request& request) {
  const auto begin = context.clock->Monotonic();
  Context::Loan scratch(context);
  Intake intake;
  if (auto refused = ReadIntake(context, request, &*scratch, &intake)) return *std::move(refused);
  std::vector<BulkItem> items;
  const Status status = DecodeBulk(intake.text, intake.size, intake.options, &*scratch, &items);
  if (!status.ok()) {
    return ElasticError(400, "illegal_argument_exception", ToStd(status.message()));
  }
  if (items.empty()) {
    return ElasticError(400, "action_request_validation_exception", "no requests added");
  }
  const AppendOutcome outcome = AppendIntake(context, database, *scratch);
  if (outcome.status >= 429) {
    return ElasticError(outcome.status, "es_rejected_execution_exception", outcome.error);
  }
  bool errors = false;
  for (const BulkItem& item : items) errors = errors || item.status >= 400;
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(context.clock->Monotonic() - begin);
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Key("took").Int(took.count()).Key("errors").Bool(errors);
  json.Key("items").BeginArray();
  for (const BulkItem& item : items) {
    static constexpr std::string_view kActions[] = {"index", "create", "update", "delete"};
    json.BeginObject().Key(kActions[static_cast<size_t>(item.action)]).BeginObject();
    json.Field("_index", item.index);
    if (!item.id.empty()) json.Field("_id", item.id);
    json.Key("status").Int(item.status);
    if (item.status >= 400) {
      json.Key("error").BeginObject().Field("type", "illegal_argument_exception");
      json.Field("reason", item.error).EndObject();
    }
    json.EndObject().EndObject();
  }
  json.EndArray().EndObject();
  return ElasticJson(200, std::move(body));
}

/// Answers a request for one document, which is its body.
Response Document(BulkItem::Action action, Context& context, Database& database, Request& request) {
  Context::Loan scratch(context);
  Intake intake;
  if (auto refused = ReadIntake(context, request, &*scratch, &intake)) return *std::move(refused);
  BulkItem item;
  item.action = action;
  item.index = intake.options.index.substr(0, kNameBytesMax);
  item.id = request.path_params.Get("id").substr(0, kNameBytesMax);
  DecodeDocument(intake.text, intake.size, intake.options, &*scratch, &item);
  const AppendOutcome outcome = AppendIntake(context, database, *scratch);
  if (outcome.status >= 429) {
    return ElasticError(outcome.status, "es_rejected_execution_exception", outcome.error);
  }
  if (item.status >= 400)
    return ElasticError(item.status, "document_parsing_exception", item.error);
  // Clients want an id, whoever made it.
  if (item.id.empty()) {
    static std::atomic<uint64_t> documents{0};
    item.id = Concat(context.NowNs(), "-", ++documents);
  }
  std::string body;
  json::Writer json(&body);
  json.BeginObject().Field("_index", item.index).Field("_id", item.id).Key("_version").Int(1);
  json.Field("result", "created").Key("_shards").BeginObject();
  json.Key("total").Int(1).Key("successful").Int(1).Key("failed").Int(0).EndObject();
  json.Key("_seq_no").Int(0).Key("_primary_term").Int(1).EndObject();
  return ElasticJson(item.status, std::move(body));
}

/// Tells that a browser asks, whose user wants no JSON.
bool WantsPage(const Request& request) {
  return request.headers.Joined("Accept").find("text/html") != std::string::npos;
}

}  // namespace

Status DecodeBulk(char* text, size_t size, const BulkOptions& options, PushScratch* scratch,
                  std::vector<BulkItem>* items) {
  items->clear();
  return BulkDecoder(options, scratch, items).Decode(text, size);
}

void DecodeDocument(char* text, size_t size, const BulkOptions& options, PushScratch* scratch,
                    BulkItem* item) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (size > 0 && blank(text[size - 1])) --size;
  std::vector<BulkItem> none;
  BulkDecoder(options, scratch, &none).ReadDocument(text, text + size, item);
}

void AddBulkRoutes(Context* context, http::Router* router) {
  const http::RouteOptions write{.lane = http::Lane::kWrite,
                                 .body_bytes_max = context->limits.max_recv_msg_size,
                                 .ignore_disconnect = true};
  const std::string info =
      R"({"name":"varve","cluster_name":"varve","cluster_uuid":"varve","version":{"number":"8.17.0",)"
      R"("build_flavor":"default","build_type":"tar","build_snapshot":false,"lucene_version":"9.12.0",)"
      R"("minimum_wire_compatibility_version":"7.17.0","minimum_index_compatibility_version":"7.0.0"},)"
      R"("tagline":"You Know, for Search"})";
  // Some clients can be told a path, others a host and a port only.
  for (const std::string_view prefix : {"/elasticsearch", ""}) {
    AddRoute(context, router, http::kPostPut, Concat(prefix, "/_bulk"), write, Bulk);
    AddRoute(context, router, http::kPostPut, Concat(prefix, "/:index/_bulk"), write, Bulk);
    using Action = BulkItem::Action;
    for (const auto& [methods, path, action] :
         {std::tuple(http::kPostOnly, "/:index/_doc", Action::kIndex),
          std::tuple(http::kPostPut, "/:index/_doc/:id", Action::kIndex),
          std::tuple(http::kPostPut, "/:index/_create/:id", Action::kCreate)}) {
      AddRoute(context, router, methods, Concat(prefix, path), write,
               [action](Context& c, Database& database, Request& request) {
                 return Document(action, c, database, request);
               });
    }
    const auto add = [&](http::MethodSet methods, std::string_view path, std::string body) {
      router->Add(methods, Concat(prefix, path),
                  [body = std::move(body)](Request&) { return ElasticJson(200, body); });
    };
    if (!prefix.empty()) add(http::kGetOnly, "", info);
    router->Add(http::kGetOnly, Concat(prefix, "/"), [info](Request& request) {
      return WantsPage(request) ? Response::Text(404, "404 page not found\n")
                                : ElasticJson(200, info);
    });
    add(http::kGetOnly, "/_license",
        R"({"license":{"status":"active","uid":"varve","type":"basic","mode":"basic"}})");
    add(http::kGetOnly, "/_xpack",
        R"({"license":{"status":"active","type":"basic","mode":"basic"},"features":{}})");
    add(http::kGetOnly, "/_cluster/health", R"({"cluster_name":"varve","status":"green"})");
    for (const std::string_view path : {"/_nodes/http", "/_nodes/_all/http", "/_nodes/:id/http"}) {
      add(http::kGetOnly, path, R"({"cluster_name":"varve","nodes":{}})");
    }
    // Templates, policies and pipelines have nothing to say here; setting them up succeeds.
    const http::MethodSet set = http::kPostPut | http::kGetOnly;
    for (const std::string_view path :
         {"/_template/*name", "/_index_template/*name", "/_component_template/*name",
          "/_ilm/policy/*name", "/_ingest/pipeline/*name", "/_data_stream/*name",
          "/_alias/*name"}) {
      add(set, path, R"({"acknowledged":true})");
    }
    // At the root any name may be a path of others: an index is made, but none is there.
    add(prefix.empty() ? http::Only(http::Method::kPut) : set, "/:index",
        R"({"acknowledged":true})");
  }
}

}  // namespace varve::loki
