// The sequences that a load keeps under way, for models that keep something from one request to the next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "load/place.h"

namespace falaj::load {

struct SequenceOptions {
  size_t live = 1;            // at a time
  uint64_t least_length = 1;  // requests of a sequence, drawn evenly from here
  uint64_t most_length = 1;   // to here
  uint64_t first_id = 1;
  uint64_t ids = 1;  // from first_id on, at least `live`; they are taken in turn
};

// One thread's.
// 1. Of a sequence at most one request is under way; no two live sequences have one id.
// 2. The first request of a sequence starts it, the last one ends it. One of which a request failed is given
//    up, and another begins in its place.
// 3. After EndAll, each sequence that the server may keep is ended by one request more, those that were given
//    up too, as far as they are remembered.
class Sequences {
 public:
  // What became of a request, for its sequence.
  enum class Outcome : uint8_t {
    kAnswered,
    kUnknown,  // refused as wrong, as where the server knows no such sequence
    kRefused,  // before it was run
    kFailed,   // it may have been run
  };

  // `in_turn`: who has waited longest is next; else who was answered last, so that a sequence stays on its
  // connection.
  Sequences(const SequenceOptions& options, bool in_turn, uint64_t seed);

  // Whether a sequence is there of which no request is under way.
  bool HasFree() const { return free_ > 0; }
  // The next request of it. REQUIRES: HasFree()
  Mark Take();
  // The request that was taken has come to an end. False: it only ended a sequence, for EndAll.
  bool OnAnswer(size_t index, Outcome outcome);

  // Begins no more. What is taken from now on ends sequences.
  void EndAll();
  // Requests under way that only end a sequence.
  size_t closing() const { return closing_; }
  // Sequences that the server may keep. REQUIRES: EndAll() was called
  uint64_t left() const;

  // Those that were answered whole since the last call.
  uint64_t TakeCompleted();

 private:
  struct Sequence {
    uint64_t id = 0;
    uint64_t length = 0;
    uint64_t asked = 0;  // requests, the one under way too
    bool closing = false;
  };

  void Begin(size_t index);
  void Retire(size_t index);
  void Forget(uint64_t id);
  uint64_t NextId();
  void Push(size_t index);
  size_t Pop();

  const SequenceOptions options_;
  const bool in_turn_;
  std::mt19937_64 random_;
  std::uniform_int_distribution<uint64_t> length_;
  std::vector<Sequence> all_;
  std::vector<size_t> ring_;  // those that are free, `free_` of them from first_ on
  size_t first_ = 0;
  size_t free_ = 0;
  uint64_t next_id_ = 0;  // counted from first_id
  bool wrapped_ = false;  // ids come again: one may be live
  std::vector<uint64_t> given_up_;
  uint64_t left_ = 0;  // given up, and not to be ended any more
  size_t closing_ = 0;
  uint64_t completed_ = 0;
  bool ending_ = false;
};

}  // namespace falaj::load
