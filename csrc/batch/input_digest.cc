#include "batch/input_digest.h"

#include <openssl/evp.h>

#include <cstring>
#include <memory>
#include <string_view>

namespace falaj {
namespace {

// One SHA-256 after another, each begun by Begin. Small pieces are gathered: a call into the library costs as
// much as hashing 64 bytes.
class Sha256 {
 public:
  Sha256() : method_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {}

  bool Begin() {
    gathered_ = 0;
    ok_ = method_ != nullptr && context_ != nullptr &&
          EVP_DigestInit_ex(context_.get(), method_.get(), nullptr) == 1;
    return ok_;
  }
  void Add(const void* data, size_t bytes) {
    if (bytes == 0) return;
    if (bytes > buffer_.size() - gathered_) Flush();
    if (bytes > buffer_.size()) {
      Update(data, bytes);
      return;
    }
    std::memcpy(buffer_.data() + gathered_, data, bytes);
    gathered_ += bytes;
  }
  void AddNumber(uint64_t number) { Add(&number, sizeof(number)); }
  std::optional<Digest> End() {
    Flush();
    Digest digest;
    static_assert(sizeof(digest.words) == 32);
    ok_ = ok_ && EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.words.data()),
                                    nullptr) == 1;
    return ok_ ? std::optional(digest) : std::nullopt;
  }

 private:
  void Flush() {
    if (gathered_ > 0) Update(buffer_.data(), gathered_);
    gathered_ = 0;
  }
  void Update(const void* data, size_t bytes) {
    ok_ = ok_ && EVP_DigestUpdate(context_.get(), data, bytes) == 1;
  }

  struct Free {
    void operator()(EVP_MD* method) const { EVP_MD_free(method); }
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MD, Free> method_;
  const std::unique_ptr<EVP_MD_CTX, Free> context_;
  bool ok_ = false;
  std::array<std::byte, 512> buffer_;
  size_t gathered_ = 0;
};

// None where it is more than kMostDigestedBytes.
std::optional<size_t> BytesOf(std::span<const TensorView> inputs) {
  size_t bytes = 0;
  for (const TensorView& input : inputs) {
    bytes += input.bytes();
    if (bytes > kMostDigestedBytes) return std::nullopt;
    if (input.type != DataType::kBytes) continue;
    const std::span elements(static_cast<const std::string_view*>(input.data),
                             static_cast<size_t>(input.elements()));
    for (const std::string_view element : elements) {
      bytes += element.size();
      if (bytes > kMostDigestedBytes) return std::nullopt;
    }
  }
  return bytes;
}

}  // namespace

std::optional<Digest> DigestOf(std::span<const TensorView> inputs) {
  if (!BytesOf(inputs)) return std::nullopt;
  thread_local Sha256 hash;
  if (!hash.Begin()) return std::nullopt;
  for (const TensorView& input : inputs) {
    // The shape, and of BYTES each element's size, say where what follows ends.
    hash.AddNumber(input.shape.rank());
    hash.Add(input.shape.dims().data(), input.shape.dims().size_bytes());
    if (input.type != DataType::kBytes) {
      hash.Add(input.data, input.bytes());
      continue;
    }
    const std::span elements(static_cast<const std::string_view*>(input.data),
                             static_cast<size_t>(input.elements()));
    for (const std::string_view element : elements) {
      hash.AddNumber(element.size());
      hash.Add(element.data(), element.size());
    }
  }
  return hash.End();
}

}  // namespace falaj
