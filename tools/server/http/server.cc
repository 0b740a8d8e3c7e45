#include "tools/server/http/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <ctime>
#include <exception>
#include <list>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/server/http/admission.h"
#include "tools/server/http/coding.h"
#include "tools/server/http/receive.h"
#include "tools/server/http/thread_pool.h"
#include "tools/server/http/websocket.h"
#include "tools/server/http/websocket_session.h"

namespace varve::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = beast::http;
using Tcp = asio::ip::tcp;
using SteadyClock = std::chrono::steady_clock;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);
// What a source is asked for at once: each piece costs a hop to the lane and back.
constexpr size_t kPieceBytes = 256u << 10;
constexpr size_t kReadAheadBytes = 64u << 10;
// Room that a connection keeps between requests: a head, or a small body.
constexpr size_t kIdleBufferBytes = 16u << 10;
constexpr size_t kWriteSliceBytes = 256u << 10;
// A worker keeps the connection of a request up to this length, for as long as the next one takes
// no longer than this to come.
constexpr size_t kKeptRequestBytes = 16u << 10;
constexpr std::chrono::milliseconds kKeptIdle(1000);
// How often a request that runs is looked at for a client that has gone.
constexpr std::chrono::milliseconds kLookPeriod(50);

// What a declared length alone costs at most, untouched; beyond it a body grows with the bytes that
// really come.
constexpr uint64_t kDeclaredBytesMax = 2u << 20;
// What is read of a body at once.
constexpr size_t kBodyStepBytesMax = 256u << 10;

// The body of a request in chunks, or of one that came with its head.
struct GrowingBody {
  using value_type = std::string;
  class reader {  // NOLINT(readability-identifier-naming): Beast looks for this name
   public:
    template <bool kIsRequest, class Fields>
    reader(bhttp::header<kIsRequest, Fields>& header, value_type& body) : body_(body) {}
    void init(const boost::optional<uint64_t>& length, beast::error_code& error) {
      error = {};
      if (length) body_.reserve(static_cast<size_t>(std::min(*length, kDeclaredBytesMax)));
    }
    template <class Buffers>
    size_t put(const Buffers& buffers, beast::error_code& error) {
      error = {};
      size_t bytes = 0;
      for (const asio::const_buffer buffer : beast::buffers_range_ref(buffers)) {
        body_.append(static_cast<const char*>(buffer.data()), buffer.size());
        bytes += buffer.size();
      }
      return bytes;
    }
    void finish(beast::error_code& error) { error = {}; }

   private:
    value_type& body_;
  };
};
using Parser = bhttp::request_parser<GrowingBody>;

void SetLimits(const ServerOptions& options, Parser* parser) {
  parser->header_limit(static_cast<uint32_t>(options.header_bytes_max));
  parser->body_limit(boost::none);
  parser->eager(false);
}

Method MethodOf(bhttp::verb verb) {
  switch (verb) {
    case bhttp::verb::get:
      return Method::kGet;
    case bhttp::verb::head:
      return Method::kHead;
    case bhttp::verb::post:
      return Method::kPost;
    case bhttp::verb::put:
      return Method::kPut;
    case bhttp::verb::delete_:
      return Method::kDelete;
    case bhttp::verb::options:
      return Method::kOptions;
    default:
      return Method::kOther;
  }
}

std::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

// A peer that closed, or half-closed as most HTTP stacks take for closed, even while pipelined
// bytes still wait in the socket.
bool PeerGone(int fd) {
  tcp_info info{};
  socklen_t length = sizeof(info);
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return true;
  return info.tcpi_state == TCP_CLOSE_WAIT || info.tcpi_state == TCP_CLOSE;
}

// The time as it stands in a Date header; valid on this thread until the next call.
std::string_view HttpDate() {
  thread_local std::time_t second = -1;
  thread_local std::array<char, 40> text;
  thread_local size_t length = 0;
  if (const std::time_t now = std::time(nullptr); now != second) {
    second = now;
    std::tm parts{};
    gmtime_r(&now, &parts);
    length = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  }
  return {text.data(), length};
}

bool IsCompressible(std::string_view type) {
  return type.starts_with("text/") || type.starts_with("application/json") ||
         type.starts_with("application/openmetrics-text") || type.starts_with("image/svg");
}

// Who goes on with a connection when the worker is done with its request.
enum class Phase : uint8_t {
  kRunning,   // the worker, if it can send the whole answer at once
  kAwaited,   // the strand: it waits to be told
  kAnswered,  // the answer is sent and counted
  kHandled,   // the strand has to send it, or the rest of it
};

// One request on its way through a lane. The worker owns everything but what is the strand's until
// it sets the phase; the connection's strand owns it afterwards.
struct Exchange {
  Request request;
  Response response;
  const Route* route = nullptr;
  std::unique_ptr<Encoder> encoder;
  SteadyClock::time_point begin;
  size_t bytes_in = 0;
  size_t bytes_out = 0;
  size_t body_bytes = 0;    // counted against the server's budget
  bool keep_alive = false;  // what the client and the server want
  bool framed = false;      // the first piece was
  bool stream = false;      // the length of the body was not known when the head was made
  std::string head;         // what goes before `piece`
  std::string_view tail;    // what goes after it
  size_t sent = 0;          // of `head`, `piece` and `tail`
  std::string piece;        // the next bytes of the body, encoded
  bool more = false;        // `source` has more after `piece`
  bool failed = false;      // `source` failed: cut the connection
  std::atomic<Phase> phase{Phase::kRunning};
  bool done = false;                        // strand only
  std::optional<asio::steady_timer> timer;  // strand only: once it waits to be told
};

// One request as it is read from the connection.
struct Incoming {
  Parser parser;
  std::shared_ptr<Exchange> exchange;  // once the head is there
  std::optional<Response> refusal;     // set: the answer, instead of the handler's
  SteadyClock::time_point begin;
  size_t bytes = 0;  // head and body
  size_t body_bytes_max = 0;
  bool has_body = false;
  bool body_read = false;  // whole
  bool keep_alive = false;
};

Response Busy(std::string_view what) {
  Response response = Response::Text(503, std::string(what));
  response.headers.Add("Retry-After", "1");
  return response;
}

// Pulls from the source until a piece is worth sending or the end. Runs on a worker.
void Pull(Exchange* exchange) {
  exchange->piece.clear();
  exchange->more = true;
  std::string text;
  std::string& plain = exchange->encoder == nullptr ? exchange->piece : text;
  while (exchange->more && exchange->piece.size() < kPieceBytes) {
    text.clear();
    Result<bool> more = exchange->response.source->Next(kPieceBytes, &plain);
    if (!more.ok() || exchange->request.cancel->cancelled()) {
      exchange->failed = true;
      exchange->more = false;
      return;
    }
    exchange->more = *more;
    if (exchange->encoder != nullptr &&
        !exchange->encoder->Write(text, !exchange->more, &exchange->piece).ok()) {
      exchange->failed = true;
      exchange->more = false;
      return;
    }
  }
}

