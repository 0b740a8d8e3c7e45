#include "tools/server/grpc/grpc_server.h"

#include <arpa/inet.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "engine/base/macros.h"
#include "engine/base/strings.h"
#include "tools/otlp/receiver.h"
#include "tools/server/http/coding.h"
#include "tools/server/http/thread_pool.h"

namespace varve::rpc {
namespace {

bool IsLoopback(const std::string& address) {
  in_addr v4;
  in6_addr v6;
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  if (inet_pton(AF_INET6, address.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  return address == "localhost";
}

grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

grpc::Status StatusOf(const CallStatus& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code), status.message, status.details);
}

// Copies a message out of its buffer and undoes its compression. The library would do that itself,
// but inflates the whole of a message before it looks at the size: 4 MiB on the wire could take
// 4 GiB. It tells nobody the coding of a message that it leaves alone, so the bytes say it: a gzip
// header is no protobuf (its first byte would be a tag of wire type 7), and what zlib's could be, a
// field 15, no request has. Only a message of one slice is told to be plain.
Result<std::string> ReadMessage(const grpc::ByteBuffer& buffer, size_t bytes_max) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return MakeStatus(StatusCode::kInternal, "no request");
  std::string bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  grpc::Slice plain;
  if (buffer.TrySingleSlice(&plain).ok()) return bytes;
  http::DecodeLimits limits;
  limits.output_bytes_max = bytes_max;
  if (bytes.starts_with("\x1f\x8b")) return http::Decode(http::Coding::kGzip, bytes, limits);
  if (bytes.starts_with('\x78')) {
    Result<std::string> inflated = http::Decode(http::Coding::kDeflate, bytes, limits);
    if (inflated.ok() || inflated.status().code() == StatusCode::kResourceExhausted) {
      return inflated;
    }
  }
  return bytes;
}

struct Shared {
  Methods methods;
  size_t message_bytes_max = 0;
  std::unique_ptr<http::ThreadPool> pool;
};

/// One call. Callbacks of gRPC must not block, so handlers run on the pool.
class Call final : public grpc::ServerGenericBidiReactor {
 public:
  Call(Shared* shared, const Method* method) : shared_(*shared), method_(method) {
    if (method == nullptr) {
      Finish(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "unknown method"));
    } else {
      StartRead(&request_);
    }
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "a request message is required"));
      return;
    }
    if (!shared_.pool->Submit([this] { Run(); })) {
      CallStatus busy{Code::kResourceExhausted, "too many calls wait", ""};
      busy.details = otlp::StatusBody(otlp::BodyFormat::kProtobuf, 8, busy.message, 1);
      Finish(StatusOf(busy));
    }
  }
  void OnWriteDone(bool ok) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    if (!ok) gone_ = true;
    changed_.notify_all();
  }
  void OnCancel() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    gone_ = true;
    changed_.notify_all();
  }
  void OnDone() override { delete this; }

 private:
  // After Finish, or StartWriteAndFinish, the call may be gone at any moment.
  void Run() {
    Result<std::string> read = ReadMessage(request_, shared_.message_bytes_max);
    request_.Clear();
    if (!read.ok()) {
      Finish(StatusOf(CallStatus::From(read.status())));
      return;
    }
    const std::string request = *std::move(read);
    try {
      if (method_->unary) {
        std::string response;
        const CallStatus status = method_->unary(request, &response);
        if (status.code != Code::kOk) {
          Finish(StatusOf(status));
          return;
        }
        response_ = BufferOf(response);
        StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
        return;
      }
      const CallStatus status = method_->stream(
          request, [this](std::string message) { return WriteOne(std::move(message)); });
      Finish(StatusOf(status));
    } catch (const std::exception&) {
      Finish(grpc::Status(grpc::StatusCode::INTERNAL, "internal error"));
    }
  }

  bool WriteOne(std::string message) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (gone_) return false;
      writing_ = true;
    }
    response_ = BufferOf(message);
    StartWrite(&response_);
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return !writing_; });
    return !gone_;
  }

  Shared& shared_;
  const Method* const method_;
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool writing_ = false;  // guarded by mutex_
  bool gone_ = false;     // guarded by mutex_
};

