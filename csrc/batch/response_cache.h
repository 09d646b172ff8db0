// Answers of one model version that are kept for requests that are equal.
#pragma once

#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "batch/batcher_options.h"
#include "batch/input_digest.h"
#include "core/mutex.h"
#include "core/tensor.h"

namespace falaj {

// A copy of the outputs of one request, in the signature's order, in memory of its own. Immutable. Shared by
// the cache and the requests that are answered with it, which may outlive its place in the cache.
class CachedAnswer {
 public:
  // What the copy will hold, without what belongs to its place in the cache.
  static size_t BytesOf(std::span<const TensorView> outputs);
  // Null where memory is out.
  static std::shared_ptr<const CachedAnswer> CopyOf(std::span<const TensorView> outputs);

  CachedAnswer() = default;
  CachedAnswer(const CachedAnswer&) = delete;
  CachedAnswer& operator=(const CachedAnswer&) = delete;

  std::span<const TensorView> outputs() const { return outputs_; }
  size_t bytes() const { return bytes_; }

 private:
  std::vector<TensorView> outputs_;
  Buffer data_;
  size_t bytes_ = 0;
};

// Invariants:
// 1. bytes() never passes max_bytes. What was used longest ago goes first.
// 2. An answer that would take more than a kLargestShare-th of it is not kept.
// Not thread-safe: guarded by the mutex of its batcher. Frees no answers: what is dropped is handed out, to
// be freed without the mutex.
class ResponseCache {
 public:
  struct Entry {
    Digest digest;
    std::shared_ptr<const CachedAnswer> answer;
    TimePoint outdated;  // from when on it is not given any more
  };
  using Dropped = std::list<Entry>;

  static constexpr size_t kLargestShare = 8;

  explicit ResponseCache(CacheOptions options);

  // Null where there is none. An outdated one is moved to `dropped`.
  std::shared_ptr<const CachedAnswer> Find(const Digest& digest, TimePoint now, Dropped& dropped);

  // Whether an answer of so many bytes (CachedAnswer::BytesOf) would be kept.
  static bool IsKept(const CacheOptions& options, size_t bytes);
  // Keeps `answer`, in place of an older one. REQUIRES: IsKept
  void Keep(const Digest& digest, std::shared_ptr<const CachedAnswer> answer, TimePoint now,
            Dropped& dropped);
  void Clear(Dropped& dropped);

  size_t entries() const { return places_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  using Place = std::list<Entry>::iterator;
  void Drop(Place place, Dropped& dropped);

  const CacheOptions options_;
  std::list<Entry> entries_;  // the last used first
  std::unordered_map<Digest, Place, DigestHash> places_;
  size_t bytes_ = 0;
};

}  // namespace falaj