// Runs the handler, then makes the first piece of the body and picks the coding. Runs on a worker.
void Handle(const ServerOptions& options, Exchange* exchange) {
  Response& response = exchange->response;
  try {
    response = exchange->route->handler(exchange->request);
    exchange->request.body = std::string();
    if (response.source != nullptr) {
      // A short stream becomes a plain body with a length.
      while (response.body.size() < kPieceBytes) {
        const Result<bool> more = response.source->Next(kPieceBytes, &response.body);
        if (!more.ok()) {
          response = Response::Text(500, Concat(ToStd(more.status().message()), "\n"));
          break;
        }
        if (!*more) {
          response.source.reset();
          break;
        }
      }
    }
    if (!IsCompressible(response.headers.Get("Content-Type")) ||
        response.headers.Has("Content-Encoding")) {
      exchange->piece = std::move(response.body);
    } else {
      response.headers.Set("Vary", "Accept-Encoding");
      const Coding coding =
          response.body.size() < options.compress_bytes_min && response.source == nullptr
              ? Coding::kIdentity
              : NegotiateCoding(exchange->request.headers.Joined("Accept-Encoding"));
      exchange->encoder = Encoder::Make(coding);
      if (exchange->encoder == nullptr) {
        exchange->piece = std::move(response.body);
      } else {
        response.headers.Set("Content-Encoding", TokenOf(coding));
        exchange->failed =
            !exchange->encoder->Write(response.body, response.source == nullptr, &exchange->piece)
                 .ok();
        response.body = std::string();
      }
    }
    exchange->more = response.source != nullptr;
  } catch (const std::exception& error) {
    // Out of memory, in the main: answer, drop what was built, live on.
    exchange->encoder.reset();
    response = Response::Text(500, "internal error\n");
    exchange->piece = std::move(response.body);
    exchange->more = false;
  }
}

// What is still to be sent before the next piece.
std::array<std::string_view, 3> Unsent(const Exchange& exchange) {
  std::array<std::string_view, 3> parts = {exchange.head, exchange.piece, exchange.tail};
  size_t sent = exchange.sent;
  for (std::string_view& part : parts) {
    const size_t gone = std::min(sent, part.size());
    part.remove_prefix(gone);
    sent -= gone;
  }
  return parts;
}

class Connection;

class ServerImpl final : public Server {
 public:
  ServerImpl(const ServerOptions& options, const Router* router, ServerObserver* observer)
      : options_(options),
        router_(*router),
        observer_(observer),
        acceptor_(io_),
        look_timer_(look_strand_) {
    static constexpr const char* kNames[kLanes] = {"http-quick", "http-write", "http-query"};
    for (size_t i = 0; i < kLanes; ++i) {
      lanes_[i] = std::make_unique<ThreadPool>(
          kNames[i], std::max<size_t>(1, options.lane_threads[i]), options.lane_queue_max[i]);
    }
  }
  ~ServerImpl() override {
    Shutdown(std::chrono::milliseconds(0));
    for (auto& lane : lanes_) lane.reset();
    work_.reset();
    io_.stop();
    for (std::thread& thread : io_threads_) thread.join();
  }

  Status Listen();
  uint16_t port() const override { return port_; }
  std::string address() const override {
    const bool v6 = options_.address.find(':') != std::string::npos;
    return Concat(v6 ? "[" : "", options_.address, v6 ? "]" : "", ":", port_);
  }
  void Shutdown(std::chrono::milliseconds grace) override;

  const ServerOptions& options() const { return options_; }
  const Router& router() const { return router_; }
  ServerObserver* observer() const { return observer_; }
  bool stopping() const { return stopping_.load(); }
  ThreadPool& lane(Lane lane) { return *lanes_[static_cast<size_t>(lane)]; }

  /// Counts body bytes against the budget of the whole server; false: over it, nothing counted.
  bool TakeBodyBytes(size_t bytes) {
    if (body_bytes_.fetch_add(bytes) + bytes <= options_.bodies_bytes_max) return true;
    body_bytes_.fetch_sub(bytes);
    return false;
  }
  void ReturnBodyBytes(size_t bytes) { body_bytes_.fetch_sub(bytes); }

  void Enter(const std::shared_ptr<Connection>& connection) {
    const absl::MutexLock lock(&mutex_);
    connections_.push_back(connection);
  }
  void Leave(Connection* connection);
  /// Takes one of the places for connections that workers of a lane keep, one for every other
  /// thread. Returns false if none is free.
  bool TakeKeptPlace(Lane lane) {
    std::atomic<size_t>& kept = kept_[static_cast<size_t>(lane)];
    if (kept.fetch_add(1) >= options_.lane_threads[static_cast<size_t>(lane)] / 2) {
      kept.fetch_sub(1);
      return false;
    }
    // Nobody but LookForGone looks whether the clients of such connections are still there.
    if (kept_of_all_.fetch_add(1) == 0) asio::post(look_strand_, [this] { look_timer_.cancel(); });
    return true;
  }
  void ReturnKeptPlace(Lane lane) {
    kept_[static_cast<size_t>(lane)].fetch_sub(1);
    kept_of_all_.fetch_sub(1);
  }

