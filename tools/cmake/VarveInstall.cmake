# The libraries that others link, from the same objects:
#   libvarve.a       every layer of the engine, the query engines and the C API
#   libvarve.so      the public C++ API; versioned soname, everything else hidden (varve.map)
#   libvarve_c.so    the C API alone (bindings/c)
# with a CMake package (find_package(varve CONFIG)), pkg-config files, man page and completions.

# varve_closure(OUT targets...): the static libraries of this project that `targets` link, and these.
function(varve_closure out)
  set(found)
  set(queue ${ARGN})
  while(queue)
    list(POP_FRONT queue target)
    if(NOT TARGET ${target} OR target IN_LIST found)
      continue()
    endif()
    get_target_property(type ${target} TYPE)
    get_target_property(imported ${target} IMPORTED)
    if(imported OR NOT type STREQUAL "STATIC_LIBRARY")
      continue()
    endif()
    list(APPEND found ${target})
    get_target_property(linked ${target} LINK_LIBRARIES)
    if(linked)
      list(APPEND queue ${linked})
    endif()
  endwhile()
  set(${out} ${found} PARENT_SCOPE)
endfunction()

varve_closure(varve_layers varve_bindings_core varve_query_logs varve_traceql varve_correlate)
set(varve_objects $<TARGET_OBJECTS:varve_c_objects>)
foreach(layer ${varve_layers})
  list(APPEND varve_objects $<TARGET_OBJECTS:${layer}>)
endforeach()
set(varve_dependencies
  absl::status absl::statusor absl::strings absl::synchronization absl::flat_hash_map
  absl::flat_hash_set absl::cord absl::time absl::inlined_vector Threads::Threads
  re2 roaring lz4 zstd xxhash hwy antlr4-runtime)

add_library(varve_library STATIC ${varve_objects})
set_target_properties(varve_library PROPERTIES OUTPUT_NAME varve EXPORT_NAME varve
                      LINKER_LANGUAGE CXX)
target_include_directories(varve_library INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(varve_library INTERFACE cxx_std_20)
target_link_libraries(varve_library INTERFACE ${varve_dependencies})

# Public headers show absl::Status, so absl is part of the interface; the rest is not.
add_library(varve_shared SHARED ${varve_objects})
set_target_properties(varve_shared PROPERTIES OUTPUT_NAME varve EXPORT_NAME varve_shared
  LINKER_LANGUAGE CXX VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  LINK_DEPENDS "${CMAKE_CURRENT_LIST_DIR}/varve.map")
target_include_directories(varve_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(varve_shared INTERFACE cxx_std_20)
target_link_libraries(varve_shared PRIVATE ${varve_dependencies}
  PUBLIC absl::status absl::statusor absl::strings)
target_link_options(varve_shared PRIVATE
  "-Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/varve.map" -Wl,-Bsymbolic-functions)

install(TARGETS varve_library varve_shared varve_c EXPORT varve
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/engine/include/varve" "${PROJECT_SOURCE_DIR}/query/include/varve"
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development FILES_MATCHING PATTERN "*.h")
install(FILES "${PROJECT_SOURCE_DIR}/bindings/c/include/varve.h"
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(EXPORT varve NAMESPACE varve:: FILE varve-targets.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/varve)

include(CMakePackageConfigHelpers)
configure_package_config_file("${PROJECT_SOURCE_DIR}/tools/cmake/varve-config.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/varve-config.cmake"
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/varve)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/varve-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
configure_file("${PROJECT_SOURCE_DIR}/tools/cmake/varve.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/varve.pc" @ONLY)
configure_file("${PROJECT_SOURCE_DIR}/tools/cmake/varve_c.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/varve_c.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/varve-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/varve-config-version.cmake"
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/varve)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/varve.pc" "${CMAKE_CURRENT_BINARY_DIR}/varve_c.pc"
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(TARGET varve)
  install(TARGETS varve RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES "${PROJECT_SOURCE_DIR}/tools/varve/varve.1" DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
  install(FILES "${PROJECT_SOURCE_DIR}/tools/varve/completion/varve.bash"
          DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME varve)
  install(FILES "${PROJECT_SOURCE_DIR}/tools/varve/completion/_varve"
          DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
  install(FILES "${PROJECT_SOURCE_DIR}/tools/varve/completion/varve.fish"
          DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()
