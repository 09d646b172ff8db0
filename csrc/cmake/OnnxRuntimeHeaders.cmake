# Finds ONNX Runtime's C API headers (only headers: the library is opened at run time) and sets
# ONNXRUNTIME_INCLUDE_DIR. Order: what the user gave, the system's, this build's, the user's cache, a fetch.
set(ONNXRUNTIME_INCLUDE_DIR "" CACHE PATH "Folder with onnxruntime_c_api.h")
option(FALAJ_FETCH_HEADERS "Fetch ONNX Runtime's headers from Debian where none are found" ON)
set(minimum_api 23)

if(DEFINED ENV{XDG_CACHE_HOME})
  set(header_cache $ENV{XDG_CACHE_HOME}/falaj)
else()
  set(header_cache $ENV{HOME}/.cache/falaj)
endif()

# Sets `result` to the API version that the header in `folder` declares, 0 where there is none.
function(ort_api_version folder result)
  set(${result} 0 PARENT_SCOPE)
  if(EXISTS ${folder}/onnxruntime_c_api.h)
    file(STRINGS ${folder}/onnxruntime_c_api.h line REGEX "^#define ORT_API_VERSION ")
    string(REGEX REPLACE "[^0-9]*([0-9]+).*" "\\1" version "${line}")
    set(${result} ${version} PARENT_SCOPE)
  endif()
endfunction()

set(ways "Pass -DONNXRUNTIME_INCLUDE_DIR=<folder with onnxruntime_c_api.h>, or install libonnxruntime-dev of \
Debian forky or newer, or allow the fetch (-DFALAJ_FETCH_HEADERS=ON) on a Debian system.")

if(ONNXRUNTIME_INCLUDE_DIR)
  ort_api_version(${ONNXRUNTIME_INCLUDE_DIR} version)
  if(version LESS minimum_api)
    message(FATAL_ERROR "ONNX Runtime headers in ${ONNXRUNTIME_INCLUDE_DIR} have API version ${version}, "
                        "expected ${minimum_api} or newer. ${ways}")
  endif()
else()
  set(candidates /usr/include/onnxruntime /usr/local/include/onnxruntime
      ${CMAKE_BINARY_DIR}/onnxruntime-headers/include/onnxruntime ${header_cache}/include/onnxruntime)
  foreach(candidate ${candidates})
    ort_api_version(${candidate} version)
    if(NOT version LESS minimum_api)
      set(found ${candidate})
      break()
    endif()
  endforeach()
  if(NOT found AND FALAJ_FETCH_HEADERS)
    foreach(destination ${header_cache} ${CMAKE_BINARY_DIR}/onnxruntime-headers)
      execute_process(COMMAND ${CMAKE_CURRENT_LIST_DIR}/fetch_onnxruntime_headers.sh ${destination}
                      RESULT_VARIABLE failed ERROR_VARIABLE fetch_error)
      ort_api_version(${destination}/include/onnxruntime version)
      if(NOT failed AND NOT version LESS minimum_api)
        set(found ${destination}/include/onnxruntime)
        break()
      endif()
    endforeach()
  endif()
  if(NOT found)
    message(FATAL_ERROR "ONNX Runtime headers with API ${minimum_api} or newer were not found. ${ways}\n"
                        "${fetch_error}")
  endif()
  set(ONNXRUNTIME_INCLUDE_DIR ${found})
endif()
message(STATUS "ONNX Runtime headers: ${ONNXRUNTIME_INCLUDE_DIR} (API ${version})")
