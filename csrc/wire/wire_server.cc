#include "wire/wire_server.h"

#include <unistd.h>

#include <boost/asio/post.hpp>

#include "wire/http_session.h"

namespace falaj::wire {

WireServer::WireServer(WireOptions options, const ModelTable& models) : shared_(std::move(options), models) {
  const auto count = static_cast<size_t>(std::max(1, shared_.options.io_threads));
  for (size_t i = 0; i < count; ++i) threads_.push_back(std::make_unique<IoThread>(i, shared_));
  acceptors_.resize(count);
}

WireServer::~WireServer() { Close(); }

Acceptor::MakeProtocol WireServer::ProtocolsOf(Wire wire) const {
  const Listener listener = wire == Wire::kAdmin ? Listener::kAdmin : Listener::kHttp;
  return [listener](IoThread& thread, Carrier& carrier, const Peer& peer,
                    std::shared_ptr<ClientHoldings> holdings) -> std::unique_ptr<Protocol> {
    return std::make_unique<HttpSession>(thread, carrier, peer, std::move(holdings), thread.http_codec(),
                                         listener);
  };
}

Status WireServer::Listen(Wire wire, const std::string& host, uint16_t& port) {
  if (started_ || closed_) return Unavailable("listeners are added before the server is started");
  auto sockets = wire::Listen(host, port, threads_.size());
  if (!sockets.ok()) return sockets.status();
  if (host.starts_with(kUnixHost)) unix_paths_.push_back(host.substr(kUnixHost.size()));
  for (size_t i = 0; i < threads_.size(); ++i) {
    acceptors_[i].push_back(
        std::make_shared<Acceptor>(*threads_[i], std::move((*sockets)[i]), wire, ProtocolsOf(wire)));
  }
  return Status::Ok();
}

void WireServer::Start() {
  if (started_ || closed_) return;
  started_ = true;
  for (size_t i = 0; i < threads_.size(); ++i) {
    for (const auto& acceptor : acceptors_[i]) {
      boost::asio::post(threads_[i]->context(), [acceptor] { acceptor->Start(); });
    }
    threads_[i]->Start();
  }
}

// On their own threads, whose events before this are still taken; before there are threads, here.
void WireServer::StopAccepting() {
  for (size_t i = 0; i < threads_.size(); ++i) {
    for (const auto& acceptor : acceptors_[i]) {
      if (started_) {
        boost::asio::post(threads_[i]->context(), [acceptor] { acceptor->Stop(); });
      } else {
        acceptor->Stop();
      }
    }
  }
}

void WireServer::AnnounceDrain() { shared_.draining.store(true, std::memory_order_relaxed); }

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
