#include "backend/sequence_backend.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

namespace falaj {
namespace {

using Kind = SequenceControl::Kind;

Shape WithRows(int64_t rows, const Shape& row) {
  std::array<int64_t, Shape::kMaxRank> dims{rows};
  std::copy(row.dims().begin(), row.dims().end(), dims.begin() + 1);
  return Shape(std::span<const int64_t>(dims).first(row.rank() + 1));
}

Shape WithoutRows(const Shape& shape) { return Shape(shape.dims().subspan(1)); }

template <typename T>
void Put(void* data, int64_t row, double value) {
  static_cast<T*>(data)[row] = static_cast<T>(value);
}

void PutNumber(const TensorView& view, int64_t row, double value) {
  switch (view.type) {
    case DataType::kBool:
      return Put<bool>(view.data, row, value);
    case DataType::kInt32:
      return Put<int32_t>(view.data, row, value);
    case DataType::kInt64:
      return Put<int64_t>(view.data, row, value);
    case DataType::kUint32:
      return Put<uint32_t>(view.data, row, value);
    case DataType::kUint64:
      return Put<uint64_t>(view.data, row, value);
    default:
      return Put<float>(view.data, row, value);
  }
}

template <typename T>
bool PutWhole(void* data, int64_t row, uint64_t number) {
  if (number > static_cast<uint64_t>(std::numeric_limits<T>::max())) return false;
  static_cast<T*>(data)[row] = static_cast<T>(number);
  return true;
}

// False where the id is none of that type. A text is viewed where it lies, a number is written to `digits`.
bool PutId(const TensorView& view, int64_t row, const SequenceId& id, std::string& digits) {
  if (view.type == DataType::kBytes) {
    if (id.text.empty()) digits = std::to_string(id.number);
    static_cast<std::string_view*>(view.data)[row] = id.text.empty() ? std::string_view(digits) : id.text;
    return true;
  }
  if (!id.text.empty()) return false;
  switch (view.type) {
    case DataType::kInt32:
      return PutWhole<int32_t>(view.data, row, id.number);
    case DataType::kInt64:
      return PutWhole<int64_t>(view.data, row, id.number);
    case DataType::kUint32:
      return PutWhole<uint32_t>(view.data, row, id.number);
    default:
      return PutWhole<uint64_t>(view.data, row, id.number);
  }
}

// Of `rows` rows, all of them.
size_t RowBytes(const TensorView& view, int64_t rows) {
  return rows == 0 ? 0 : view.bytes() / static_cast<size_t>(rows);
}

class SequenceInstance final : public Instance {
 public:
  SequenceInstance(const SequencePlan& plan, const ModelSignature& model, std::unique_ptr<Instance> instance)
      : plan_(plan),
        model_(model),
        instance_(std::move(instance)),
        memory_(model.inputs.size()),
        output_memory_(model.outputs.size()) {
    inputs_.resize(model.inputs.size());
    outputs_.resize(model.outputs.size());
  }

  Status Run(const BatchIo& io) override {
    Lay(io);
    FALAJ_RETURN_IF_ERROR(MakeRequestInputs(io));
    FALAJ_RETURN_IF_ERROR(MakeControls(io));
    FALAJ_RETURN_IF_ERROR(MakeValues(io));
    FALAJ_RETURN_IF_ERROR(MakeOutputs(io));
    FALAJ_RETURN_IF_ERROR(instance_->Run({inputs_, outputs_, io.owners}));
    for (size_t i = 0; i < plan_.outputs.size(); ++i) {
      FALAJ_RETURN_IF_ERROR(HandOutput(io, i));
    }
    for (size_t v = 0; v < plan_.values.size(); ++v) FALAJ_RETURN_IF_ERROR(Check(v));
    for (BatchMember& member : io.members) {
      if (member.state != nullptr && member.status.ok()) Keep(member);
    }
    return Status::Ok();
  }

 private:
  // Where the rows of io come to lie in the model's batch.
  void Lay(const BatchIo& io) {
    rows_ = plan_.batches ? io.inputs[0].shape[0] : 1;
    places_.resize(static_cast<size_t>(rows_));
    for (size_t row = 0; row < places_.size(); ++row) places_[row] = static_cast<int64_t>(row);
    height_ = rows_;
    moved_ = false;
    if (!plan_.by_slot) return;
    height_ = 0;
    for (const BatchMember& member : io.members) {
      if (member.state != nullptr) places_[static_cast<size_t>(member.first_row)] = member.state->slot;
    }
    for (size_t row = 0; row < places_.size(); ++row) {
      moved_ = moved_ || places_[row] != static_cast<int64_t>(row);
      height_ = std::max(height_, places_[row] + 1);
    }
    moved_ = moved_ || height_ != rows_;
  }

