#include "tools/loki/syslog_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "engine/base/strings.h"
#include "tools/loki/syslog.h"
#include "tools/server/http/url.h"

namespace varve::loki {
namespace {

constexpr size_t kReadBytes = 64u << 10;
constexpr size_t kBatchMessages = 2000;
constexpr uint64_t kBatchBytes = 1u << 20;

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct Peer {
  Peer(Descriptor socket, size_t bytes_max) : fd(std::move(socket)), framer(bytes_max) {}
  Descriptor fd;
  SyslogFramer framer;
  bool gone = false;
};

class SyslogServerImpl final : public SyslogServer {
 public:
  SyslogServerImpl(const SyslogOptions& options, Context* context)
      : options_(options), context_(*context) {}
  ~SyslogServerImpl() override {
    stop_ = true;
    const uint64_t one = 1;
    if (wake_.get() >= 0 && write(wake_.get(), &one, sizeof one) < 0) {
      // The loop also looks once a second.
    }
    if (thread_.joinable()) thread_.join();
  }

  Status Listen() {
    addrinfo hints{};
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int error = getaddrinfo(options_.address.c_str(), std::to_string(options_.port).c_str(),
                                  &hints, &found);
    if (error != 0 || found == nullptr) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("cannot resolve syslog address ", GoQuote(options_.address)));
    }
    sockaddr_storage address{};
    const socklen_t size = found->ai_addrlen;
    std::memcpy(&address, found->ai_addr, size);
    freeaddrinfo(found);
    char text[NI_MAXHOST];
    if (getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, text, sizeof text, nullptr,
                    0, NI_NUMERICHOST) != 0 ||
        (!http::IsLoopbackHost(text) && !options_.insecure_listen)) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("refusing to listen for syslog on ", options_.address,
                               ": other machines could reach it; --insecure-listen allows it"));
    }
    wake_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (options_.tcp) {
      if (Status status = Bind(SOCK_STREAM, address, size, &tcp_, &tcp_port_); !status.ok()) {
        return status;
      }
      if (listen(tcp_.get(), 128) != 0) return Failed("listen");
      // Datagrams come to the same port where it was left open.
      if (options_.port == 0) SetPort(&address, tcp_port_);
    }
    if (options_.udp) {
      if (Status status = Bind(SOCK_DGRAM, address, size, &udp_, &udp_port_); !status.ok()) {
        return status;
      }
      const int bytes = 8 << 20;
      setsockopt(udp_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    }
    thread_ = std::thread([this] { Run(); });
    pthread_setname_np(thread_.native_handle(), "syslog");
    return absl::OkStatus();
  }

  uint16_t tcp_port() const override { return tcp_port_; }
  uint16_t udp_port() const override { return udp_port_; }
  uint64_t messages() const override { return messages_; }
  uint64_t failed() const override { return failed_; }

 private:
  Status Failed(std::string_view what) const {
    return MakeStatus(StatusCode::kUnavailable,
                      Concat("cannot ", what, " for syslog on ", options_.address, ":",
                             options_.port, ": ", std::strerror(errno)));
  }
  static void SetPort(sockaddr_storage* address, uint16_t port) {
    if (address->ss_family == AF_INET) {
      reinterpret_cast<sockaddr_in*>(address)->sin_port = htons(port);
    } else {
      reinterpret_cast<sockaddr_in6*>(address)->sin6_port = htons(port);
    }
  }
  Status Bind(int type, const sockaddr_storage& address, socklen_t size, Descriptor* out,
              uint16_t* port) {
    Descriptor fd(socket(address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (fd.get() < 0) return Failed("open a socket");
    const int on = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
      return Failed("bind");
    }
    sockaddr_storage bound{};
    socklen_t bound_size = sizeof bound;
    getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &bound_size);
    *port = ntohs(bound.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&bound)->sin_port
                                             : reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port);
    *out = std::move(fd);
    return absl::OkStatus();
  }

  void Run() {
    buffer_.resize(kReadBytes);
    scratch_ = std::make_unique<PushScratch>(&context_.limits);
    ResetBatch();
    std::vector<pollfd> polled;
    while (!stop_) {
      Database* const database = context_.database.load(std::memory_order_acquire);
      polled.clear();
      polled.push_back({wake_.get(), POLLIN, 0});
      if (database != nullptr) {
        const bool room = peers_.size() < options_.connections_max;
        if (tcp_.get() >= 0 && room) polled.push_back({tcp_.get(), POLLIN, 0});
        if (udp_.get() >= 0) polled.push_back({udp_.get(), POLLIN, 0});
        for (const auto& peer : peers_) polled.push_back({peer->fd.get(), POLLIN, 0});
      }
      const int ready = poll(polled.data(), polled.size(), database != nullptr ? 1000 : 50);
      if (ready < 0 && errno != EINTR) return;
      if (ready <= 0 || database == nullptr) continue;
      for (const pollfd& one : polled) {
        if (one.revents == 0 || one.fd == wake_.get()) continue;
        if (one.fd == tcp_.get()) {
          Accept();
        } else if (one.fd == udp_.get()) {
          ReadDatagrams(*database);
        } else {
          for (const auto& peer : peers_) {
            if (peer->fd.get() == one.fd) ReadStream(*database, peer.get());
          }
        }
      }
      std::erase_if(peers_, [](const auto& peer) { return peer->gone; });
      FlushBatch(*database);
    }
  }

  void Accept() {
    for (int i = 0; i < 16 && peers_.size() < options_.connections_max; ++i) {
      Descriptor fd(accept4(tcp_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (fd.get() < 0) return;
      peers_.push_back(std::make_unique<Peer>(std::move(fd), options_.message_bytes_max));
    }
  }
  void ReadDatagrams(Database& database) {
    for (int i = 0; i < 1000; ++i) {
      const ssize_t size = recv(udp_.get(), buffer_.data(), buffer_.size(), 0);
      if (size < 0) return;
      std::string_view message(buffer_.data(), static_cast<size_t>(size));
      while (!message.empty() && (message.back() == '\n' || message.back() == '\0')) {
        message.remove_suffix(1);
      }
      if (!message.empty()) Add(database, message);
    }
  }
  void ReadStream(Database& database, Peer* peer) {
    // One piece a turn, so that one sender does not starve the others.
    const ssize_t size = recv(peer->fd.get(), buffer_.data(), buffer_.size(), 0);
    if (size < 0) {
      peer->gone = errno != EAGAIN && errno != EINTR;
      return;
    }
    std::string_view message;
    if (size == 0) {
      if (peer->framer.Last(&message)) Add(database, message);
      peer->gone = true;
      return;
    }
    peer->framer.Add(std::string_view(buffer_.data(), static_cast<size_t>(size)));
    while (peer->framer.Next(&message)) Add(database, message);
    if (peer->framer.broken()) peer->gone = true;
  }

  void ResetBatch() { context_.Reset(scratch_.get()); }
  void Add(Database& database, std::string_view message) {
    ++messages_;
    // The buffer is read into again before the batch is appended.
    const std::string_view kept = scratch_->batch.Copy(message);
    AddSyslogMessage(options_, kept, scratch_->intake.now_ns(), scratch_.get());
    if (scratch_->batch.entries().size() >= kBatchMessages ||
        scratch_->batch.line_bytes() >= kBatchBytes) {
      FlushBatch(database);
    }
  }
  void FlushBatch(Database& database) {
    if (scratch_->batch.empty() && scratch_->intake.discarded() == 0) {
      ResetBatch();
      return;
    }
    const uint64_t entries = scratch_->batch.entries().size();
    failed_ += scratch_->intake.discarded();
    const AppendOutcome outcome = AppendIntake(context_, database, *scratch_);
    if (outcome.status >= 429) failed_ += entries;
    ResetBatch();
  }

  const SyslogOptions options_;
  Context& context_;
  Descriptor wake_;
  Descriptor tcp_;
  Descriptor udp_;
  uint16_t tcp_port_ = 0;
  uint16_t udp_port_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> messages_{0};
  std::atomic<uint64_t> failed_{0};
  std::thread thread_;
  // Of the thread:
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<char> buffer_;
  std::unique_ptr<PushScratch> scratch_;
};

}  // namespace