 private:
  asio::awaitable<void> Accept();
  /// Cancels requests of kept connections whose clients have gone.
  asio::awaitable<void> LookForGone();
  /// Closes connections that have been idle for too long.
  asio::awaitable<void> Sweep();
  bool EvictIdle();
  bool WaitForNone(std::chrono::milliseconds time) {
    const absl::MutexLock lock(&mutex_);
    const auto none = [this]()
                          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return connections_.empty(); };
    return mutex_.AwaitWithTimeout(absl::Condition(&none), absl::FromChrono(time));
  }
  std::vector<std::shared_ptr<Connection>> Connections() {
    const absl::MutexLock lock(&mutex_);
    return {connections_.begin(), connections_.end()};
  }

  const ServerOptions options_;
  const Router& router_;
  ServerObserver* const observer_;
  asio::io_context io_;
  std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
  Tcp::acceptor acceptor_;
  const asio::any_io_executor look_strand_ = asio::make_strand(io_);
  asio::steady_timer look_timer_;
  std::array<std::atomic<size_t>, kLanes> kept_{};
  std::atomic<size_t> kept_of_all_{0};
  uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> body_bytes_{0};
  absl::Mutex mutex_;
  std::list<std::shared_ptr<Connection>> connections_ ABSL_GUARDED_BY(mutex_);
  std::array<std::unique_ptr<ThreadPool>, kLanes> lanes_;
  std::vector<std::thread> io_threads_;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(ServerImpl& server, Tcp::socket socket)
      : server_(server),
        options_(server.options()),
        stream_(std::move(socket)),
        fd_(stream_.socket().native_handle()),
        buffer_(options_.header_bytes_max + kReadAheadBytes) {
    beast::error_code error;
    stream_.socket().set_option(Tcp::no_delay(true), error);
    const Tcp::endpoint peer = stream_.socket().remote_endpoint(error);
    if (!error) peer_ = peer.address().to_string();
    protocol_ = peer.protocol();
  }

  void Start() { asio::co_spawn(stream_.get_executor(), Run(shared_from_this()), asio::detached); }

  // --- From other threads ---

  bool idle() const { return idle_.load(std::memory_order_relaxed); }
  SteadyClock::duration idle_for() const {
    return SteadyClock::now().time_since_epoch() - idle_since_.load(std::memory_order_relaxed);
  }
  /// Tells that the peer has had all the time it gets for its next request.
  bool overdue() const {
    return idle() && idle_for() > (first_.load(std::memory_order_relaxed) ? options_.header_timeout
                                                                          : options_.idle_timeout);
  }
  void CloseOverdue() {
    asio::post(stream_.get_executor(), [self = shared_from_this()] {
      if (self->overdue()) self->CloseSocket(/*if_idle=*/true);
    });
  }
  /// Closes the connection if it is between requests (`force`: in any case).
  void Close(bool force) {
    asio::post(stream_.get_executor(), [self = shared_from_this(), force] {
      if (self->websocket_ != nullptr && !force) self->websocket_->Close(1001, "server stops");
      self->CloseSocket(/*if_idle=*/!force);
    });
  }
  void Cancel() {
    if (const std::shared_ptr<Exchange> exchange = Running()) exchange->request.cancel->Cancel();
  }
  /// Cancels what a worker that keeps the connection runs, if nobody waits for it any more.
  void CancelKeptIfGone() {
    std::shared_ptr<Exchange> exchange;
    {
      const absl::MutexLock lock(&mutex_);
      if (!kept_ || closed_ || exchange_ == nullptr) return;
      if (exchange_->route->options.ignore_disconnect || !PeerGone(fd_)) return;
      exchange = exchange_;
    }
    exchange->request.cancel->Cancel();
  }

 private:
  static asio::awaitable<void> Run(std::shared_ptr<Connection> self) {
    try {
      while (co_await self->ServeOne()) {
      }
    } catch (const std::exception&) {
      // Only bad_alloc can come here; the connection goes, the server stays.
    }
    self->CloseSocket();
    self->server_.Leave(self.get());
  }

  void CloseSocket(bool if_idle = false) {
    // A worker must not send to a descriptor that has become another connection's.
    const absl::MutexLock lock(&mutex_);
    if (if_idle && !idle()) return;
    closed_ = true;
    if (kept_) {
      // The worker wakes, finds the end, and gives the descriptor back, which closes it.
      ::shutdown(fd_, SHUT_RDWR);
      return;
    }
    beast::error_code error;
    stream_.socket().shutdown(Tcp::socket::shutdown_both, error);
    stream_.close();
  }
  std::shared_ptr<Exchange> Running() {
    const absl::MutexLock lock(&mutex_);
    return exchange_;
  }
  void SetRunning(std::shared_ptr<Exchange> exchange) {
    const absl::MutexLock lock(&mutex_);
    exchange_ = std::move(exchange);
  }

  void SetIdle(bool idle) {
    if (idle) idle_since_ = SteadyClock::now().time_since_epoch();
    idle_ = idle;
  }

  /// Reads and answers one request. Returns whether the connection can carry another.
  asio::awaitable<bool> ServeOne();
  /// Waits for the first bytes of a request. Returns false when the connection is lost.
  asio::awaitable<bool> ReadFirst();
  /// Returns false if no request came; what cannot be understood is answered.
  asio::awaitable<bool> ReadHead(Incoming* in);
  /// Makes the exchange, and refuses what the head alone tells to refuse.
  void TakeHead(Incoming* in);
  /// Reads the body, or refuses it. Returns false if the connection is lost.
  asio::awaitable<bool> ReadBody(Incoming* in);
  asio::awaitable<bool> ReadChunkedBody(Incoming* in);
  asio::awaitable<bool> ReadSizedBody(Incoming* in, size_t length);
  /// Refuses a body of which `bytes` have come since `begin` if that is more than the server has
  /// room for, or too slow.
  void CountBody(Incoming* in, size_t bytes, bool done, SteadyClock::time_point begin);
  /// Handles a request and answers it. Returns whether the connection can carry another; nothing if
  /// the lane is full and no answer was sent.
  asio::awaitable<std::optional<bool>> Serve(Incoming* in);
  /// Has the request of the exchange handled on its lane, and answered there if the socket takes
  /// the whole answer: the strand then sleeps until the next request, and nobody has to wake it.
  /// Returns false if the lane is full, and else once the phase is kAnswered or kHandled.
  asio::awaitable<bool> HandleOnLane(std::shared_ptr<Exchange> exchange);
  /// Does the same, and has the worker keep the connection afterwards: it waits for the next
  /// requests itself, so that these cost no hop between threads. Leaves the exchange that was the
  /// last one in `exchange`.
  asio::awaitable<bool> KeepOnLane(std::shared_ptr<Exchange>* exchange);
  /// Tells whether a connection is worth keeping after such a request.
  bool WorthKeeping(const Exchange& exchange) const;
  /// From the worker that keeps the connection: serves requests for as long as they come soon, are
  /// there whole, are for `lane` and are answered at once. All else is the strand's: what has been
  /// read of a next request stays in the buffer.
  void ServeKept(Lane lane);
  /// From that worker: waits for the next request and takes it if it is one to serve like this.
  std::shared_ptr<Exchange> TakeNext(Lane lane);
  /// Makes the descriptor the strand's again. Returns false if the connection is lost.
  bool TakeBack();
  /// From a worker: handles the request and answers it if that takes no waiting.
  bool HandleAndAnswer(Exchange* exchange);
  /// Takes what the socket has. Returns false if that is nothing, for ever if `end` is set.
  bool Receive(bool* end);
  /// Counts a request that goes to its handler; the exchange takes over what its body holds.
  void BeginExchange(const Incoming& in);
  /// Gets the next piece of the body on the lane.
  asio::awaitable<void> PullOnLane(std::shared_ptr<Exchange> exchange);
  /// Waits until `done`, watching the peer.
  asio::awaitable<void> AwaitDone(std::shared_ptr<Exchange> exchange);
  /// From a worker: wakes the strand that waits for `exchange`.
  void PostDone(std::shared_ptr<Exchange> exchange);
  /// Puts what HTTP wants before and after the piece.
  void Frame(Exchange* exchange, bool keep_alive) const;
  /// From a worker: sends the answer for as long as the socket takes it whole, piece by piece, if
  /// the connection stays. Returns whether all of it is on its way; what is not is left to Answer.
  bool AnswerNow(Exchange* exchange);
  /// Sends what the socket takes; returns whether it was all.
  bool SendNow(Exchange* exchange);
  /// Counts an answered request and gives back what it held.
  void Finish(const Exchange& exchange);
  /// Writes all of it, in one call to the system where the socket takes that much.
  asio::awaitable<bool> WriteAll(std::string_view before, std::string_view body = {},
                                 std::string_view after = {});
  /// Sends the answer in the exchange. Returns false when the connection is lost.
  asio::awaitable<bool> Answer(std::shared_ptr<Exchange> exchange, bool keep_alive);
  /// Answers with the refusal, and counts the request.
  asio::awaitable<bool> Refuse(Incoming* in);
  /// Sends a short answer made here. Returns whether the connection can carry another request.
  asio::awaitable<bool> Send(Method method, Response response, bool keep_alive);
  /// Lets the peer read our answer before the reset that closing over unread bytes would cause.
  asio::awaitable<void> Linger();
  std::string Head(Method method, const Response& response, bool keep_alive,
                   std::optional<size_t> length) const;

  // Without a word of their own: the strand's, or the worker's that keeps the connection.
  ServerImpl& server_;
  const ServerOptions& options_;
  beast::tcp_stream stream_;  // strand only; without a socket while a worker keeps it
  const int fd_;
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool kept_ ABSL_GUARDED_BY(mutex_) = false;  // by a worker
  std::shared_ptr<Exchange> exchange_ ABSL_GUARDED_BY(mutex_);
  beast::flat_buffer buffer_;
  std::string peer_;
  Tcp protocol_ = Tcp::v4();
  bool http11_ = true;
  std::atomic<bool> first_{true};
  bool watching_ = false;    // the strand waits for the socket while a worker runs
  std::string cors_origin_;  // of the request being answered, if it may read the answer
  size_t body_bytes_ = 0;    // counted against the server's budget
  std::shared_ptr<WebSocketQueue> websocket_;  // once the connection is one; strand only
  std::atomic<bool> idle_{false};
  std::atomic<SteadyClock::duration> idle_since_{SteadyClock::duration::zero()};
};

