"""Compile the kernels of an operator for GPUs that need not be there, and print what each needs as JSON lines.

    python ahead_of_time.py CASE

It replaces the launch of kernels, and calls the operators of a case with tensors of the CPU: each launch is compiled
for the dtypes and constants that it was called with.
"""

import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sklinvariant.ops import _kernels

ARCHITECTURES = (80, 90)  # A100, and H100 and H200
TYPES = {
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.int64: "*i64",
    torch.int32: "*i32",
    torch.uint8: "*u8",
    torch.int8: "*i8",
    torch.bool: "*i1",
}


def type_of(argument):
    if isinstance(argument, torch.Tensor):
        return TYPES[argument.dtype]
    if isinstance(argument, float):
        return "fp32"
    return "i32" if -(2**31) <= argument < 2**31 else "i64"


def compile_launch(kernel, grid, arguments, options, constants):
    """Replaces `_kernels._run`: compile the kernel instead of running it."""
    names = kernel.arg_names
    signature = dict(zip(names, map(type_of, arguments), strict=False))
    # a launch compiles in which integers are 1 and which are multiples of 16, and that tensors are aligned
    integers = [
        i
        for i, argument in enumerate(arguments)
        if isinstance(argument, int) and not kernel.params[i].do_not_specialize
    ]
    constants = constants | {names[i]: 1 for i in integers if arguments[i] == 1}
    aligned = [i for i in integers if arguments[i] % 16 == 0]
    aligned += [i for i, argument in enumerate(arguments) if isinstance(argument, torch.Tensor)]
    source = ASTSource(
        fn=kernel,
        signature=signature | dict.fromkeys(constants, "constexpr"),
        constexprs=constants,
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    for architecture in ARCHITECTURES:
        compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
        print(
            json.dumps(
                {
                    "kernel": kernel.fn.__name__,
                    "architecture": architecture,
                    "precision": constants.get("PRECISION"),
                    "shared": compiled.metadata.shared,
                    "tensor_cores": bool(re.search(r"\b(wgmma|mma)\.", compiled.asm["ptx"])),
                    **resources(compiled.asm["cubin"]),
                }
            )
        )


def resources(cubin):
    """Registers and bytes of local memory (spilled registers) of a kernel, as cuobjdump reports them."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    if not tool.exists():
        return {}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        report = subprocess.run([tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True)
    found = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", report.stdout))
    return {"registers": int(found["REG"]), "spilled": int(found["STACK"]) + int(found["LOCAL"])}


def main(case):
    _kernels._run = compile_launch
    _kernels.KERNEL_DEVICES = {"cpu"}
    _kernels._kernels_work = lambda device: True
    module, function = case.split(":")
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main(sys.argv[1])
