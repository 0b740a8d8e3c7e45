#!/usr/bin/env bash
# Builds the extension module with AddressSanitizer and UndefinedBehaviorSanitizer and runs the
# package's tests on it. Usage: bindings/python/check_asan.sh BUILD_DIR [pytest arguments]
# BUILD_DIR has bin/varve; check.sh has made the virtual environment. Leaks are not looked for:
# CPython keeps what it has until the end. The last line is pytest's summary.
set -euo pipefail
source=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$source/../.." && pwd)
binary=$(cd "$1" && pwd)/bin/varve
shift
python=$root/build/python/venv/bin/python
work=$root/build/python-asan
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 PYTHONDONTWRITEBYTECODE=1

# The flags of the preset for sanitizers, so that ccache knows the objects from there.
cmake -S "$root" --preset dev -B "$work" -DVARVE_PYTHON=ON -DVARVE_BUILD_TOOLS=OFF \
  -DVARVE_BUILD_TESTS=OFF -DVARVE_BUILD_FUZZ=OFF -DPython_EXECUTABLE="$python" \
  -Dnanobind_DIR="$("$python" -m nanobind --cmake_dir)" ${VARVE_LAUNCHER:+-DCMAKE_CXX_COMPILER_LAUNCHER=$VARVE_LAUNCHER} >/dev/null
cmake --build "$work" -j "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" --target _varve >"$work/build.log" 2>&1 ||
  { tail -50 "$work/build.log"; exit 1; }

rm -rf "$work/package"
mkdir -p "$work/package"
cp -r "$source/varve" "$work/package/varve"
cp "$work"/bindings/python/_varve*.so "$work/package/varve/"

# Left out: what measures memory and time.
runtime=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libstdc++.so)
cd "$work"
VARVE_BINARY=$binary PYTHONPATH=$work/package PYTHONMALLOC=malloc LD_PRELOAD=$runtime \
  ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:abort_on_error=1 \
  UBSAN_OPTIONS=print_stacktrace=1 \
  "$root/build/python/venv/bin/python" -m pytest -q -rs -c "$source/pyproject.toml" \
  --rootdir "$source" -m "not measured" "$source/tests" "$@"
