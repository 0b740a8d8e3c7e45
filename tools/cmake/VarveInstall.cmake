# The library that others link: every layer of the engine and the query engine in one archive,
# with a CMake package (find_package(varve CONFIG)) and a pkg-config file.

set(varve_layers varve_base varve_io varve_codec varve_wal varve_index varve_block varve_metrics
    varve_db)
set(varve_query_layers varve_grammar_PromQL varve_promql varve_query_functions varve_query_exec
    varve_query varve_grammar_LogQL varve_logql varve_query_logs)
set(varve_objects)
foreach(layer ${varve_layers} ${varve_query_layers})
  if(TARGET ${layer})
    list(APPEND varve_objects $<TARGET_OBJECTS:${layer}>)
  endif()
endforeach()

add_library(varve_library STATIC ${varve_objects})
set_target_properties(varve_library PROPERTIES OUTPUT_NAME varve EXPORT_NAME varve
                      LINKER_LANGUAGE CXX)
target_include_directories(varve_library INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_features(varve_library INTERFACE cxx_std_20)
target_link_libraries(varve_library INTERFACE
  absl::status absl::statusor absl::strings absl::synchronization absl::flat_hash_map
  absl::flat_hash_set absl::cord absl::time absl::inlined_vector Threads::Threads
  re2 roaring lz4 zstd xxhash hwy antlr4-runtime)

install(TARGETS varve_library EXPORT varve ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY "${PROJECT_SOURCE_DIR}/engine/include/varve" "${PROJECT_SOURCE_DIR}/query/include/varve"
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
install(EXPORT varve NAMESPACE varve:: FILE varve-targets.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/varve)

include(CMakePackageConfigHelpers)
configure_package_config_file("${PROJECT_SOURCE_DIR}/tools/cmake/varve-config.cmake.in"
  "${CMAKE_CURRENT_BINARY_DIR}/varve-config.cmake"
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/varve)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/varve-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
configure_file("${PROJECT_SOURCE_DIR}/tools/cmake/varve.pc.in" "${CMAKE_CURRENT_BINARY_DIR}/varve.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/varve-config.cmake"
              "${CMAKE_CURRENT_BINARY_DIR}/varve-config-version.cmake"
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/varve)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/varve.pc" DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(TARGET varve)
  install(TARGETS varve RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
