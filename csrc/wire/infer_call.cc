#include "wire/infer_call.h"

#include <algorithm>

namespace falaj::wire {
namespace {

std::string Names(const std::vector<TensorSpec>& specs) {
  std::string text;
  for (const TensorSpec& spec : specs) text.append(text.empty() ? "'" : ", '").append(spec.name).append("'");
  return text.empty() ? "none" : text;
}

Status NoSuch(const Batcher& batcher, const char* kind, std::string_view name,
              const std::vector<TensorSpec>& specs) {
  return InvalidInput(batcher.Name() + " has no " + kind + " '" + std::string(name) + "'; its " + kind +
                      "s: " + Names(specs));
}

bool UsesSharedMemory(const InferHeader& header) {
  return std::any_of(header.inputs.begin(), header.inputs.end(),
                     [](const InputHeader& input) { return input.shared.has_value(); }) ||
         std::any_of(header.outputs.begin(), header.outputs.end(),
                     [](const OutputRequest& output) { return output.shared.has_value(); });
}

}  // namespace

void InferCall::Clear() {
  lease_.reset();
  request_ = RefPtr<Request>();
  taken_ = RefPtr<Request>();
  shared_.reset();
  outputs_.clear();
  classes_.clear();
}

Status InferCall::CheckInputs(const Batcher& batcher, const InferHeader& header) {
  const auto& specs = batcher.signature().inputs;
  order_.clear();
  for (const InputHeader& input : header.inputs) {
    const int index = batcher.signature().InputIndex(input.name);
    if (index < 0) return NoSuch(batcher, "input", input.name, specs);
    const TensorSpec& spec = specs[static_cast<size_t>(index)];
    if (input.type != spec.type) {
      return InvalidInput(batcher.Name() + ", input '" + spec.name + "': expected " + spec.ToString() +
                          ", got " + DataTypeName(input.type) + " " + input.shape.ToString());
    }
    order_.push_back(index);
  }
  if (order_.size() == specs.size()) return Status::Ok();  // names are distinct, so none is missing
  for (size_t i = 0; i < specs.size() && !specs[i].optional; ++i) {
    if (!IsGiven(i)) {
      return InvalidInput(batcher.Name() + ", input '" + specs[i].name + "': expected " +
                          specs[i].ToString() + ", it is missing from the request");
    }
  }
  return Status::Ok();
}

Status InferCall::ChooseOutputs(const Batcher& batcher, const InferHeader& header) {
  const auto& specs = batcher.signature().outputs;
  wanted_.clear();
  for (const OutputRequest& output : header.outputs) {
    const int index = batcher.signature().OutputIndex(output.name);
    if (index < 0) return NoSuch(batcher, "output", output.name, specs);
    if (output.classification > 0 && specs[static_cast<size_t>(index)].type == DataType::kBytes) {
      return InvalidInput(batcher.Name() + ", output '" + std::string(output.name) +
                          "': classification wants an output of numbers, and this one is BYTES");
    }
    wanted_.push_back(
        {index, output.binary.value_or(header.parameters.binary_output), output.classification});
  }
  const bool features = header.parameters.return_features;
  if (features && (specs.empty() || !specs.back().optional)) {
    return InvalidInput(batcher.Name() + ": return_features: it looks no features up");
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    const bool wanted = specs[i].optional ? features : header.outputs.empty();
    if (wanted && !IsChosen(static_cast<int>(i))) {
      wanted_.push_back({static_cast<int>(i), header.parameters.binary_output, 0});
    }
  }
  return Status::Ok();
}

bool InferCall::IsChosen(int output) const {
  return std::any_of(wanted_.begin(), wanted_.end(),
                     [&](const Wanted& wanted) { return wanted.index == output; });
}

bool InferCall::IsGiven(size_t input) const {
  return std::find(order_.begin(), order_.end(), static_cast<int>(input)) != order_.end();
}

void InferCall::TellFeatures(const Batcher& batcher, const InferHeader& header) {
  const ModelSignature& signature = batcher.signature();
  for (const int index : order_) {
    const auto input = static_cast<size_t>(index);
    if (signature.inputs[input].optional) request_->features.given.push_back(input);
  }
  for (const Wanted& wanted : wanted_) {
    if (signature.outputs[static_cast<size_t>(wanted.index)].optional) request_->features.wanted = true;
  }
  request_->features.id.assign(header.id);
}

Status UnknownToTriton(std::string_view model, int64_t version) {
  std::string text = "Request for unknown model: '" + std::string(model) + "'";
  if (version != 0) text += " version " + std::to_string(version);
  return NotFound(text + " is not found");
}

Status InferCall::Admit(const ModelTable& models, std::string_view model, int64_t version,
                        const InferHeader& header, size_t payload_bytes,
                        const std::shared_ptr<CompletionSink>& sink, uint64_t tag, TimePoint now,
                        TimePoint deadline, Nanos default_timeout, Takes takes,
                        const std::shared_ptr<SharedMemory>& shared_memory) {
  Clear();
  sequence_.id.number = header.parameters.sequence_number;
  sequence_.id.text.assign(header.parameters.sequence_text);
  sequence_.start = header.parameters.sequence_start;
  sequence_.end = header.parameters.sequence_end;
  auto found = models.Find(model, version, &sequence_);
  if (!found.ok()) return found.status();
  lease_.emplace(std::move(found).value());
  Batcher& batcher = **lease_;
  if (batcher.options().decoupled && takes == Takes::kOneAnswer) {
    return Unsupported(batcher.Name() +
                       " answers a request several times, or never (decoupled): ask it by ModelStreamInfer, "
                       "generate_stream or generate");
  }
  FALAJ_RETURN_IF_ERROR(CheckInputs(batcher, header));
  FALAJ_RETURN_IF_ERROR(ChooseOutputs(batcher, header));
  id_.assign(header.id);
  empty_final_ = header.parameters.empty_final;
  if (UsesSharedMemory(header)) {
    auto shared = SharedTensors::Find(shared_memory, batcher, header, order_);
    if (!shared.ok()) return shared.status();
    shared_ = std::move(*shared);
  }

  request_ = batcher.NewRequest();
  request_->sink = sink;
  request_->tag = tag;
  request_->priority = header.parameters.priority;
  request_->sequence = sequence_;
  request_->use_cache = header.parameters.cache;
  Nanos timeout = default_timeout;
  // A timeout beyond a century is none; the sum would pass the clock's range.
  constexpr int64_t kLongest = int64_t{100} * 365 * 24 * 3600 * 1'000'000;
  if (header.parameters.timeout_us && *header.parameters.timeout_us < kLongest) {
    timeout = std::chrono::microseconds(*header.parameters.timeout_us);
  }
  request_->deadline = timeout > Nanos(0) ? std::min(deadline, now + timeout) : deadline;

  if (batcher.options().tells_members) TellFeatures(batcher, header);
  SetShapes(batcher, header);
  FALAJ_RETURN_IF_ERROR(shared_ ? ReserveShared(batcher, payload_bytes) : Reserve(batcher, payload_bytes));
  inputs_.clear();
  for (const int index : order_) inputs_.push_back(request_->inputs()[static_cast<size_t>(index)]);
  return Status::Ok();
}

Status InferCall::Reserve(Batcher& batcher, size_t payload_bytes) {
  FALAJ_RETURN_IF_ERROR(batcher.Reserve(*request_, shapes_, payload_bytes));
  payload_ = request_->payload();
  return Status::Ok();
}

Status InferCall::ReserveShared(Batcher& batcher, size_t payload_bytes) {
  request_->places_owner = shared_;
  request_->reader_counts = true;  // its client may have cut a file before it is answered
  shared_->Place(request_->output_places);
  const size_t all = payload_bytes + shared_->payload_bytes();
  if (shared_->attaches()) {
    inputs_.clear();
    for (size_t i = 0; i < shapes_.size(); ++i) {
      inputs_.push_back({batcher.signature().inputs[i].type, shapes_[i], nullptr});
    }
    shared_->View(inputs_);
    FALAJ_RETURN_IF_ERROR(batcher.Attach(*request_, inputs_, shared_));
    auto payload = shared_->Own(request_->inputs(), all);
    if (!payload.ok()) return payload.status();
    payload_ = *payload;
  } else {
    FALAJ_RETURN_IF_ERROR(Reserve(batcher, all));
  }
  return shared_->Fill(request_->inputs(), payload_ + payload_bytes);
}

void InferCall::SetShapes(const Batcher& batcher, const InferHeader& header) {
  const auto& specs = batcher.signature().inputs;
  shapes_.resize(order_.size() == batcher.required_inputs() ? order_.size() : specs.size());
  for (size_t i = 0; i < order_.size(); ++i) {
    shapes_[static_cast<size_t>(order_[i])] = header.inputs[i].shape;
  }
  if (order_.size() == shapes_.size()) return;
  // Only optional ones are missing, and those have as many rows as the first.
  const int64_t rows = shapes_[0].rank() > 0 ? shapes_[0][0] : 0;
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].optional && !IsGiven(i)) shapes_[i] = specs[i].OfRows(rows);
  }
}

