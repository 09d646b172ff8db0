// Any bytes as what a Redis server says to HMGET: whole or in two pieces they are the same, and what they
// hold is read as stored entities without leaving them.
#include <cstdlib>
#include <string_view>

#include "join/frontier.h"
#include "join/online_store.h"
#include "join/redis_protocol.h"

namespace {

using namespace falaj;
using Kind = RedisReplies::Kind;

const ViewSpec& Spec() {
  static const ViewSpec spec{"v",
                             1,
                             "",
                             {{"k", DataType::kInt64}},
                             {{"x", DataType::kFp32}, {"t", DataType::kBytes}, {"b", DataType::kBool}},
                             0,
                             5};
  return spec;
}

bool Same(const RedisReplies& a, const RedisReplies& b) {
  if (a.items().size() != b.items().size()) return false;
  for (size_t i = 0; i < a.items().size(); ++i) {
    const RedisReplies::Item &x = a.items()[i], &y = b.items()[i];
    if (x.kind != y.kind || x.size != y.size || x.integer != y.integer) return false;
    const bool text = x.kind == Kind::kText || x.kind == Kind::kStatus || x.kind == Kind::kError;
    if (text && a.text(x) != b.text(y)) return false;
  }
  return true;
}

// What is read of an entity must be what is read of it once it was merged with nothing.
void ReadEntity(std::span<const std::byte> value, const RowLayout& layout, FeatureColumns& out) {
  out.Reset(layout, 1);
  const bool fits = TakeEntity(value, Spec(), layout, 7, 0, out).ok();
  out.Finish();
  std::vector<Entry> entries;
  if (DecodeEntries(value, layout, entries) != fits) std::abort();
  if (!fits) return;
  Merge(entries, layout, 7);
  std::vector<std::byte> merged;
  EncodeEntries(entries, merged);
  out.Reset(layout, 1);
  if (!TakeEntity(merged, Spec(), layout, 7, 0, out).ok()) std::abort();
  out.Finish();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  static const RowLayout layout(Spec().columns);
  FeatureColumns out;
  ReadEntity(std::as_bytes(std::span(data + 1, size - 1)), layout, out);

  const std::string_view said(reinterpret_cast<const char*>(data + 1), size - 1);
  RedisReader whole, parts;
  whole.Expect(1);
  parts.Expect(1);
  const bool taken = whole.Take(said).ok();
  const size_t cut = said.empty() ? 0 : data[0] % said.size();
  const bool both = parts.Take(said.substr(0, cut)).ok() && parts.Take(said.substr(cut)).ok();
  if (taken != both || whole.done() != parts.done()) std::abort();
  if (!taken || !whole.done()) return 0;
  if (!Same(whole.replies(), parts.replies()) || whole.clean() != parts.clean()) std::abort();
  for (const RedisReplies::Item& item : whole.replies().items()) {
    if (item.kind != Kind::kText) continue;
    ReadEntity(std::as_bytes(std::span(whole.replies().text(item))), layout, out);
  }
  return 0;
}
