#!/usr/bin/env bash
# Installs the package as a user does, `pip install ./bindings/python` with an isolated build, into
# a clean virtual environment and runs the example. Then, as root and with debootstrap at hand, runs
# what was installed on Debian's smallest system with its Python and none of Varve's packages: a
# folder that this makes and changes root into.
# Usage: bindings/python/check_install.sh [WHEEL]   WHEEL: built already, so only the second part
# The last line is "installed and ran ...".
set -euo pipefail
source=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$source/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$(command -v /usr/bin/python3 || command -v python3)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHONHOME

mkdir -p "$work/package"
if [ $# -eq 0 ]; then
  # What was compiled before, by the same name of the compiler and with the same flags, is found
  # again; Python itself would name another.
  export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 CC=${CC:-cc} CXX=${CXX:-c++}
  export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"
  "$python" -m venv "$work/venv"
  begun=$SECONDS
  "$work/venv/bin/pip" install -q "$source"
  echo "pip install took $((SECONDS - begun)) s"
  (cd "$work" && "$work/venv/bin/python" "$source/tests/example.py")
  cp -r "$work"/venv/lib/python3*/site-packages/varve "$work/package/"
  ran="in a clean environment, "
else
  "$python" -m zipfile -e "$1" "$work/package"
fi
du -sb "$work/package/varve" | awk '{print "installed: " $1 " bytes"}'

if [ "$(id -u)" -eq 0 ] && command -v debootstrap >/dev/null; then
  bare=$root/build/python/bare
  if [ ! -e "$bare/usr/bin/python3" ]; then
    rm -rf "$bare"
    mkdir -p "$bare"
    debootstrap --variant=minbase --include=python3,libpython3-stdlib \
      "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$bare" >"$work/debootstrap.log" 2>&1 ||
      { tail -20 "$work/debootstrap.log"; exit 1; }
  fi
  foreign=$(chroot "$bare" dpkg-query -W -f '${Package}\n' | grep -E '^lib(absl|re2|zstd-dev|lz4-dev|roaring|hwy|simdjson|antlr)' || true)
  [ -z "$foreign" ] || { echo "not bare: $foreign"; exit 1; }
  rm -rf "$bare/opt/varve"
  mkdir -p "$bare/opt/varve"
  cp -r "$work/package/varve" "$source/tests/example.py" "$bare/opt/varve/"
  chroot "$bare" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
    sh -c 'cd /tmp && PYTHONPATH=/opt/varve python3 /opt/varve/example.py'
  ran="${ran:-}on a bare system"
else
  echo "skipped: the wheel on a bare system (needs root and debootstrap)"
fi
echo "installed and ran ${ran:-nowhere}"
