#include "join/join_backend.h"

#include <algorithm>
#include <chrono>

#include "join/join_columns.h"

namespace falaj {
namespace {

constexpr std::string_view kStatusTexts[] = {"missing", "expired", "present"};  // by Presence
constexpr std::string_view kStale = "stale";

size_t RowsOf(const BatchIo& io) { return static_cast<size_t>(io.inputs[0].shape[0]); }

class JoinInstance final : public Instance {
 public:
  JoinInstance(const JoinPlan& plan, std::unique_ptr<Instance> model, int64_t (*now)(), ServedLog* log)
      : plan_(plan), model_(std::move(model)), now_(now) {
    if (log != nullptr) recorder_.emplace(plan, *log);
    keys_.resize(plan.views.size());
    pending_.resize(plan.views.size());
    found_.resize(plan.views.size());
    outages_.resize(plan.views.size());
    memory_.resize(plan.inputs.size());
  }

  Status Run(const BatchIo& io) override {
    FALAJ_RETURN_IF_ERROR(RunUnlogged(io));
    if (recorder_) recorder_->Record({io, found_, outages_, looked_up_at_});
    return Status::Ok();
  }

  Status RunUnlogged(const BatchIo& io) {
    rows_ = RowsOf(io);
    any_brought_ = std::any_of(io.members.begin(), io.members.end(),
                               [](const BatchMember& member) { return !member.features->given.empty(); });
    FALAJ_RETURN_IF_ERROR(LookUp(io));
    FALAJ_RETURN_IF_ERROR(MakeInputs(io));
    const std::span<TensorView> outputs = io.outputs.first(plan_.model_outputs);
    FALAJ_RETURN_IF_ERROR(model_->Run({inputs_, outputs, io.owners}));
    bool wanted = false;
    for (BatchMember& member : io.members) {
      wanted = wanted || member.features->wanted;
      Judge(io, member);
    }
    return wanted ? ShowFeatures(io) : Status::Ok();
  }

 private:
  // As of now, but for the requests that said as of when.
  AsOf TimesOf(const BatchIo& io) {
    const int64_t now = now_();
    if (!plan_.as_of_input || !any_brought_) return now;
    times_.assign(rows_, now);
    const auto* from = static_cast<const int64_t*>(io.inputs[*plan_.as_of_input].data);
    for (const BatchMember& member : io.members) {
      if (!Gave(member, *plan_.as_of_input)) continue;
      const auto first = static_cast<size_t>(member.first_row);
      std::copy_n(from + first, static_cast<size_t>(member.rows), times_.begin() + member.first_row);
    }
    return AsOf(times_);
  }

  // Shared stores are all asked before the first is waited for.
  Status LookUp(const BatchIo& io) {
    looked_up_at_ = TimesOf(io);
    const TimePoint begin = std::chrono::steady_clock::now();
    for (size_t v = 0; v < plan_.views.size(); ++v) {
      const JoinPlan::View& view = plan_.views[v];
      keys_[v].clear();
      for (const size_t input : view.keys) {
        const TensorView& key = io.inputs[input];
        keys_[v].push_back({key.type, static_cast<const std::byte*>(key.data), nullptr});
      }
      SharedView* const shared = view.view->shared();
      if (shared == nullptr) continue;
      const TimePoint deadline = view.budget ? begin + *view.budget : TimePoint::max();
      pending_[v] = shared->Ask({keys_[v], rows_, looked_up_at_, deadline, &found_[v], nullptr});
    }
    Status failed;
    for (size_t v = 0; v < plan_.views.size(); ++v) {
      const auto pending = std::move(pending_[v]);
      outages_[v] = pending != nullptr ? pending->Wait()
                                       : plan_.views[v].view->Read(keys_[v], rows_, looked_up_at_, found_[v]);
      if (!outages_[v].ok() && !IsOutage(outages_[v])) failed = outages_[v];
    }
    return failed;
  }

  Status MakeInputs(const BatchIo& io) {
    inputs_.clear();
    for (size_t i = 0; i < plan_.inputs.size(); ++i) {
      const JoinPlan::Input& input = plan_.inputs[i];
      if (input.passed) {
        inputs_.push_back(io.inputs[*input.passed]);
        continue;
      }
      const size_t columns = input.columns.size();
      const size_t size = ElementSize(input.type);
      FALAJ_RETURN_IF_ERROR(memory_[i].Reserve(rows_ * columns * size));
      const auto rows = static_cast<int64_t>(rows_);
      const Shape shape = input.flat ? Shape{rows} : Shape{rows, static_cast<int64_t>(columns)};
      for (size_t c = 0; c < columns; ++c) {
        const ColumnView to{input.type, memory_[i].data() + c * size, columns * size};
        const JoinPlan::Column& column = input.columns[c];
        if (column.is_feature) {
          const JoinPlan::View& view = plan_.views[plan_.features[column.index].view];
          const bool nan = view.on_missing == OnMissing::kNan;
          PutFeature(io, column.index, column.fallback, nan ? column.nan : column.fallback, to);
        } else {
          const TensorView& given = io.inputs[column.index];
          CopyColumn(given.type, static_cast<const std::byte*>(given.data), rows_, to);
        }
      }
      inputs_.push_back({input.type, shape, memory_[i].data()});
    }
    return Status::Ok();
  }

