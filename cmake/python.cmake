# The Python extension plimsoll._native, as scikit-build-core asks for it (pyproject.toml). Beside it the package has the
# bundled model.
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)
find_package(nanobind CONFIG REQUIRED)

nanobind_add_module(_native NB_STATIC src/bindings/python/native.cpp src/bindings/python/model.cpp
                                      src/bindings/python/call.cpp src/bindings/python/turn.cpp)
target_compile_definitions(_native PRIVATE PLIMSOLL_VERSION="${PROJECT_VERSION}")
target_link_libraries(_native PRIVATE plimsoll_app)
target_compile_options(_native PRIVATE -Wall -Wextra)
target_link_options(_native PRIVATE -Wl,--gc-sections -Wl,--exclude-libs,ALL)

install(TARGETS _native LIBRARY DESTINATION plimsoll)
install(FILES models/plimsoll-docs-4m-f16.gguf DESTINATION plimsoll/models)
