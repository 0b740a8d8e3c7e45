#include "tools/loki/tail.h"

#include <algorithm>
#include <deque>

#include "engine/base/hash.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/loki/api.h"

namespace varve::loki {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr size_t kInboxBytesMax = 8u << 20;
constexpr size_t kDroppedMax = 1000;  // named in one frame, as many as Loki names
constexpr size_t kFrameEntriesMax = 1000;
constexpr size_t kFrameBytesMax = 1u << 20;

uint64_t EntryKey(int64_t time_ns, std::string_view line) {
  return Hash64(line) * 0x9e3779b97f4a7c15u ^ static_cast<uint64_t>(time_ns);
}

}  // namespace

class TailHub::Tail {
 public:
  struct Item {
    SteadyClock::time_point due;
    int64_t time_ns;
    std::shared_ptr<const Labels> labels;
    std::string line;
    query::LogLabels metadata;
    size_t bytes;
  };
  struct Dropped {
    std::shared_ptr<const Labels> labels;
    int64_t time_ns;
  };

  Tail(Request request, std::unique_ptr<query::LogPipeline> selector,
       std::unique_ptr<query::LogPipeline> pipeline)
      : request_(std::move(request)),
        selector_(std::move(selector)),
        pipeline_(std::move(pipeline)) {}

  http::WebSocketQueue& queue() { return *request_.queue; }

  // On an appending thread.
  bool Collect(const LogBatch& batch, const std::vector<bool>& refused) {
    const absl::MutexLock lock(&mutex_);
    streams_.assign(batch.streams().size(), nullptr);
    for (size_t s = 0; s < batch.streams().size(); ++s) {
      const LabelsView labels = batch.labels(batch.streams()[s]);
      if (selector_->SelectsStream(labels)) streams_[s] = std::make_shared<const Labels>(labels);
    }
    const auto due = SteadyClock::now() + request_.delay;
    bool any = false;
    for (size_t e = 0; e < batch.entries().size(); ++e) {
      const LogBatch::Entry& entry = batch.entries()[e];
      const auto& labels = streams_[entry.stream];
      if (labels == nullptr || (!refused.empty() && refused[e])) continue;
      any = true;
      const LabelsView metadata = batch.metadata(entry);
      size_t bytes = sizeof(Item) + entry.line.size();
      for (const LabelView& label : metadata) bytes += label.name.size() + label.value.size() + 64;
      if (bytes_ + bytes > kInboxBytesMax) {
        DropLocked(labels, entry.time_ns);
        continue;
      }
      bytes_ += bytes;
      Item item{due, entry.time_ns, labels, std::string(entry.line), {}, bytes};
      for (const LabelView& label : metadata) item.metadata.emplace_back(label.name, label.value);
      inbox_.push_back(std::move(item));
    }
    return any;
  }

  void Start(const query::Streams& history) {
    absl::flat_hash_set<uint64_t> seen;
    for (const query::LogStream& stream : history) {
      for (const query::LogEntry& entry : stream.entries) {
        seen.insert(EntryKey(entry.time_ns, entry.line));
      }
    }
    if (!seen.empty()) SendFrame(history, {});
    const absl::MutexLock lock(&mutex_);
    seen_ = std::move(seen);
    seen_until_ = SteadyClock::now() + std::chrono::seconds(5) + request_.delay;
    started_ = true;
  }