  // Writes a feature of all rows: what was found, what stands for it, or what its request brought instead.
  void PutFeature(const BatchIo& io, size_t index, const std::string& null, const std::string& missing,
                  const ColumnView& to) const {
    const JoinPlan::Feature& feature = plan_.features[index];
    const FeatureColumns& found = found_[feature.view];
    CopyColumn(feature.type, found.column(feature.column).data(), rows_, to);
    FillAbsent(found.nulls(feature.column), found.status(), null, missing, to);
    if (!any_brought_) return;
    const size_t input = plan_.first_feature_input + index;
    for (const BatchMember& member : io.members) {
      if (!Brought(member, index)) continue;
      const auto first = static_cast<size_t>(member.first_row);
      const auto* from = static_cast<const std::byte*>(io.inputs[input].data);
      CopyColumn(feature.type, from + first * ElementSize(feature.type), static_cast<size_t>(member.rows),
                 {to.type, to.data + first * to.stride, to.stride});
    }
  }

  bool Brought(const BatchMember& member, size_t feature) const {
    return Gave(member, plan_.first_feature_input + feature);
  }

  static bool Gave(const BatchMember& member, size_t input) {
    const std::vector<size_t>& given = member.features->given;
    return std::find(given.begin(), given.end(), input) != given.end();
  }

  // Whether a request brought all that its model takes of a view.
  bool BroughtAll(const BatchMember& member, size_t view) const {
    if (member.features->given.empty()) return false;
    for (size_t f = 0; f < plan_.features.size(); ++f) {
      if (plan_.features[f].view == view && !Brought(member, f)) return false;
    }
    return true;
  }

  // Tells a request whether it is refused, or answered from features that are not fresh.
  void Judge(const BatchIo& io, BatchMember& member) const {
    for (size_t v = 0; v < plan_.views.size(); ++v) {
      const bool out = !outages_[v].ok();
      if ((!out && plan_.views[v].on_missing != OnMissing::kReject) || BroughtAll(member, v)) continue;
      if (plan_.views[v].on_missing == OnMissing::kReject) {
        member.status = out ? OutageOf(member, v) : Refusal(io, member, v);
        if (!member.status.ok()) return;
      }
      member.features_stale = member.features_stale || out;
    }
  }

  // OK where all of the request is known of before.
  Status OutageOf(const BatchMember& member, size_t view) const {
    const auto of_member = found_[view].status().subspan(static_cast<size_t>(member.first_row),
                                                         static_cast<size_t>(member.rows));
    const auto known = [](Presence status) { return status == Presence::kPresent; };
    return std::all_of(of_member.begin(), of_member.end(), known) ? Status::Ok() : outages_[view];
  }

  Status Refusal(const BatchIo& io, const BatchMember& member, size_t view) const {
    const auto first = static_cast<size_t>(member.first_row);
    for (size_t row = first; row < first + static_cast<size_t>(member.rows); ++row) {
      const Presence status = found_[view].status()[row];
      if (status == Presence::kPresent) continue;
      const ViewSpec& spec = plan_.views[view].view->spec();
      std::string text = ViewName(spec) + ": the features of";
      for (const size_t key : plan_.views[view].keys) {
        text += " " + plan_.signature.inputs[key].name + " " + KeyText(io.inputs[key], row);
      }
      return InvalidInput(text + " are " + std::string(kStatusTexts[static_cast<size_t>(status)]));
    }
    return Status::Ok();
  }

  static std::string KeyText(const TensorView& keys, size_t row) {
    const auto* data = static_cast<const std::byte*>(keys.data);
    switch (keys.type) {
      case DataType::kBytes:
        return "'" + std::string(static_cast<const std::string_view*>(keys.data)[row]) + "'";
      case DataType::kUint64:
        return std::to_string(static_cast<const uint64_t*>(keys.data)[row]);
      default: {
        // Of all other keys an FP64 would do; of INT64 it would not.
        if (keys.type == DataType::kInt64) return std::to_string(static_cast<const int64_t*>(keys.data)[row]);
        double value = 0;
        CopyColumn(keys.type, data + row * ElementSize(keys.type), 1,
                   {DataType::kFp64, reinterpret_cast<std::byte*>(&value), sizeof(value)});
        return std::to_string(static_cast<int64_t>(value));
      }
    }
  }

