#include "tools/server/http/receive.h"

#include <sys/socket.h>

namespace varve::http {

ssize_t ReceiveTo(int fd, size_t bytes_max, std::string* out) {
  const size_t before = out->size();
  ssize_t received = 0;
  out->resize_and_overwrite(before + bytes_max, [&](char* text, size_t) {
    received = ::recv(fd, text + before, bytes_max, MSG_DONTWAIT);
    return before + static_cast<size_t>(received > 0 ? received : 0);
  });
  return received;
}

}  // namespace varve::http
