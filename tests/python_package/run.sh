#!/bin/sh
# The suite `python`: installs the package into out/python/venv as `pip install .` does, and tests it there. Models come
# from BUILD_DIR's plimsoll_make_model; what is compared with, from its plimsoll and libplimsoll.so.
#
#   tests/python_package/run.sh [BUILD_DIR [PYTEST_ARGUMENT...]]     BUILD_DIR: default out/release
#
# PLIMSOLL_PYTHON names the interpreter (python3), PLIMSOLL_CHAT_MODEL a chat model.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "${1:-$root/out/release}" && pwd)
[ $# -eq 0 ] || shift
venv=$root/out/python/venv
python=${PLIMSOLL_PYTHON:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
  echo "SKIPPED: suite python: no Python 3.10 or newer (PLIMSOLL_PYTHON)"
  exit 0
fi
if ! "$python" -m venv "$venv" || ! "$venv/bin/pip" install -q numpy pytest mypy scikit-build-core nanobind; then
  echo "SKIPPED: suite python: pip cannot install numpy, pytest, mypy, scikit-build-core and nanobind here"
  exit 0
fi
cd "$root"
export CXX="${CXX:-c++}" CC="${CC:-cc}" # as the program is compiled, whose objects ccache may have
if ! "$venv/bin/pip" install -q --force-reinstall --no-deps . >out/python/install.log 2>&1; then
  tail -40 out/python/install.log >&2
  echo "tests/python_package/run.sh: pip install . failed" >&2
  exit 1
fi
# Nothing of the source tree is imported: what is tested is what was installed.
cd tests/python_package
"$venv/bin/mypy" --strict --cache-dir "$root/out/python/mypy" typed.py "$root/examples/answer.py"
PLIMSOLL_BUILD=$build exec "$venv/bin/python" -m pytest -q -p no:cacheprovider \
  -W error::pytest.PytestUnraisableExceptionWarning "$@" .