void AddSyslogMessage(const SyslogOptions& options, std::string_view text, int64_t now_ns,
                      PushScratch* scratch) {
  SyslogMessage message;
  ParseSyslog(text, now_ns, &message);
  LabelView labels[3];
  size_t count = 0;
  // Label values are text; hosts and apps that are not are left out.
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!value.empty() && value.size() <= 255 && IsValidUtf8(value))
      labels[count++] = {name, value};
  };
  add("app", message.app);
  add("host", message.host);
  add("job", options.job);
  if (!scratch->intake.BeginStream(LabelsView(labels, count))) {
    scratch->intake.AddEntry(now_ns, message.text, {});
    return;
  }
  std::vector<LabelView> metadata = {{"facility", SyslogFacility(message.facility)},
                                     {"level", SyslogLevel(message.severity)}};
  const auto keep = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) metadata.push_back({name, value});
  };
  keep("process", message.process);
  keep("message_id", message.id);
  for (const auto& [name, value] : message.data) {
    metadata.push_back({scratch->batch.Copy(name), scratch->batch.Copy(value)});
  }
  scratch->intake.AddEntry(message.has_time ? message.time_ns : now_ns, message.text, metadata);
}

Result<std::unique_ptr<SyslogServer>> SyslogServer::Start(const SyslogOptions& options,
                                                          Context* context) {
  auto server = std::make_unique<SyslogServerImpl>(options, context);
  if (Status status = server->Listen(); !status.ok()) return status;
  return std::unique_ptr<SyslogServer>(std::move(server));
}

}  // namespace varve::loki
