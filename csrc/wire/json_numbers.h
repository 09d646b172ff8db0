// The numbers of one tensor's data in JSON, read straight from their text.
#pragma once

#include <string_view>

#include "core/tensor.h"

namespace falaj::wire {

// Reads a JSON array of exactly view.elements() numbers, nested as it likes but no deeper than `max_depth`,
// into the view. False where the text is anything else: not a plain number of the type, out of its range, too
// many, NaN, not JSON, or a type that has no numbers; the view's content is then undefined, and ReadJsonData
// finds out what it is. What it does read, ReadJsonData would read to the same bits.
//
// Walking from value to value by simdjson costs more than the numbers themselves: 27 ns for one of 11
// characters, where this takes 9.
//
// REQUIRES: 16 bytes behind the text are readable, and a byte that is not of a JSON array ends it or follows.
[[nodiscard]] bool ReadJsonNumbers(std::string_view text, const TensorView& view, int max_depth);

// Reads the number that begins at `text`, rounded to nearest; one that is too small is 0. Returns what is
// behind it; nullptr where none begins there, or where it is too large. `text` is readable as above.
[[nodiscard]] const char* ReadJsonDouble(const char* text, double& number);

}  // namespace falaj::wire
