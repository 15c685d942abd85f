"""check-lmc on a terminal of 80 columns, with names as long as they come."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.checkpoints import near, write_checkpoint

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def on_a_terminal(columns: int, *arguments: object) -> list[str]:
    """What a terminal shows, without styles."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "50"}
    command = [sys.executable, "-m", "dami_merge", "check-lmc", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=follower, stderr=subprocess.DEVNULL, env=environment)
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    process.wait()
    return _STYLE.sub("", shown.decode()).splitlines()


@pytest.mark.slow
def test_no_name_is_broken_and_no_line_is_too_long_unless_a_name_is(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        f"model.language_model.layers.{n}.mlp.experts.{kind}": torch.randn(4, 8, 8, generator=generator)
        for n in range(12)
        for kind in ("gate_up_proj", "down_proj")
    }
    other = near(tensors, noise=0.02)
    other["model.language_model.layers.7.mlp.experts.gate_up_proj"][3].neg_()
    sides = write_checkpoint(tmp_path / "a", tensors), write_checkpoint(tmp_path / "b", other)
    lines = on_a_terminal(80, *sides, "--heat", "--tensors")
    text = "\n".join(lines)
    for name in (*tensors, "model.language_model.layers.11", "mlp.experts.gate_up_proj"):
        assert any(name in line for line in lines), name
    assert "model.language_model.layers.7.mlp.experts.gate_up_proj[3]" in text
    assert "left out for want of columns: same sign, identical" in text
    assert [line for line in lines if len(line.rstrip()) > 80] == []
    wide = on_a_terminal(160, *sides)
    assert any("vectors' cosine" in line and "same sign" in line for line in wide)
    assert not any("left out" in line for line in wide)