void ServerImpl::Leave(Connection* connection) {
  const absl::MutexLock lock(&mutex_);
  connections_.remove_if([&](const auto& entry) { return entry.get() == connection; });
  if (observer_ != nullptr) observer_->OnConnections(-1);
}

bool ServerImpl::EvictIdle() {
  std::shared_ptr<Connection> oldest;
  // A connection this young may just not have sent its request yet.
  SteadyClock::duration longest = std::chrono::milliseconds(250);
  for (const auto& connection : Connections()) {
    if (connection->idle() && connection->idle_for() > longest) {
      longest = connection->idle_for();
      oldest = connection;
    }
  }
  if (oldest == nullptr) return false;
  oldest->Close(/*force=*/false);
  return true;
}

Status ServerImpl::Listen() {
  beast::error_code error;
  Tcp::resolver resolver(io_);
  const auto found = resolver.resolve(options_.address, std::to_string(options_.port),
                                      asio::ip::resolver_base::passive, error);
  if (error || found.empty()) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("cannot resolve listen address ", GoQuote(options_.address)));
  }
  const Tcp::endpoint endpoint = found.begin()->endpoint();
  if (!endpoint.address().is_loopback() && !options_.insecure_listen) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("refusing to listen on ", endpoint.address().to_string(),
                             ": other machines could reach it without TLS or authentication; "
                             "--insecure-listen allows it"));
  }
  const auto fail = [&](std::string_view what) {
    return MakeStatus(StatusCode::kUnavailable, Concat(what, " ", options_.address, ":",
                                                       options_.port, ": ", error.message()));
  };
  acceptor_.open(endpoint.protocol(), error);
  if (error) return fail("cannot open a socket for");
  acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  acceptor_.bind(endpoint, error);
  if (error) return fail("cannot listen on");
  acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail("cannot listen on");
  port_ = acceptor_.local_endpoint(error).port();
  work_.emplace(io_.get_executor());
  asio::co_spawn(io_, Accept(), asio::detached);
  asio::co_spawn(io_, Sweep(), asio::detached);
  asio::co_spawn(look_strand_, LookForGone(), asio::detached);
  for (size_t i = 0; i < std::max<size_t>(1, options_.io_threads); ++i) {
    io_threads_.emplace_back([this] { io_.run(); });
    pthread_setname_np(io_threads_.back().native_handle(), "http-io");
  }
  return absl::OkStatus();
}

asio::awaitable<void> ServerImpl::Accept() {
  asio::steady_timer timer(io_);
  while (!stopping()) {
    bool full = false;
    {
      const absl::MutexLock lock(&mutex_);
      full = connections_.size() >= options_.connections_max;
    }
    std::chrono::milliseconds pause{0};
    if (full) {
      pause = std::chrono::milliseconds(EvictIdle() ? 2 : 20);
    } else {
      const asio::any_io_executor strand = asio::make_strand(io_);
      auto [error, socket] = co_await acceptor_.async_accept(strand, kAwait);
      if (!error) {
        auto connection = std::make_shared<Connection>(*this, std::move(socket));
        Enter(connection);
        if (observer_ != nullptr) observer_->OnConnections(1);
        connection->Start();
      } else if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) {
        break;
      } else {
        // Out of descriptors or memory: wait for some to come back instead of spinning.
        EvictIdle();
        pause = std::chrono::milliseconds(100);
      }
    }
    if (pause.count() > 0) {
      timer.expires_after(pause);
      co_await timer.async_wait(kAwait);
    }
  }
}

asio::awaitable<void> ServerImpl::Sweep() {
  using std::chrono::milliseconds;
  // One timer for all, and a coarse one: setting one for each request would be dearer than the
  // reading of it.
  const milliseconds shortest = std::min(options_.header_timeout, options_.idle_timeout);
  const milliseconds period = std::clamp(shortest / 8, milliseconds(5), milliseconds(1000));
  asio::steady_timer timer(io_);
  while (!stopping()) {
    timer.expires_after(period);
    co_await timer.async_wait(kAwait);
    for (const auto& connection : Connections()) {
      if (connection->overdue()) connection->CloseOverdue();
    }
  }
}

