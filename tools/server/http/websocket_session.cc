#include "tools/server/http/websocket_session.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <string>

namespace varve::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace ws = beast::websocket;

constexpr auto kAwait = asio::as_tuple(asio::use_awaitable);

// What the two coroutines of a connection share; both run on its strand.
struct Session {
  explicit Session(beast::tcp_stream& stream)
      : socket(stream), timer(socket.get_executor()), ended(socket.get_executor()) {}
  ws::stream<beast::tcp_stream&> socket;
  asio::steady_timer timer;  // the writer waits here for something to send
  asio::steady_timer ended;  // and here, in the end, for the reader
  bool reading = true;
};

// Reads so that pings and the client's close are answered.
asio::awaitable<void> ReadAll(std::shared_ptr<Session> session,
                              std::shared_ptr<WebSocketQueue> queue) {
  beast::flat_buffer buffer;
  while (true) {
    auto [error, bytes] = co_await session->socket.async_read(buffer, kAwait);
    if (error) break;
    buffer.consume(bytes);
  }
  session->reading = false;
  queue->MarkClosed();
  session->timer.cancel();
  session->ended.cancel();
}

}  // namespace

asio::awaitable<void> ServeWebSocket(beast::tcp_stream& stream, const Request& request,
                                     std::shared_ptr<WebSocketQueue> queue) {
  auto session = std::make_shared<Session>(stream);
  ws::stream_base::timeout timeout{};
  timeout.handshake_timeout = std::chrono::seconds(10);
  timeout.idle_timeout = std::chrono::seconds(120);
  timeout.keep_alive_pings = true;
  session->socket.set_option(timeout);
  session->socket.read_message_max(64u << 10);
  session->socket.text(true);
  stream.expires_never();  // the WebSocket keeps its own time

  beast::http::request<beast::http::empty_body> handshake;
  handshake.version(11);
  handshake.method(beast::http::verb::get);
  handshake.target(beast::string_view(request.target.data(), request.target.size()));
  for (const auto& [name, value] : request.headers) handshake.insert(name, value);
  auto [refused] = co_await session->socket.async_accept(handshake, kAwait);
  if (refused) {
    queue->MarkClosed();
    co_return;
  }
  const auto executor = session->socket.get_executor();
  queue->SetWake([executor, weak = std::weak_ptr<Session>(session)] {
    asio::post(executor, [weak] {
      if (const auto alive = weak.lock()) alive->timer.cancel();
    });
  });
  asio::co_spawn(executor, ReadAll(session, queue), asio::detached);

  std::string message;
  std::string reason;
  while (session->reading) {
    if (queue->Take(&message)) {
      auto [error, bytes] = co_await session->socket.async_write(
          asio::buffer(message.data(), message.size()), kAwait);
      if (error) break;
    } else if (const uint16_t code = queue->CloseCode(&reason); code != 0) {
      reason.resize(std::min<size_t>(reason.size(), 123));
      const ws::close_reason why(static_cast<ws::close_code>(code), reason);
      co_await session->socket.async_close(why, kAwait);
      break;
    } else {
      session->timer.expires_after(std::chrono::hours(1));
      co_await session->timer.async_wait(kAwait);
    }
  }
  queue->SetWake(nullptr);
  queue->MarkClosed();
  beast::error_code ignored;
  stream.socket().close(ignored);
  while (session->reading) {
    session->ended.expires_after(std::chrono::seconds(1));
    co_await session->ended.async_wait(kAwait);
  }
}

}  // namespace varve::http
