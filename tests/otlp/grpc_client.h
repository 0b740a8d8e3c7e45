#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

/// A gRPC client of bytes, for tests of the ports.
namespace varve::testing {

struct GrpcAnswer {
  int code = -1;
  std::string message;
  std::string details;  // grpc-status-details-bin
  std::string body;
  std::vector<std::string> messages;  // of a stream
};

enum class GrpcCoding : uint8_t { kIdentity, kGzip, kDeflate };

class GrpcClient {
 public:
  explicit GrpcClient(const std::string& address);
  ~GrpcClient();
  /// Sends `body` `repeat` times over as one message, and waits for the answer.
  GrpcAnswer Call(const std::string& method, std::string_view body,
                  GrpcCoding coding = GrpcCoding::kIdentity, size_t repeat = 1);
  /// Sends one message and collects the stream that answers it. As clients are by default, it takes
  /// no message of more than 4 MiB.
  GrpcAnswer Stream(const std::string& method, std::string_view body);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace varve::testing