asio::awaitable<void> ServerImpl::LookForGone() {
  // Until the last connection has left: what runs may be given up while the server stops.
  while (true) {
    if (kept_of_all_ > 0) {
      look_timer_.expires_after(kLookPeriod);
    } else {
      look_timer_.expires_at(SteadyClock::time_point::max());
    }
    co_await look_timer_.async_wait(kAwait);
    if (kept_of_all_ == 0) continue;
    for (const auto& connection : Connections()) connection->CancelKeptIfGone();
  }
}

void ServerImpl::Shutdown(std::chrono::milliseconds grace) {
  if (!work_.has_value()) return;
  stopping_ = true;
  asio::post(io_, [this] {
    beast::error_code error;
    acceptor_.close(error);
  });
  for (const auto& connection : Connections()) connection->Close(/*force=*/false);
  if (WaitForNone(grace)) return;
  for (const auto& connection : Connections()) connection->Cancel();
  if (WaitForNone(std::max(grace, std::chrono::milliseconds(200)))) return;
  for (const auto& connection : Connections()) connection->Close(/*force=*/true);
  // A handler that was cancelled comes back soon; one that writes must not be left half-way.
  while (!WaitForNone(std::chrono::seconds(1))) {
    for (const auto& connection : Connections()) connection->Close(/*force=*/true);
  }
}

asio::awaitable<bool> Connection::WriteAll(std::string_view before, std::string_view body,
                                           std::string_view after) {
  std::array<std::string_view, 3> parts = {before, body, after};
  size_t first = 0;
  while (true) {
    while (first < parts.size() && parts[first].empty()) ++first;
    if (first == parts.size()) break;
    std::array<asio::const_buffer, 3> slice;
    size_t room = kWriteSliceBytes;
    for (size_t i = first; i < parts.size(); ++i) {
      const size_t take = std::min(room, parts[i].size());
      slice[i] = asio::buffer(parts[i].data(), take);
      room -= take;
    }
    // The limit is on a peer that takes nothing, not on one that takes little.
    stream_.expires_after(options_.write_stall_timeout);
    auto [error, written] = co_await stream_.async_write_some(slice, kAwait);
    if (error) co_return false;
    for (size_t i = first; written > 0; ++i) {
      const size_t gone = std::min(written, parts[i].size());
      parts[i].remove_prefix(gone);
      written -= gone;
    }
  }
  stream_.expires_never();
  co_return true;
}

std::string Connection::Head(Method method, const Response& response, bool keep_alive,
                             std::optional<size_t> length) const {
  std::string head = Concat(http11_ ? "HTTP/1.1 " : "HTTP/1.0 ", response.status, " ",
                            ReasonOf(response.status), "\r\nDate: ", HttpDate(), "\r\n");
  for (const auto& [name, value] : response.headers) {
    // A header made from data must not end its line.
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) continue;
    head += Concat(name, ": ", value, "\r\n");
  }
  if (!cors_origin_.empty()) {
    head += Concat("Access-Control-Allow-Origin: ", cors_origin_, "\r\nVary: Origin\r\n");
  }
  head += "X-Content-Type-Options: nosniff\r\n";
  const bool bodiless = response.status == 204 || response.status == 304;
  if (!bodiless && length.has_value()) head += Concat("Content-Length: ", *length, "\r\n");
  if (!bodiless && !length.has_value() && http11_) head += "Transfer-Encoding: chunked\r\n";
  if (!keep_alive) {
    head += "Connection: close\r\n";
  } else if (!http11_) {
    head += "Connection: keep-alive\r\n";
  }
  head += "\r\n";
  return head;
}

asio::awaitable<bool> Connection::Send(Method method, Response response, bool keep_alive) {
  std::string out = Head(method, response, keep_alive, response.body.size());
  if (method != Method::kHead) out += response.body;
  const bool sent = co_await WriteAll(out);
  if (sent && !keep_alive) co_await Linger();
  co_return sent&& keep_alive;
}

asio::awaitable<void> Connection::Linger() {
  beast::error_code ignored;
  stream_.socket().shutdown(Tcp::socket::shutdown_send, ignored);
  // Bounded in time and bytes: a bomb is not worth receiving.
  stream_.expires_after(std::chrono::milliseconds(500));
  buffer_.clear();
  for (size_t bytes = 0; bytes < (4u << 20);) {
    char sink[16384];
    auto [error, n] = co_await stream_.async_read_some(asio::buffer(sink, sizeof(sink)), kAwait);
    if (error) break;
    bytes += n;
  }
}

asio::awaitable<bool> Connection::ReadBody(Incoming* in) {
  Request& request = in->exchange->request;
  if (request.headers.Has("Expect") && http11_ && buffer_.size() == 0) {
    if (!co_await WriteAll("HTTP/1.1 100 Continue\r\n\r\n")) co_return false;
  }
  const boost::optional<uint64_t> length = in->parser.content_length();
  // Two statements: GCC 12 does not build one that awaits either of two.
  bool good = false;
  if (length) {
    good = co_await ReadSizedBody(in, static_cast<size_t>(*length));
  } else {
    good = co_await ReadChunkedBody(in);
  }
  stream_.expires_never();
  in->bytes += request.body.size();
  co_return good;
}

// Tests for errors after which nobody is there to be answered.
bool IsLost(const beast::error_code& error) {
  return error == beast::error::timeout || error == asio::error::eof ||
         error == asio::error::connection_reset || error == bhttp::error::partial_message ||
         error == bhttp::error::end_of_stream;
}

void Connection::CountBody(Incoming* in, size_t bytes, bool done, SteadyClock::time_point begin) {
  if (!server_.TakeBodyBytes(bytes - body_bytes_)) {
    in->refusal = Busy("too many request bodies in memory\n");
    return;
  }
  body_bytes_ = bytes;
  // One byte now and then would pass every stall limit for ever.
  const auto elapsed = SteadyClock::now() - begin;
  if (!done && elapsed > options_.body_stall_timeout &&
      static_cast<double>(bytes) / std::chrono::duration<double>(elapsed).count() < 512) {
    in->refusal = Response::Text(408, "body comes too slowly\n");
  }
}

