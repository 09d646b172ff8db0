// Status and Result<T>: how every layer of the core reports failure. Nothing in csrc/ throws across a
// thread, a C callback or the Python binding.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <variant>

namespace falaj {

// Stable codes; docs/architecture.md maps them to Python exceptions, HTTP and gRPC statuses.
enum class Code {
  kOk = 0,
  kInvalidInput,      // the caller sent something that can never be answered
  kNotFound,          // no such model, version or tensor
  kUnavailable,       // queue full, shed, draining or not loaded: may succeed elsewhere or later
  kDeadlineExceeded,  // the request's deadline passed
  kCancelled,         // the caller withdrew the request
  kUnsupported,       // understood, but not something this build or model can do
  kInternal,          // the backend failed, or a bug
};

[[nodiscard]] const char* CodeName(Code code);

// An OK status is one null pointer: making, copying and testing it allocates nothing. A failed one shares
// its text, so that one backend error reaches every request of a batch without copies. Immutable.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : rep_(std::make_shared<const Rep>(Rep{code, std::move(message)})) {}

  static Status Ok() { return Status(); }

  bool ok() const { return rep_ == nullptr; }
  Code code() const { return rep_ ? rep_->code : Code::kOk; }
  const std::string& message() const;

 private:
  struct Rep {
    Code code;
    std::string message;
  };
  std::shared_ptr<const Rep> rep_;
};

// Cold: what builds their texts is kept apart from the code that runs for every request, which then lies on
// fewer pages and cache lines.
[[gnu::cold]] Status InvalidInput(std::string message);
[[gnu::cold]] Status NotFound(std::string message);
[[gnu::cold]] Status Unavailable(std::string message);
[[gnu::cold]] Status DeadlineExceeded(std::string message);
[[gnu::cold]] Status Cancelled(std::string message);
[[gnu::cold]] Status Unsupported(std::string message);
[[gnu::cold]] Status Internal(std::string message);

// Either a value or the failed Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : state_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return std::holds_alternative<T>(state_); }
  Status status() const { return ok() ? Status::Ok() : std::get<Status>(state_); }

  // REQUIRES: ok()
  T& value() & { return std::get<T>(state_); }
  const T& value() const& { return std::get<T>(state_); }
  T&& value() && { return std::get<T>(std::move(state_)); }
  T* operator->() { return &value(); }
  T& operator*() & { return value(); }
  T&& operator*() && { return std::move(*this).value(); }

 private:
  std::variant<Status, T> state_;
};

}  // namespace falaj

// Returns the failed status of `expr` from the enclosing function.
#define FALAJ_RETURN_IF_ERROR(expr)                                   \
  do {                                                                \
    if (::falaj::Status status_ = (expr); !status_.ok()) [[unlikely]] \
      return status_;                                                 \
  } while (false)
