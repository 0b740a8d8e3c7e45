"""What the README at the root shows is what happens, and what the tests compile.

VARVE_UPDATE_DOCS=1 writes it into the README instead of comparing.
"""

import os
import re
import subprocess
import textwrap

import polars

import varve
from conftest import END, ROOT

README = ROOT / "README.md"


def block(language, containing):
    """Find a fenced block: its text, and where it stands in the README."""
    text = README.read_text(encoding="utf-8")
    fences = re.finditer(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", text, re.S | re.M)
    found = [match for match in fences if match["language"] == language and containing in match["code"]]
    assert len(found) == 1
    return text, found[0]


def compare(text, match, wanted):
    if os.environ.get("VARVE_UPDATE_DOCS"):
        README.write_text(text[: match.start("code")] + wanted + text[match.end("code"):], encoding="utf-8")
    else:
        assert match["code"] == wanted


def test_embedding_example():
    """The C++ of the README is what tests/install compiles, between its two marks."""
    source = (ROOT / "tests/install/example/example.cc").read_text(encoding="utf-8")
    includes = "".join(re.findall(r'#include "varve/.*\n', source))
    body = source[source.index("// README begins\n"):source.index("  // README ends")]
    body = textwrap.dedent("  " + body).split("\n", 1)[1]
    compare(*block("cpp", "Database::Open"), includes + "\n" + body)


def test_python_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    now = varve._time.now()
    values = [float(i) for i in range(100)]
    names = {"varve": varve, "polars": polars, "values": values,
             "times": [now - (100 - i) * 15_000_000_000 for i in range(100)]}
    exec(block("python", "varve.open")[1]["code"], names)  # what it says, as it says it
    assert names["frame"].height > 0 and "job" in names["frame"].columns
    assert "total" in capsys.readouterr().out
    with varve.open("obs") as db:
        assert [entry.line for entry in db.logql('{app="shop"}')] == ["order placed"]


def test_shell_transcript(quickstart, varve_binary):
    """Each `varve>` line of the transcript, asked again after those before it."""
    text, match = block("", "varve> ")
    commands = re.findall(r"^(?:varve|logql|traceql)> (.*)$", match["code"], re.M)
    languages = {"promql": "varve", "logql": "logql", "traceql": "traceql"}
    language = "promql"
    shown = []
    for number, command in enumerate(commands):
        settings = [line for line in commands[:number] if line.startswith((".lang", ".range", ".mode",
                                                                           ".limit"))]
        script = "\n".join([f".at {END}", *settings, command, ""])
        done = subprocess.run([varve_binary, "shell", quickstart], input=script, text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        answer = "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())
        shown.append(f"{languages[language]}> {command}\n{answer}")
        if command.startswith(".lang "):
            language = command.split()[1]
        else:
            assert answer or command.startswith("."), command
    assert len(commands) >= 8
    compare(text, match, "".join(shown))
