#include "tools/server/http/websocket_client.h"

#include "engine/base/macros.h"
#include "engine/base/strings.h"

namespace varve::http {
namespace {

constexpr size_t kMessageBytesMax = 64u << 20;
enum Opcode : uint8_t {
  kContinuation = 0,
  kText = 1,
  kBinary = 2,
  kClose = 8,
  kPing = 9,
  kPong = 10
};

}  // namespace

Result<WebSocketClient> WebSocketClient::Connect(const std::string& host, uint16_t port,
                                                 const std::string& path, const Headers& headers,
                                                 std::chrono::milliseconds timeout) {
  VARVE_ASSIGN_OR_RETURN(RawConnection connection, RawConnection::Connect(host, port, timeout));
  const bool v6 = host.find(':') != std::string::npos;
  // The key proves nothing between us: the answer's status does.
  std::string bytes =
      Concat("GET ", path, " HTTP/1.1\r\nHost: ", v6 ? "[" : "", host, v6 ? "]" : "", ":", port,
             "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: dmFydmUgdGFpbCBjbGllbg==\r\n"
             "Sec-WebSocket-Version: 13\r\n");
  for (const auto& [name, value] : headers) bytes += Concat(name, ": ", value, "\r\n");
  VARVE_RETURN_IF_ERROR(connection.Send(bytes + "\r\n"));
  VARVE_ASSIGN_OR_RETURN(const ClientResponse response, connection.ReadResponse());
  if (response.status != 101) {
    return MakeStatus(StatusCode::kInvalidArgument,
                      Concat("the server answers ", response.status, ": ", Trim(response.body)));
  }
  return WebSocketClient(std::move(connection));
}

Status WebSocketClient::SendFrame(uint8_t opcode, std::string_view payload) {
  if (payload.size() > 125) payload = payload.substr(0, 125);
  std::string frame;
  frame.push_back(static_cast<char>(0x80 | opcode));
  frame.push_back(static_cast<char>(0x80 | payload.size()));
  frame.append(4, '\0');  // a mask of zeros changes nothing
  frame += payload;
  return connection_.Send(frame);
}

Result<std::string> WebSocketClient::Next() {
  std::string message;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(std::string_view bytes, connection_.Peek(2));
    const auto first = static_cast<uint8_t>(bytes[0]);
    const auto second = static_cast<uint8_t>(bytes[1]);
    size_t head = 2;
    uint64_t size = second & 0x7f;
    if (size >= 126) {
      const size_t more = size == 126 ? 2 : 8;
      VARVE_ASSIGN_OR_RETURN(bytes, connection_.Peek(2 + more));
      size = 0;
      for (size_t i = 0; i < more; ++i) size = size << 8 | static_cast<uint8_t>(bytes[2 + i]);
      head += more;
    }
    if ((second & 0x80) != 0) {
      return MakeStatus(StatusCode::kInvalidArgument, "the server sends masked frames");
    }
    if (size > kMessageBytesMax || message.size() + size > kMessageBytesMax) {
      return MakeStatus(StatusCode::kResourceExhausted, "a message of more than 64 MiB");
    }
    VARVE_ASSIGN_OR_RETURN(bytes, connection_.Peek(head + size));
    const std::string payload(bytes.substr(head, size));
    connection_.Consume(head + size);
    switch (first & 0x0f) {
      case kContinuation:
      case kText:
      case kBinary:
        message += payload;
        if ((first & 0x80) != 0) return message;
        break;
      case kPing:
        VARVE_RETURN_IF_ERROR(SendFrame(kPong, payload));
        break;
      case kClose:
        SendFrame(kClose, payload.substr(0, 2)).IgnoreError();
        return MakeStatus(StatusCode::kUnavailable,
                          Concat("the server closed the connection", payload.size() > 2 ? ": " : "",
                                 payload.size() > 2 ? payload.substr(2) : ""));
      default:
        break;
    }
  }
}

Status WebSocketClient::Close() { return SendFrame(kClose, std::string_view("\x03\xe8", 2)); }

}  // namespace varve::http
