// Asking a server on many connections, as fast as it answers or at a rate of one's own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "load/arrivals.h"
#include "load/connection.h"
#include "load/latency_histogram.h"
#include "load/poller.h"
#include "load/sequences.h"

namespace falaj::load {

// What came of the requests of some time.
struct Tally {
  LatencyHistogram latency;  // of those that were answered well, from when they were to be sent
  LatencyHistogram late;     // open loop: how late the client itself was for an arrival
  ErrorCounts errors;
  uint64_t answered = 0;    // well
  uint64_t reconnects = 0;  // connections that ended with nothing under way
  uint64_t sequences = 0;   // that were answered whole

  void Merge(const Tally& other);
  void Clear();
};

struct ClientOptions {
  std::vector<size_t> streams;  // of each connection: how many requests may be under way on it
  std::vector<size_t> slots;    // of each: the number of its first; empty: all 0
  Nanos timeout = std::chrono::seconds(10);
  size_t first_request = 0;  // of the first connection; the others begin behind it
  std::optional<size_t>
      length_slack;  // bytes that an answer's length may be off the first's; none: any length
  std::optional<SequenceOptions> sequences;  // of which the requests are; none: of none
  bool in_turn = false;                      // sequences are asked in turn: open loops
  uint64_t seed = 1;                         // of their lengths
};

// Belongs to one thread, which has SIGPIPE blocked or ignored where there is TLS. A connection that ends is
// made again, after a pause where that fails; each request that it had under way is an error. Its memory is
// bounded by the connections: requests that have arrived and found no room are a number, not a list.
class LoadClient final : public AnswerSink {
 public:
  LoadClient(std::shared_ptr<const Target> target, ClientOptions options);
  ~LoadClient() override;

  // Makes all connections and waits for them until `end`. Fails with Unavailable, with the first that failed.
  Status Connect(TimePoint end);

  // Closed loop: asks wherever there is room, until `end`.
  void RunClosed(TimePoint end);
  // Open loop: asks for each of `arrivals`, which count from `begin`, before the last; until `end`, or
  // earlier where all were asked for and answered. `unsent` arrivals are left.
  void RunOpen(Arrivals& noticed, Arrivals& sent, TimePoint begin, double last, TimePoint end);
  // Waits until `end` for what is under way, without asking anything; sequences are then ended, as far as a
  // connection is there and the time suffices.
  void Drain(TimePoint end);

  // Moves out what there is since the last time.
  void Take(Tally& into);
  const Tally& tally() const { return tally_; }
  size_t under_way() const;
  // Of them, those that are part of the load: not those by which Drain ends sequences.
  size_t unanswered() const;
  // After Drain: sequences that the server may keep.
  uint64_t sequences_left() const { return sequences_ ? sequences_->left() : 0; }
  // The length of the first answer that was good; 0 before.
  size_t first_length() const { return first_length_.value_or(0); }

  void OnAnswer(const Answer& answer) override;

 private:
  struct Place {
    std::unique_ptr<Connection> connection;  // none while it waits to be made again
    TimePoint begun;                         // when it was last made
    TimePoint again;                         // when it is to be
  };

  static bool IsOpen(const Place& place);
  void Open(size_t index);
  void Reopen(size_t index);
  // Waits once for events, at most until `end`, and does what is to be done now and then.
  void Turn(TimePoint end, bool ask_again);
  void DoChores(TimePoint now);
  void Fill(size_t index);
  bool HasNext() const { return !sequences_ || sequences_->HasFree(); }
  Mark NextMark() { return sequences_ ? sequences_->Take() : Mark(); }
  // Gives up what a connection that ended had under way; returns how many requests of the load that were.
  size_t Lose(const Connection& connection);
  void EndSequences(TimePoint end);
  void SendArrived(Arrivals& noticed, Arrivals& sent, TimePoint begin);

  const std::shared_ptr<const Target> target_;
  const ClientOptions options_;
  Poller poller_;
  std::vector<Place> places_;
  TimePoint now_;     // when what is being read was woken for
  TimePoint chores_;  // when they are due
  std::optional<size_t> first_length_;
  std::optional<Sequences> sequences_;
  std::vector<size_t> lost_;  // scratch
  Tally tally_;
};

}  // namespace falaj::load
