#!/bin/sh
# Every chat template at hand against transformers: tests/templates/run.sh BUILD. PLIMSOLL_TEMPLATES names a folder with
# *.jinja; without it they come from the source archive of llama-cpp-python.
set -eu
build=$1
venv=out/templates/venv
mkdir -p out/templates
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import transformers' 2>/dev/null; then
  python3 -m venv "$venv"
  if ! "$venv/bin/pip" install -q jinja2==3.1.6 transformers==5.24.0; then
    echo "SKIPPED: transformers cannot be installed here" >&2
    exit 0
  fi
fi
folders=${PLIMSOLL_TEMPLATES:-}
if [ -z "$folders" ]; then
  folders=out/templates/llama_cpp
  if [ ! -d "$folders" ]; then
    if ! "$venv/bin/pip" download -q --no-deps --no-build-isolation --no-binary :all: -d out/templates llama-cpp-python 2>/dev/null &&
      ! "$venv/bin/pip" download -q --no-deps --no-binary :all: -d out/templates llama-cpp-python; then
      echo "The source archive of llama-cpp-python cannot be had: only the shared templates are compared" >&2
    else
      mkdir -p "$folders"
      for archive in out/templates/llama_cpp_python-*.tar.gz; do
        tar -xzf "$archive" -C "$folders" --wildcards --strip-components=5 '*/vendor/llama.cpp/models/templates/*.jinja'
      done
    fi
  fi
fi
[ -d "$folders" ] || folders=
if [ -d ../shared/templates ]; then
  folders="$folders ../shared/templates"
fi
if [ -z "$folders" ]; then
  echo "SKIPPED: there are no templates here" >&2
  exit 0
fi
# shellcheck disable=SC2086 # several folders
exec "$venv/bin/python" tests/templates/judge.py "$build/plimsoll_render_template" $folders