  // Fills the outputs that were asked for: features as the model had them, and what became of each look-up.
  Status ShowFeatures(const BatchIo& io) {
    size_t next = plan_.model_outputs;
    for (size_t f = 0; f < plan_.features.size(); ++f, ++next) {
      TensorView& out = io.outputs[next];
      const JoinPlan::Feature& feature = plan_.features[f];
      FALAJ_RETURN_IF_ERROR(MakeRoom(io, feature.type, out));
      const size_t size = ElementSize(feature.type);
      PutFeature(io, f, feature.fallback, Missing(feature),
                 {feature.type, static_cast<std::byte*>(out.data), size});
      if (feature.type == DataType::kBytes) FALAJ_RETURN_IF_ERROR(KeepTexts(io, out));
    }
    for (size_t v = 0; v < plan_.views.size(); ++v, ++next) {
      TensorView& out = io.outputs[next];
      FALAJ_RETURN_IF_ERROR(MakeRoom(io, DataType::kBytes, out));
      auto* texts = static_cast<std::string_view*>(out.data);
      for (size_t i = 0; i < rows_; ++i) {
        texts[i] = outages_[v].ok() ? kStatusTexts[static_cast<size_t>(found_[v].status()[i])] : kStale;
      }
    }
    return Status::Ok();
  }

  // Copies the characters: the next batch is looked up into the memory that has them now.
  Status KeepTexts(const BatchIo& io, const TensorView& out) const {
    const std::span texts(static_cast<std::string_view*>(out.data), rows_);
    size_t bytes = 0;
    for (const std::string_view text : texts) bytes += text.size();
    auto memory = std::make_shared<Buffer>();
    FALAJ_RETURN_IF_ERROR(memory->Reserve(bytes));
    auto* to = reinterpret_cast<char*>(memory->data());
    for (std::string_view& text : texts) {
      std::copy(text.begin(), text.end(), to);
      text = {to, text.size()};
      to += text.size();
    }
    io.owners->push_back(std::move(memory));
    return Status::Ok();
  }

  const std::string& Missing(const JoinPlan::Feature& feature) const {
    return plan_.views[feature.view].on_missing == OnMissing::kNan ? feature.nothing : feature.fallback;
  }

  // Memory for [rows, 1] elements, where the batch has none of its own for them.
  Status MakeRoom(const BatchIo& io, DataType type, TensorView& out) const {
    const Shape shape{static_cast<int64_t>(rows_), 1};
    if (out.data == nullptr) {
      auto memory = std::make_shared<Buffer>();
      FALAJ_RETURN_IF_ERROR(memory->Reserve(rows_ * ElementSize(type)));
      out.data = memory->data();
      io.owners->push_back(std::move(memory));
    }
    out.type = type;
    out.shape = shape;
    return Status::Ok();
  }

  const JoinPlan& plan_;
  const std::unique_ptr<Instance> model_;
  int64_t (*const now_)();
  std::optional<ServedRecorder> recorder_;  // none: nothing is logged
  // Of the batch that runs.
  size_t rows_ = 0;
  bool any_brought_ = false;  // something optional, by a request
  AsOf looked_up_at_ = 0;
  std::vector<int64_t> times_;                         // of its rows, where a request said one
  std::vector<std::vector<ColumnData>> keys_;          // by view
  std::vector<std::unique_ptr<PendingRead>> pending_;  // by view; nullptr: none
  std::vector<FeatureColumns> found_;                  // by view
  std::vector<Status> outages_;                        // by view: OK, or why the store did not answer
  std::vector<Buffer> memory_;                         // of the model's inputs that are put together
  std::vector<TensorView> inputs_;
};

class JoinBackend final : public Backend {
 public:
  JoinBackend(JoinPlan plan, std::unique_ptr<Backend> model, int64_t (*now)(), std::shared_ptr<ServedLog> log)
      : plan_(std::move(plan)), model_(std::move(model)), now_(now), log_(std::move(log)) {
    if (log_ != nullptr) log_->SetFields(ServedFields(plan_));
  }

  const ModelSignature& Describe() const override { return plan_.signature; }
  Result<std::unique_ptr<Instance>> NewInstance() override {
    auto model = model_->NewInstance();
    if (!model.ok()) return model.status();
    return std::unique_ptr<Instance>(
        std::make_unique<JoinInstance>(plan_, std::move(*model), now_, log_.get()));
  }
  // Nobody is served by it.
  Status WarmUp(Instance& instance, const BatchIo& io) override {
    return static_cast<JoinInstance&>(instance).RunUnlogged(io);
  }
  size_t MemoryUsed() const override { return model_->MemoryUsed(); }
  std::string Placement() const override { return model_->Placement(); }

 private:
  const JoinPlan plan_;
  const std::unique_ptr<Backend> model_;
  int64_t (*const now_)();
  const std::shared_ptr<ServedLog> log_;  // shared with who empties it; nullptr: none
};

}  // namespace

int64_t WallClockMicros() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

std::unique_ptr<Backend> NewJoinBackend(JoinPlan plan, std::unique_ptr<Backend> model, int64_t (*now)(),
                                        std::shared_ptr<ServedLog> log) {
  return std::make_unique<JoinBackend>(std::move(plan), std::move(model), now, std::move(log));
}

}  // namespace falaj
