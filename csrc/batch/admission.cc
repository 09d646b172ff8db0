// The submitting half of Batcher: shapes, admission, and memory for the request's tensors.
#include <algorithm>
#include <array>

#include "batch/batcher.h"

namespace falaj {
namespace {

constexpr size_t kAlign = 64;

size_t Aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

bool Matches(const TensorSpec& spec, const Shape& shape) {
  if (spec.shape.size() != shape.rank()) return false;
  for (size_t i = 0; i < shape.rank(); ++i) {
    if (shape[i] < 0 || (spec.shape[i] >= 0 && spec.shape[i] != shape[i])) return false;
  }
  return true;
}

uint64_t Mix(uint64_t hash, int64_t value) {
  hash ^= static_cast<uint64_t>(value) + 0x9E3779B97F4A7C15u + (hash << 6) + (hash >> 2);
  return hash * 0xff51afd7ed558ccdu;
}

std::string Milliseconds(Nanos time) {
  const int64_t tenths = (time.count() + 50'000) / 100'000;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " ms";
}

}  // namespace

std::string Batcher::Name() const {
  return "model '" + options_.model + "' version " + std::to_string(options_.version);
}

Status Batcher::CheckShapes(Request& request, std::span<const Shape> shapes) const {
  const auto& specs = signature().inputs;
  if (shapes.size() != specs.size() && shapes.size() != required_inputs_) {
    return InvalidInput(Name() + ": expected " + std::to_string(required_inputs_) + " inputs, got " +
                        std::to_string(shapes.size()));
  }
  const bool batches = options_.max_batch_rows > 0;
  const int64_t rows = batches && !shapes.empty() && shapes[0].rank() > 0 ? shapes[0][0] : 1;
  size_t bytes = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const auto where = [&] { return Name() + ", input '" + specs[i].name + "': "; };
    if (!Matches(specs[i], shapes[i])) {
      return InvalidInput(where() + "expected " + specs[i].ToString() + ", got " +
                          DataTypeName(specs[i].type) + " " + shapes[i].ToString());
    }
    const auto elements = shapes[i].Elements();
    const auto size =
        elements ? CheckedMultiply(static_cast<size_t>(*elements), ElementSize(specs[i].type)) : std::nullopt;
    if (!size || *size > static_cast<size_t>(options_.max_request_bytes) - bytes) {
      return InvalidInput(where() + "shape " + shapes[i].ToString() + " is larger than the bound of " +
                          std::to_string(options_.max_request_bytes) + " bytes for one request");
    }
    bytes += *size;
    if (*elements == 0 && options_.needs_elements) {
      return InvalidInput(where() + "expected elements, got shape " + shapes[i].ToString() +
                          ": the model has a recurrent layer, which cannot be run on none");
    }
    if (batches && shapes[i][0] != rows) {
      return InvalidInput(where() + "expected " + std::to_string(rows) + " rows as in input '" +
                          specs[0].name + "', got " + std::to_string(shapes[i][0]));
    }
  }
  if (batches && rows > options_.max_request_rows) {
    return InvalidInput(Name() + ": expected at most " + std::to_string(options_.max_request_rows) +
                        " rows (max_batch_size), got " + std::to_string(rows));
  }
  request.rows_ = rows;
  request.signature_ = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    if (specs[i].optional) break;  // those have but one shape
    for (size_t d = batches ? 1 : 0; d < shapes[i].rank(); ++d) {
      const bool padded = static_cast<int>(d) == padded_axes_[i];
      request.signature_ = Mix(request.signature_, padded ? -1 : shapes[i][d]);
    }
  }
  return Status::Ok();
}