void InferCall::Enqueue(const TraceContext* trace) {
  if (trace != nullptr) request_->trace = *trace;
  request_->batcher().Enqueue(request_.get());
  lease_.reset();
}

void InferCall::Cancel() {
  if (request_ && !lease_) request_->batcher().Cancel(request_.get());
}

Status InferCall::Take(RefPtr<Request> request) {
  taken_ = std::move(request);
  if (!taken_->status().ok()) return taken_->status();
  Status status = TakeOutputs();
  if (taken_->reader_counts) taken_->batcher().CountAnswer(*taken_, status.ok());
  return status;
}

Status InferCall::TakeOutputs() {
  const Batcher& batcher = request_->batcher();
  outputs_.clear();
  if (is_last_of_many()) return Status::Ok();
  classes_.resize(wanted_.size());
  for (size_t i = 0; i < wanted_.size(); ++i) {
    const Wanted& wanted = wanted_[i];
    const TensorSpec& spec = batcher.signature().outputs[static_cast<size_t>(wanted.index)];
    OutputTensor output{spec.name, taken_->outputs()[static_cast<size_t>(wanted.index)], wanted.binary};
    if (wanted.classification > 0) {
      FALAJ_RETURN_IF_ERROR(Classify(output.view, batcher.options().max_batch_rows > 0, wanted.classification,
                                     spec.labels, classes_[i]));
      output.view = classes_[i].view;
    }
    outputs_.push_back(output);
  }
  return shared_ ? shared_->Finish(outputs_) : Status::Ok();
}

void InferCall::DropPart() {
  outputs_.clear();
  taken_ = RefPtr<Request>();
}

InferReply InferCall::reply() const {
  const BatcherOptions& options = request_->batcher().options();
  return {options.model,
          options.version,
          id_,
          outputs_,
          taken_->features_stale(),
          options.decoupled || empty_final_ ? std::optional(!taken_->is_part()) : std::nullopt};
}

}  // namespace falaj::wire
