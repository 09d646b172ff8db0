#include "bind/dlpack.h"

#include <cstring>

#include "bind/errors.h"

namespace falaj {
namespace {

// The exchange structures of DLPack's stable ABI, written from its specification (dmlc.github.io/dlpack,
// version 1.0): an unversioned managed tensor in a capsule named "dltensor", a versioned one in
// "dltensor_versioned". The consumer renames the capsule and calls the deleter.
struct DlTensor {
  void* data;
  struct {
    int32_t type;
    int32_t id;
  } device;
  int32_t rank;
  struct {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
  } dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: row-major
  uint64_t byte_offset;
};

struct DlManaged {
  DlTensor tensor;
  void* context;
  void (*deleter)(DlManaged*);
};

struct DlManagedVersioned {
  struct {
    uint32_t major;
    uint32_t minor;
  } version;
  void* context;
  void (*deleter)(DlManagedVersioned*);
  uint64_t flags;
  DlTensor tensor;
};

constexpr int32_t kCpu = 1;
constexpr int32_t kCudaHost = 3;

std::optional<DataType> TypeOf(const DlTensor& tensor) {
  if (tensor.dtype.lanes != 1) return std::nullopt;
  const auto bits = tensor.dtype.bits;
  switch (tensor.dtype.code) {
    case 0:  // signed
      return bits == 8    ? std::optional(DataType::kInt8)
             : bits == 16 ? std::optional(DataType::kInt16)
             : bits == 32 ? std::optional(DataType::kInt32)
             : bits == 64 ? std::optional(DataType::kInt64)
                          : std::nullopt;
    case 1:  // unsigned
      return bits == 8    ? std::optional(DataType::kUint8)
             : bits == 16 ? std::optional(DataType::kUint16)
             : bits == 32 ? std::optional(DataType::kUint32)
             : bits == 64 ? std::optional(DataType::kUint64)
                          : std::nullopt;
    case 2:  // IEEE float
      return bits == 16   ? std::optional(DataType::kFp16)
             : bits == 32 ? std::optional(DataType::kFp32)
             : bits == 64 ? std::optional(DataType::kFp64)
                          : std::nullopt;
    case 4:  // bfloat
      return bits == 16 ? std::optional(DataType::kBf16) : std::nullopt;
    case 6:  // bool
      return bits == 8 ? std::optional(DataType::kBool) : std::nullopt;
    default:
      return std::nullopt;
  }
}

// Owns the exported tensor from now on; returns the capsule that ends it.
template <typename Managed>
const DlTensor* Consume(const py::object& capsule, const char* name, const char* used_name,
                        py::object& owner) {
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), name));
  if (managed == nullptr) throw py::error_already_set();
  PyCapsule_SetName(capsule.ptr(), used_name);
  owner = py::capsule(managed, [](void* pointer) {
    auto* exported = static_cast<Managed*>(pointer);
    if (exported->deleter != nullptr) exported->deleter(exported);
  });
  return &managed->tensor;
}

py::object Export(const py::handle& value) {
  const auto device = value.attr("__dlpack_device__")().cast<py::tuple>();
  const auto type = device[0].cast<int32_t>();
  if (type == kCpu || type == kCudaHost) return value.attr("__dlpack__")();
  // Elsewhere: ask for a copy in this machine's memory (protocol version 1).
  return value.attr("__dlpack__")(py::arg("dl_device") = py::make_tuple(kCpu, 0),
                                  py::arg("max_version") = py::make_tuple(1, 0));
}

}  // namespace

bool HasDlpack(const py::handle& value) { return py::hasattr(value, "__dlpack__"); }

InputTensor ReadDlpack(const py::handle& value, const std::string& where) {
  py::object capsule;
  try {
    capsule = Export(value);
  } catch (py::error_already_set& error) {
    ThrowIfError(InvalidInput(where + "its library could not export it to this machine's memory (" +
                              error.what() + ")"));
  }
  if (PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned") != 1 &&
      PyCapsule_IsValid(capsule.ptr(), "dltensor") != 1) {
    ThrowIfError(InvalidInput(where + "expected a capsule of a tensor from its __dlpack__, got " +
                              Py_TYPE(capsule.ptr())->tp_name));
  }
  InputTensor input;
  const DlTensor* tensor =
      PyCapsule_IsValid(capsule.ptr(), "dltensor_versioned") == 1
          ? Consume<DlManagedVersioned>(capsule, "dltensor_versioned", "used_dltensor_versioned", input.owner)
          : Consume<DlManaged>(capsule, "dltensor", "used_dltensor", input.owner);
  const auto type = TypeOf(*tensor);
  if (!type) ThrowIfError(InvalidInput(where + "its element type is not one of the protocol's"));
  if (tensor->rank > static_cast<int32_t>(Shape::kMaxRank)) {
    ThrowIfError(InvalidInput(where + "more than 8 dimensions"));
  }
  input.type = *type;
  const auto rank = static_cast<size_t>(tensor->rank);
  input.shape = Shape(std::span<const int64_t>(tensor->shape, rank));
  void* data = static_cast<std::byte*>(tensor->data) + tensor->byte_offset;
  const size_t size = ElementSize(input.type);
  std::vector<py::ssize_t> strides(rank);
  bool contiguous = true;
  int64_t expected = 1;
  for (size_t i = rank; i-- > 0;) {
    const int64_t stride = tensor->strides != nullptr ? tensor->strides[i] : expected;
    contiguous = contiguous && (input.shape[i] == 1 || stride == expected);
    strides[i] = stride * static_cast<int64_t>(size);
    expected *= input.shape[i];
  }
  const bool aligned = reinterpret_cast<uintptr_t>(data) % size == 0;
  if ((contiguous && aligned) || input.shape.Elements() == 0) {
    input.ready = data;
  } else {
    const std::vector<py::ssize_t> shape(input.shape.dims().begin(), input.shape.dims().end());
    input.strided = py::array(ToNumpyType(input.type), shape, strides, data, input.owner);
  }
  return input;
}

}  // namespace falaj
