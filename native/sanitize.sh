#!/bin/sh
# Builds the kernels with the sanitizers and drives every path of theirs; stops at the first report.
#   native/sanitize.sh [python]
set -eu
cd "$(dirname "$0")/.."
python=$(command -v "${1:-python3}")

run() { # name, sanitizers, libraries that must be loaded before Python
  build=build/sanitize-$1
  cmake -S . -B "$build" -G Ninja -DPython_EXECUTABLE="$python" -DTORCHLIQUID_SANITIZE="$2" >/dev/null
  cmake --build "$build"
  preload=
  for library in $3 libstdc++.so; do preload="$preload $(${CXX:-c++} -print-file-name=$library)"; done
  echo "-- $2"
  # Without address randomisation, which the thread sanitizer can't stand on some kernels.
  LD_PRELOAD="$preload" setarch -R env ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
    TSAN_OPTIONS=halt_on_error=1 "$python" tests/kernels/drive.py "$build"/_native*.so
}

run address address,undefined "libasan.so libubsan.so"
run thread thread libtsan.so
