#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <memory>

#include "tools/server/http/message.h"
#include "tools/server/http/websocket.h"

namespace varve::http {

/// Answers the handshake of `request` on `stream` and sends what is queued until either side ends
/// the connection. Runs on the stream's executor; what the client sends is read and dropped, at
/// most 64 KiB a message. A client that answers no pings for two minutes is gone.
boost::asio::awaitable<void> ServeWebSocket(boost::beast::tcp_stream& stream,
                                            const Request& request,
                                            std::shared_ptr<WebSocketQueue> queue);

}  // namespace varve::http
