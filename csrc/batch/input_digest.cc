#include "batch/input_digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <cstring>
#include <string_view>

namespace falaj {
namespace {

constexpr size_t kBlock = 16;  // of AES
constexpr size_t kKey = 32;    // of Poly1305, and of AES-256

// One digest after another, each begun by Begin: AES(Poly1305(what was added)), with a key for each. Small
// pieces are gathered: a call into the library costs as much as hashing a hundred bytes and more.
class KeyedHash {
 public:
  bool Begin(const InputHash::Secret& secret) {
    gathered_ = 0;
    // No client has a say in either, so how long comparing takes tells nothing.
    if (!is_keyed_ || secret != secret_) SetKeys(secret);
    ok_ = is_keyed_ && EVP_MAC_init(poly_.get(), secret_.data(), kKey, nullptr) == 1;
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
    std::array<unsigned char, kBlock> tag, hidden;
    size_t tag_bytes = 0;
    int hidden_bytes = 0;
    ok_ = ok_ && EVP_MAC_final(poly_.get(), tag.data(), &tag_bytes, tag.size()) == 1 &&
          EVP_EncryptUpdate(aes_.get(), hidden.data(), &hidden_bytes, tag.data(), kBlock) == 1 &&
          tag_bytes == kBlock && hidden_bytes == kBlock;
    if (!ok_) return std::nullopt;
    Digest digest;
    static_assert(sizeof(digest.words) == kBlock);
    std::memcpy(digest.words.data(), hidden.data(), kBlock);
    return digest;
  }

 private:
  void SetKeys(const InputHash::Secret& secret) {
    static_assert(sizeof(InputHash::Secret) == 2 * kKey);
    secret_ = secret;
    is_keyed_ = poly_ != nullptr && cipher_ != nullptr && aes_ != nullptr &&
                EVP_EncryptInit_ex(aes_.get(), cipher_.get(), nullptr, secret_.data() + kKey, nullptr) == 1 &&
                EVP_CIPHER_CTX_set_padding(aes_.get(), 0) == 1;
  }
  void Flush() {
    if (gathered_ > 0) Update(buffer_.data(), gathered_);
    gathered_ = 0;
  }
  void Update(const void* data, size_t bytes) {
    ok_ = ok_ && EVP_MAC_update(poly_.get(), static_cast<const unsigned char*>(data), bytes) == 1;
  }

  struct Free {
    void operator()(EVP_MAC* method) const { EVP_MAC_free(method); }
    void operator()(EVP_MAC_CTX* context) const { EVP_MAC_CTX_free(context); }
    void operator()(EVP_CIPHER* method) const { EVP_CIPHER_free(method); }
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
  };
  const std::unique_ptr<EVP_MAC, Free> mac_{EVP_MAC_fetch(nullptr, "POLY1305", nullptr)};
  const std::unique_ptr<EVP_CIPHER, Free> cipher_{EVP_CIPHER_fetch(nullptr, "AES-256-ECB", nullptr)};
  const std::unique_ptr<EVP_MAC_CTX, Free> poly_{mac_ ? EVP_MAC_CTX_new(mac_.get()) : nullptr};
  const std::unique_ptr<EVP_CIPHER_CTX, Free> aes_{EVP_CIPHER_CTX_new()};
  InputHash::Secret secret_{};  // of whom it served last
  bool is_keyed_ = false;       // with it
  bool ok_ = false;
  std::array<std::byte, 512> buffer_;
  size_t gathered_ = 0;
};

// Whether they are at most kMostDigestedBytes.
bool IsDigested(std::span<const TensorView> inputs) {
  size_t bytes = 0;
  for (const TensorView& input : inputs) {
    bytes += input.bytes();
    if (bytes > kMostDigestedBytes) return false;
    if (input.type != DataType::kBytes) continue;
    const std::span elements(static_cast<const std::string_view*>(input.data),
                             static_cast<size_t>(input.elements()));
    for (const std::string_view element : elements) {
      bytes += element.size();
      if (bytes > kMostDigestedBytes) return false;
    }
  }
  return true;
}

}  // namespace

Result<std::unique_ptr<const InputHash>> InputHash::Make() {
  std::unique_ptr<InputHash> made(new InputHash);
  if (RAND_priv_bytes(made->secret_.data(), static_cast<int>(made->secret_.size())) != 1) {
    return Internal("the system has no random bytes for a key");
  }
  if (!made->Of({})) {
    return Unsupported(
        "keeping answers needs Poly1305 and AES-256, which OpenSSL, as it is configured, lacks");
  }
  return std::unique_ptr<const InputHash>(std::move(made));
}

InputHash::~InputHash() { OPENSSL_cleanse(secret_.data(), secret_.size()); }

std::optional<Digest> InputHash::Of(std::span<const TensorView> inputs) const {
  if (!IsDigested(inputs)) return std::nullopt;
  // It has the keys of whom it served last: most threads serve one model that keeps answers, or few.
  thread_local KeyedHash hash;
  if (!hash.Begin(secret_)) return std::nullopt;
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
