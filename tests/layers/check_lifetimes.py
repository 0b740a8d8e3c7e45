#!/usr/bin/env python3
"""Finds loops over what dies before they run. Usage: check_lifetimes.py SOURCE_DIR

`for (auto& x : store->blocks()->entries())`: the smart pointer that blocks() returns is gone when
the loop begins, and what it held with it (until C++23, which GCC 12 is not). Looked for are the names
of all functions of ours that return one; give the pointer a name before the loop."""

import pathlib
import re
import sys

RETURNS_POINTER = re.compile(r"(?:shared_ptr|unique_ptr|SourcePtr|\bPtr)\b[^;(){}=]*?[ >&]([A-Za-z_]\w*)\(")
LOOP = re.compile(r"\bfor \((?:[^;]*[^:;]):(?!:)([^;]*)\{?$")


def main():
    root = pathlib.Path(sys.argv[1])
    files = [f for top in ("engine", "query", "tools", "bindings")
             for f in sorted((root / top).rglob("*")) if f.suffix in (".h", ".cc")]
    texts = {file: file.read_text(errors="replace") for file in files}
    names = {match for text in texts.values() for match in RETURNS_POINTER.findall(text)}
    names -= {"std"}
    dies = re.compile(r"\b(" + "|".join(sorted(names)) + r")\((?:[^()]|\([^()]*\))*\)\s*->")
    if "blocks" not in names or not dies.search("store->blocks()->entries()"):
        print("this check is blind")
        return 1
    problems = []
    for file, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            loop = LOOP.search(line)
            found = dies.search(loop[1]) if loop else None
            if found:
                problems.append(f"{file.relative_to(root)}:{number}: loops over what {found[1]}() holds")
    for problem in problems:
        print(problem)
    print(f"{len(files)} files and {len(names)} functions checked, {len(problems)} problems")
    return 1 if problems or not files else 0


sys.exit(main())
