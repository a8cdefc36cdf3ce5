# Libraries for the Python extension, inside of it: fmt compiled from its headers, so that nothing else compiles otherwise
# than for the program; PCRE2 and utf8proc as archives. Where there are none, the shared ones are linked, and a wheel for
# other machines has to be repaired with auditwheel.
get_target_property(fmt_include_dirs fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
add_library(plimsoll_fmt STATIC src/bindings/python/fmt_library.cpp)
target_include_directories(plimsoll_fmt SYSTEM PUBLIC ${fmt_include_dirs})
target_compile_definitions(plimsoll_fmt PUBLIC FMT_SHARED)  # as everywhere else
set(fmt_library plimsoll_fmt)
set(text_libraries)
foreach(library PCRE2 UTF8PROC)
  list(GET ${library}_LIBRARIES 0 ${library}_name)
  find_library(PLIMSOLL_${library}_ARCHIVE lib${${library}_name}.a HINTS ${${library}_LIBRARY_DIRS})
  mark_as_advanced(PLIMSOLL_${library}_ARCHIVE)
  if(PLIMSOLL_${library}_ARCHIVE)
    add_library(plimsoll_archive_${library} INTERFACE)
    target_include_directories(plimsoll_archive_${library} SYSTEM INTERFACE ${${library}_INCLUDE_DIRS})
    target_link_libraries(plimsoll_archive_${library} INTERFACE ${PLIMSOLL_${library}_ARCHIVE})
    list(APPEND text_libraries plimsoll_archive_${library})
  else()
    message(STATUS "No archive of ${library}: the shared library is linked")
    list(APPEND text_libraries PkgConfig::${library})
  endif()
endforeach()