asio::awaitable<bool> Connection::ReadChunkedBody(Incoming* in) {
  Parser& parser = in->parser;
  parser.body_limit(in->body_bytes_max);
  parser.eager(true);
  // Beast reads no more at once than there is room for: by 4 KiB, what was read of the head, a body
  // of a megabyte would take 250 calls and as many waits.
  buffer_.reserve(kReadAheadBytes);
  const SteadyClock::time_point begin = SteadyClock::now();
  while (!parser.is_done() && !in->refusal.has_value()) {
    stream_.expires_after(options_.body_stall_timeout);
    auto [error, n] = co_await bhttp::async_read_some(stream_, buffer_, parser, kAwait);
    if (IsLost(error)) co_return false;
    const size_t bytes = parser.get().body().size();
    if (error == bhttp::error::body_limit || (!error && bytes > in->body_bytes_max)) {
      in->refusal = BodyTooLarge(in->body_bytes_max);
    } else if (error) {
      in->refusal = Response::Text(400, "malformed body framing\n");
    } else {
      CountBody(in, bytes, parser.is_done(), begin);
    }
  }
  in->body_read = parser.is_done();
  in->exchange->request.body = std::move(parser.get().body());
  co_return true;
}

// Reads to where the body stays, without a buffer between, which for large ones is a copy of all.
// The length has been admitted.
asio::awaitable<bool> Connection::ReadSizedBody(Incoming* in, size_t length) {
  std::string& body = in->exchange->request.body;
  body.reserve(static_cast<size_t>(std::min<uint64_t>(length, kDeclaredBytesMax)));
  body.assign(static_cast<const char*>(buffer_.data().data()), std::min(buffer_.size(), length));
  buffer_.consume(body.size());
  const SteadyClock::time_point begin = SteadyClock::now();
  CountBody(in, body.size(), body.size() == length, begin);
  while (body.size() < length && !in->refusal.has_value()) {
    // A little by way of the buffer, which may take waiting and lets other connections have their
    // turn, and then all that is there.
    const asio::mutable_buffer first =
        buffer_.prepare(std::min(length - body.size(), kIdleBufferBytes));
    stream_.expires_after(options_.body_stall_timeout);
    auto [error, n] = co_await stream_.async_read_some(first, kAwait);
    if (IsLost(error)) co_return false;
    if (error) {
      in->refusal = Response::Text(400, "malformed body framing\n");
      break;
    }
    body.append(static_cast<const char*>(first.data()), n);
    // A closed descriptor may be another connection's by now.
    if (n == first.size() && body.size() < length && stream_.socket().is_open()) {
      ReceiveTo(fd_, std::min(length - body.size(), kBodyStepBytesMax), &body);
    }
    CountBody(in, body.size(), body.size() == length, begin);
  }
  in->body_read = body.size() == length;
  co_return true;
}

bool Connection::HandleAndAnswer(Exchange* exchange) {
  Handle(options_, exchange);
  exchange->bytes_out = exchange->piece.size();
  if (!AnswerNow(exchange)) return false;
  Finish(*exchange);
  // The exchange lives until the next request comes.
  exchange->response = Response();
  exchange->piece = std::string();
  SetIdle(true);
  return true;
}

asio::awaitable<bool> Connection::HandleOnLane(std::shared_ptr<Exchange> exchange) {
  exchange->done = false;
  // Bytes of a next request that are here already would not make the socket readable.
  const bool watch = buffer_.size() == 0;
  exchange->phase = watch ? Phase::kRunning : Phase::kAwaited;
  const auto job = [self = shared_from_this(), exchange] {
    const bool answered = self->HandleAndAnswer(exchange.get());
    const Phase before = exchange->phase.exchange(answered ? Phase::kAnswered : Phase::kHandled);
    if (before == Phase::kAwaited || !answered) {
      self->PostDone(exchange);
    } else if (self->server_.stopping()) {
      // Stopping may have looked for idle connections before this one was.
      self->Close(/*force=*/false);
    }
  };
  if (!server_.lane(exchange->route->options.lane).Submit(job)) co_return false;
  if (watch) {
    watching_ = true;
    co_await stream_.socket().async_wait(Tcp::socket::wait_read, kAwait);
    watching_ = false;
    Phase phase = Phase::kRunning;
    if (!exchange->phase.compare_exchange_strong(phase, Phase::kAwaited)) co_return true;
  }
  co_await AwaitDone(exchange);
  co_return true;
}

bool Connection::WorthKeeping(const Exchange& exchange) const {
  return exchange.keep_alive && http11_ && buffer_.size() == 0 &&
         exchange.bytes_in <= kKeptRequestBytes && !server_.stopping();
}

asio::awaitable<bool> Connection::KeepOnLane(std::shared_ptr<Exchange>* exchange) {
  const std::shared_ptr<Exchange> first = *exchange;
  const Lane lane = first->route->options.lane;
  first->done = false;
  beast::error_code error;
  {
    const absl::MutexLock lock(&mutex_);
    if (closed_) {
      first->failed = true;
      co_return true;
    }
    // Registered, the descriptor would wake an IO thread at each request.
    stream_.socket().release(error);
    kept_ = !error;
  }
  if (error) co_return co_await HandleOnLane(first);
  const auto job = [self = shared_from_this(), first, lane] {
    self->ServeKept(lane);
    self->PostDone(first);
  };
  if (!server_.lane(lane).Submit(job)) {
    TakeBack();
    co_return false;
  }
  while (!first->done) {
    first->timer.emplace(stream_.get_executor(), SteadyClock::time_point::max());
    co_await first->timer->async_wait(kAwait);
  }
  *exchange = Running();
  if (!TakeBack()) (*exchange)->failed = true;
  co_return true;
}

void Connection::ServeKept(Lane lane) {
  std::shared_ptr<Exchange> exchange = Running();
  try {
    while (true) {
      const bool answered = HandleAndAnswer(exchange.get());
      exchange->phase = answered ? Phase::kAnswered : Phase::kHandled;
      if (!answered || server_.stopping()) return;
      exchange = TakeNext(lane);
      if (exchange == nullptr) return;
      SetRunning(exchange);
    }
  } catch (const std::exception&) {
    // Only bad_alloc can come here; the connection goes, the server stays.
    Running()->failed = true;
  }
}

