"""The test vectors are the worked example, whose messages other tests hold against the code."""

from __future__ import annotations

import json
import re

from tests.conftest import ROOT


def test_the_vectors_are_the_worked_example() -> None:
    page = (ROOT / "docs/protocol.md").read_text()
    example = page.partition("## 20. A worked example")[2].split("```")[1]
    found: list[dict[str, object]] = []
    frames: list[str] = []
    for line in example.splitlines():
        if head := re.match(r"(\w)>(\w) (\w+)$", line):
            frames = []
            found.append({"from": head[1], "to": head[2], "kind": head[3], "frames": frames})
        elif re.match(r"    [0-9a-f ]+$", line):
            frames.append(line.strip())
    vectors = json.loads((ROOT / "docs/protocol-vectors.json").read_text())
    assert vectors == found
    assert len(vectors) > 10
