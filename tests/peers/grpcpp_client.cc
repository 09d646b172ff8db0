// gRPC's own C++ library as a client of Falaj: `grpcpp_client HOST:PORT` does each check below and says how
// it went, a line each. The server has the models of tests/peers/conftest.py. Exits with 1 where a check
// failed.
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "health.grpc.pb.h"
#include "service.grpc.pb.h"

namespace {

using grpc::ClientContext;
using grpc::Status;
using grpc::StatusCode;
using inference::GRPCInferenceService;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using inference::ModelStreamInferResponse;
using std::chrono::seconds;
using std::chrono::system_clock;

// What a check throws.
struct Failed {
  std::string why;
};

void Expect(bool fine, const std::string& what) {
  if (!fine) throw Failed{what};
}

void ExpectCode(const Status& status, StatusCode code) {
  Expect(status.error_code() == code, "expected status " + std::to_string(code) + ", got " +
                                          std::to_string(status.error_code()) + ": " +
                                          status.error_message());
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address, grpc::ChannelArguments arguments = {}) {
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

std::unique_ptr<ClientContext> Context(system_clock::duration timeout = seconds(30)) {
  auto context = std::make_unique<ClientContext>();
  context->set_deadline(system_clock::now() + timeout);
  return context;
}

ModelInferRequest Request(const std::string& model, size_t rows) {
  ModelInferRequest request;
  request.set_model_name(model);
  request.set_id("r" + std::to_string(rows));
  auto* const x = request.add_inputs();
  x->set_name("x");
  x->set_datatype("FP32");
  x->add_shape(static_cast<int64_t>(rows));
  x->add_shape(1);
  return request;
}

std::vector<float> Values(size_t rows) {
  std::vector<float> values(rows);
  std::iota(values.begin(), values.end(), 0.0F);
  return values;
}

ModelInferRequest RawRequest(const std::string& model, size_t rows) {
  ModelInferRequest request = Request(model, rows);
  const std::vector<float> values = Values(rows);
  request.add_raw_input_contents(values.data(), values.size() * sizeof(float));
  return request;
}

ModelInferRequest TypedRequest(const std::string& model, size_t rows) {
  ModelInferRequest request = Request(model, rows);
  for (const float value : Values(rows)) {
    request.mutable_inputs(0)->mutable_contents()->add_fp32_contents(value);
  }
  return request;
}

// The answer has to be what was asked.
void ExpectEcho(const ModelInferResponse& response, size_t rows) {
  Expect(response.id() == "r" + std::to_string(rows), "the id is '" + response.id() + "'");
  Expect(response.outputs_size() == 1 && response.raw_output_contents_size() == 1, "not one output");
  Expect(response.outputs(0).name() == "y" && response.outputs(0).datatype() == "FP32", "not y of FP32");
  const std::vector<float> values = Values(rows);
  const std::string& raw = response.raw_output_contents(0);
  Expect(raw.size() == rows * sizeof(float), "the output has " + std::to_string(raw.size()) + " bytes");
  Expect(std::memcmp(raw.data(), values.data(), raw.size()) == 0, "the output has other values");
}

void InferOnce(GRPCInferenceService::Stub& stub, ClientContext& context, const ModelInferRequest& request,
               size_t rows) {
  ModelInferResponse response;
  ExpectCode(stub.ModelInfer(&context, request, &response), StatusCode::OK);
  ExpectEcho(response, rows);
}

void UnaryInfer(const std::string& address) {
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  InferOnce(*stub, *Context(), RawRequest("echo", 3), 3);
  InferOnce(*stub, *Context(), TypedRequest("echo", 5), 5);
}

void ControlPlane(const std::string& address) {
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  inference::ServerReadyResponse server;
  ExpectCode(stub->ServerReady(Context().get(), {}, &server), StatusCode::OK);
  Expect(server.ready(), "the server is not ready");
  inference::ModelReadyRequest request;
  request.set_name("echo");
  inference::ModelReadyResponse model;
  ExpectCode(stub->ModelReady(Context().get(), request, &model), StatusCode::OK);
  Expect(model.ready(), "the model is not ready");
}

void LargeMessage(const std::string& address) {
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  const size_t rows = size_t{2} << 20;  // 8 MiB
  ModelInferRequest request = RawRequest("wide", rows);
  request.mutable_inputs(0)->set_shape(0, 2048);
  request.mutable_inputs(0)->set_shape(1, 1024);
  InferOnce(*stub, *Context(), request, rows);
}

void Errors(const std::string& address) {
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  ModelInferResponse response;
  const Status unknown = stub->ModelInfer(Context().get(), RawRequest("nowhere", 1), &response);
  ExpectCode(unknown, StatusCode::NOT_FOUND);
  Expect(unknown.error_message().find("nowhere") != std::string::npos, unknown.error_message());
  Expect(!unknown.error_details().empty(), "there are no details");
  ModelInferRequest bad = RawRequest("echo", 2);
  bad.mutable_inputs(0)->set_shape(0, 3);
  ExpectCode(stub->ModelInfer(Context().get(), bad, &response), StatusCode::INVALID_ARGUMENT);
}

void Deadline(const std::string& address) {
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  ModelInferResponse response;
  const auto context = Context(std::chrono::milliseconds(200));
  ExpectCode(stub->ModelInfer(context.get(), RawRequest("gated", 1), &response),
             StatusCode::DEADLINE_EXCEEDED);
  InferOnce(*stub, *Context(), RawRequest("echo", 1), 1);
}

void Cancel(const std::string& address) {
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  for (int i = 0; i < 20; ++i) {
    const auto context = Context();
    grpc::CompletionQueue queue;
    const auto reader = stub->AsyncModelInfer(context.get(), RawRequest("gated", 1), &queue);
    ModelInferResponse response;
    Status status;
    reader->Finish(&response, &status, nullptr);
    InferOnce(*stub, *Context(), RawRequest("echo", 1), 1);  // by now the other is on its way
    context->TryCancel();
    void* tag = nullptr;
    bool fine = false;
    Expect(queue.Next(&tag, &fine), "the queue ended");
    ExpectCode(status, StatusCode::CANCELLED);
  }
}

// More at a time than one connection may have: the library holds back what is above the server's SETTINGS.
void ManyAtOnce(const std::string& address) {
  constexpr size_t kCalls = 1000;
  struct Call {
    ClientContext context;
    ModelInferResponse response;
    Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<ModelInferResponse>> reader;
  };
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  grpc::CompletionQueue queue;
  std::vector<Call> calls(kCalls);
  for (size_t i = 0; i < kCalls; ++i) {
    calls[i].context.set_deadline(system_clock::now() + seconds(30));
    calls[i].reader = stub->AsyncModelInfer(&calls[i].context, RawRequest("echo", 1 + i % 7), &queue);
    calls[i].reader->Finish(&calls[i].response, &calls[i].status, &calls[i]);
  }
  for (size_t i = 0; i < kCalls; ++i) {
    void* tag = nullptr;
    bool fine = false;
    Expect(queue.Next(&tag, &fine), "the queue ended");
  }
  for (size_t i = 0; i < kCalls; ++i) {
    ExpectCode(calls[i].status, StatusCode::OK);
    ExpectEcho(calls[i].response, 1 + i % 7);
  }
}

void StreamInfer(const std::string& address) {
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  const auto context = Context();
  const auto stream = stub->ModelStreamInfer(context.get());
  ModelStreamInferResponse response;
  for (size_t rows = 1; rows <= 50; ++rows) {  // in turns
    Expect(stream->Write(RawRequest("echo", rows)), "a request was not taken");
    Expect(stream->Read(&response), "the stream ended");
    ExpectEcho(response.infer_response(), rows);
  }
  Expect(stream->Write(RawRequest("nowhere", 1)) && stream->Read(&response), "the stream ended by an error");
  Expect(!response.error_message().empty(), "the error was not told");
  for (int i = 0; i < 200; ++i) Expect(stream->Write(TypedRequest("echo", 4)), "a request was not taken");
  stream->WritesDone();
  for (int i = 0; i < 200; ++i) {
    Expect(stream->Read(&response), "the stream ended");
    ExpectEcho(response.infer_response(), 4);
  }
  Expect(!stream->Read(&response), "there is one answer too many");
  ExpectCode(stream->Finish(), StatusCode::OK);
}

void StreamCancel(const std::string& address) {
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  const auto context = Context();
  const auto stream = stub->ModelStreamInfer(context.get());
  ModelStreamInferResponse response;
  Expect(stream->Write(RawRequest("echo", 1)) && stream->Read(&response), "the stream ended");
  Expect(stream->Write(RawRequest("gated", 1)), "a request was not taken");
  context->TryCancel();
  Expect(!stream->Read(&response), "a cancelled call was answered");
  ExpectCode(stream->Finish(), StatusCode::CANCELLED);
  InferOnce(*stub, *Context(), RawRequest("echo", 1), 1);
}

void Health(const std::string& address) {
  using grpc::health::v1::HealthCheckResponse;
  const auto stub = grpc::health::v1::Health::NewStub(Connect(address));
  HealthCheckResponse response;
  for (const char* service : {"", "inference.GRPCInferenceService"}) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    ExpectCode(stub->Check(Context().get(), request, &response), StatusCode::OK);
    Expect(response.status() == HealthCheckResponse::SERVING, "it does not serve");
  }
  const auto context = Context();
  const auto watch = stub->Watch(context.get(), {});
  Expect(watch->Read(&response), "the watch ended");
  Expect(response.status() == HealthCheckResponse::SERVING, "it does not serve");
  context->TryCancel();
  ExpectCode(watch->Finish(), StatusCode::CANCELLED);
}

void Compression(const std::string& address) {
  const auto stub = GRPCInferenceService::NewStub(Connect(address));
  for (const auto algorithm : {GRPC_COMPRESS_GZIP, GRPC_COMPRESS_DEFLATE}) {
    for (const size_t rows : {size_t{1}, size_t{100'000}}) {
      const auto context = Context();
      context->set_compression_algorithm(algorithm);
      InferOnce(*stub, *context, RawRequest("echo", rows), rows);
    }
    const auto context = Context();
    context->set_compression_algorithm(algorithm);
    const auto stream = stub->ModelStreamInfer(context.get());
    ModelStreamInferResponse response;
    for (int i = 0; i < 3; ++i) {
      Expect(stream->Write(RawRequest("echo", 10'000)) && stream->Read(&response), "the stream ended");
      ExpectEcho(response.infer_response(), 10'000);
    }
    stream->WritesDone();
    ExpectCode(stream->Finish(), StatusCode::OK);
  }
}

// Settings of HTTP/2 that are far from what is usual.
void Settings(const std::string& address) {
  const auto call = [&](const std::vector<std::pair<const char*, int>>& settings) {
    grpc::ChannelArguments arguments;
    for (const auto& [name, value] : settings) arguments.SetInt(name, value);
    const auto stub = GRPCInferenceService::NewStub(Connect(address, arguments));
    for (const size_t rows : {1, 100'000, 2}) InferOnce(*stub, *Context(), RawRequest("echo", rows), rows);
  };
  call({{GRPC_ARG_HTTP2_HPACK_TABLE_SIZE_DECODER, 0}, {GRPC_ARG_HTTP2_HPACK_TABLE_SIZE_ENCODER, 0}});
  call({{GRPC_ARG_HTTP2_HPACK_TABLE_SIZE_DECODER, 64}, {GRPC_ARG_HTTP2_HPACK_TABLE_SIZE_ENCODER, 64}});
  call({{GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 1 << 24}, {GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, 1 << 24}});
  call({{GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 5}, {GRPC_ARG_HTTP2_BDP_PROBE, 0}});
}

// Where a ping were not answered in time, the library would give the connection up.
void Keepalive(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 100);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 1000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  const auto channel = Connect(address, arguments);
  const auto stub = GRPCInferenceService::NewStub(channel);
  InferOnce(*stub, *Context(), RawRequest("two_seconds", 1), 1);
  Expect(channel->GetState(false) == GRPC_CHANNEL_READY, "the connection was given up");
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "expected one argument, HOST:PORT\n";
    return 2;
  }
  struct Check {
    const char* name;
    std::function<void(const std::string&)> run;
  };
  const std::vector<Check> checks{
      {"unary", UnaryInfer},  {"control", ControlPlane}, {"large", LargeMessage},
      {"errors", Errors},     {"deadline", Deadline},    {"cancel", Cancel},
      {"many", ManyAtOnce},   {"stream", StreamInfer},   {"stream_cancel", StreamCancel},
      {"health", Health},     {"gzip", Compression},     {"keepalive", Keepalive},
      {"settings", Settings},
  };
  bool fine = true;
  for (const Check& check : checks) {
    try {
      check.run(arguments[1]);
      std::cout << "ok " << check.name << std::endl;
    } catch (const Failed& failed) {
      fine = false;
      std::cout << "failed " << check.name << ": " << failed.why << std::endl;
    }
  }
  return fine ? 0 : 1;
}
