// grpcpp_echo --port P --reply-bytes B: grpc++ with its callback API, generic, so that no message is parsed.
// It answers each message with one of B bytes (-1: with itself). How many threads it uses is the library's
// choice.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>

#include "arguments.h"
#include "echo_process.h"
#include "fatal.h"

namespace falaj::bench {
namespace {

// Owned by grpc++ until OnDone.
class Call final : public grpc::ServerGenericBidiReactor {
 public:
  Call(const grpc::ByteBuffer* reply, std::atomic<uint64_t>* answered) : reply_(reply), answered_(answered) {
    StartRead(&request_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "expected a message"));
      return;
    }
    if (reply_ != nullptr) request_ = *reply_;
    answered_->fetch_add(1, std::memory_order_relaxed);
    StartWriteAndFinish(&request_, grpc::WriteOptions(), grpc::Status::OK);
  }
  void OnDone() override { const std::unique_ptr<Call> mine(this); }

 private:
  const grpc::ByteBuffer* const reply_;  // null: the request itself
  std::atomic<uint64_t>* const answered_;
  grpc::ByteBuffer request_;
};

class Echo final : public grpc::CallbackGenericService {
 public:
  explicit Echo(int64_t reply_bytes) {
    if (reply_bytes < 0) return;
    const grpc::Slice slice(std::string(static_cast<size_t>(reply_bytes), 'x'));
    reply_ = std::make_unique<grpc::ByteBuffer>(&slice, 1);
  }
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return std::make_unique<Call>(reply_.get(), &answered_).release();
  }
  uint64_t answered() const { return answered_.load(); }

 private:
  std::unique_ptr<grpc::ByteBuffer> reply_;
  std::atomic<uint64_t> answered_{0};
};

}  // namespace
}  // namespace falaj::bench

int main(int argc, char** argv) {
  using namespace falaj::bench;
  const Arguments arguments(argc, argv, {"port", "reply-bytes"});
  HoldSignals();
  Echo echo(arguments.Integer("reply-bytes", -1, -1));
  int port = static_cast<int>(arguments.Integer("port", 0, 0));
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&echo);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) Fatal("grpc++ cannot listen");
  ServeUntilSignal("grpc", static_cast<uint16_t>(port));
  server->Shutdown(std::chrono::system_clock::now());
  server->Wait();
  AnnounceStopped(echo.answered());
  return 0;
}
