// The values of an entity's windows, straight from the bytes of its state (window.h).
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "join/window_spec.h"

namespace falaj::join {

// Reused from one entity to the next, of whatever views, it allocates only where more is found than ever
// before. Not thread-safe.
class WindowReader {
 public:
  // Evaluates each aggregate at `time`, or at that which the state was advanced to where it is later. No
  // bytes are no events. Fails where the bytes are damaged or of another spec, or where a sum of integers
  // leaves 64 bits. REQUIRES: spec.Check().ok()
  Status Read(const WindowSpec& spec, std::string_view bytes, int64_t time);

  // As WindowState::Get has them. Texts lie in the bytes that were read.
  std::span<const ValueView> values() const { return values_; }

 private:
  struct Merged {  // the tiles of an aggregate, as far as its function needs
    void Clear();
    uint64_t count = 0;
    ExactSum sum, squares;
    ValueView value;
    Moment last;
    std::vector<ValueView> distinct;
  };

  [[nodiscard]] bool ReadPending(ByteReader& from, int64_t time);
  [[nodiscard]] bool ReadTiles(ByteReader& from, int64_t time);
  [[nodiscard]] bool ReadTile(const Aggregate& of, ByteReader& from, bool needed, Merged& to);
  void AddEvent(const Moment& at, int64_t time);
  Status Finish();

  const WindowSpec* spec_ = nullptr;  // of the Read that is under way
  std::vector<Merged> merged_;
  std::vector<ValueView> event_;
  std::vector<ValueView> values_;
};

}  // namespace falaj::join
