#include "tools/server/http/client.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::http {
namespace {

Status Lost(std::string_view what) {
  return MakeStatus(StatusCode::kUnavailable, Concat(what, ": ", std::strerror(errno)));
}

int PollMs(std::chrono::milliseconds timeout) { return static_cast<int>(timeout.count()); }

template <typename T>
bool ParseNumber(std::string_view text, int base, T* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

Status NotHttp() { return MakeStatus(StatusCode::kInvalidArgument, "the answer is not HTTP/1.1"); }

}  // namespace

Result<RawConnection> RawConnection::Connect(const std::string& host, uint16_t port,
                                             std::chrono::milliseconds timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
      code != 0) {
    return MakeStatus(StatusCode::kUnavailable,
                      Concat("cannot resolve ", host, ": ", gai_strerror(code)));
  }
  Status status = MakeStatus(StatusCode::kUnavailable, Concat("no address for ", host));
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    const int fd = socket(entry->ai_family, entry->ai_socktype | SOCK_CLOEXEC, entry->ai_protocol);
    if (fd < 0) {
      status = Lost("socket");
      continue;
    }
    if (connect(fd, entry->ai_addr, entry->ai_addrlen) == 0) {
      freeaddrinfo(found);
      return RawConnection(fd, timeout);
    }
    status = Lost(Concat("cannot connect to ", host, ":", port));
    close(fd);
  }
  freeaddrinfo(found);
  return status;
}

RawConnection::RawConnection(RawConnection&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      timeout_(other.timeout_),
      buffer_(std::move(other.buffer_)) {}

RawConnection& RawConnection::operator=(RawConnection&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(timeout_, other.timeout_);
  std::swap(buffer_, other.buffer_);
  return *this;
}

RawConnection::~RawConnection() {
  if (fd_ >= 0) close(fd_);
}

Status RawConnection::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    pollfd wait{fd_, POLLOUT, 0};
    if (poll(&wait, 1, PollMs(timeout_)) == 0) {
      return MakeStatus(StatusCode::kDeadlineExceeded, "the server does not read");
    }
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EAGAIN || errno == EINTR) continue;
      return Lost("send");
    }
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return absl::OkStatus();
}

void RawConnection::FinishSending() { shutdown(fd_, SHUT_WR); }

Status RawConnection::Fill() {
  pollfd wait{fd_, POLLIN, 0};
  if (poll(&wait, 1, PollMs(timeout_)) == 0) {
    return MakeStatus(StatusCode::kDeadlineExceeded, "the server does not answer");
  }
  char piece[65536];
  const ssize_t got = recv(fd_, piece, sizeof(piece), 0);
  if (got < 0) return Lost("receive");
  if (got == 0) return MakeStatus(StatusCode::kUnavailable, "the server closed the connection");
  buffer_.append(piece, static_cast<size_t>(got));
  return absl::OkStatus();
}

Result<ClientResponse> RawConnection::ReadResponse(bool head, size_t body_bytes_max) {
  constexpr size_t kHeadBytesMax = 1u << 20;
  const auto too_large = [] {
    return MakeStatus(StatusCode::kResourceExhausted, "the answer is too large");
  };
  ClientResponse response;
  do {
    size_t end = 0;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (buffer_.size() > kHeadBytesMax) return too_large();
      VARVE_RETURN_IF_ERROR(Fill());
    }
    std::string_view lines = std::string_view(buffer_).substr(0, end + 2);
    response = ClientResponse();
    bool first = true;
    while (!lines.empty()) {
      const size_t eol = lines.find("\r\n");
      const std::string_view line = lines.substr(0, eol);
      lines.remove_prefix(eol + 2);
      if (first) {
        if (!line.starts_with("HTTP/1.") || line.size() < 12 ||
            !ParseNumber(line.substr(9, 3), 10, &response.status)) {
          return NotHttp();
        }
        first = false;
        continue;
      }
      const size_t colon = line.find(':');
      if (colon == std::string_view::npos) return NotHttp();
      response.headers.Add(line.substr(0, colon), Trim(line.substr(colon + 1)));
    }
    buffer_.erase(0, end + 4);
  } while (response.status == 100);

  const bool bodiless =
      head || response.status == 101 || response.status == 204 || response.status == 304;
  if (bodiless) return response;
  if (EqualsIgnoreCase(response.headers.Get("Transfer-Encoding"), "chunked")) {
    while (true) {
      size_t eol = 0;
      while ((eol = buffer_.find("\r\n")) == std::string::npos) VARVE_RETURN_IF_ERROR(Fill());
      size_t size = 0;
      if (!ParseNumber(std::string_view(buffer_).substr(0, eol), 16, &size)) return NotHttp();
      if (size > body_bytes_max - response.body.size()) return too_large();
      while (buffer_.size() < eol + 2 + size + 2) VARVE_RETURN_IF_ERROR(Fill());
      response.body.append(buffer_, eol + 2, size);
      buffer_.erase(0, eol + 2 + size + 2);
      if (size == 0) return response;
    }
  }
  if (response.headers.Has("Content-Length")) {
    size_t size = 0;
    if (!ParseNumber(response.headers.Get("Content-Length"), 10, &size)) return NotHttp();
    if (size > body_bytes_max) return too_large();
    while (buffer_.size() < size) VARVE_RETURN_IF_ERROR(Fill());
    response.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return response;
  }
  while (true) {
    const Status status = Fill();
    if (buffer_.size() > body_bytes_max) return too_large();
    if (status.code() == StatusCode::kUnavailable) break;
    VARVE_RETURN_IF_ERROR(status);
  }
  response.body = std::move(buffer_);
  buffer_.clear();
  return response;
}

Result<std::string_view> RawConnection::Peek(size_t size) {
  while (buffer_.size() < size) VARVE_RETURN_IF_ERROR(Fill());
  return std::string_view(buffer_);
}

bool RawConnection::WaitForClose(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd wait{fd_, POLLIN, 0};
    if (poll(&wait, 1, PollMs(left)) <= 0) return false;
    char piece[4096];
    if (recv(fd_, piece, sizeof(piece), 0) <= 0) return true;
  }
}

Result<ClientResponse> Fetch(const std::string& host, uint16_t port, const ClientRequest& request,
                             std::chrono::milliseconds timeout, size_t body_bytes_max) {
  VARVE_ASSIGN_OR_RETURN(RawConnection connection, RawConnection::Connect(host, port, timeout));
  const bool v6 = host.find(':') != std::string::npos;
  std::string bytes =
      Concat(ToString(request.method), " ", request.path, " HTTP/1.1\r\nHost: ", v6 ? "[" : "",
             host, v6 ? "]" : "", ":", port, "\r\nConnection: close\r\n");
  for (const auto& [name, value] : request.headers) bytes += Concat(name, ": ", value, "\r\n");
  if (!request.body.empty() || request.method == Method::kPost || request.method == Method::kPut) {
    bytes += Concat("Content-Length: ", request.body.size(), "\r\n");
  }
  bytes += "\r\n";
  bytes += request.body;
  // A server that refuses may answer and close before it has read everything.
  const Status sent = connection.Send(bytes);
  Result<ClientResponse> response =
      connection.ReadResponse(request.method == Method::kHead, body_bytes_max);
  if (!response.ok() && !sent.ok()) return sent;
  return response;
}

}  // namespace varve::http
