#include "tests/otlp/grpc_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include <future>
#include <vector>

namespace varve::testing {
namespace {

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::string out;
  std::vector<grpc::Slice> slices;
  if (buffer.Valid() && buffer.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  return out;
}

GrpcAnswer AnswerOf(const grpc::Status& status) {
  GrpcAnswer answer;
  answer.code = status.error_code();
  answer.message = status.error_message();
  answer.details = status.error_details();
  return answer;
}

class Collector final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit Collector(grpc::ByteBuffer request) : request_(std::move(request)) {}
  void Start() {
    StartWriteLast(&request_, grpc::WriteOptions());
    StartRead(&message_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    messages_.push_back(BytesOf(message_));
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override {
    GrpcAnswer answer = AnswerOf(status);
    answer.messages = std::move(messages_);
    done_.set_value(std::move(answer));
  }
  GrpcAnswer Wait() { return done_.get_future().get(); }

 private:
  grpc::ByteBuffer request_;
  grpc::ByteBuffer message_;
  std::vector<std::string> messages_;
  std::promise<GrpcAnswer> done_;
};

}  // namespace

struct GrpcClient::Impl {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<grpc::GenericStub> stub;
};

GrpcClient::GrpcClient(const std::string& address) : impl_(std::make_unique<Impl>()) {
  grpc::ChannelArguments arguments;
  // Its own connection: channels of equal arguments share one otherwise.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  impl_->channel =
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  impl_->stub = std::make_unique<grpc::GenericStub>(impl_->channel);
}

GrpcClient::~GrpcClient() = default;

GrpcAnswer GrpcClient::Call(const std::string& method, std::string_view body, GrpcCoding coding,
                            size_t repeat) {
  grpc::ClientContext context;
  if (coding == GrpcCoding::kGzip) context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  if (coding == GrpcCoding::kDeflate) context.set_compression_algorithm(GRPC_COMPRESS_DEFLATE);
  const std::vector<grpc::Slice> slices(repeat, grpc::Slice(body.data(), body.size()));
  const grpc::ByteBuffer request(slices.data(), slices.size());
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  impl_->stub->UnaryCall(&context, method, grpc::StubOptions(), &request, &response,
                         [&done](grpc::Status status) { done.set_value(std::move(status)); });
  const grpc::Status status = done.get_future().get();
  GrpcAnswer answer = AnswerOf(status);
  answer.body = BytesOf(response);
  return answer;
}

GrpcAnswer GrpcClient::Stream(const std::string& method, std::string_view body) {
  grpc::ClientContext context;
  const grpc::Slice slice(body.data(), body.size());
  Collector collector(grpc::ByteBuffer(&slice, 1));
  impl_->stub->PrepareBidiStreamingCall(&context, method, grpc::StubOptions(), &collector);
  collector.Start();
  return collector.Wait();
}

}  // namespace varve::testing
