#!/usr/bin/env bash
# Usage: check_symbols.sh LIBRARY HEADER. Compares what the library exports with what the header
# declares.
set -euo pipefail
exported=$(nm -D --defined-only --with-symbol-versions "$1" | awk '$2 != "A" {print $3}' | sort)
declared=$(grep -A1 '^VARVE_API' "$2" | grep -o '\bvarve_[a-z_]*(' | tr -d '(' | sed 's/$/@@VARVE_0.1/' | sort -u)
if ! diff <(echo "$declared") <(echo "$exported"); then
  echo "'<' is declared and not exported, '>' exported and not declared" >&2
  exit 1
fi
readelf -d "$1" | grep -q 'SONAME.*libvarve_c\.so\.0' || { echo "no versioned soname" >&2; exit 1; }
echo "$(echo "$exported" | wc -l) functions exported"
