# shellcheck shell=sh
# The peer engine (llama.cpp as packaged in node-llama-cpp) for comparisons. Sourced by tests/peer/run.sh and
# bench/against-peer, after root is set.

shared=${PLIMSOLL_SHARED:-$root/../shared}
peer_folder=$root/out/peer

# Installs the peer into out/peer. Without what that takes prints one line and exits 0: nothing can be compared then.
prepare_peer() { # NAME
  skip() {
    echo "SKIPPED: $1: $2"
    exit 0
  }
  [ -f "$shared/peer/package.json" ] || skip "$1" "no $shared/peer (set PLIMSOLL_SHARED)"
  command -v node >/dev/null || skip "$1" "no node (Debian: apt-get install nodejs npm)"
  mkdir -p "$peer_folder"
  for file in package.json package-lock.json; do
    cmp -s "$shared/peer/$file" "$peer_folder/$file" || install -m 644 "$shared/peer/$file" "$peer_folder/$file"
  done
  if [ ! -d "$peer_folder/node_modules/node-llama-cpp" ]; then
    command -v npm >/dev/null || skip "$1" "no npm (Debian: apt-get install npm)"
    echo "Installing llama.cpp's package into $peer_folder ..."
    (cd "$peer_folder" && npm install --ignore-scripts --no-audit --no-fund --loglevel=error) ||
      skip "$1" "npm could not install node-llama-cpp"
  fi
}
