# shellcheck shell=sh disable=SC2034
# The judge for Hugging Face folders: `transformers` on PyTorch, pinned, in a virtual environment of its own. Sourced, after
# root is set; judge_python is the interpreter. PLIMSOLL_JUDGE names another place for the environment.

judge_packages="torch==2.13.0 transformers==5.24.0 accelerate==1.15.0 gguf==0.19.0 numpy==2.4.6"
judge_venv=${PLIMSOLL_JUDGE:-$root/out/hf/venv}
judge_python=$judge_venv/bin/python

# Installs the judge, and further packages (without what they depend on), where they are missing. Without what that takes
# prints one line and exits 0: nothing can be compared then.
prepare_judge() { # NAME [PACKAGE...]
  judge_for=$1
  shift
  skip() {
    echo "SKIPPED: $judge_for: $1"
    exit 0
  }
  command -v python3 >/dev/null || skip "no python3 (Debian: apt-get install python3-venv)"
  made_of=$judge_venv/made-of # one line a package that was installed
  if [ ! -x "$judge_python" ]; then
    mkdir -p "$(dirname "$judge_venv")"
    if ! python3 -m venv "$judge_venv" >/dev/null 2>&1; then
      rm -rf "$judge_venv"
      skip "python3 makes no virtual environment (Debian: apt-get install python3-venv)"
    fi
  fi
  touch "$made_of"
  if ! grep -qxF "$judge_packages" "$made_of"; then
    echo "Installing $judge_packages into $judge_venv ..." >&2
    # shellcheck disable=SC2086 # words are meant to split
    "$judge_python" -m pip install -q --disable-pip-version-check $judge_packages >"$judge_venv/pip.log" 2>&1 ||
      skip "pip could not install $judge_packages ($judge_venv/pip.log)"
    echo "$judge_packages" >>"$made_of"
  fi
  for package in "$@"; do
    if ! grep -qxF "$package" "$made_of"; then
      echo "Installing $package into $judge_venv ..." >&2
      "$judge_python" -m pip install -q --disable-pip-version-check --no-deps "$package" >"$judge_venv/pip.log" 2>&1 ||
        skip "pip could not install $package ($judge_venv/pip.log)"
      echo "$package" >>"$made_of"
    fi
  done
}
