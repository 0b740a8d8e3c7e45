#!/usr/bin/env bash
# Builds the extension module with sanitizers and runs the package's tests on it.
# Usage: bindings/python/check_sanitized.sh address|thread BUILD_DIR [pytest arguments]
#   address: AddressSanitizer and UndefinedBehaviorSanitizer. Leaks are not looked for: CPython
#            keeps what it has until the end.
#   thread:  ThreadSanitizer, tests/test_threads.py (others with pytest arguments, but none with
#            polars: it does not start there). Only the module is instrumented; what happens inside
#            CPython and NumPy is not judged.
# BUILD_DIR has bin/varve; check.sh has made the virtual environment. The last line is pytest's
# summary.
set -euo pipefail
source=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$source/../.." && pwd)
kind=$1
binary=$(cd "$2" && pwd)/bin/varve
shift 2
python=$root/build/python/venv/bin/python
work=$root/build/python-$kind
export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 PYTHONDONTWRITEBYTECODE=1
case $kind in
  address) preset=dev library=libasan.so ;;
  thread) preset=tsan library=libtsan.so ;;
  *) echo "address or thread, not $kind" >&2; exit 2 ;;
esac

# The flags of the preset for sanitizers, so that ccache knows the objects from there.
cmake -S "$root" --preset $preset -B "$work" -DVARVE_PYTHON=ON -DVARVE_BUILD_TOOLS=OFF \
  -DVARVE_BUILD_TESTS=OFF -DVARVE_BUILD_FUZZ=OFF -DPython_EXECUTABLE="$python" \
  -Dnanobind_DIR="$("$python" -m nanobind --cmake_dir)" \
  ${VARVE_LAUNCHER:+-DCMAKE_CXX_COMPILER_LAUNCHER=$VARVE_LAUNCHER} >/dev/null
cmake --build "$work" -j "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" --target _varve >"$work/build.log" 2>&1 ||
  { tail -50 "$work/build.log"; exit 1; }

rm -rf "$work/package"
mkdir -p "$work/package"
cp -r "$source/varve" "$work/package/varve"
cp "$work"/bindings/python/_varve*.so "$work/package/varve/"

cd "$work"
export VARVE_BINARY=$binary PYTHONPATH=$work/package PYTHONMALLOC=malloc
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:abort_on_error=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1:second_deadlock_stack=1
tests=("$@")
if [ $# -eq 0 ]; then
  tests=("$source/tests")
  [ "$kind" = thread ] && tests=("$source/tests/test_threads.py")
fi
# Left out: what measures memory and time. The interpreter is not instrumented, so the runtime has
# to be there before it; its own programs (the server, the shell) do without.
preload=$(gcc -print-file-name=$library):$(gcc -print-file-name=libstdc++.so)
if [ "$kind" = thread ]; then
  # shellcheck disable=SC2046
  c++ -std=c++20 -O2 -shared -fPIC "$root/tests/support/tsan_abseil.cc" -o "$work/libtsan_abseil.so" -Wl,--no-as-needed \
    $(pkg-config --cflags --libs absl_synchronization)
  preload+=:$work/libtsan_abseil.so
fi
# ThreadSanitizer of GCC 12 does not know how far newer kernels spread addresses.
setarch "$(uname -m)" -R env LD_PRELOAD="$preload" "$python" -m pytest -q -rs -c "$source/pyproject.toml" --rootdir "$source" \
  -m "not measured" "${tests[@]}"
