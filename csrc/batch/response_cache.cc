#include "batch/response_cache.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string_view>

namespace falaj {
namespace {

constexpr size_t kAlign = 64;
// Of an entry beside its answer: nodes of the list and of the map, a bucket, and the allocator's own.
constexpr size_t kPlaceBytes = sizeof(ResponseCache::Entry) + sizeof(Digest) + 12 * sizeof(void*);
// More places are made when they are needed, at the price of a pause.
constexpr size_t kMostPlacesAtOnce = size_t{1} << 20;
constexpr size_t kUsualAnswer = 512;

size_t Aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

std::span<const std::string_view> Elements(const TensorView& view) {
  return {static_cast<const std::string_view*>(view.data), static_cast<size_t>(view.elements())};
}

size_t DataBytes(std::span<const TensorView> outputs) {
  size_t bytes = 0;
  for (const TensorView& output : outputs) {
    bytes += Aligned(output.bytes());
    if (output.type != DataType::kBytes) continue;
    for (const std::string_view element : Elements(output)) bytes += element.size();
  }
  return Aligned(bytes);
}

// The elements as views of their characters, which are copied to `characters`. Returns their end.
std::byte* CopyElements(const TensorView& from, TensorView& to, std::byte* characters) {
  auto* element_to = static_cast<std::string_view*>(to.data);
  for (const std::string_view element : Elements(from)) {
    if (!element.empty()) std::memcpy(characters, element.data(), element.size());
    new (element_to++) std::string_view(reinterpret_cast<const char*>(characters), element.size());
    characters += element.size();
  }
  return characters;
}

}  // namespace

size_t CachedAnswer::BytesOf(std::span<const TensorView> outputs) {
  return sizeof(CachedAnswer) + outputs.size_bytes() + DataBytes(outputs);
}

std::shared_ptr<const CachedAnswer> CachedAnswer::CopyOf(std::span<const TensorView> outputs) {
  auto copy = std::make_shared<CachedAnswer>();
  if (!copy->data_.Reserve(DataBytes(outputs)).ok()) return nullptr;
  copy->bytes_ = BytesOf(outputs);
  copy->outputs_.assign(outputs.begin(), outputs.end());
  std::byte* next = copy->data_.data();
  for (TensorView& output : copy->outputs_) {
    const void* from = output.data;
    output.data = next;
    next += Aligned(output.bytes());
    if (output.type != DataType::kBytes && output.bytes() > 0) {
      std::memcpy(output.data, from, output.bytes());
    }
  }
  // Characters lie behind all elements.
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].type == DataType::kBytes) next = CopyElements(outputs[i], copy->outputs_[i], next);
  }
  return copy;
}

ResponseCache::ResponseCache(CacheOptions options) : options_(options) {
  places_.reserve(std::min(kMostPlacesAtOnce, options.max_bytes / kUsualAnswer));
}

std::shared_ptr<const CachedAnswer> ResponseCache::Find(const Digest& digest, TimePoint now,
                                                        Dropped& dropped) {
  const auto found = places_.find(digest);
  if (found == places_.end()) return nullptr;
  if (now >= found->second->outdated) {
    Drop(found->second, dropped);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->answer;
}

bool ResponseCache::IsKept(const CacheOptions& options, size_t bytes) {
  return bytes + kPlaceBytes <= options.max_bytes / kLargestShare;
}

void ResponseCache::Keep(const Digest& digest, std::shared_ptr<const CachedAnswer> answer, TimePoint now,
                         Dropped& dropped) {
  if (const auto found = places_.find(digest); found != places_.end()) Drop(found->second, dropped);
  const size_t bytes = answer->bytes() + kPlaceBytes;
  while (bytes_ + bytes > options_.max_bytes) Drop(std::prev(entries_.end()), dropped);
  const TimePoint outdated = options_.ttl > Nanos(0) ? now + options_.ttl : TimePoint::max();
  entries_.push_front({digest, std::move(answer), outdated});
  places_.emplace(digest, entries_.begin());
  bytes_ += bytes;
}

void ResponseCache::Clear(Dropped& dropped) {
  places_.clear();
  dropped.splice(dropped.end(), entries_);
  bytes_ = 0;
}

void ResponseCache::Drop(Place place, Dropped& dropped) {
  bytes_ -= place->answer->bytes() + kPlaceBytes;
  places_.erase(place->digest);
  dropped.splice(dropped.end(), entries_, place);
}

}  // namespace falaj
