// Changes protobuf messages as messages: fields are moved, doubled, split and written at odd lengths, and the
// lengths around them follow. libFuzzer's own changes of single bytes rarely keep nested lengths right.
#pragma once

#include <cstddef>
#include <cstdint>

namespace falaj::fuzz {

// As LLVMFuzzerCustomMutator.
size_t MutateMessage(uint8_t* data, size_t size, size_t most, unsigned seed);

}  // namespace falaj::fuzz
