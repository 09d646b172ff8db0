#include "join/join_plan.h"

#include <limits>

#include "join/join_columns.h"

namespace falaj {
namespace {

bool IsNumber(DataType type) { return type != DataType::kBytes; }
bool IsFloat(DataType type) { return type == DataType::kFp32 || type == DataType::kFp64; }

template <typename T>
std::string BytesOf(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string NanOf(DataType type) {
  return type == DataType::kFp32 ? BytesOf(std::numeric_limits<float>::quiet_NaN())
                                 : BytesOf(std::numeric_limits<double>::quiet_NaN());
}

std::string ZeroOf(DataType type) {
  return type == DataType::kBytes ? std::string() : std::string(ElementSize(type), '\0');
}

// As the value itself is converted on its way into the model's input.
std::string Converted(DataType from, const std::string& bytes, DataType to) {
  if (from == to) return bytes;
  std::string converted(ElementSize(to), '\0');
  CopyColumn(from, reinterpret_cast<const std::byte*>(bytes.data()), 1,
             {to, reinterpret_cast<std::byte*>(converted.data()), converted.size()});
  return converted;
}

// Builds a plan step by step; `plan` is whole when all have succeeded.
class Maker {
 public:
  Maker(const JoinRequest& request, const ModelSignature& model) : request_(request), model_(model) {}

  Status Make() {
    FALAJ_RETURN_IF_ERROR(AddViews());
    FALAJ_RETURN_IF_ERROR(AddFeatures());
    FALAJ_RETURN_IF_ERROR(AddInputs());
    AddOptional();
    return CheckNames();
  }

  JoinPlan plan;

 private:
  // The public input of that name, which is made where it is not there.
  Result<size_t> PublicInput(const std::string& name, DataType type) {
    const int known = plan.signature.InputIndex(name);
    if (known < 0) {
      plan.signature.inputs.push_back({name, type, {-1, 1}, {}});
      return plan.signature.inputs.size() - 1;
    }
    const TensorSpec& spec = plan.signature.inputs[static_cast<size_t>(known)];
    if (spec.type != type) {
      return InvalidInput("input '" + name + "': is " + DataTypeName(spec.type) + " and " +
                          DataTypeName(type));
    }
    const TensorSpec value{name, type, {-1, 1}, {}};
    if (spec.shape != value.shape) {
      return InvalidInput("input '" + name + "': is " + spec.ToString() + ", and " + value.ToString() +
                          " as a value");
    }
    return static_cast<size_t>(known);
  }

  // The public input that an input of the model is; a key, or a value of requests, is one already.
  Result<size_t> Passed(const TensorSpec& spec) {
    const int known = plan.signature.InputIndex(spec.name);
    if (known < 0) {
      plan.signature.inputs.push_back(spec);
      return plan.signature.inputs.size() - 1;
    }
    const TensorSpec& there = plan.signature.inputs[static_cast<size_t>(known)];
    if (there.type == spec.type && there.shape == spec.shape) return static_cast<size_t>(known);
    return InvalidInput("input '" + spec.name + "' is " + spec.ToString() + " of the model, and " +
                        there.ToString() + " as a key");
  }

  Status AddViews() {
    if (request_.views.empty()) return InvalidInput("expected at least one view");
    for (const JoinedView& joined : request_.views) {
      JoinPlan::View view{joined.view, joined.on_missing, joined.budget, {}};
      for (const ColumnSpec& key : joined.view->spec().keys) {
        auto input = PublicInput(key.name, key.type);
        if (!input.ok()) return input.status();
        view.keys.push_back(*input);
      }
      plan.views.push_back(std::move(view));
    }
    return Status::Ok();
  }

  Status AddFeatures() {
    for (const JoinedFeature& joined : request_.features) {
      if (joined.view >= plan.views.size()) return InvalidInput("a feature of a view that is not there");
      const ViewSpec& spec = plan.views[joined.view].view->spec();
      size_t column = 0;
      while (column < spec.columns.size() && spec.columns[column].name != joined.column) ++column;
      if (column == spec.columns.size()) {
        return InvalidInput(ViewName(spec) + ": has no column '" + joined.column + "'");
      }
      const DataType type = spec.columns[column].type;
      if (joined.fallback && IsNumber(type) && joined.fallback->size() != ElementSize(type)) {
        return InvalidInput(FeatureName(spec, joined.column) + ": its default is no " + DataTypeName(type));
      }
      const std::string shown = IsFloat(type) ? NanOf(type) : ZeroOf(type);
      plan.features.push_back(
          {joined.view, column, type, joined.fallback.has_value(), joined.fallback.value_or(shown), shown});
    }
    return Status::Ok();
  }

  Status AddInputs() {
    for (const JoinedInput& joined : request_.inputs) {
      if (model_.InputIndex(joined.name) < 0)
        return InvalidInput("the model has no input '" + joined.name + "'");
    }
    for (const TensorSpec& spec : model_.inputs) {
      const JoinedInput* joined = nullptr;
      for (const JoinedInput& each : request_.inputs) {
        if (each.name == spec.name) joined = &each;
      }
      if (joined == nullptr) {
        auto input = Passed(spec);
        if (!input.ok()) return input.status();
        plan.inputs.push_back({*input, spec.type, {}});
      } else {
        FALAJ_RETURN_IF_ERROR(AddInput(spec, *joined));
      }
    }
    return Status::Ok();
  }

  Status AddInput(const TensorSpec& spec, const JoinedInput& joined) {
    const auto columns = static_cast<int64_t>(joined.columns.size());
    const bool flat = spec.shape.size() == 1 && columns == 1;
    const bool wide = spec.shape.size() == 2 && (spec.shape[1] == columns || spec.shape[1] == -1);
    if (spec.shape.empty() || spec.shape[0] != -1 || !(flat || wide)) {
      return InvalidInput("input '" + spec.name + "' is " + spec.ToString() + ", and has " +
                          std::to_string(columns) + " columns");
    }
    JoinPlan::Input input{std::nullopt, spec.type, {}, flat};
    for (const JoinedColumn& column : joined.columns) {
      auto made = MakeColumn(spec, column);
      if (!made.ok()) return made.status();
      input.columns.push_back(std::move(made).value());
    }
    plan.inputs.push_back(std::move(input));
    return Status::Ok();
  }

  Result<JoinPlan::Column> MakeColumn(const TensorSpec& spec, const JoinedColumn& column) {
    JoinPlan::Column made{column.feature.has_value(), 0, column.type, ZeroOf(spec.type), ""};
    std::string name = column.name;
    OnMissing on_missing = OnMissing::kDefault;
    bool has_default = true;
    if (column.feature) {
      if (*column.feature >= plan.features.size()) return InvalidInput("a feature that is not there");
      const JoinPlan::Feature& feature = plan.features[*column.feature];
      const ViewSpec& view = plan.views[feature.view].view->spec();
      name = FeatureName(view, view.columns[feature.column].name);
      on_missing = plan.views[feature.view].on_missing;
      has_default = feature.has_default;
      made.index = *column.feature;
      made.from = feature.type;
    } else {
      auto input = PublicInput(name, column.type);
      if (!input.ok()) return input.status();
      made.index = *input;
    }
    if (made.from != spec.type && !(IsFloat(spec.type) && IsNumber(made.from))) {
      return InvalidInput(name + ": is " + DataTypeName(made.from) + ", which input '" + spec.name + "' of " +
                          DataTypeName(spec.type) + " cannot have");
    }
    if (!IsFloat(spec.type) && (!has_default || on_missing == OnMissing::kNan)) {
      return InvalidInput(name + ": has no default, and input '" + spec.name + "' of " +
                          DataTypeName(spec.type) + " has no NaN");
    }
    made.nan = IsFloat(spec.type) ? NanOf(spec.type) : made.fallback;
    made.fallback = made.nan;
    if (column.feature && has_default) {
      made.fallback = Converted(made.from, plan.features[*column.feature].fallback, spec.type);
    }
    return made;
  }

  void AddOptional() {
    plan.first_feature_input = plan.signature.inputs.size();
    plan.model_outputs = model_.outputs.size();
    plan.signature.outputs = model_.outputs;
    for (const JoinPlan::Feature& feature : plan.features) {
      const ViewSpec& view = plan.views[feature.view].view->spec();
      TensorSpec spec{FeatureName(view, view.columns[feature.column].name), feature.type, {-1, 1}, {}};
      spec.optional = true;
      plan.signature.inputs.push_back(spec);
      plan.signature.outputs.push_back(spec);
    }
    if (request_.as_of) {
      plan.as_of_input = plan.signature.inputs.size();
      TensorSpec spec{std::string(kAsOfInput), DataType::kInt64, {-1, 1}, {}};
      spec.optional = true;
      plan.signature.inputs.push_back(std::move(spec));
    }
    for (const JoinPlan::View& view : plan.views) {
      TensorSpec spec{FeatureName(view.view->spec(), "status"), DataType::kBytes, {-1, 1}, {}};
      spec.optional = true;
      plan.signature.outputs.push_back(spec);
    }
  }

  Status CheckNames() const {
    for (const auto* specs : {&plan.signature.inputs, &plan.signature.outputs}) {
      for (size_t i = 0; i < specs->size(); ++i) {
        for (size_t j = 0; j < i; ++j) {
          if ((*specs)[i].name != (*specs)[j].name) continue;
          return InvalidInput("'" + (*specs)[i].name + "' is there twice, by the model and its views");
        }
      }
    }
    return Status::Ok();
  }

  const JoinRequest& request_;
  const ModelSignature& model_;
};

}  // namespace

std::string FeatureName(const ViewSpec& view, const std::string& name) { return view.name + "__" + name; }

Result<JoinPlan> JoinPlan::Make(const JoinRequest& request, const ModelSignature& model) {
  Maker maker(request, model);
  FALAJ_RETURN_IF_ERROR(maker.Make());
  return std::move(maker.plan);
}

}  // namespace falaj
