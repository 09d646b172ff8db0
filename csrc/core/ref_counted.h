// Intrusive reference counting for the two kinds of object that live on the hot path (requests and slabs):
// one atomic in the object, no control block, and the last owner hands the object back to its pool.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace falaj {

// T derives from RefCounted<T> and has `void OnLastUnref()`, called once on the thread that drops the last
// reference.
template <typename T>
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  void Ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
  void Unref() {
    // The release half publishes this owner's writes; the acquire half lets the last owner read them all.
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) static_cast<T*>(this)->OnLastUnref();
  }

 private:
  std::atomic<uint32_t> refs_{0};
};

template <typename T>
class RefPtr {
 public:
  RefPtr() = default;
  explicit RefPtr(T* object) : object_(object) {
    if (object_ != nullptr) object_->Ref();
  }
  RefPtr(const RefPtr& other) : RefPtr(other.object_) {}
  RefPtr(RefPtr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  RefPtr& operator=(RefPtr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~RefPtr() {
    if (object_ != nullptr) object_->Unref();
  }

  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

}  // namespace falaj