  // On the hub's thread. Returns when there is more to do, or the far future.
  SteadyClock::time_point Deliver() {
    std::vector<Item> items;
    std::vector<Dropped> dropped;
    SteadyClock::time_point next = SteadyClock::time_point::max();
    const auto now = SteadyClock::now();
    {
      const absl::MutexLock lock(&mutex_);
      if (!started_) return next;
      while (!inbox_.empty() && inbox_.front().due <= now) {
        bytes_ -= inbox_.front().bytes;
        items.push_back(std::move(inbox_.front()));
        inbox_.pop_front();
      }
      if (!inbox_.empty()) next = inbox_.front().due;
      dropped.swap(dropped_);
      if (now > seen_until_) seen_.clear();
      if (!seen_.empty()) {
        std::erase_if(items, [&](const Item& item) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
          // The pipeline may have changed the line of the history; then it is sent again.
          return seen_.contains(EntryKey(item.time_ns, item.line));
        });
      }
    }
    std::stable_sort(items.begin(), items.end(),
                     [](const Item& a, const Item& b) { return a.time_ns < b.time_ns; });
    query::Streams frame;
    size_t entries = 0;
    size_t bytes = 0;
    std::vector<LabelView> metadata;
    query::LogStream out;
    const auto flush = [&] {
      if (frame.empty() && dropped.empty()) return;
      if (!SendFrame(frame, dropped)) {
        const absl::MutexLock lock(&mutex_);
        // Nobody has heard of the older ones either; they came first.
        dropped_.insert(dropped_.begin(), dropped.begin(), dropped.end());
        if (dropped_.size() > kDroppedMax) dropped_.resize(kDroppedMax);
        for (const query::LogStream& stream : frame) {
          const auto labels = std::make_shared<const Labels>(LabelsOf(stream));
          for (const query::LogEntry& entry : stream.entries) DropLocked(labels, entry.time_ns);
        }
      }
      frame.clear();
      dropped.clear();
      entries = bytes = 0;
    };
    for (const Item& item : items) {
      metadata.clear();
      for (const auto& [name, value] : item.metadata) metadata.push_back({name, value});
      if (!pipeline_->Process(item.labels->view(), item.time_ns, item.line, metadata, &out)) {
        continue;
      }
      bytes += item.bytes;
      ++entries;
      if (!frame.empty() && frame.back().stream == out.stream &&
          frame.back().metadata == out.metadata && frame.back().parsed == out.parsed) {
        frame.back().entries.push_back(std::move(out.entries.front()));
      } else {
        frame.push_back(out);
      }
      if (entries >= kFrameEntriesMax || bytes >= kFrameBytesMax) flush();
    }
    flush();
    return next;
  }

 private:
  static Labels LabelsOf(const query::LogStream& stream) {
    std::vector<LabelView> views;
    const query::LogLabels folded = query::FoldedLabels(stream);
    for (const auto& [name, value] : folded) views.push_back({name, value});
    return Labels(LabelsView(views));
  }

  void DropLocked(const std::shared_ptr<const Labels>& labels, int64_t time_ns)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (dropped_.size() < kDroppedMax) dropped_.push_back({labels, time_ns});
  }

  bool SendFrame(const query::Streams& streams, const std::vector<Dropped>& dropped) {
    std::string text;
    json::Writer json(&text);
    json.BeginObject().Key("streams").BeginArray();
    for (const query::StreamGroup& group :
         query::GroupStreams(streams, request_.categorize, /*backward=*/false)) {
      WriteStreamGroup(streams, group, request_.categorize, &json);
    }
    json.EndArray();
    if (!dropped.empty()) {
      json.Key("dropped_entries").BeginArray();
      for (const Dropped& entry : dropped) {
        json.BeginObject().Key("labels");
        WriteLabels(entry.labels->view(), &json);
        json.Field("timestamp", std::to_string(entry.time_ns)).EndObject();
      }
      json.EndArray();
    }
    if (request_.categorize) {
      json.Key("encodingFlags").BeginArray().String("categorize-labels").EndArray();
    }
    json.EndObject();
    return request_.queue->Send(std::move(text));
  }

  const Request request_;
  absl::Mutex mutex_;
  const std::unique_ptr<query::LogPipeline> selector_ ABSL_PT_GUARDED_BY(mutex_);
  const std::unique_ptr<query::LogPipeline> pipeline_;  // of the hub's thread
  std::vector<std::shared_ptr<const Labels>> streams_ ABSL_GUARDED_BY(mutex_);
  std::deque<Item> inbox_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Dropped> dropped_ ABSL_GUARDED_BY(mutex_);
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<uint64_t> seen_ ABSL_GUARDED_BY(mutex_);
  SteadyClock::time_point seen_until_ ABSL_GUARDED_BY(mutex_);
};