Nanos Batcher::UntilInstance(TimePoint now, int64_t nth) const {
  if (nth < static_cast<int64_t>(free_lanes_.size())) return Nanos(0);
  constexpr size_t kMost = 64;
  std::array<Nanos, kMost> left;
  const size_t count = std::min(kMost, lanes_.size());
  for (size_t i = 0; i < count; ++i) {
    const bool idle = std::find(free_lanes_.begin(), free_lanes_.end(), lanes_[i].get()) != free_lanes_.end();
    left[i] = idle ? Nanos(0) : std::max(Nanos(0), lanes_[i]->expected - (now - lanes_[i]->started));
  }
  const auto position = left.begin() + std::min<int64_t>(nth, static_cast<int64_t>(count) - 1);
  std::nth_element(left.begin(), position, left.begin() + static_cast<std::ptrdiff_t>(count));
  return *position;
}

Status Batcher::CountInvalid(Status status) {
  MutexLock lock(mu_);
  ++admission_.refused_invalid;
  return status;
}

Status Batcher::Admit(Request& request) {
  if (closed_) return Unavailable(Name() + " is unloaded");
  const int level = request.priority == 0 ? options_.default_level : request.priority;
  if (level < 1 || level > static_cast<int>(options_.levels.size())) {
    ++admission_.refused_invalid;
    return InvalidInput(Name() + ": expected a priority of 0 (default) to " +
                        std::to_string(options_.levels.size()) + ", got " + std::to_string(request.priority));
  }
  request.level_ = static_cast<size_t>(level - 1);
  const LevelPolicy& policy = options_.levels[request.level_];
  request.arrived = clock_->Now();
  if (policy.default_timeout && (request.deadline == TimePoint::max() || !policy.allow_timeout_override)) {
    request.deadline = request.arrived + *policy.default_timeout;
  }
  if (request.deadline <= request.arrived) {
    ++admission_.refused_deadline;
    return DeadlineExceeded(Name() + ": the deadline had passed when the request arrived");
  }
  // Of a model with a cache only those wait for a run that are not answered without: see QueueOrJoin.
  if (!caches()) FALAJ_RETURN_IF_ERROR(AdmitToQueue(request));
  ++inflight_;
  request.admitted_ = true;
  return Status::Ok();
}

Status Batcher::CheckRoom(const Request& request) {
  const int64_t most = options_.levels[request.level_].max_requests;
  const auto waiting = static_cast<int64_t>(queue_.LevelSize(request.level_));
  // A request of more rows than the whole queue may have is let in when nothing waits.
  const bool fits = admitted_rows_ == 0 || admitted_rows_ + request.rows_ <= options_.max_queue_rows;
  if (!fits || (most > 0 && waiting >= most)) {
    ++admission_.refused_full;
    return Unavailable(Name() + ": the queue is full (" + std::to_string(admitted_rows_) + " of " +
                       std::to_string(options_.max_queue_rows) + " rows, " + std::to_string(waiting) +
                       " requests at priority " + std::to_string(request.level_ + 1) + ")");
  }
  return Status::Ok();
}

Status Batcher::AdmitToQueue(Request& request) {
  FALAJ_RETURN_IF_ERROR(CheckRoom(request));
  const int64_t ahead = queue_.RowsUpTo(request.level_);
  // A model with an instance to spare is always tried: it costs nobody, and a cost learned in a bad moment
  // corrects itself. So is one whose run should have ended: it may be delivering to the one who now asks.
  // A flow's own cost is nothing; each of its steps looks for itself.
  const bool idle = flow_ || (ahead == 0 && UntilInstance(request.arrived, 0) == Nanos(0));
  if (!idle && (request.deadline != TimePoint::max() || options_.slo)) {
    const int64_t max_rows = std::max<int64_t>(1, options_.max_batch_rows);
    const auto instances = static_cast<int64_t>(lanes_.size());
    // Batches are begun as instances get free, so the k-th from now waits for the k-th to be so.
    const int64_t batches_ahead = std::max<int64_t>(0, ahead + request.rows_ - 1) / max_rows;
    const Backlog backlog{ahead, static_cast<int>(free_lanes_.size()), static_cast<int>(instances),
                          UntilInstance(request.arrived, batches_ahead % instances)};
    const Nanos expected = ExpectedFinish(request.rows_, backlog, max_rows, curve_);
    if (request.deadline != TimePoint::max() && request.arrived + expected > request.deadline) {
      ++admission_.refused_deadline;
      return DeadlineExceeded(Name() + ": the deadline in " +
                              Milliseconds(request.deadline - request.arrived) +
                              " cannot be met, an answer is expected in " + Milliseconds(expected));
    }
    if (options_.slo) {
      request.promised_ = promise_.Of(expected);
      if (request.promised_ > *options_.slo) {
        ++admission_.refused_slo;
        return Unavailable(Name() + ": overloaded, an answer is expected in " +
                           Milliseconds(request.promised_) + ", slo_ms allows " +
                           Milliseconds(*options_.slo));
      }
    }
  }
  if (book_) FALAJ_RETURN_IF_ERROR(JoinSequence(request));
  admitted_rows_ += request.rows_;
  return Status::Ok();
}

