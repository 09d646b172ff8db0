// The table through which a loaded shared library calls functions of others.
#pragma once

#include "core/status.h"

namespace falaj {

// Makes the calls of `name` that the library of `handle` (of dlopen) makes go to `replacement`, which has the
// same signature; calls from anywhere else stay as they are. Tells whether the library calls it at all. Fails
// with Internal where the table cannot be written. Not to be called for one library by two threads at a time;
// threads that run the library's code meanwhile call the one or the other.
Result<bool> ReplaceImport(void* handle, const char* name, void* replacement);

}  // namespace falaj
