#include "batch/assembly.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>

#include "batch/sequence_book.h"
#include "core/half.h"

namespace falaj {
namespace {

// Bytes of `view` below dimension `first`.
size_t TailBytes(const TensorView& view, size_t first) {
  return static_cast<size_t>(view.shape.Elements(first).value_or(0)) * ElementSize(view.type);
}

template <typename T>
void Fill(void* data, size_t elements, double value) {
  std::fill_n(static_cast<T*>(data), elements, static_cast<T>(value));
}

void FillElements(const TensorView& view, double value) {
  const auto n = static_cast<size_t>(view.elements());
  switch (view.type) {
    case DataType::kBool:
      return Fill<uint8_t>(view.data, n, value != 0 ? 1 : 0);
    case DataType::kUint8:
      return Fill<uint8_t>(view.data, n, value);
    case DataType::kUint16:
      return Fill<uint16_t>(view.data, n, value);
    case DataType::kUint32:
      return Fill<uint32_t>(view.data, n, value);
    case DataType::kUint64:
      return Fill<uint64_t>(view.data, n, value);
    case DataType::kInt8:
      return Fill<int8_t>(view.data, n, value);
    case DataType::kInt16:
      return Fill<int16_t>(view.data, n, value);
    case DataType::kInt32:
      return Fill<int32_t>(view.data, n, value);
    case DataType::kInt64:
      return Fill<int64_t>(view.data, n, value);
    case DataType::kFp16:
      return Fill<uint16_t>(view.data, n, HalfOf(value));
    case DataType::kBf16:
      return Fill<uint16_t>(view.data, n, BrainOf(value));
    case DataType::kFp32:
      return Fill<float>(view.data, n, value);
    case DataType::kFp64:
      return Fill<double>(view.data, n, value);
    case DataType::kBytes:
      std::fill_n(static_cast<std::string_view*>(view.data), n, std::string_view());
  }
}

// Copies `outer` runs of `run_bytes`, which lie `from_stride` and `to_stride` bytes apart.
void CopyRuns(const std::byte* from, size_t from_stride, std::byte* to, size_t to_stride, size_t run_bytes,
              size_t outer) {
  if (run_bytes == 0) return;
  for (size_t i = 0; i < outer; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, run_bytes);
}

size_t OuterRuns(const Shape& shape, size_t axis) {
  size_t outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= static_cast<size_t>(shape[i]);
  return outer;
}

}  // namespace

Status BatchAssembly::Assemble(std::span<Request* const> members, SlabPool& slabs) {
  EndRun();
  inputs_.clear();
  outputs_.clear();
  first_rows_.clear();
  elements_ = padding_elements_ = 0;
  rows_ = 0;
  int64_t first_row = 0;
  if (TakeInPlace(members)) {
    first_row = std::numeric_limits<int64_t>::max();
    for (const Request* member : members) first_row = std::min(first_row, member->slab_row_);
    for (const Request* member : members) {
      first_rows_.push_back(member->slab_row_ - first_row);
      rows_ += member->rows_;
    }
    for (size_t i = 0; i < options_->inputs.size(); ++i) {
      inputs_.push_back(slab_->Input(i, first_row, rows_));
    }
  } else {
    auto slab = slabs.Get(SlabPool::Need::kMust);
    if (!slab.ok()) return slab.status();
    slab_ = std::move(slab.value());
    for (const Request* member : members) {
      first_rows_.push_back(rows_);
      rows_ += member->rows_;
    }
    for (size_t i = 0; i < options_->inputs.size(); ++i) {
      FALAJ_RETURN_IF_ERROR(GatherInput(i, members));
    }
  }
  if (options_->tells_members) TellMembers(members);
  const SlabLayout& layout = slabs.layout();
  for (size_t i = 0; i < layout.outputs.size(); ++i) {
    if (layout.outputs[i].row_bytes > 0 && rows_ <= layout.rows) {
      outputs_.push_back(slab_->Output(i, first_row, rows_));
    } else {
      outputs_.push_back({layout.outputs[i].type, {}, nullptr});
    }
  }
  if (members.size() == 1 && !members[0]->output_places.empty()) PlaceOutputs(*members[0]);
  return Status::Ok();
}

// Of a batch of one: where the size of an output is known beforehand, the backend writes it where it is
// wanted.
void BatchAssembly::PlaceOutputs(const Request& member) {
  for (size_t i = 0; i < outputs_.size(); ++i) {
    TensorView& view = outputs_[i];
    const std::span<std::byte> place = member.output_places[i];
    if (view.data == nullptr || options_->outputs[i].unpad_axis >= 0) continue;
    if (!place.empty() && view.bytes() <= place.size()) view.data = place.data();
  }
}

void BatchAssembly::TellMembers(std::span<Request* const> members) {
  members_.clear();
  for (size_t i = 0; i < members.size(); ++i) {
    members_.push_back({.first_row = first_rows_[i],
                        .rows = members[i]->rows_,
                        .features = &members[i]->features,
                        .status = Status(),
                        .features_stale = false,
                        .sequence = &members[i]->sequence,
                        .state = members[i]->live_ ? &members[i]->live_->state : nullptr,
                        .answers = members[i]->parts_.get()});
  }
}

bool BatchAssembly::CanJoin(const Request& first, const Request& other) const {
  for (const InputPlan& plan : options_->inputs) {
    if (options_->signature.inputs[static_cast<size_t>(plan.source)].optional) break;
    const Shape& a = first.inputs_[static_cast<size_t>(plan.source)].shape;
    const Shape& b = other.inputs_[static_cast<size_t>(plan.source)].shape;
    if (plan.is_mask) continue;
    if (a.rank() != b.rank()) return false;
    for (size_t d = 1; d < a.rank(); ++d) {
      if (static_cast<int>(d) != plan.pad_axis && a[d] != b[d]) return false;
    }
  }
  return true;
}

bool BatchAssembly::TakeInPlace(std::span<Request* const> members) {
  Slab* slab = members[0]->slab_.get();
  if (slab == nullptr) return false;
  int64_t low = std::numeric_limits<int64_t>::max();
  int64_t high = 0;
  int64_t rows = 0;
  for (const Request* member : members) {
    if (member->slab_.get() != slab) return false;
    low = std::min(low, member->slab_row_);
    high = std::max(high, member->slab_row_ + member->rows_);
    rows += member->rows_;
  }
  // Reserved rows are disjoint, so equal sums mean that there is no gap. Their order does not matter.
  if (high - low != rows) return false;
  if (slab->running.exchange(true, std::memory_order_acquire)) return false;
  slab_ = RefPtr<Slab>(slab);
  in_place_ = true;
  return true;
}

Result<TensorView> BatchAssembly::NewInput(size_t backend_input, DataType type, const Shape& shape) {
  if (slab_->gathered.size() < options_->inputs.size()) slab_->gathered.resize(options_->inputs.size());
  TensorView view{type, shape, nullptr};
  const auto elements = shape.Elements();
  const auto bytes =
      elements ? CheckedMultiply(static_cast<size_t>(*elements), ElementSize(type)) : std::nullopt;
  if (!bytes) return InvalidInput("a batch of shape " + shape.ToString() + " is too large to address");
  Buffer& buffer = slab_->gathered[backend_input];
  FALAJ_RETURN_IF_ERROR(buffer.Reserve(*bytes));
  view.data = buffer.data();
  return view;
}

bool BatchAssembly::LieTogether(size_t source, std::span<Request* const> members) {
  const size_t row_bytes = TailBytes(members[0]->inputs_[source], 1);
  const auto* next = static_cast<const std::byte*>(members[0]->inputs_[source].data);
  for (const Request* member : members) {
    // Memory that is kept for as long as the request, whatever becomes of its neighbours.
    if (!member->keep_alive_ || member->inputs_[source].data != next) return false;
    next += row_bytes * static_cast<size_t>(member->rows_);
  }
  return true;
}

Status BatchAssembly::GatherInput(size_t backend_input, std::span<Request* const> members) {
  const InputPlan& plan = options_->inputs[backend_input];
  if (plan.is_mask) return GatherMask(backend_input, members);
  const auto source = static_cast<size_t>(plan.source);
  if (plan.pad_axis >= 0) return GatherPadded(backend_input, members);
  if (options_->signature.inputs[source].optional) return GatherOptional(backend_input, members);
  const TensorView& first = members[0]->inputs_[source];
  if (members.size() == 1) {
    inputs_.push_back(first);
    return Status::Ok();
  }
  Shape shape = first.shape;
  shape[0] = rows_;
  if (LieTogether(source, members)) {
    inputs_.push_back({first.type, shape, first.data});
    return Status::Ok();
  }
  Result<TensorView> view = TensorView();
  if (slab_->HoldsInput(source, rows_)) {
    view = slab_->Input(source, 0, rows_);
  } else {
    view = NewInput(backend_input, first.type, shape);
    if (!view.ok()) return view.status();
  }
  const size_t row_bytes = TailBytes(first, 1);
  auto* to = static_cast<std::byte*>(view->data);
  for (size_t m = 0; m < members.size(); ++m) {
    const TensorView& from = members[m]->inputs_[source];
    const size_t bytes = row_bytes * static_cast<size_t>(members[m]->rows_);
    if (bytes > 0) std::memcpy(to + row_bytes * static_cast<size_t>(first_rows_[m]), from.data, bytes);
  }
  inputs_.push_back(*view);
  return Status::Ok();
}

// The rows of members that did not bring it are left as they are.
Status BatchAssembly::GatherOptional(size_t backend_input, std::span<Request* const> members) {
  const auto source = static_cast<size_t>(options_->inputs[backend_input].source);
  const TensorSpec& spec = options_->signature.inputs[source];
  Result<TensorView> view = TensorView();
  if (slab_->HoldsInput(source, rows_)) {
    view = slab_->Input(source, 0, rows_);
  } else {
    view = NewInput(backend_input, spec.type, spec.OfRows(rows_));
    if (!view.ok()) return view.status();
  }
  const size_t row_bytes = TailBytes(*view, 1);
  auto* to = static_cast<std::byte*>(view->data);
  for (size_t m = 0; m < members.size(); ++m) {
    const std::vector<size_t>& given = members[m]->features.given;
    if (std::find(given.begin(), given.end(), source) == given.end()) continue;
    const size_t bytes = row_bytes * static_cast<size_t>(members[m]->rows_);
    const void* from = members[m]->inputs_[source].data;
    if (bytes > 0) std::memcpy(to + row_bytes * static_cast<size_t>(first_rows_[m]), from, bytes);
  }
  inputs_.push_back(*view);
  return Status::Ok();
}

Status BatchAssembly::GatherPadded(size_t backend_input, std::span<Request* const> members) {
  const InputPlan& plan = options_->inputs[backend_input];
  const auto source = static_cast<size_t>(plan.source);
  const auto axis = static_cast<size_t>(plan.pad_axis);
  Shape shape = members[0]->inputs_[source].shape;
  shape[0] = rows_;
  uint64_t real = 0;
  for (const Request* member : members) {
    shape[axis] = std::max(shape[axis], member->inputs_[source].shape[axis]);
    real += static_cast<uint64_t>(member->inputs_[source].elements());
  }
  auto view = NewInput(backend_input, members[0]->inputs_[source].type, shape);
  if (!view.ok()) return view.status();
  const auto all = static_cast<uint64_t>(view->elements());
  elements_ += real;
  padding_elements_ += all - real;
  if (all != real) FillElements(*view, plan.pad_value);
  const size_t to_stride = TailBytes(*view, axis);
  auto* to = static_cast<std::byte*>(view->data);
  for (size_t m = 0; m < members.size(); ++m) {
    const TensorView& from = members[m]->inputs_[source];
    const size_t run = TailBytes(from, axis);
    const size_t row_start = TailBytes(*view, 1) * static_cast<size_t>(first_rows_[m]);
    CopyRuns(static_cast<const std::byte*>(from.data), run, to + row_start, to_stride, run,
             OuterRuns(from.shape, axis));
  }
  inputs_.push_back(*view);
  return Status::Ok();
}

Status BatchAssembly::GatherMask(size_t backend_input, std::span<Request* const> members) {
  const InputPlan& plan = options_->inputs[backend_input];
  const auto source = static_cast<size_t>(plan.source);
  const auto axis = static_cast<size_t>(plan.pad_axis);
  int64_t longest = 0;
  for (const Request* member : members) {
    longest = std::max(longest, member->inputs_[source].shape[axis]);
  }
  auto view = NewInput(backend_input, options_->mask_types[backend_input], Shape{rows_, longest});
  if (!view.ok()) return view.status();
  FillElements(*view, 0);
  const size_t size = ElementSize(view->type);
  for (size_t m = 0; m < members.size(); ++m) {
    const int64_t length = members[m]->inputs_[source].shape[axis];
    for (int64_t row = first_rows_[m]; row < first_rows_[m] + members[m]->rows_; ++row) {
      auto* start = static_cast<std::byte*>(view->data) + static_cast<size_t>(row * longest) * size;
      FillElements({view->type, Shape{length}, start}, 1);
    }
  }
  inputs_.push_back(*view);
  return Status::Ok();
}

Status BatchAssembly::CheckOutputs() const {
  if (options_->max_batch_rows == 0 || options_->decoupled) return Status::Ok();
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Shape& shape = outputs_[i].shape;
    if (options_->signature.outputs[i].optional || (shape.rank() > 0 && shape[0] == rows_)) continue;
    return Internal("model '" + options_->model + "' version " + std::to_string(options_->version) +
                    ", output '" + options_->signature.outputs[i].name +
                    "': expected one result for each of " + std::to_string(rows_) + " rows, got shape " +
                    shape.ToString() + "; the model cannot be batched (set max_batch_size = 0)");
  }
  return Status::Ok();
}

