#include "wire/wire_server.h"

#include <unistd.h>

#include <algorithm>

#include "core/cpus.h"
#include "wire/grpc_session.h"
#include "wire/http_session.h"
#include "wire/tls_protocol.h"

namespace falaj::wire {

namespace {

constexpr int kMostIoThreads = 8;

WireOptions Resolved(WireOptions options) {
  if (options.io_threads <= 0) options.io_threads = std::clamp(UsableCores() / 2, 1, kMostIoThreads);
  return options;
}

}  // namespace

WireServer::WireServer(WireOptions options, const ModelTable& models, std::shared_ptr<Tracing> tracing)
    : shared_(Resolved(std::move(options)), models, std::move(tracing)) {
  const auto count = static_cast<size_t>(shared_.options.io_threads);
  for (size_t i = 0; i < count; ++i) threads_.push_back(std::make_unique<IoThread>(i, shared_));
  acceptors_.resize(count);
}

WireServer::~WireServer() { Close(); }

Acceptor::MakeProtocol WireServer::ProtocolsOf(Wire wire) {
  if (wire == Wire::kGrpc) {
    return [](IoThread& thread, Carrier& carrier, const Peer& peer,
              std::shared_ptr<ClientHoldings> holdings) -> std::unique_ptr<Protocol> {
      return std::make_unique<GrpcSession>(thread, carrier, peer, std::move(holdings), thread.grpc_codec());
    };
  }
  const Listener listener = wire == Wire::kAdmin ? Listener::kAdmin : Listener::kHttp;
  return [listener](IoThread& thread, Carrier& carrier, const Peer& peer,
                    std::shared_ptr<ClientHoldings> holdings) -> std::unique_ptr<Protocol> {
    return std::make_unique<HttpSession>(thread, carrier, peer, std::move(holdings), thread.http_codec(),
                                         listener);
  };
}

Acceptor::MakeProtocol WireServer::Encrypted(Wire wire, std::shared_ptr<TlsContexts> contexts) {
  return [make = ProtocolsOf(wire), contexts = std::move(contexts), wire](
             IoThread& thread, Carrier& carrier, const Peer& peer,
             std::shared_ptr<ClientHoldings> holdings) -> std::unique_ptr<Protocol> {
    auto make_inner = [&thread, &carrier, make, peer, holdings = std::move(holdings)](std::string subject) {
      Peer proven = peer;
      proven.tls = true;
      proven.certificate_subject = std::move(subject);
      return make(thread, carrier, proven, holdings);
    };
    return std::make_unique<TlsProtocol>(thread, thread.counters(wire), contexts->NewConnection(),
                                         std::move(make_inner));
  };
}

Status WireServer::ReloadTls() {
  std::vector<SslContext> read;
  for (const auto& contexts : tls_) {
    auto context = contexts->Read();
    if (!context.ok()) return context.status();
    read.push_back(std::move(*context));
  }
  for (size_t i = 0; i < tls_.size(); ++i) tls_[i]->Use(std::move(read[i]));
  return Status::Ok();
}

Status WireServer::Listen(Wire wire, const std::string& host, uint16_t& port,
                          const std::optional<TlsFiles>& tls) {
  if (started_ || closed_) return Unavailable("listeners are added before the server is started");
  for (const auto& thread : threads_) {
    if (!thread->loop().valid()) return Unavailable("no file descriptor is left for an I/O thread");
  }
  Acceptor::MakeProtocol make = ProtocolsOf(wire);
  if (tls) {
    const bool grpc = wire == Wire::kGrpc;
    auto contexts = TlsContexts::Make(*tls, grpc ? "h2" : "http/1.1", grpc);
    if (!contexts.ok()) return contexts.status();
    tls_.push_back(*contexts);
    make = Encrypted(wire, std::move(*contexts));
  }
  auto sockets = wire::Listen(host, port, threads_.size());
  if (!sockets.ok()) return sockets.status();
  if (host.starts_with(kUnixHost)) unix_paths_.push_back(host.substr(kUnixHost.size()));
  for (size_t i = 0; i < threads_.size(); ++i) {
    acceptors_[i].push_back(std::make_unique<Acceptor>(*threads_[i], std::move((*sockets)[i]), wire, make));
  }
  return Status::Ok();
}

void WireServer::Start() {
  if (started_ || closed_) return;
  started_ = true;
  for (size_t i = 0; i < threads_.size(); ++i) {
    for (const auto& acceptor : acceptors_[i]) {
      threads_[i]->loop().Post([acceptor = acceptor.get()] { acceptor->Start(); });
    }
    threads_[i]->Start();
  }
}

// On their own threads, whose events before this are still taken; before there are threads, here.
void WireServer::StopAccepting() {
  for (size_t i = 0; i < threads_.size(); ++i) {
    for (const auto& acceptor : acceptors_[i]) {
      if (started_) {
        threads_[i]->loop().Post([acceptor = acceptor.get()] { acceptor->Stop(); });
      } else {
        acceptor->Stop();
      }
    }
  }
}

// New gRPC connections are not told: a client without another server would be back at once, again and again.
void WireServer::AnnounceDrain() {
  if (shared_.draining.exchange(true, std::memory_order_relaxed)) return;
  for (const auto& thread : threads_) thread->AnnounceEnd();
}

void WireServer::Drain() {
  AnnounceDrain();
  StopAccepting();
  for (const auto& thread : threads_) thread->DrainConnections();
}

void WireServer::Close() {
  if (closed_) return;
  closed_ = true;
  shared_.control.Close();
  StopAccepting();
  for (const auto& thread : threads_) thread->Stop();
  acceptors_.clear();
  for (const std::string& path : unix_paths_) unlink(path.c_str());
}

bool WireServer::Reply(ControlReply reply) {
  const size_t thread = ControlQueue::ThreadOf(reply.id);
  if (thread >= threads_.size()) return true;
  const bool more = shared_.control.Reply(reply.id, reply.body.size(), reply.last);
  threads_[thread]->Post(std::move(reply));
  return more;
}

}  // namespace falaj::wire
