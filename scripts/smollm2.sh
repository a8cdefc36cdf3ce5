# shellcheck shell=sh
# SmolLM2-135M-Instruct as scripts/real_model.py lays it out: smollm2.gguf, plain/ and turned/. Sourced, after root is set.
# PLIMSOLL_SMOLLM2 names a folder that has them already.

smollm2=${PLIMSOLL_SMOLLM2:-$root/out/smollm2}

# Without what that takes prints one line and exits 0: nothing can be compared then.
prepare_smollm2() { # NAME
  if [ -z "${PLIMSOLL_SMOLLM2:-}" ]; then
    "$root/scripts/real_model.py" "$smollm2"
  fi
  for file in smollm2.gguf plain/model.safetensors turned/model.safetensors; do
    if [ ! -f "$smollm2/$file" ]; then
      echo "SKIPPED: $1: no $smollm2/$file"
      exit 0
    fi
  done
}

# What is made of the model is kept in out/real, by the weights it was made of: real_work. Of the validation text's pieces of
# 4,000 bytes, three of five are real_calibration and the others real_held_out, so that both have of all its parts (some
# are in other languages). Needs shared (scripts/peer.sh).
prepare_real_work() { # NAME
  text=$shared/text/valid.txt
  if [ ! -f "$text" ]; then
    echo "SKIPPED: $1: no $text (set PLIMSOLL_SHARED)"
    exit 0
  fi
  sum=$(sha256sum <"$smollm2/turned/model.safetensors")
  real_work=$root/out/real/$(echo "$sum" | cut -c 1-12)
  real_calibration=$real_work/calibration.txt
  real_held_out=$real_work/held-out.txt
  mkdir -p "$real_work"
  LC_ALL=C awk -v first="$real_calibration.partial" -v rest="$real_held_out.partial" \
    '{ at += length($0) + 1; print >(int(at / 4000) % 5 < 3 ? first : rest) }' "$text"
  mv "$real_calibration.partial" "$real_calibration"
  mv "$real_held_out.partial" "$real_held_out"
}
