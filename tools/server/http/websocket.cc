#include "tools/server/http/websocket.h"

#include "tools/server/http/message.h"

namespace varve::http {

bool WantsWebSocket(const Request& request) {
  if (!EqualsIgnoreCase(request.headers.Get("Upgrade"), "websocket")) return false;
  std::string connection = request.headers.Joined("Connection");
  for (char& c : connection) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return connection.find("upgrade") != std::string::npos;
}

bool WebSocketQueue::Send(std::string message) {
  const absl::MutexLock lock(&mutex_);
  if (closed_ || close_code_ != 0) return false;
  if (!messages_.empty() && bytes_ + message.size() > bytes_max_) return false;
  bytes_ += message.size();
  messages_.push_back(std::move(message));
  Wake();
  return true;
}

void WebSocketQueue::Close(uint16_t code, std::string_view reason) {
  const absl::MutexLock lock(&mutex_);
  if (close_code_ != 0) return;
  close_code_ = code;
  close_reason_ = reason;
  Wake();
}

bool WebSocketQueue::closed() const {
  const absl::MutexLock lock(&mutex_);
  return closed_;
}

bool WebSocketQueue::Take(std::string* out) {
  const absl::MutexLock lock(&mutex_);
  if (messages_.empty()) return false;
  *out = std::move(messages_.front());
  messages_.pop_front();
  bytes_ -= out->size();
  return true;
}

uint16_t WebSocketQueue::CloseCode(std::string* reason) const {
  const absl::MutexLock lock(&mutex_);
  if (!messages_.empty()) return 0;
  *reason = close_reason_;
  return close_code_;
}

void WebSocketQueue::MarkClosed() {
  const absl::MutexLock lock(&mutex_);
  closed_ = true;
  messages_.clear();
  bytes_ = 0;
}

void WebSocketQueue::SetWake(std::function<void()> wake) {
  const absl::MutexLock lock(&mutex_);
  wake_ = std::move(wake);
}

}  // namespace varve::http