TailHub::~TailHub() {
  {
    const std::lock_guard<std::mutex> lock(wake_mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  std::thread thread;
  {
    const absl::MutexLock lock(&mutex_);
    thread = std::move(thread_);
  }
  if (thread.joinable()) thread.join();
}

std::vector<std::shared_ptr<TailHub::Tail>> TailHub::Tails() const {
  const absl::MutexLock lock(&mutex_);
  return tails_;
}

Result<std::shared_ptr<TailHub::Tail>> TailHub::Add(Request request) {
  VARVE_ASSIGN_OR_RETURN(auto selector, query::LogPipeline::Make(request.query));
  VARVE_ASSIGN_OR_RETURN(auto pipeline, query::LogPipeline::Make(request.query));
  auto tail = std::make_shared<Tail>(std::move(request), std::move(selector), std::move(pipeline));
  const absl::MutexLock lock(&mutex_);
  // Those whose client has gone count no more.
  std::erase_if(tails_, [](const auto& other) { return other->queue().closed(); });
  if (tails_max_ > 0 && tails_.size() >= tails_max_) {
    return MakeStatus(StatusCode::kResourceExhausted,
                      Concat("max concurrent tail requests limit exceeded, count > limit (",
                             tails_.size() + 1, " > ", tails_max_, ")"));
  }
  tails_.push_back(tail);
  count_ = tails_.size();
  if (!running_) {
    running_ = true;
    thread_ = std::thread([this] { Run(); });
  }
  return tail;
}

void TailHub::Start(const std::shared_ptr<Tail>& tail, const query::Streams& history) {
  tail->Start(history);
  {
    const std::lock_guard<std::mutex> lock(wake_mutex_);
    work_ = true;
  }
  wake_.notify_one();
}

void TailHub::Remove(const std::shared_ptr<Tail>& tail) {
  const absl::MutexLock lock(&mutex_);
  std::erase(tails_, tail);
  count_ = tails_.size();
}

void TailHub::Publish(const LogBatch& batch, const LogAppendResult& result) {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  std::vector<bool> refused;
  if (!result.rejections.empty()) {
    refused.resize(batch.entries().size());
    for (const LogRejection& rejection : result.rejections) {
      if (rejection.entry < refused.size()) refused[rejection.entry] = true;
    }
  }
  bool any = false;
  for (const auto& tail : Tails()) any = tail->Collect(batch, refused) || any;
  if (!any) return;
  {
    const std::lock_guard<std::mutex> lock(wake_mutex_);
    work_ = true;
  }
  wake_.notify_one();
}

void TailHub::Run() {
  auto next = SteadyClock::time_point::max();
  while (true) {
    {
      std::unique_lock<std::mutex> lock(wake_mutex_);
      // Also looks now and then whether clients have gone.
      const auto until = std::min(next, SteadyClock::now() + std::chrono::seconds(1));
      wake_.wait_until(lock, until, [this] { return work_ || stop_; });
      if (stop_) return;
      work_ = false;
    }
    next = SteadyClock::time_point::max();
    for (const auto& tail : Tails()) {
      if (tail->queue().closed()) {
        Remove(tail);
      } else {
        next = std::min(next, tail->Deliver());
      }
    }
  }
}

// --- The endpoint ---

namespace {

http::Response AnswerTail(Context& context, Database& database, http::Request& request) {
  if (context.tails == nullptr) return TextError(501, "tails are not served here");
  const std::string_view text = request.params.Get("query");
  const auto info = query::InspectLogQuery(text);
  if (!info.ok()) return ErrorResponse(info.status());
  if (!info->is_log_query) return TextError(400, "parse error : only log selector is supported");
  const int64_t now = context.NowNs();
  const Result<int64_t> start =
      TimeParameter(request.params, "start", now - 3600 * int64_t{1'000'000'000});
  if (!start.ok()) return ErrorResponse(start.status());
  Result<uint32_t> limit = 0u;
  if (request.params.Get("limit") != "0") limit = CountParameter(request.params, "limit", 100);
  if (!limit.ok()) return ErrorResponse(limit.status());
  TailHub::Request tail_request;
  if (const std::string_view delay = request.params.Get("delay_for");
      !delay.empty() && delay != "0") {
    const Result<uint32_t> seconds = CountParameter(request.params, "delay_for", 0);
    if (!seconds.ok()) return ErrorResponse(seconds.status());
    if (*seconds > 5) return TextError(400, "delay_for can't be greater than 5");
    tail_request.delay = std::chrono::seconds(*seconds);
  }
  if (!http::WantsWebSocket(request)) {
    return TextError(400, "Bad Request: the client is not using the websocket protocol");
  }
  tail_request.query = text;
  tail_request.categorize = WantsCategorizedLabels(request);
  tail_request.queue = std::make_shared<http::WebSocketQueue>();
  const auto tail = context.tails->Add(tail_request);
  if (!tail.ok()) return ErrorResponse(tail.status());
  query::Streams history;
  if (*limit > 0 && *start < now) {
    const auto fail = [&](const Status& status) {
      context.tails->Remove(*tail);
      return ErrorResponse(status);
    };
    auto snapshot = database.TakeLogSnapshot();
    if (!snapshot.ok()) return fail(snapshot.status());
    query::LogQueryRange range;
    range.start_ns = *start;
    range.end_ns = now + 1;
    range.limit = *limit;
    query::LogQueryOptions options;
    options.cancellation = CancellationOf(request);
    auto result = context.engine->Range(*std::move(snapshot), text, range, options);
    if (!result.ok()) return fail(result.status());
    if (auto* streams = std::get_if<query::Streams>(&result->value)) history = std::move(*streams);
  }
  context.tails->Start(*tail, history);
  http::Response response;
  response.websocket = tail_request.queue;
  return response;
}

}  // namespace

void AddTailRoute(Context* context, http::Router* router) {
  const http::RouteOptions query{.lane = http::Lane::kQuery};
  AddRoute(context, router, http::kGetOnly, "/loki/api/v1/tail", query, AnswerTail);
  AddRoute(context, router, http::kGetOnly, "/api/prom/tail", query, AnswerTail);
}

}  // namespace varve::loki