  int64_t PlaceOf(const BatchMember& member) const { return places_[static_cast<size_t>(member.first_row)]; }

  Status MakeRequestInputs(const BatchIo& io) {
    for (size_t i = 0; i < plan_.inputs.size(); ++i) {
      const TensorView& given = io.inputs[i];
      TensorView& made = inputs_[plan_.inputs[i]];
      made = given;
      if (!moved_) continue;
      made.shape[0] = height_;
      FALAJ_RETURN_IF_ERROR(MakeRoom(memory_[plan_.inputs[i]], made));
      std::memset(made.data, 0, made.bytes());  // of BYTES: empty texts
      const size_t bytes = RowBytes(given, rows_);
      for (size_t row = 0; row < places_.size(); ++row) {
        std::memcpy(At(made, places_[row], bytes), At(given, static_cast<int64_t>(row), bytes), bytes);
      }
    }
    return Status::Ok();
  }

  Status MakeControls(const BatchIo& io) {
    digits_.resize(io.members.size());
    for (const SequenceControl& control : plan_.controls) {
      const TensorSpec& spec = model_.inputs[control.input];
      TensorView& made = inputs_[control.input];
      made.type = spec.type;
      made.shape = Shape(spec.shape);
      if (plan_.batches) made.shape[0] = height_;
      FALAJ_RETURN_IF_ERROR(MakeRoom(memory_[control.input], made));
      std::memset(made.data, 0, made.bytes());
      if (control.kind != Kind::kId) {
        for (int64_t row = 0; row < height_; ++row) PutNumber(made, row, control.off);
      }
      for (size_t m = 0; m < io.members.size(); ++m) PutControl(control, io.members[m], made, digits_[m]);
    }
    return Status::Ok();
  }

  void PutControl(const SequenceControl& control, BatchMember& member, const TensorView& made,
                  std::string& digits) const {
    const RequestSequence& sequence = *member.sequence;
    // What no sequence has is run as one that has just begun.
    const bool begins = member.state == nullptr || sequence.start;
    const bool on = control.kind == Kind::kReady || (control.kind == Kind::kStart && begins) ||
                    (control.kind == Kind::kEnd && sequence.end);
    if (control.kind != Kind::kId) {
      for (int64_t row = 0; row < member.rows; ++row) {
        if (on) PutNumber(made, PlaceOf(member) + row, control.on);
      }
    } else if (!PutId(made, PlaceOf(member), sequence.id, digits)) {
      member.status = InvalidInput("sequence_id " + sequence.id.ToString() +
                                   ": the model takes ids of type " + DataTypeName(made.type));
    }
  }

  // The first's: where shapes vary, it is alone.
  const Shape& RowShape(size_t v, const BatchIo& io) const {
    if (io.members.empty() || io.members[0].state == nullptr || io.members[0].state->values.empty()) {
      return plan_.values[v].initial_shape;
    }
    return io.members[0].state->values[v].shape;
  }

  Status MakeValues(const BatchIo& io) {
    for (size_t v = 0; v < plan_.values.size(); ++v) {
      const SequenceValue& value = plan_.values[v];
      TensorView& made = inputs_[value.input];
      made.type = model_.inputs[value.input].type;
      const Shape& row = RowShape(v, io);
      made.shape = plan_.batches ? WithRows(height_, row) : row;
      FALAJ_RETURN_IF_ERROR(MakeRoom(memory_[value.input], made));
      const size_t bytes = RowBytes(made, height_);
      if (value.initial.empty()) {
        std::memset(made.data, 0, made.bytes());
      } else {
        for (int64_t i = 0; i < height_; ++i) std::memcpy(At(made, i, bytes), value.initial.data(), bytes);
      }
      for (const BatchMember& member : io.members) {
        if (member.state == nullptr || member.state->values.empty()) continue;
        std::memcpy(At(made, PlaceOf(member), bytes), member.state->values[v].bytes.data(), bytes);
      }
    }
    return Status::Ok();
  }

