// How a model's inputs are made of what requests bring and of what is looked up for them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "join/shared_view.h"

namespace falaj {

// The input by which requests say as of when they are looked up: INT64 [rows, 1], UTC µs.
inline constexpr std::string_view kAsOfInput = "features_as_of";

// What serves a row whose entity has no row in the store, or an expired one.
enum class OnMissing : uint8_t {
  kDefault,  // the column's default; where it has none, NaN
  kNan,      // NaN
  kReject,   // nothing: its request is refused
};

struct JoinedView {
  std::shared_ptr<OnlineView> view;
  OnMissing on_missing = OnMissing::kDefault;
  // How long a batch waits for a shared store; nullopt: as long as that lets it.
  std::optional<Nanos> budget = std::nullopt;
};

struct JoinedFeature {
  size_t view = 0;                      // of JoinRequest::views
  std::string column;                   // of the view
  std::optional<std::string> fallback;  // the default: an element's bytes, of BYTES the text
};

// A column of a model's input: a feature, or a value that requests bring.
struct JoinedColumn {
  std::optional<size_t> feature;  // of JoinRequest::features
  std::string name;               // of the request's input where it is no feature
  DataType type = DataType::kFp32;
};

// A model's input that is put together, [rows, columns], or [rows] of one column.
struct JoinedInput {
  std::string name;
  std::vector<JoinedColumn> columns;
};

struct JoinRequest {
  std::vector<JoinedView> views;
  std::vector<JoinedFeature> features;
  std::vector<JoinedInput> inputs;  // the model's other inputs are brought by requests as they are
  bool as_of = false;               // whether requests may say as of when they are looked up
};

// Checked and resolved. Immutable.
struct JoinPlan {
  struct View {
    std::shared_ptr<OnlineView> view;
    OnMissing on_missing;
    std::optional<Nanos> budget;
    std::vector<size_t> keys;  // of the public inputs, in the order of the view's keys
  };
  struct Feature {
    size_t view;
    size_t column;
    DataType type;
    bool has_default;
    std::string fallback;  // the default, or `nothing`: an element's bytes, of BYTES the text
    std::string nothing;   // NaN, or zero where the type has none
  };
  struct Column {
    bool is_feature;
    size_t index;          // of the features or of the public inputs
    DataType from;         // that one's
    std::string fallback;  // what the model gets where there is no value: an element, of BYTES the text
    std::string nan;       // what it gets by OnMissing::kNan
  };
  struct Input {
    std::optional<size_t> passed;  // public input that it is
    DataType type;
    std::vector<Column> columns;
    bool flat = false;  // [rows]
  };

  std::vector<View> views;
  std::vector<Feature> features;
  std::vector<Input> inputs;  // of the model, in order
  // What requests see. Inputs: keys, values, handed on, and then each feature, optional, and as of when rows
  // are looked up. Outputs: the model's, and then each feature and each view's status, optional.
  ModelSignature signature;
  size_t first_feature_input = 0;
  std::optional<size_t> as_of_input;  // of the public ones; none: all is looked up as of now
  size_t model_outputs = 0;

  // Fails with InvalidInput that names what does not fit.
  static Result<JoinPlan> Make(const JoinRequest& request, const ModelSignature& model);
};

// "view__column", as in training sets.
std::string FeatureName(const ViewSpec& view, const std::string& name);

}  // namespace falaj
