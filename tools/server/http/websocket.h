#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace varve::http {

struct Request;

/// Tests whether a request asks to become a WebSocket.
bool WantsWebSocket(const Request& request);

/// Text messages on their way to one WebSocket client. Thread-safe. A handler makes one, puts it
/// into Response::websocket, and hands it to whoever produces messages.
class WebSocketQueue {
 public:
  /// `bytes_max` bounds what waits for a client that reads slowly.
  explicit WebSocketQueue(size_t bytes_max = 4u << 20) : bytes_max_(bytes_max) {}

  /// Queues a message. Returns false, and drops it, if too much waits already or the connection
  /// has ended; a message alone is always taken.
  bool Send(std::string message);
  /// Ends the connection once everything queued has been sent. `reason`: at most 123 bytes count.
  void Close(uint16_t code, std::string_view reason);
  /// Tells that the connection has ended, by either side: nobody reads any more.
  bool closed() const;

  // --- For the server ---

  /// Takes the next message; false if there is none.
  bool Take(std::string* out);
  /// Returns the close code once all is sent and Close was called, else 0.
  uint16_t CloseCode(std::string* reason) const;
  void MarkClosed();
  /// Calls `wake` whenever there is something to do, on the thread that made it so.
  void SetWake(std::function<void()> wake);

 private:
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (wake_) wake_();
  }

  const size_t bytes_max_;
  mutable absl::Mutex mutex_;
  std::deque<std::string> messages_ ABSL_GUARDED_BY(mutex_);
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint16_t close_code_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string close_reason_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void()> wake_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace varve::http