  Status MakeOutputs(const BatchIo& io) {
    for (size_t i = 0; i < plan_.outputs.size(); ++i) {
      TensorView& made = outputs_[plan_.outputs[i]];
      made = io.outputs[i];
      if (moved_) made.data = nullptr;
    }
    for (const SequenceValue& value : plan_.values) {
      TensorView& made = outputs_[value.output];
      made = {model_.outputs[value.output].type, inputs_[value.input].shape, nullptr};
      const std::vector<int64_t>& shape = model_.outputs[value.output].shape;
      const auto varies = std::count_if(shape.begin(), shape.end(), [](int64_t size) { return size < 0; });
      if (varies > (plan_.batches ? 1 : 0)) continue;  // the model makes it as large as it is
      FALAJ_RETURN_IF_ERROR(MakeRoom(output_memory_[value.output], made));
    }
    return Status::Ok();
  }

  // Brings the rows that were asked for from where the model wrote them.
  Status HandOutput(const BatchIo& io, size_t i) {
    const TensorView& made = outputs_[plan_.outputs[i]];
    TensorView& wanted = io.outputs[i];
    if (!moved_) {
      wanted = made;
      return Status::Ok();
    }
    if (made.shape.rank() == 0 || made.shape[0] != height_) {
      return Internal("output '" + model_.outputs[plan_.outputs[i]].name + "': expected " +
                      std::to_string(height_) + " rows, the model gave " + made.shape.ToString());
    }
    const size_t bytes = RowBytes(made, height_);
    if (wanted.data == nullptr) {
      auto memory = std::make_shared<Buffer>();
      wanted.shape = made.shape;
      wanted.shape[0] = rows_;
      FALAJ_RETURN_IF_ERROR(MakeRoom(*memory, wanted));
      io.owners->push_back(std::move(memory));
    } else if (wanted.bytes() != static_cast<size_t>(rows_) * bytes) {
      return Internal("output '" + model_.outputs[plan_.outputs[i]].name + "': expected rows of " +
                      wanted.shape.ToString() + ", the model gave " + made.shape.ToString());
    }
    for (size_t row = 0; row < places_.size(); ++row) {
      std::memcpy(At(wanted, static_cast<int64_t>(row), bytes), At(made, places_[row], bytes), bytes);
    }
    return Status::Ok();
  }

  // That a value came back as it may be kept.
  Status Check(size_t v) const {
    const TensorView& made = outputs_[plan_.values[v].output];
    const std::string& name = model_.outputs[plan_.values[v].output].name;
    if (plan_.batches && (made.shape.rank() == 0 || made.shape[0] != height_)) {
      return Internal("state '" + name + "': expected " + std::to_string(height_) + " rows, the model gave " +
                      made.shape.ToString());
    }
    if (RowBytes(made, height_) <= plan_.max_value_bytes) return Status::Ok();
    return Unavailable("state '" + name + "': " + std::to_string(RowBytes(made, height_)) +
                       " bytes for a sequence are more than the bound of " +
                       std::to_string(plan_.max_value_bytes));
  }

  void Keep(BatchMember& member) {
    SequenceState& state = *member.state;
    std::vector<SequenceState::Value> values = std::move(state.values);
    values.resize(plan_.values.size());
    for (size_t v = 0; v < values.size(); ++v) {
      const TensorView& made = outputs_[plan_.values[v].output];
      const size_t bytes = RowBytes(made, height_);
      values[v].shape = plan_.batches ? WithoutRows(made.shape) : made.shape;
      member.status = values[v].bytes.Reserve(bytes);
      if (!member.status.ok()) return;  // the sequence begins anew
      std::memcpy(values[v].bytes.data(), At(made, PlaceOf(member), bytes), bytes);
    }
    state.values = std::move(values);
  }

  static Status MakeRoom(Buffer& memory, TensorView& view) {
    FALAJ_RETURN_IF_ERROR(memory.Reserve(std::max<size_t>(1, view.bytes())));
    view.data = memory.data();
    return Status::Ok();
  }

  static std::byte* At(const TensorView& view, int64_t row, size_t row_bytes) {
    return static_cast<std::byte*>(view.data) + static_cast<size_t>(row) * row_bytes;
  }

  const SequencePlan& plan_;
  const ModelSignature& model_;
  const std::unique_ptr<Instance> instance_;
  // Of the batch that is run.
  int64_t rows_ = 0;             // of the requests
  int64_t height_ = 0;           // of the model
  std::vector<int64_t> places_;  // of each of rows_ in height_
  bool moved_ = false;           // they are not the same
  std::vector<TensorView> inputs_, outputs_;
  std::vector<Buffer> memory_, output_memory_;
  std::vector<std::string> digits_;
};

class SequenceBackend final : public Backend {
 public:
  SequenceBackend(std::unique_ptr<Backend> model, SequencePlan plan)
      : model_(std::move(model)), plan_(std::move(plan)) {
    for (const size_t input : plan_.inputs) signature_.inputs.push_back(model_->Describe().inputs[input]);
    for (const size_t output : plan_.outputs)
      signature_.outputs.push_back(model_->Describe().outputs[output]);
  }

