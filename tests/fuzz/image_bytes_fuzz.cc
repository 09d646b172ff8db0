// Any bytes as an image: the check reads inside of them, ends, and takes no image that loses its end.
#include <cstdlib>
#include <cstring>
#include <memory>

#include "backend/image_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Of the exact size, so that AddressSanitizer sees a read behind it.
  const auto exact = std::make_unique<uint8_t[]>(size);
  if (size > 0) std::memcpy(exact.get(), data, size);
  const bool whole = falaj::CheckImageIsWhole({exact.get(), size}).ok();
  const bool is_jpeg = size >= 2 && data[0] == 0xFF && data[1] == 0xD8;
  if (!is_jpeg && !whole) std::abort();
  if (is_jpeg && whole) {
    // Without anything from its last end of image on, it has none.
    size_t last = size - 1;
    while (!(data[last - 1] == 0xFF && data[last] == 0xD9)) --last;
    size_t first = 2;
    while (first + 1 < last && !(data[first] == 0xFF && data[first + 1] == 0xDA)) ++first;
    if (first + 1 >= last) std::abort();  // an end counts only behind a scan
  }
  return 0;
}
