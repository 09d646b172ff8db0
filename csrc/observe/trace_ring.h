// Records of sampled requests on their way from the thread that wrote them to the one that exports them.
#pragma once

#include <atomic>
#include <cstring>
#include <memory>

#include "observe/trace_record.h"

namespace falaj {

// One writer and one reader at a time. Bounded: what does not fit is refused.
// head_ is written by the reader (release: the slot is free again) and read by the writer; tail_ the other
// way round (release: the record is whole). The slots are made with the first record, before any tail_ is
// told.
class TraceRing {
 public:
  static constexpr size_t kRecords = 8192;

  // The writer's. Returns whether there was room.
  bool Push(const TraceRecord& record) {
    const uint64_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) == kRecords) return false;
    if (slots_ == nullptr) slots_ = std::make_unique_for_overwrite<Slots>();
    // Without the text that is not there.
    std::memcpy((*slots_)[tail % kRecords].data(), &record, record.bytes());
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // The reader's. Returns whether there was one.
  bool Pop(TraceRecord& record) {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return false;
    const Slot& slot = (*slots_)[head % kRecords];
    // As much as was written: the rest of the slot is in nobody's cache.
    constexpr size_t kText = offsetof(TraceRecord, text);
    std::memcpy(static_cast<void*>(&record), slot.data(), kText);
    std::memcpy(record.text.data(), slot.data() + kText, record.bytes() - kText);
    head_.store(head + 1, std::memory_order_release);
    return true;
  }

  // Anyone's; as it was a moment ago.
  size_t size() const {
    const uint64_t head = head_.load(std::memory_order_acquire);
    return static_cast<size_t>(tail_.load(std::memory_order_acquire) - head);
  }

 private:
  struct alignas(TraceRecord) Slot {
    std::array<std::byte, sizeof(TraceRecord)> bytes;
    std::byte* data() { return bytes.data(); }
    const std::byte* data() const { return bytes.data(); }
  };
  using Slots = std::array<Slot, kRecords>;

  std::unique_ptr<Slots> slots_;
  alignas(64) std::atomic<uint64_t> head_{0};
  alignas(64) std::atomic<uint64_t> tail_{0};
};

}  // namespace falaj
