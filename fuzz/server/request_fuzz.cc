// Bytes of a whole connection against a running server on the loopback interface: it must answer
// or hang up, and stay alive.

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "tools/server/http/client.h"
#include "tools/server/http/server.h"

namespace {

using namespace varve::http;  // NOLINT(build/namespaces)

Server& TheServer() {
  static const Router* const router = [] {
    auto* out = new Router;
    out->Add(kGetPost, "/echo/:name",
             [](Request& request) {
               return Response::Text(200,
                                     std::string(request.path_params.Get("name")) + request.body);
             },
             {.body_bytes_max = 4096, .form = true});
    return out;
  }();
  static const std::unique_ptr<Server> server = [] {
    ServerOptions options;
    options.port = 0;
    options.header_bytes_max = 8192;
    options.header_timeout = std::chrono::milliseconds(500);
    options.body_stall_timeout = std::chrono::milliseconds(500);
    options.lane_threads = {1, 1, 1};
    return *Server::Start(options, router, nullptr);
  }();
  return *server;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::chrono::milliseconds timeout(3000);
  auto connection = RawConnection::Connect("127.0.0.1", TheServer().port(), timeout);
  if (!connection.ok()) abort();
  // The server may hang up before it has read everything.
  (void)connection->Send({reinterpret_cast<const char*>(data), size}).ok();
  connection->FinishSending();
  if (!connection->WaitForClose(timeout)) abort();
  return 0;
}