  const ModelSignature& Describe() const override { return signature_; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    auto instance = model_->NewInstance();
    if (!instance.ok()) return instance.status();
    return std::unique_ptr<Instance>(
        std::make_unique<SequenceInstance>(plan_, model_->Describe(), std::move(instance).value()));
  }
  size_t MemoryUsed() const override { return model_->MemoryUsed(); }
  std::string Placement() const override { return model_->Placement(); }

 private:
  const std::unique_ptr<Backend> model_;
  const SequencePlan plan_;
  ModelSignature signature_;
};

bool IsControlType(Kind kind, DataType type) {
  switch (type) {
    case DataType::kInt32:
    case DataType::kInt64:
    case DataType::kUint32:
    case DataType::kUint64:
      return true;
    case DataType::kBool:
    case DataType::kFp32:
      return kind != Kind::kId;
    case DataType::kBytes:
      return kind == Kind::kId;
    default:
      return false;
  }
}

Status CheckControl(const SequenceControl& control, const TensorSpec& spec, bool batches) {
  if (!IsControlType(control.kind, spec.type)) {
    const char* const expected = control.kind == Kind::kId ? "INT32, INT64, UINT32, UINT64 or BYTES"
                                                           : "BOOL, INT32, INT64, UINT32, UINT64 or FP32";
    return InvalidInput("control '" + spec.name + "': expected " + expected + ", the model has " +
                        spec.ToString());
  }
  for (size_t i = 0; i < spec.shape.size(); ++i) {
    if (batches && i == 0 ? spec.shape[i] < 0 : spec.shape[i] == 1) continue;
    return InvalidInput("control '" + spec.name + "': expected one element a sequence, the model has " +
                        spec.ToString());
  }
  return Status::Ok();
}

Status CheckValue(const SequenceValue& value, const ModelSignature& model, bool batches) {
  const TensorSpec& input = model.inputs[value.input];
  const TensorSpec& output = model.outputs[value.output];
  const size_t rank = value.initial_shape.rank() + (batches ? 1 : 0);
  if (input.type != output.type || input.type == DataType::kBytes || input.shape.size() != rank ||
      output.shape.size() != rank) {
    return InvalidInput("state '" + input.name +
                        "': expected an input and an output of one type of numbers and " +
                        std::to_string(rank) + " dimensions, the model has " + input.ToString() + " and '" +
                        output.name + "' " + output.ToString());
  }
  for (size_t i = batches ? 1 : 0; i < rank; ++i) {
    const int64_t size = value.initial_shape[i - (batches ? 1 : 0)];
    if (size >= 0 && (input.shape[i] < 0 || input.shape[i] == size)) continue;
    return InvalidInput("state '" + input.name + "': a sequence begins with " +
                        value.initial_shape.ToString() + ", the model has " + input.ToString());
  }
  const auto elements = value.initial_shape.Elements();
  const size_t bytes = static_cast<size_t>(elements.value_or(0)) * ElementSize(input.type);
  if (value.initial.empty() || value.initial.size() == bytes) return Status::Ok();
  return InvalidInput("state '" + input.name + "': expected " + std::to_string(bytes) +
                      " bytes to begin with, got " + std::to_string(value.initial.size()));
}

}  // namespace

Status CheckSequencePlan(const ModelSignature& model, const SequencePlan& plan) {
  for (const SequenceControl& control : plan.controls) {
    FALAJ_RETURN_IF_ERROR(CheckControl(control, model.inputs[control.input], plan.batches));
  }
  for (const SequenceValue& value : plan.values) {
    FALAJ_RETURN_IF_ERROR(CheckValue(value, model, plan.batches));
  }
  if (!plan.inputs.empty()) return Status::Ok();
  return InvalidInput("expected an input that requests carry, all are controls or states");
}

std::unique_ptr<Backend> NewSequenceBackend(std::unique_ptr<Backend> model, SequencePlan plan) {
  return std::make_unique<SequenceBackend>(std::move(model), std::move(plan));
}

}  // namespace falaj
