#include "tools/server/udp/udp_listener.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::udp {
namespace {

constexpr size_t kDatagramMax = 65536;

class ListenerImpl final : public Listener {
 public:
  ListenerImpl(const Options& options, Handler handler)
      : options_(options), handler_(std::move(handler)) {}
  ~ListenerImpl() override {
    Stop();
    if (socket_ >= 0) close(socket_);
    if (wake_ >= 0) close(wake_);
  }

  Status Open() {
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
    addrinfo* found = nullptr;
    const std::string host = options_.address == "localhost" ? "127.0.0.1" : options_.address;
    if (getaddrinfo(host.c_str(), std::to_string(options_.port).c_str(), &hints, &found) != 0) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat("not an IP address: ", GoQuote(options_.address)));
    }
    sockaddr_storage address{};
    const socklen_t size = found->ai_addrlen;
    std::memcpy(&address, found->ai_addr, size);
    const int family = found->ai_family;
    freeaddrinfo(found);
    if (!options_.insecure_listen && !IsLoopback(address)) {
      return MakeStatus(StatusCode::kInvalidArgument,
                        Concat(GoQuote(options_.address),
                               " is reachable from other machines: needs --insecure-listen"));
    }
    socket_ = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    wake_ = eventfd(0, EFD_CLOEXEC);
    const auto failed = [&](std::string_view what) {
      return MakeStatus(StatusCode::kUnavailable, Concat(what, " ", options_.address, ":",
                                                         options_.port, ": ", strerror(errno)));
    };
    if (socket_ < 0 || wake_ < 0) return failed("cannot open a socket for");
    setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &options_.buffer_bytes, sizeof(int));
    if (bind(socket_, reinterpret_cast<const sockaddr*>(&address), size) != 0) {
      return failed("cannot listen on");
    }
    socklen_t bound_size = sizeof(address);
    if (getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &bound_size) != 0) {
      return failed("cannot listen on");
    }
    port_ = ntohs(family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                     : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
    v6_ = family == AF_INET6;
    thread_ = std::thread([this] { Run(); });
    return absl::OkStatus();
  }

  std::string address() const override {
    return Concat(v6_ ? "[" : "", options_.address, v6_ ? "]" : "", ":", port_);
  }
  uint16_t port() const override { return port_; }
  void Stop() override {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof(one));
    thread_.join();
  }

 private:
  static bool IsLoopback(const sockaddr_storage& address) {
    if (address.ss_family == AF_INET6) {
      return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(&address)->sin6_addr);
    }
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }

  void Run() {
    std::vector<char> buffer(kDatagramMax);
    while (true) {
      pollfd fds[] = {{socket_, POLLIN, 0}, {wake_, POLLIN, 0}};
      if (poll(fds, 2, -1) < 0 && errno != EINTR) return;
      while (true) {
        const ssize_t size = recv(socket_, buffer.data(), buffer.size(), MSG_TRUNC);
        if (size < 0) break;
        if (static_cast<size_t>(size) > buffer.size()) continue;
        handler_(std::string_view(buffer.data(), static_cast<size_t>(size)));
      }
      if ((fds[1].revents & POLLIN) != 0) return;
    }
  }

  const Options options_;
  const Handler handler_;
  int socket_ = -1;
  int wake_ = -1;
  uint16_t port_ = 0;
  bool v6_ = false;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<Listener>> Listener::Start(const Options& options, Handler handler) {
  auto listener = std::make_unique<ListenerImpl>(options, std::move(handler));
  VARVE_RETURN_IF_ERROR(listener->Open());
  return std::unique_ptr<Listener>(std::move(listener));
}

}  // namespace varve::udp
