#include "core/tensor.h"

#include <algorithm>
#include <new>

namespace falaj {
namespace {

std::string Join(std::span<const int64_t> dims) {
  std::string text = "[";
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(dims[i]);
  }
  return text + "]";
}

}  // namespace

std::string Shape::ToString() const { return Join(dims()); }

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(dims().begin(), dims().end(), other.dims().begin());
}

std::string TensorSpec::ToString() const { return std::string(DataTypeName(type)) + " " + Join(shape); }

Status Buffer::Reserve(size_t bytes) {
  if (bytes <= capacity_ && data_ != nullptr) return Status::Ok();
  const size_t rounded = std::max(bytes, kAlignment);
  data_.reset();
  capacity_ = 0;
  void* memory = ::operator new (rounded, std::align_val_t{kAlignment}, std::nothrow);
  if (memory == nullptr) {
    return Unavailable("out of memory: " + std::to_string(rounded) + " bytes for a tensor");
  }
  data_.reset(static_cast<std::byte*>(memory));
  capacity_ = rounded;
  return Status::Ok();
}

void Buffer::Deleter::operator()(std::byte* data) const {
  ::operator delete (data, std::align_val_t{kAlignment});
}

}  // namespace falaj
