// What answers the requests of a model that is made of other models, in place of a backend.
#pragma once

#include <memory>
#include <string>

namespace falaj {

class Request;

// One request on its way through a flow.
class FlowRun {
 public:
  virtual ~FlowRun() = default;
  // Its request was withdrawn and delivered: withdraws what is under way for it and begins nothing more. From
  // any thread, with no lock held.
  virtual void Withdraw() = 0;

  // The next of those that are started together; owned by whoever starts them.
  std::shared_ptr<FlowRun> next;
};

// Thread-safe. Ends each run by Batcher::FinishFlow, unless its request was withdrawn before.
class Flow {
 public:
  virtual ~Flow() = default;
  // A run that holds the request until it is over. Called under the batcher's mutex.
  virtual std::shared_ptr<FlowRun> NewRun(Request* request) = 0;
  // Begins the runs of a chain (FlowRun::next) in their order. Called in a FlushScope, with no lock held.
  virtual void Start(std::shared_ptr<FlowRun> first) = 0;
  // Waits until no thread is in the flow. REQUIRES: every run has ended, and no other will be made
  virtual void Close() = 0;
  // What it is, for people.
  virtual std::string Placement() const = 0;
};

}  // namespace falaj
