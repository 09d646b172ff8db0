#define SIMDJSON_EXCEPTIONS 0
#include "wire/json_data.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>

#include "core/half.h"
#include "wire/json_numbers.h"

namespace falaj::wire {
namespace {

namespace sj = simdjson::ondemand;

// Why a value was not taken; made into a sentence only where there is one.
enum class Wrong { kNothing, kJson, kKind, kRange };

struct Verdict {
  Wrong wrong = Wrong::kNothing;
  simdjson::error_code error = simdjson::SUCCESS;
};

Verdict FromError(simdjson::error_code error) {
  return {error == simdjson::INCORRECT_TYPE ? Wrong::kKind : Wrong::kJson, error};
}

// The token without the white space behind it.
std::string_view Token(sj::value& value) {
  std::string_view token = value.raw_json_token();
  const size_t end = token.find_last_not_of(" \t\r\n");
  return token.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

// Not by get_double: simdjson before 3.1 reads a number of 20 digits and more behind "0." as another one.
Verdict ReadDouble(sj::value& value, double& number) {
  const std::string_view token = Token(value);
  if (ReadJsonDouble(token.data(), number) == token.data() + token.size()) return {};
  if (token == "NaN") {
    number = std::numeric_limits<double>::quiet_NaN();
  } else if (token == "Infinity" || token == "-Infinity") {
    number = token[0] == '-' ? -HUGE_VAL : HUGE_VAL;
  } else {
    const auto error = value.get_double().error();
    return FromError(error ? error : simdjson::NUMBER_ERROR);
  }
  return {};
}

template <typename T>
struct Integer {
  using Element = T;
  Verdict operator()(sj::value& value, T& to) const {
    if constexpr (std::is_signed_v<T>) {
      int64_t number = 0;
      if (auto error = value.get_int64().get(number)) return NotWhole(value, error);
      if (number < std::numeric_limits<T>::min() || number > std::numeric_limits<T>::max())
        return {Wrong::kRange};
      to = static_cast<T>(number);
    } else {
      uint64_t number = 0;
      if (auto error = value.get_uint64().get(number)) return NotWhole(value, error);
      if (number > std::numeric_limits<T>::max()) return {Wrong::kRange};
      to = static_cast<T>(number);
    }
    return {};
  }

  // A whole number that no 64-bit integer holds is out of range; anything else is of another kind.
  static Verdict NotWhole(sj::value& value, simdjson::error_code error) {
    const std::string_view token = Token(value);
    const bool whole = token.find_first_not_of("-0123456789") == std::string_view::npos;
    double number = 0;
    if (value.get_double().get(number)) return FromError(error);
    return {whole ? Wrong::kRange : Wrong::kKind, error};
  }
};

// `Round` makes an element of a double; an infinite one of a finite number is out of range.
template <typename T, auto Round, auto Widen>
struct Real {
  using Element = T;
  Verdict operator()(sj::value& value, T& to) const {
    double number = 0;
    if (const Verdict verdict = ReadDouble(value, number); verdict.wrong != Wrong::kNothing) return verdict;
    to = Round(number);
    if (std::isinf(Widen(to)) && !std::isinf(number)) return {Wrong::kRange};
    return {};
  }
};

struct Truth {
  using Element = uint8_t;
  Verdict operator()(sj::value& value, uint8_t& to) const {
    bool truth = false;
    if (auto error = value.get_bool().get(truth)) return FromError(error);
    to = truth ? 1 : 0;
    return {};
  }
};

struct Text {
  using Element = std::string_view;
  Verdict operator()(sj::value& value, std::string_view& to) const {
    std::string_view text;
    if (auto error = value.get_string().get(text)) return FromError(error);
    if (!text.empty()) std::memcpy(*payload, text.data(), text.size());
    to = {reinterpret_cast<const char*>(*payload), text.size()};
    *payload += text.size();
    return {};
  }
  std::byte** payload;
};

// One tensor's data as it is read.
template <typename Read>
class Reader {
 public:
  Reader(const TensorView& view, int max_depth, const JsonPath& where, Read read)
      : view_(view),
        to_(static_cast<typename Read::Element*>(view.data)),
        total_(view.elements()),
        max_depth_(max_depth),
        where_(where),
        read_(read) {}

  Status Run(sj::value value) {
    FALAJ_RETURN_IF_ERROR(Array(value, 1));
    if (done_ == total_) return Status::Ok();
    return InvalidInput(where_ + ": expected " + std::to_string(total_) + " elements for shape " +
                        view_.shape.ToString() + ", got " + std::to_string(done_));
  }

 private:
  Status Array(sj::value value, int depth) {
    if (depth > max_depth_)
      return InvalidInput(where_ + ": nested deeper than " + std::to_string(max_depth_));
    sj::array array;
    if (auto error = value.get_array().get(array)) return Broken(error);
    for (auto item : array) {
      sj::value element;
      if (auto error = item.get(element)) return Broken(error);
      sj::json_type type{};
      if (element.type().get(type) == simdjson::SUCCESS && type == sj::json_type::array) {
        FALAJ_RETURN_IF_ERROR(Array(element, depth + 1));
        continue;
      }
      if (done_ == total_) {
        return InvalidInput(where_ + ": expected " + std::to_string(total_) + " elements for shape " +
                            view_.shape.ToString() + ", got more");
      }
      const Verdict verdict = read_(element, to_[done_]);
      if (verdict.wrong != Wrong::kNothing) return Refuse(verdict, element);
      ++done_;
    }
    return Status::Ok();
  }

  Status Broken(simdjson::error_code error) const {
    return InvalidInput(where_.At(static_cast<size_t>(done_)) + ": " + simdjson::error_message(error));
  }

  Status Refuse(const Verdict& verdict, sj::value& element) const {
    if (verdict.wrong == Wrong::kJson) return Broken(verdict.error);
    constexpr size_t kShown = 40;
    std::string token(Token(element).substr(0, kShown));
    const std::string type = DataTypeName(view_.type);
    return InvalidInput(where_.At(static_cast<size_t>(done_)) + ": expected " + type + ", got " + token +
                        (verdict.wrong == Wrong::kRange ? ", which is out of its range" : ""));
  }

  const TensorView& view_;
  typename Read::Element* const to_;
  const int64_t total_;
  const int max_depth_;
  const JsonPath& where_;
  const Read read_;
  int64_t done_ = 0;
};

static_assert(std::numeric_limits<float>::is_iec559, "what is too large must become infinity");
float ToFloat(double value) { return static_cast<float>(value); }
double ToDouble(double value) { return value; }
float FloatItself(float value) { return value; }

template <typename Read>
Status ReadAs(sj::value value, const TensorView& view, int max_depth, const JsonPath& where, Read read) {
  return Reader<Read>(view, max_depth, where, read).Run(value);
}

}  // namespace

Status ReadJsonData(sj::value value, const TensorView& view, int max_depth, const JsonPath& where,
                    std::byte*& payload) {
  const auto as = [&](auto read) { return ReadAs(value, view, max_depth, where, read); };
  switch (view.type) {
    case DataType::kBool:
      return as(Truth{});
    case DataType::kUint8:
      return as(Integer<uint8_t>{});
    case DataType::kUint16:
      return as(Integer<uint16_t>{});
    case DataType::kUint32:
      return as(Integer<uint32_t>{});
    case DataType::kUint64:
      return as(Integer<uint64_t>{});
    case DataType::kInt8:
      return as(Integer<int8_t>{});
    case DataType::kInt16:
      return as(Integer<int16_t>{});
    case DataType::kInt32:
      return as(Integer<int32_t>{});
    case DataType::kInt64:
      return as(Integer<int64_t>{});
    case DataType::kFp16:
      return as(Real<uint16_t, HalfOf, FloatOfHalf>{});
    case DataType::kBf16:
      return as(Real<uint16_t, BrainOf, FloatOfBrain>{});
    case DataType::kFp32:
      return as(Real<float, ToFloat, FloatItself>{});
    case DataType::kFp64:
      return as(Real<double, ToDouble, ToDouble>{});
    case DataType::kBytes:
      return as(Text{&payload});
  }
  return Internal("a data type without a name");
}

}  // namespace falaj::wire
