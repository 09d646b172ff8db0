// ModelInferRequest messages and their pieces for tests, and what the decoder makes of them.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "wire/grpc_decoder.h"
#include "wire/protobuf_bytes.h"
#include "wire/tensors.h"

namespace falaj::wire::test {

// Fields of ModelInferRequest.
inline std::string Model(std::string_view name) { return Bytes(1, name); }
inline std::string Version(std::string_view version) { return Bytes(2, version); }
inline std::string Id(std::string_view id) { return Bytes(3, id); }
inline std::string Output(std::string_view fields) { return Bytes(6, fields); }
inline std::string Raw(std::string_view bytes) { return Bytes(7, bytes); }

// `more`: further fields, parameters (4) and contents (5) among them.
inline std::string Input(std::string_view name, std::string_view type, std::initializer_list<int64_t> shape,
                         std::string_view more = "") {
  return Bytes(5, Bytes(1, name) + Bytes(2, type) + Packed(3, shape) + std::string(more));
}
inline std::string Contents(std::string_view fields) { return Bytes(5, fields); }

// A map's entry; `map`: 4 in a request and in an input, 2 in an output.
inline std::string Parameter(uint32_t map, std::string_view key, std::string_view value) {
  return Bytes(map, Bytes(1, key) + Bytes(2, value));
}
// Values of InferParameter.
inline std::string BoolValue(bool value) { return Number(1, value ? 1 : 0); }
inline std::string IntValue(int64_t value) { return Number(2, static_cast<uint64_t>(value)); }
inline std::string TextValue(std::string_view value) { return Bytes(3, value); }
inline std::string RealValue(double value) { return Fixed(4, value); }
inline std::string UintValue(uint64_t value) { return Number(5, value); }

// What was decoded, with the memory that it stands on.
struct Decoded {
  std::unique_ptr<std::byte[]> message;  // of the exact size, so that AddressSanitizer sees a read past it
  std::vector<OwnedTensor> tensors;
  std::vector<std::byte> payload;

  template <typename T>
  std::vector<T> Values(size_t tensor) const {
    const TensorView& view = tensors[tensor].view;
    const auto* values = static_cast<const T*>(view.data);
    return {values, values + view.elements()};
  }
};

// Parses and fills; the first failure.
inline Status Decode(GrpcDecoder& decoder, std::string_view message, Decoded* into = nullptr) {
  Decoded own;
  Decoded& decoded = into != nullptr ? *into : own;
  decoded.message = std::make_unique<std::byte[]>(message.size());
  std::ranges::copy(std::as_bytes(std::span(message)), decoded.message.get());
  FALAJ_RETURN_IF_ERROR(decoder.Parse({decoded.message.get(), message.size()}));
  std::vector<TensorView> views;
  for (const InputHeader& input : decoder.header().inputs) {
    decoded.tensors.emplace_back(input.type, input.shape);
    views.push_back(decoded.tensors.back().view);
  }
  decoded.payload.resize(decoder.PayloadBytes());
  return decoder.Fill(views, decoded.payload.data());
}

}  // namespace falaj::wire::test