std::shared_ptr<Exchange> Connection::TakeNext(Lane lane) {
  if (buffer_.size() > 0 ||
      server_.lane(lane).AwaitReadable(fd_, kKeptIdle) != ThreadPool::Woken::kReadable) {
    return nullptr;
  }
  bool end = false;
  if (!Receive(&end)) return nullptr;
  {
    const absl::MutexLock lock(&mutex_);
    if (closed_) return nullptr;
    SetIdle(false);
  }
  Incoming in;
  Parser& parser = in.parser;
  SetLimits(options_, &parser);
  beast::error_code error;
  in.bytes = parser.put(buffer_.data(), error);
  in.begin = SteadyClock::now();
  if (error || !parser.is_header_done()) return nullptr;
  TakeHead(&in);
  if (in.refusal.has_value() || in.exchange->route->options.lane != lane) return nullptr;
  Exchange& exchange = *in.exchange;
  size_t body_bytes = 0;
  if (in.has_body) {
    if (exchange.request.headers.Has("Expect")) return nullptr;
    parser.body_limit(in.body_bytes_max);
    parser.eager(true);
    while (!parser.is_done() && in.bytes < buffer_.size()) {
      const size_t taken = parser.put(buffer_.data() + in.bytes, error);
      if (error || taken == 0) return nullptr;
      in.bytes += taken;
    }
    body_bytes = parser.get().body().size();
    if (!parser.is_done() || body_bytes > in.body_bytes_max) return nullptr;
    exchange.request.body = std::move(parser.get().body());
    if (TakeForm(exchange.route->options, &exchange.request).has_value()) return nullptr;
    if (!server_.TakeBodyBytes(body_bytes)) return nullptr;
  }
  // From here on it is this worker's to answer.
  buffer_.consume(in.bytes);
  body_bytes_ = body_bytes;
  BeginExchange(in);
  body_bytes_ = 0;  // the exchange gives them back
  return in.exchange;
}

bool Connection::TakeBack() {
  const absl::MutexLock lock(&mutex_);
  kept_ = false;
  beast::error_code error;
  if (!closed_) stream_.socket().assign(protocol_, fd_, error);
  if (!closed_ && !error) return true;
  closed_ = true;
  ::close(fd_);
  return false;
}

asio::awaitable<void> Connection::PullOnLane(std::shared_ptr<Exchange> exchange) {
  exchange->done = false;
  server_.lane(exchange->route->options.lane)
      .Submit(
          [self = shared_from_this(), exchange] {
            Pull(exchange.get());
            self->PostDone(exchange);
          },
          /*urgent=*/true);
  co_await AwaitDone(exchange);
}

asio::awaitable<void> Connection::AwaitDone(std::shared_ptr<Exchange> exchange) {
  while (!exchange->done) {
    exchange->timer.emplace(stream_.get_executor(), kLookPeriod);
    co_await exchange->timer->async_wait(kAwait);
    if (!exchange->done && !exchange->route->options.ignore_disconnect &&
        PeerGone(stream_.socket().native_handle())) {
      exchange->request.cancel->Cancel();
    }
  }
}

void Connection::PostDone(std::shared_ptr<Exchange> exchange) {
  asio::post(stream_.get_executor(), [self = shared_from_this(), exchange = std::move(exchange)] {
    exchange->done = true;
    if (exchange->timer.has_value()) exchange->timer->cancel();
    beast::error_code error;
    if (self->watching_ && self->Running() == exchange) self->stream_.socket().cancel(error);
  });
}

void Connection::Frame(Exchange* exchange, bool keep_alive) const {
  exchange->sent = 0;
  exchange->head.clear();
  exchange->tail = {};
  const Method method = exchange->request.method;
  if (!std::exchange(exchange->framed, true)) {
    exchange->stream = exchange->more;
    exchange->head =
        Head(method, exchange->response, keep_alive,
             exchange->stream ? std::nullopt : std::optional<size_t>(exchange->piece.size()));
    if (method == Method::kHead || exchange->response.status == 204) {
      exchange->piece.clear();
      exchange->more = false;
      return;
    }
  }
  if (!exchange->stream || !http11_) return;
  static constexpr std::string_view kEnds = "\r\n0\r\n\r\n";
  exchange->tail = exchange->more ? kEnds.substr(0, 2) : kEnds;
  if (exchange->piece.empty()) {
    exchange->tail.remove_prefix(2);
    return;
  }
  char size[24];
  const int n = std::snprintf(size, sizeof(size), "%zx\r\n", exchange->piece.size());
  exchange->head.append(size, static_cast<size_t>(n));
}

bool Connection::AnswerNow(Exchange* exchange) {
  if (exchange->failed || !exchange->keep_alive || server_.stopping() ||
      exchange->response.websocket != nullptr || (exchange->more && !http11_)) {
    return false;
  }
  while (true) {
    Frame(exchange, /*keep_alive=*/true);
    if (!SendNow(exchange)) return false;
    if (!exchange->more) return true;
    Pull(exchange);
    if (exchange->failed) return false;
  }
}

bool Connection::SendNow(Exchange* exchange) {
  std::array<iovec, 3> slices{};
  size_t bytes = 0;
  for (size_t i = 0; i < slices.size(); ++i) {
    const std::string_view part = Unsent(*exchange)[i];
    slices[i] = {const_cast<char*>(part.data()), part.size()};  // sendmsg only reads
    bytes += part.size();
  }
  msghdr message{};
  message.msg_iov = slices.data();
  message.msg_iovlen = slices.size();
  const absl::MutexLock lock(&mutex_);
  if (closed_) return false;
  const ssize_t sent = ::sendmsg(fd_, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) return false;  // Answer finds out what is wrong, if anything is
  exchange->sent += static_cast<size_t>(sent);
  return static_cast<size_t>(sent) == bytes;
}

void Connection::Finish(const Exchange& exchange) {
  server_.ReturnBodyBytes(exchange.body_bytes);
  ServerObserver* const observer = server_.observer();
  if (observer == nullptr) return;
  observer->OnInFlight(-1);
  observer->OnRequest(exchange.route->name, exchange.request.method, exchange.response.status,
                      SteadyClock::now() - exchange.begin, exchange.bytes_in, exchange.bytes_out);
}

asio::awaitable<bool> Connection::Answer(std::shared_ptr<Exchange> exchange, bool keep_alive) {
  if (exchange->failed) co_return false;
  if (!exchange->framed) Frame(exchange.get(), keep_alive);
  while (true) {
    const std::array<std::string_view, 3> rest = Unsent(*exchange);
    if (!co_await WriteAll(rest[0], rest[1], rest[2])) co_return false;
    if (!exchange->more) co_return true;
    co_await PullOnLane(exchange);
    if (exchange->failed) co_return false;
    Frame(exchange.get(), keep_alive);
  }
}

bool Connection::Receive(bool* end) {
  const asio::mutable_buffer room = buffer_.prepare(4096);
  const ssize_t n = ::recv(fd_, room.data(), room.size(), MSG_DONTWAIT);
  if (n > 0) buffer_.commit(static_cast<size_t>(n));
  *end = n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
  return n > 0;
}