Status BatchAssembly::Extract(size_t index, Request& member) {
  member.outputs_.clear();
  if (options_->tells_members) {
    if (const Status& status = members_[index].status; !status.ok()) {
      return Status(status.code(), "model '" + options_->model + "' version " +
                                       std::to_string(options_->version) + ": " + status.message());
    }
    member.features_stale_ = members_[index].features_stale;
  }
  if (options_->decoupled) return Status::Ok();  // they were delivered
  for (size_t i = 0; i < outputs_.size(); ++i) {
    if (options_->signature.outputs[i].optional && !member.features.wanted) break;
    TensorView view = outputs_[i];
    if (options_->max_batch_rows > 0) {
      if (options_->outputs[i].unpad_axis >= 0) {
        FALAJ_RETURN_IF_ERROR(Unpad(member, i, view, first_rows_[index]));
        continue;
      }
      view.data =
          static_cast<std::byte*>(view.data) + TailBytes(view, 1) * static_cast<size_t>(first_rows_[index]);
      view.shape[0] = member.rows_;
    }
    member.outputs_.push_back(view);
  }
  member.slab_ = slab_;
  return Status::Ok();
}

Status BatchAssembly::Unpad(Request& member, size_t output, TensorView whole, int64_t first_row) {
  const OutputPlan& plan = options_->outputs[output];
  const auto axis = static_cast<size_t>(plan.unpad_axis);
  int pad_axis = 1;
  for (const InputPlan& input : options_->inputs) {
    if (!input.is_mask && input.source == plan.like_input && input.pad_axis >= 0) pad_axis = input.pad_axis;
  }
  const int64_t length =
      member.inputs_[static_cast<size_t>(plan.like_input)].shape[static_cast<size_t>(pad_axis)];
  if (axis >= whole.shape.rank() || whole.shape[axis] < length) {
    return Internal("model '" + options_->model + "', output '" + options_->signature.outputs[output].name +
                    "': expected at least " + std::to_string(length) + " elements on axis " +
                    std::to_string(axis) + " to cut padding from, got shape " + whole.shape.ToString());
  }
  TensorView cut{whole.type, whole.shape, nullptr};
  cut.shape[0] = member.rows_;
  cut.shape[axis] = length;
  auto buffer = std::make_shared<Buffer>();
  FALAJ_RETURN_IF_ERROR(buffer->Reserve(cut.bytes()));
  cut.data = buffer->data();
  const size_t run = TailBytes(cut, axis);
  CopyRuns(static_cast<const std::byte*>(whole.data) + TailBytes(whole, 1) * static_cast<size_t>(first_row),
           TailBytes(whole, axis), buffer->data(), run, run, OuterRuns(cut.shape, axis));
  member.own_outputs_.push_back(std::move(buffer));
  member.outputs_.push_back(cut);
  return Status::Ok();
}

}  // namespace falaj
