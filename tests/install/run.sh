#!/usr/bin/env bash
# Usage: run.sh BUILD_DIR EXAMPLE_DIR CXX
set -euo pipefail
build=$1 example=$2 cxx=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >"$work/install.log"
cmake -S "$example" -B "$work/build" -G Ninja -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_BUILD_TYPE=Release >"$work/configure.log" || { cat "$work/configure.log"; exit 1; }
cmake --build "$work/build"
"$work/build/example" "$work/data" | tee "$work/output"
grep -q '{job="api"} 2' "$work/output"

pc=$(dirname "$(find "$work/prefix" -name varve.pc)")
# shellcheck disable=SC2046
"$cxx" "$example/example.cc" -o "$work/with_pkg_config" \
  $(PKG_CONFIG_PATH="$pc" pkg-config --define-variable=prefix="$work/prefix" --cflags --libs --static varve)
lib=$(dirname "$pc")
LD_LIBRARY_PATH="$lib" "$work/with_pkg_config" "$work/data2" | grep -q '{job="api"} 2'
# The shared libraries: C++ through varve::varve_shared, C through varve_c.
"$work/build/example_shared" "$work/data3" | grep -q '{job="api"} 2'
readelf -d "$work/build/example_shared" | grep -q 'NEEDED.*libvarve\.so\.0'
cc -std=c11 -Wall -Werror "$example/example.c" -o "$work/example_c" \
  $(PKG_CONFIG_PATH="$pc" pkg-config --define-variable=prefix="$work/prefix" --cflags --libs varve_c)
LD_LIBRARY_PATH="$lib" "$work/example_c" "$work/data4" | grep -q '{job="api"} 2'

for file in share/man/man1/varve.1 share/bash-completion/completions/varve share/zsh/site-functions/_varve \
  share/fish/vendor_completions.d/varve.fish; do
  [ -s "$work/prefix/$file" ] || { echo "$file is not installed"; exit 1; }
done
bash -n "$work/prefix/share/bash-completion/completions/varve"
if command -v fish >/dev/null; then fish -n "$work/prefix/share/fish/vendor_completions.d/varve.fish"; fi
# Completion in bash, as a user types it: commands, and options that the program itself names.
completes() {  # completes WORD... TEXT: completing WORD... offers TEXT
  local want=${*: -1}
  COMP_WORDS=("$work/prefix/bin/varve" "${@:1:$#-1}") COMP_CWORD=$(($# - 1))
  _varve
  printf '%s\n' "${COMPREPLY[@]}" | grep -qxF -- "$want" || { echo "$want is not offered"; exit 1; }
}
# shellcheck disable=SC1091
. "$work/prefix/share/bash-completion/completions/varve"
completes "se" serve
completes import "tr" traces
completes serve --ht --http
completes query --lang l logql
echo "installed library works with find_package and pkg-config"
