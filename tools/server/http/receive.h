#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>

namespace varve::http {

/// Appends to `out` what a socket has, without waiting, and at most `bytes_max`. Returns what recv
/// does. The room is not filled before: for large bodies that would be a write of all of them.
ssize_t ReceiveTo(int fd, size_t bytes_max, std::string* out);

}  // namespace varve::http
