# Shared build rules: dependencies, warning flags, and one function per kind of target.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
# VARVE_CHECK is ours and stays on; assert() is for tests and debug builds only.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

find_program(VARVE_CCACHE ccache)
if(VARVE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${VARVE_CCACHE}")
endif()
find_program(VARVE_MOLD mold)
if(VARVE_MOLD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_link_options(-fuse-ld=mold)
endif()

find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(lz4 REQUIRED IMPORTED_TARGET liblz4)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(re2 REQUIRED IMPORTED_TARGET re2)
pkg_check_modules(hwy REQUIRED IMPORTED_TARGET libhwy)
find_library(VARVE_ROARING roaring REQUIRED)
find_path(VARVE_ROARING_INCLUDE roaring/roaring.h REQUIRED)
add_library(varve_dep_roaring INTERFACE)
target_link_libraries(varve_dep_roaring INTERFACE "${VARVE_ROARING}")
target_include_directories(varve_dep_roaring SYSTEM INTERFACE "${VARVE_ROARING_INCLUDE}")

add_library(varve_flags INTERFACE)
target_compile_options(varve_flags INTERFACE
  -Wall -Wextra -Werror -Wno-unused-parameter -Wnon-virtual-dtor -Woverloaded-virtual
  # Same bits on every machine: no fused multiply-add, no reordering.
  -ffp-contract=off -fno-fast-math)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  # libstdc++'s stable_sort uses what it declares deprecated.
  target_compile_options(varve_flags INTERFACE
    -Wthread-safety -Werror=thread-safety -Wno-missing-field-initializers
    -Wno-deprecated-declarations)
else()
  # GCC 12 reports these in std::optional and std::variant code that is right.
  target_compile_options(varve_flags INTERFACE
    -Wno-missing-field-initializers -Wno-maybe-uninitialized)
endif()
if(VARVE_SANITIZE)
  add_compile_options(-fsanitize=${VARVE_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -g1)
  add_link_options(-fsanitize=${VARVE_SANITIZE})
endif()

# varve_library(NAME sources... DEPS libraries...): one layer or module.
function(varve_library name)
  cmake_parse_arguments(arg "" "" "DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC ${arg_DEPS} PRIVATE varve_flags)
  target_include_directories(${name} PUBLIC
    "${PROJECT_SOURCE_DIR}" "${PROJECT_SOURCE_DIR}/engine/include"
    "${PROJECT_SOURCE_DIR}/query/include")
endfunction()

# Test programs are compiled with -O1: half the time of -O2, and what they test keeps its own flags.
function(varve_compile_fast name)
  if(CMAKE_BUILD_TYPE STREQUAL "Release")
    target_compile_options(${name} PRIVATE -O1)
  endif()
endfunction()

# varve_sanitized(NAME): makes a test part of what tools/check also runs under ASan and UBSan: all
# that decode bytes or keep data. Left out, for time: the areas listed here, which run whole
# processes or long comparisons and whose code the others cover.
set(VARVE_UNSANITIZED_AREAS conformance e2e exec durability)
function(varve_sanitized name)
  get_filename_component(area "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
  if(NOT VARVE_SANITIZE OR area IN_LIST VARVE_UNSANITIZED_AREAS)
    return()
  endif()
  set_property(TEST ${name} APPEND PROPERTY LABELS sanitized)
  if(NOT TARGET varve_sanitized_tests)
    add_custom_target(varve_sanitized_tests)
  endif()
  add_dependencies(varve_sanitized_tests ${name})
endfunction()

# varve_test(NAME sources... DEPS libraries... [LABELS ...] [TIMEOUT seconds]): a GoogleTest
# program, one ctest entry.
function(varve_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "DEPS;LABELS" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} varve_flags GTest::gmock GTest::gtest_main)
  varve_compile_fast(${name})
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}"
    ENVIRONMENT "VARVE_SHARED=$ENV{VARVE_SHARED};VARVE_SOURCE=${PROJECT_SOURCE_DIR}")
  varve_sanitized(${name})
endfunction()

# varve_fuzz(NAME source... DEPS libraries... [CORPUS folder]): with VARVE_LIBFUZZER a fuzzer,
# otherwise a program that replays the corpus, in ctest.
function(varve_fuzz name)
  cmake_parse_arguments(arg "" "CORPUS" "DEPS" ${ARGN})
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} varve_flags)
  if(NOT arg_CORPUS)
    set(arg_CORPUS "${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name}")
  endif()
  if(VARVE_LIBFUZZER)
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${name} PRIVATE "${PROJECT_SOURCE_DIR}/fuzz/replay_main.cc")
    varve_compile_fast(${name})
    add_test(NAME ${name} COMMAND ${name} "${arg_CORPUS}")
    set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
    varve_sanitized(${name})
  endif()
endfunction()

# varve_bench(NAME source... DEPS libraries...): a Google Benchmark program; never a test.
function(varve_bench name)
  cmake_parse_arguments(arg "" "" "DEPS" ${ARGN})
  find_package(benchmark REQUIRED)
  add_executable(${name} ${arg_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE ${arg_DEPS} varve_flags benchmark::benchmark)
endfunction()

# Adds every direct subfolder that has a CMakeLists.txt, so that areas do not edit one list.
function(varve_add_subfolders)
  file(GLOB lists CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*/CMakeLists.txt")
  foreach(list ${lists})
    get_filename_component(folder "${list}" DIRECTORY)
    add_subdirectory("${folder}")
  endforeach()
endfunction()
