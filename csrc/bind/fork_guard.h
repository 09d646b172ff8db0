// Threads do not survive fork(): what owns some must not be touched in the child, not even destroyed.
#pragma once

#include <memory>
#include <utility>

namespace falaj {

// How many forks lie between the first process with Falaj and this one. Counted by a pthread_atfork handler.
[[nodiscard]] int ForkGeneration();

// A shared pointer that is forgotten instead of released in a forked child.
template <typename T>
class ForkGuarded {
 public:
  ForkGuarded() : generation_(ForkGeneration()) {}
  explicit ForkGuarded(std::shared_ptr<T> object)
      : object_(std::move(object)), generation_(ForkGeneration()) {}
  ForkGuarded(ForkGuarded&&) noexcept = default;
  ForkGuarded(const ForkGuarded&) = default;
  ForkGuarded& operator=(ForkGuarded other) noexcept {
    std::swap(object_, other.object_);
    std::swap(generation_, other.generation_);
    return *this;
  }
  ~ForkGuarded() {
    if (!usable()) new std::shared_ptr<T>(std::move(object_));  // leaked on purpose: see above
  }

  bool usable() const { return generation_ == ForkGeneration(); }
  const std::shared_ptr<T>& shared() const { return object_; }
  T* operator->() const { return object_.get(); }
  T* get() const { return object_.get(); }

 private:
  std::shared_ptr<T> object_;
  int generation_;
};

}  // namespace falaj