Status Batcher::Place(Request& request, std::span<const Shape> shapes, size_t payload_bytes) {
  size_t bytes = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    const TensorView view{signature().inputs[i].type, shapes[i], nullptr};
    request.inputs_.push_back(view);
    bytes += Aligned(view.bytes());
  }
  FALAJ_RETURN_IF_ERROR(request.own_.Reserve(bytes + payload_bytes));
  std::byte* next = request.own_.data();
  for (TensorView& view : request.inputs_) {
    view.data = next;
    next += Aligned(view.bytes());
  }
  request.payload_ = next;
  return Status::Ok();
}

Status Batcher::Reserve(Request& request, std::span<const Shape> shapes, size_t payload_bytes) {
  if (Status status = CheckShapes(request, shapes); !status.ok()) return CountInvalid(std::move(status));
  if (Status status = CheckSequence(request); !status.ok()) return CountInvalid(std::move(status));
  if (payload_bytes > static_cast<size_t>(options_.max_request_bytes)) {
    return CountInvalid(InvalidInput(Name() + ": " + std::to_string(payload_bytes) +
                                     " bytes of BYTES elements are more than " + "the bound of " +
                                     std::to_string(options_.max_request_bytes) + " for one request"));
  }
  {
    MutexLock lock(mu_);
    FALAJ_RETURN_IF_ERROR(Admit(request));
    const int64_t rows = request.rows_;
    if (in_place_ && rows <= options_.max_batch_rows) {
      if (!open_slab_ || open_slab_->reserved_rows + rows > options_.max_batch_rows) {
        auto slab = slabs_.Get(SlabPool::Need::kMay);
        open_slab_ = slab.ok() ? std::move(slab.value()) : RefPtr<Slab>();
      }
      if (open_slab_) {
        request.slab_ = open_slab_;
        request.slab_row_ = open_slab_->reserved_rows;
        open_slab_->reserved_rows += rows;
      }
    }
  }
  if (!request.slab_) return Place(request, shapes, payload_bytes);
  for (size_t i = 0; i < shapes.size(); ++i) {
    request.inputs_.push_back(request.slab_->Input(i, request.slab_row_, request.rows_));
  }
  return Status::Ok();
}

Status Batcher::Attach(Request& request, std::span<const TensorView> views,
                       std::shared_ptr<void> keep_alive) {
  std::array<Shape, 64> shapes;
  if (views.size() > shapes.size()) return CountInvalid(InvalidInput(Name() + ": more than 64 inputs"));
  for (size_t i = 0; i < views.size(); ++i) shapes[i] = views[i].shape;
  Status status = CheckShapes(request, std::span<const Shape>(shapes.data(), views.size()));
  if (status.ok()) status = CheckSequence(request);
  if (!status.ok()) return CountInvalid(std::move(status));
  MutexLock lock(mu_);
  FALAJ_RETURN_IF_ERROR(Admit(request));
  request.inputs_.assign(views.begin(), views.end());
  request.keep_alive_ = std::move(keep_alive);
  return Status::Ok();
}

}  // namespace falaj