asio::awaitable<bool> Connection::ReadFirst() {
  SetIdle(true);
  if (server_.stopping()) co_return false;
  // A closed descriptor may be another connection's by now.
  while (stream_.socket().is_open()) {
    bool end = false;
    if (Receive(&end)) {
      SetIdle(false);
      co_return true;
    }
    if (end) break;
    // Sweep closes the socket when this takes too long.
    auto [error] = co_await stream_.socket().async_wait(Tcp::socket::wait_read, kAwait);
    if (error) break;
  }
  SetIdle(false);
  co_return false;
}

asio::awaitable<bool> Connection::ServeOne() {
  if (buffer_.capacity() > kIdleBufferBytes && buffer_.size() == 0) buffer_.shrink_to_fit();
  if (buffer_.size() == 0 && !co_await ReadFirst()) co_return false;
  first_ = false;
  Incoming in;
  if (!co_await ReadHead(&in)) co_return false;
  TakeHead(&in);
  if (!in.refusal.has_value() && in.has_body) {
    if (!co_await ReadBody(&in)) {
      server_.ReturnBodyBytes(std::exchange(body_bytes_, 0));
      co_return false;
    }
    if (!in.refusal.has_value()) {
      in.refusal = TakeForm(in.exchange->route->options, &in.exchange->request);
    }
  }
  if (!in.refusal.has_value()) {
    if (const std::optional<bool> reusable = co_await Serve(&in)) co_return *reusable;
    in.refusal = Busy("too many requests are waiting\n");
  }
  co_return co_await Refuse(&in);
}

asio::awaitable<bool> Connection::ReadHead(Incoming* in) {
  Parser& parser = in->parser;
  SetLimits(options_, &parser);
  beast::error_code head_error;
  in->bytes = parser.put(buffer_.data(), head_error);
  buffer_.consume(in->bytes);
  if (head_error == bhttp::error::need_more) {
    stream_.expires_after(options_.header_timeout);
    auto [error, bytes] = co_await bhttp::async_read_header(stream_, buffer_, parser, kAwait);
    stream_.expires_never();
    head_error = error;
    in->bytes += bytes;
  }
  in->begin = SteadyClock::now();
  if (!head_error) co_return true;
  if (head_error == bhttp::error::header_limit || head_error == bhttp::error::buffer_overflow) {
    co_await Send(Method::kGet, Response::Text(431, "request header too large\n"), false);
  } else if (head_error != bhttp::error::end_of_stream &&
             head_error != bhttp::error::partial_message &&
             head_error.category() == make_error_code(bhttp::error::end_of_stream).category()) {
    co_await Send(Method::kGet,
                  Response::Text(400, Concat("bad request: ", head_error.message(), "\n")), false);
  }
  co_return false;
}

void Connection::TakeHead(Incoming* in) {
  const auto& message = in->parser.get();
  http11_ = message.version() >= 11;
  in->exchange = std::make_shared<Exchange>();
  Request& request = in->exchange->request;
  request.method = MethodOf(message.method());
  request.target = View(message.target());
  request.peer = peer_;
  for (const auto& field : message) {
    request.headers.Add(View(field.name_string()), View(field.value()));
  }
  const uint64_t length = in->parser.content_length().value_or(0);
  in->has_body = in->parser.chunked() || length > 0;
  in->keep_alive = message.keep_alive() && !server_.stopping();
  Admission admission = Admit(options_, server_.router(), http11_, length, &request);
  in->exchange->route = admission.match.route;
  in->body_bytes_max = admission.body_bytes_max;
  in->refusal = std::move(admission.answer);
  cors_origin_ = std::move(admission.cors_origin);
}

void Connection::BeginExchange(const Incoming& in) {
  if (ServerObserver* const observer = server_.observer()) observer->OnInFlight(1);
  in.exchange->begin = in.begin;
  in.exchange->bytes_in = in.bytes;
  in.exchange->body_bytes = body_bytes_;
  in.exchange->keep_alive = in.keep_alive;
}

asio::awaitable<std::optional<bool>> Connection::Serve(Incoming* in) {
  std::shared_ptr<Exchange> exchange = in->exchange;
  BeginExchange(*in);
  SetRunning(exchange);
  bool taken = false;
  const Lane lane = exchange->route->options.lane;
  if (WorthKeeping(*exchange) && server_.TakeKeptPlace(lane)) {
    const absl::Cleanup place = [this, lane] { server_.ReturnKeptPlace(lane); };
    taken = co_await KeepOnLane(&exchange);
  } else {
    taken = co_await HandleOnLane(exchange);
  }
  if (!taken) {
    SetRunning(nullptr);
    if (ServerObserver* const observer = server_.observer()) observer->OnInFlight(-1);
    co_return std::nullopt;
  }
  body_bytes_ = 0;  // the exchange gives them back
  bool reusable = true;
  if (exchange->phase == Phase::kAnswered) {
    reusable = !exchange->failed;
  } else if (exchange->response.websocket != nullptr) {
    exchange->response.status = 101;
    Finish(*exchange);
    SetRunning(nullptr);
    websocket_ = exchange->response.websocket;
    // Stopping may have looked for connections before this one was a WebSocket.
    if (server_.stopping()) websocket_->Close(1001, "server stops");
    co_await ServeWebSocket(stream_, exchange->request, websocket_);
    reusable = false;
  } else {
    const bool keep_alive =
        exchange->keep_alive && !server_.stopping() && (http11_ || !exchange->more);
    reusable = co_await Answer(exchange, keep_alive) && keep_alive;
    Finish(*exchange);
  }
  SetRunning(nullptr);
  co_return reusable;
}

asio::awaitable<bool> Connection::Refuse(Incoming* in) {
  server_.ReturnBodyBytes(std::exchange(body_bytes_, 0));
  const Request& request = in->exchange->request;
  const Route* const route = in->exchange->route;
  if (route != nullptr && route->options.refuse != nullptr) {
    route->options.refuse(request, &*in->refusal);
  }
  const int status = in->refusal->status;
  const size_t bytes_out = in->refusal->body.size();
  const bool unread = in->has_body && !in->body_read;
  const bool reusable =
      co_await Send(request.method, std::move(*in->refusal), in->keep_alive && !unread);
  if (ServerObserver* const observer = server_.observer(); observer != nullptr) {
    observer->OnRequest(route != nullptr ? std::string_view(route->name) : "none", request.method,
                        status, SteadyClock::now() - in->begin, in->bytes, bytes_out);
  }
  co_return reusable;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, const Router* router,
                                              ServerObserver* observer) {
  auto server = std::make_unique<ServerImpl>(options, router, observer);
  VARVE_RETURN_IF_ERROR(server->Listen());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace varve::http
