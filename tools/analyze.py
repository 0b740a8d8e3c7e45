#!/usr/bin/env python3
"""Runs Clang over the project's own sources, from GCC's compile_commands.json.

Usage: analyze.py BUILD_DIR thread-safety|tidy

thread-safety: clang++-19 -fsyntax-only -Wthread-safety -Werror=thread-safety; nothing is built.
tidy: clang-tidy-19 with .clang-tidy, warnings are errors.
Covers engine/, query/ and tools/; thread-safety only the files that mention locks, or whose header
does. Sources that include ANTLR's runtime are left to GCC: Clang needs
a shim for that package, and they hold no locks.
"""

import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys

DROP = {"-fno-char8_t", "-Werror", "-fuse-ld=mold"}
DROP_PREFIX = ("-Wno-", "-Wall", "-Wextra", "-Wnon-virtual", "-Woverloaded", "-O")


def command_for(entry, mode):
    words = shlex.split(entry["command"])
    while words and not words[0].endswith("c++") and not words[0].endswith("g++"):
        words.pop(0)
    arguments = []
    skip = False
    for word in words[1:]:
        if skip:
            skip = False
        elif word in ("-o", "-c"):
            skip = True
        elif word not in DROP and not word.startswith(DROP_PREFIX):
            arguments.append(word)
    source = entry["file"]
    if mode == "tidy":
        return ["clang-tidy-19", "--quiet", source, "--", *arguments]
    return ["clang++-19", "-fsyntax-only", "-Wthread-safety", "-Werror=thread-safety",
            "-Wno-deprecated-declarations", *arguments, source]


def mentions_locks(path):
    """Guarded fields are private: only their class's own files can break the rules."""
    texts = [path.read_text(errors="replace")]
    for header in (path.with_suffix(".h"), *path.parent.glob("*_impl.h")):
        if header.exists():
            texts.append(header.read_text(errors="replace"))
    return any("Mutex" in text or "thread_annotations" in text for text in texts)


def main():
    build, mode = pathlib.Path(sys.argv[1]), sys.argv[2]
    root = pathlib.Path(__file__).resolve().parent.parent
    entries = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        try:
            name = path.resolve().relative_to(root)
        except ValueError:
            continue
        if name.parts[0] not in ("engine", "query", "tools"):
            continue
        if "antlr4" in path.read_text(errors="replace"):
            continue
        if mode == "thread-safety" and not mentions_locks(path):
            continue
        entries.append((str(name), entry))
    if not entries:
        print("nothing to analyse")
        return 1

    def run(item):
        name, entry = item
        done = subprocess.run(
            command_for(entry, mode), cwd=entry["directory"], capture_output=True, text=True
        )
        return name, done.returncode, done.stdout + done.stderr

    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, code, output in pool.map(run, entries):
            if code != 0:
                bad += 1
                print(f"{name}:\n{output}")
    print(f"{len(entries)} files, {bad} with findings")
    return 1 if bad else 0


sys.exit(main())
