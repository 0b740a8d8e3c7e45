#!/usr/bin/env bash
# Builds the wheel, installs it into a clean virtual environment and into one with everything that
# it works with, and checks it: the README's example, types, tests.
# Usage: bindings/python/check.sh BUILD_DIR   BUILD_DIR has bin/varve; its compiled objects are
# found again through ccache.
# The last line is "N passed, N failed".
set -uo pipefail
source=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$source/../.." && pwd)
build=$(cd "$1" && pwd) || exit 1
work=$root/build/python
mkdir -p "$work"
passed=0
failed=0
check() {
  local name=$1 log
  shift
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then
    passed=$((passed + 1))
    echo "ok    $name"
  else
    failed=$((failed + 1))
    echo "FAIL  $name"
    tail -60 "$log"
  fi
  rm -f "$log"
}
finish() {
  echo "$passed passed, $failed failed"
  exit $((failed > 0))
}

python=$(command -v /usr/bin/python3 || command -v python3)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHONHOME

# One environment serves until the list of packages changes.
venv=$work/venv
stamp=$("$python" --version; cat "$source/requirements.txt")
environment() {
  [ "$(cat "$venv/stamp" 2>/dev/null)" = "$stamp" ] && return 0
  rm -rf "$venv"
  "$python" -m venv "$venv" && "$venv/bin/pip" install -q -r "$source/requirements.txt" &&
    echo "$stamp" >"$venv/stamp"
}
check "python: environment" environment
[ $failed -eq 0 ] || finish

# The wheel's build has a folder of its own; the same flags make ccache give the same objects.
wheel() {
  rm -rf "$work/dist"
  export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 CC=${CC:-cc} CXX=${CXX:-c++}
  export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"
  "$venv/bin/pip" wheel -q --no-deps --no-build-isolation -w "$work/dist" "$source" || return 1
  local size
  size=$(stat -c %s "$work"/dist/varve-*.whl)
  echo "$size bytes"
  [ "$size" -lt 15000000 ]
}
check "python: wheel" wheel
[ $failed -eq 0 ] || finish

# Nothing but the wheel: no NumPy, and no library outside it except the C and C++ runtimes.
clean() {
  rm -rf "$work/clean"
  "$python" -m venv "$work/clean" &&
    "$work/clean/bin/pip" install -q --no-index "$work"/dist/varve-*.whl || return 1
  local package foreign
  package=$("$work/clean/bin/python" -c 'import varve, os; print(os.path.dirname(varve.__file__))') || return 1
  foreign=$(ldd "$package"/_varve*.so | grep -v "$package/_libs/" |
    grep -vE 'linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s)\.so')
  [ -z "$foreign" ] || { echo "not in the wheel: $foreign"; return 1; }
  (cd "$(mktemp -d)" && "$work/clean/bin/python" "$source/tests/example.py")
}
check "python: example in a clean environment" clean

check "python: install" "$venv/bin/pip" install -q --force-reinstall --no-deps "$work"/dist/varve-*.whl
cd "$work" || exit 1
check "python: mypy" "$venv/bin/mypy" --config-file "$source/pyproject.toml" --cache-dir "$work/mypy" -p varve
check "python: stubtest" "$venv/bin/stubtest" --mypy-config-file "$source/pyproject.toml" \
  --allowlist "$source/stubtest_allowlist.txt" --ignore-unused-allowlist varve

log=$(mktemp)
VARVE_BINARY=$build/bin/varve "$venv/bin/pytest" -q -rs -c "$source/pyproject.toml" --rootdir "$source" \
  "$source/tests" >"$log" 2>&1
summary=$(grep -E '^[0-9]+ (passed|failed).* in |^(no tests|.*error).* in ' "$log" | tail -1)
good=$(grep -oE '[0-9]+ passed' <<<"$summary" | grep -oE '[0-9]+')
bad=$(grep -oE '[0-9]+ failed' <<<"$summary" | grep -oE '[0-9]+')
broken=$(grep -oE '[0-9]+ error' <<<"$summary" | grep -oE '[0-9]+')
grep -o 'skipped: .*' "$log" | sort -u
if [ -z "$good" ] || [ -n "$bad$broken" ]; then
  tail -100 "$log"
  [ -z "$good$bad$broken" ] && bad=1
fi
echo "python: pytest: $summary"
rm -f "$log"
passed=$((passed + ${good:-0}))
failed=$((failed + ${bad:-0} + ${broken:-0}))
finish
