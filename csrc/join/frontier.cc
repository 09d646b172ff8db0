#include "join/frontier.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

namespace falaj {
namespace {

struct Header {
  int64_t visible;
  int64_t event;
  int64_t known;
  int64_t sequence;
  uint32_t row_bytes;
  uint32_t deleted;
};
static_assert(sizeof(Header) == 40);

// Calls `each(Entry)` in order; false where the value is damaged.
template <typename Each>
bool Walk(std::span<const std::byte> value, const RowLayout& layout, Each each) {
  uint32_t count = 0;
  if (value.size() < sizeof(count)) return false;
  std::memcpy(&count, value.data(), sizeof(count));
  if (count > (value.size() - sizeof(count)) / sizeof(Header)) return false;
  const std::byte* headers = value.data() + sizeof(count);
  std::span<const std::byte> rows = value.subspan(sizeof(count) + count * sizeof(Header));
  for (uint32_t i = 0; i < count; ++i) {
    Header header;
    std::memcpy(&header, headers + i * sizeof(Header), sizeof(Header));
    if (header.row_bytes > rows.size()) return false;
    const auto row = rows.first(header.row_bytes);
    rows = rows.subspan(header.row_bytes);
    if (header.deleted == 0 && !layout.Fits(row)) return false;
    each(Entry{header.visible, header.event, header.known, header.sequence, header.deleted != 0, row});
  }
  return true;
}

bool Before(const Entry& a, const Entry& b, const RowLayout& layout) {
  const auto times = [](const Entry& e) {
    return std::tuple(e.visible, e.event, e.known, e.sequence, e.deleted);
  };
  if (times(a) != times(b)) return times(a) < times(b);
  return !a.deleted && layout.Compare(a.row, b.row) < 0;
}

}  // namespace

int64_t VisibleFrom(int64_t event, int64_t known, int64_t delay) {
  int64_t usable = 0;
  if (__builtin_add_overflow(known, delay, &usable)) return std::numeric_limits<int64_t>::max();
  return std::max(event, usable);
}

void Merge(std::vector<Entry>& entries, const RowLayout& layout, int64_t now) {
  std::sort(entries.begin(), entries.end(),
            [&](const Entry& a, const Entry& b) { return Before(a, b, layout); });
  size_t kept = 0, first = 0;
  int64_t newest = std::numeric_limits<int64_t>::min();
  for (size_t i = 0; i < entries.size(); ++i) {
    newest = std::max(newest, entries[i].event);
    const bool last = i + 1 == entries.size() || entries[i + 1].visible != entries[i].visible;
    if (entries[i].event < newest || !last) continue;
    if (entries[i].visible <= now) first = kept;
    entries[kept++] = entries[i];
  }
  entries.resize(kept);
  entries.erase(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(first));
}

void EncodeEntries(std::span<const Entry> entries, std::vector<std::byte>& out) {
  const auto count = static_cast<uint32_t>(entries.size());
  size_t size = sizeof(count) + entries.size() * sizeof(Header);
  for (const Entry& entry : entries) size += entry.row.size();
  out.resize(size);
  std::byte* at = out.data();
  const auto append = [&at](const void* data, size_t bytes) {
    if (bytes != 0) std::memcpy(at, data, bytes);
    at += bytes;
  };
  append(&count, sizeof(count));
  for (const Entry& entry : entries) {
    const auto row_bytes = static_cast<uint32_t>(entry.row.size());
    const Header header{entry.visible,  entry.event, entry.known,
                        entry.sequence, row_bytes,   entry.deleted ? 1U : 0U};
    append(&header, sizeof(header));
  }
  for (const Entry& entry : entries) append(entry.row.data(), entry.row.size());
}

bool DecodeEntries(std::span<const std::byte> value, const RowLayout& layout, std::vector<Entry>& entries) {
  return Walk(value, layout, [&](const Entry& entry) { entries.push_back(entry); });
}

bool FindVisible(std::span<const std::byte> value, const RowLayout& layout, int64_t now,
                 std::optional<Entry>& found) {
  found.reset();
  return Walk(value, layout, [&](const Entry& entry) {
    if (entry.visible <= now) found = entry;
  });
}

}  // namespace falaj
