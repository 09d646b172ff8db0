// Whether text is UTF-8, which the protocol's strings have to be.
#pragma once

#include <string_view>

namespace falaj::wire {

// Surrogates, overlong forms and what is past U+10FFFF are not. Quick for short ASCII, which names mostly
// are.
[[nodiscard]] bool IsUtf8(std::string_view text);

}  // namespace falaj::wire
