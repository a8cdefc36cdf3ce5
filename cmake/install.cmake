# What `cmake --install` puts into a prefix: the program, the library with its header, the model that comes with them,
# manual pages, completions for shells, and the documentation. The program finds its model beside itself, wherever the
# prefix is moved to.
include(GNUInstallDirs)

install(TARGETS plimsoll RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
if(TARGET plimsoll_shared)
  install(TARGETS plimsoll_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(FILES include/plimsoll.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
endif()
install(FILES models/plimsoll-docs-4m-f16.gguf DESTINATION ${CMAKE_INSTALL_DATADIR}/plimsoll/models)
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES models/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR}/models)

# Pages and completions are the program's own words: it writes them when it is installed. A cross-built one needs its
# emulator for that.
set(pages ${CMAKE_BINARY_DIR}/pages)
if(CMAKE_CROSSCOMPILING)
  set(emulator ${CMAKE_CROSSCOMPILING_EMULATOR})
endif()
install(CODE "
  set(program ${emulator} \"${CMAKE_BINARY_DIR}/plimsoll\")
  file(REMOVE_RECURSE \"${pages}\")
  file(MAKE_DIRECTORY \"${pages}/man\" \"${pages}/completion\")
  execute_process(COMMAND \${program} man --output \"${pages}/man\" COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND \${program} completion bash OUTPUT_FILE \"${pages}/completion/plimsoll\"
                  COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND \${program} completion zsh OUTPUT_FILE \"${pages}/completion/_plimsoll\"
                  COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND \${program} completion fish OUTPUT_FILE \"${pages}/completion/plimsoll.fish\"
                  COMMAND_ERROR_IS_FATAL ANY)
")
install(DIRECTORY ${pages}/man/ DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${pages}/completion/plimsoll DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${pages}/completion/_plimsoll DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${pages}/completion/plimsoll.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
