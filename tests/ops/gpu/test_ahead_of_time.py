"""Every kernel compiles for the GPUs of two generations, within their shared memory and registers."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = [
    "nearest",
    "sums",
    "moments",
    "weighted",
    "pairs",
    "resampling",
    "ones",
    "joints",
    "hamming",
    "units",
]
SPILLED_BYTES = 64  # the assembler moves a few registers to memory, so that more threads run at the same time
SHARED_BYTES = {80: 163 << 10, 90: 227 << 10}  # of one block


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_kernels_compile(case, tmp_path):
    if importlib.util.find_spec("triton") is None:
        pytest.skip("triton is not installed (it has no build for this platform)")
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), *sys.path])
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": paths}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, str(here / "ahead_of_time.py"), f"kernel_cases:{case}"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert {row["architecture"] for row in rows} == set(SHARED_BYTES)
    too_large = [row for row in rows if row["shared"] > SHARED_BYTES[row["architecture"]]]
    assert too_large == []
    lower = {"tf32", "bf16"}  # products in lower precision use the tensor cores
    assert [row for row in rows if row["tensor_cores"] != (row["precision"] in lower)] == []
    if "spilled" not in rows[0]:
        pytest.skip("Triton comes without cuobjdump here, which counts the registers that are spilled")
    assert [row for row in rows if row["spilled"] > SPILLED_BYTES] == []
