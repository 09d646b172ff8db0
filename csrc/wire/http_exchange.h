// What waits for the answer to an HTTP session's infer request.
#pragma once

#include "wire/http_session.h"

namespace falaj::wire {

// Owned by its session; by itself from the moment that its session goes until the answer has come.
class HttpExchange final : public InferWaiter {
 public:
  void OnDelivered(RefPtr<Request> request) override {
    if (session != nullptr) {
      session->OnDelivered(std::move(request));
    } else {
      const std::unique_ptr<HttpExchange> self(this);
    }
  }

  HttpSession* session = nullptr;
  HttpInfer infer;
};

}  // namespace falaj::wire
