#!/usr/bin/env python3
"""Checks that includes point one way through the layers. Usage: check_layers.py SOURCE_DIR"""

import pathlib
import re
import sys

# Folder -> folders whose headers it may include, besides its own and the public headers.
ENGINE = ["base", "io", "codec", "wal", "index", "block", "metrics", "logs", "traces", "db"]
WINGS = {"metrics", "logs", "traces"}
ALLOWED = {
    "engine/base": set(),
    "engine/io": {"engine/base"},
    "engine/codec": {"engine/base"},
    "engine/wal": {"engine/base", "engine/io", "engine/codec"},
    "engine/index": {"engine/base", "engine/io", "engine/codec"},
    "engine/block": {"engine/base", "engine/io", "engine/codec"},
    "engine/db": {f"engine/{layer}" for layer in ENGINE},
    "query": {"query", "engine/base"},
    "tools": {"tools", "query", "engine/base", "engine/io"},
    "bindings": set(),
}
for wing in WINGS:
    ALLOWED[f"engine/{wing}"] = {
        f"engine/{layer}" for layer in ("base", "io", "codec", "wal", "index", "block")
    }
PUBLIC_HEADERS_INCLUDE = re.compile(r"^(varve/|absl/status/)")
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]')


def area(path):
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "engine" else parts[0]


def main():
    root = pathlib.Path(sys.argv[1])
    problems = []
    checked = 0
    for top in ("engine", "query", "tools", "bindings"):
        for file in sorted((root / top).rglob("*")):
            if file.suffix not in (".h", ".cc", ".c"):
                continue
            checked += 1
            name = str(file.relative_to(root))
            own = area(name)
            public = "/include/varve/" in name
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
                match = INCLUDE.match(line)
                if not match:
                    continue
                target = match[1]
                if public:
                    if "/" in target and not PUBLIC_HEADERS_INCLUDE.match(target):
                        problems.append(f"{name}:{number}: public header includes {target}")
                    continue
                if target.split("/")[0] not in ("engine", "query", "tools", "bindings", "tests"):
                    continue
                other = area(target)
                if other != own and other not in ALLOWED.get(own, set()):
                    problems.append(f"{name}:{number}: {own} must not include {target}")
    for problem in problems:
        print(problem)
    print(f"{checked} files checked, {len(problems)} problems")
    return 1 if problems or checked == 0 else 0


sys.exit(main())