class Service final : public grpc::CallbackGenericService {
 public:
  explicit Service(Shared* shared) : shared_(*shared) {}
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    const auto found = shared_.methods.find(context->method());
    return new Call(&shared_, found == shared_.methods.end() ? nullptr : &found->second);
  }

 private:
  Shared& shared_;
};

class ServerImpl final : public Server {
 public:
  ServerImpl(const ServerOptions& options, Methods methods) : service_(&shared_) {
    shared_.methods = std::move(methods);
    shared_.message_bytes_max = options.message_bytes_max;
    shared_.pool = std::make_unique<http::ThreadPool>("grpc", options.threads, options.queue_max);
  }
  ~ServerImpl() override { Shutdown(std::chrono::milliseconds(0)); }

  Status Listen(const ServerOptions& options) {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(static_cast<int>(options.message_bytes_max));
    builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);  // see ReadMessage
    // Two processes on one port would share its calls between two stores.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    std::vector<int> ports(options.ports.size(), 0);
    for (size_t i = 0; i < options.ports.size(); ++i) {
      const ListenPort& port = options.ports[i];
      if (!options.insecure_listen && !IsLoopback(port.address)) {
        return MakeStatus(StatusCode::kInvalidArgument,
                          Concat(GoQuote(port.address),
                                 " is reachable from other machines: needs --insecure-listen"));
      }
      builder.AddListeningPort(HostPort(port.address, port.port), grpc::InsecureServerCredentials(),
                               &ports[i]);
    }
    builder.RegisterCallbackGenericService(&service_);
    server_ = builder.BuildAndStart();
    for (size_t i = 0; i < options.ports.size(); ++i) {
      const ListenPort& port = options.ports[i];
      if (server_ == nullptr || ports[i] == 0) {
        return MakeStatus(StatusCode::kUnavailable,
                          Concat("cannot listen on ", HostPort(port.address, port.port)));
      }
      addresses_.emplace_back(port.name, HostPort(port.address, static_cast<uint16_t>(ports[i])));
    }
    return absl::OkStatus();
  }

  const std::vector<std::pair<std::string, std::string>>& addresses() const override {
    return addresses_;
  }
  void Shutdown(std::chrono::milliseconds grace) override {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() + grace);
    server_->Wait();
    shared_.pool.reset();
    server_.reset();
  }

 private:
  static std::string HostPort(const std::string& address, uint16_t port) {
    const bool v6 = address.find(':') != std::string::npos;
    return Concat(v6 ? "[" : "", address, v6 ? "]" : "", ":", port);
  }

  Shared shared_;
  Service service_;
  std::unique_ptr<grpc::Server> server_;
  std::vector<std::pair<std::string, std::string>> addresses_;
};

}  // namespace

CallStatus CallStatus::From(const Status& status) {
  CallStatus out;
  out.message = ToStd(status.message());
  switch (status.code()) {
    case StatusCode::kOk:
      break;
    case StatusCode::kInvalidArgument:
    case StatusCode::kOutOfRange:
      out.code = Code::kInvalidArgument;
      break;
    case StatusCode::kNotFound:
      out.code = Code::kNotFound;
      break;
    case StatusCode::kResourceExhausted:
      out.code = Code::kResourceExhausted;
      break;
    case StatusCode::kDeadlineExceeded:
      out.code = Code::kDeadlineExceeded;
      break;
    case StatusCode::kUnimplemented:
      out.code = Code::kUnimplemented;
      break;
    case StatusCode::kUnavailable:
    case StatusCode::kFailedPrecondition:
      out.code = Code::kUnavailable;
      break;
    default:
      out.code = Code::kInternal;
  }
  return out;
}

Result<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Methods methods) {
  auto server = std::make_unique<ServerImpl>(options, std::move(methods));
  VARVE_RETURN_IF_ERROR(server->Listen(options));
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace varve::rpc
