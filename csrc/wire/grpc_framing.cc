#include "wire/grpc_framing.h"

#include <algorithm>
#include <cstring>

namespace falaj::wire {
namespace {

constexpr size_t kFirstGather = 64 * 1024;
constexpr size_t kGrowth = 4;  // how many times what has arrived is reserved for what is to come
constexpr size_t kKeep = 64 * 1024;

void WritePrefix(bool compressed, size_t bytes, char* to) {
  to[0] = compressed ? 1 : 0;
  for (int i = 0; i < 4; ++i) to[1 + i] = static_cast<char>(bytes >> (24 - 8 * i));
}

}  // namespace

void AppendGrpcPrefix(bool compressed, size_t bytes, std::string& out) {
  char prefix[kGrpcPrefixBytes];
  WritePrefix(compressed, bytes, prefix);
  out.append(prefix, kGrpcPrefixBytes);
}

size_t BeginGrpcMessage(std::string& out) {
  const size_t begin = out.size();
  out.append(kGrpcPrefixBytes, '\0');
  return begin;
}

void EndGrpcMessage(bool compressed, size_t begin, std::string& out) {
  WritePrefix(compressed, out.size() - begin - kGrpcPrefixBytes, out.data() + begin);
}

void GrpcMessageReader::Clear() {
  DropGathered();
  prefix_bytes_ = 0;
  failure_ = {};
}

void GrpcMessageReader::DropGathered() {
  viewed_ = false;
  gathered_.Clear();
  if (gathered_.capacity() > kKeep) gathered_.Free();
  if (counted_ > 0) budget_->Give(counted_);
  counted_ = 0;
}

GrpcMessageReader::Step GrpcMessageReader::Fail(GrpcFailure failure) {
  failure_ = std::move(failure);
  return Step::kFailed;
}

bool GrpcMessageReader::Gather(std::span<const std::byte> part) {
  // Counted is what has arrived: pages of the reservation that nothing was written to are not there yet.
  if (!budget_->Take(part.size())) return false;
  counted_ += part.size();
  const size_t size = gathered_.size() + part.size();
  if (size > gathered_.capacity()) {
    const size_t wanted = std::min(length_, std::max(kFirstGather, kGrowth * size));
    if (!gathered_.MakeRoom(wanted - gathered_.size())) return false;
  }
  return gathered_.Append({reinterpret_cast<const char*>(part.data()), part.size()});
}

GrpcMessageReader::Step GrpcMessageReader::Next(std::span<const std::byte>& chunk, GrpcMessage& message) {
  if (viewed_) DropGathered();
  if (prefix_bytes_ < kGrpcPrefixBytes) {
    const size_t part = std::min(kGrpcPrefixBytes - prefix_bytes_, chunk.size());
    if (part > 0) std::memcpy(prefix_ + prefix_bytes_, chunk.data(), part);
    prefix_bytes_ += part;
    chunk = chunk.subspan(part);
    if (prefix_bytes_ < kGrpcPrefixBytes) return Step::kMore;
    if (prefix_[0] > 1) {
      return Fail({GrpcCode::kInvalidArgument,
                   "expected 0 or 1 as the first byte of a gRPC message, got " + std::to_string(prefix_[0])});
    }
    length_ = size_t{prefix_[1]} << 24 | size_t{prefix_[2]} << 16 | size_t{prefix_[3]} << 8 | prefix_[4];
    if (length_ > max_message_bytes_) {
      return Fail({GrpcCode::kResourceExhausted, "a message of " + std::to_string(length_) +
                                                     " bytes is larger than the bound of " +
                                                     std::to_string(max_message_bytes_)});
    }
  }
  const size_t part = std::min(length_ - gathered_.size(), chunk.size());
  message.compressed = prefix_[0] == 1;
  if (part == length_) {
    message.bytes = chunk.first(part);
  } else {
    if (!Gather(chunk.first(part))) {
      return Fail({GrpcCode::kUnavailable, "the server has buffered as much as it may; try again later"});
    }
    message.bytes = std::as_bytes(std::span(gathered_.view()));
    viewed_ = gathered_.size() == length_;
  }
  chunk = chunk.subspan(part);
  if (message.bytes.size() < length_) return Step::kMore;
  prefix_bytes_ = 0;
  return Step::kMessage;
}

}  // namespace falaj::wire
