"""`python -m mobileip.forwarding.build OUT`: compile the BPF objects. Needs clang (14 or newer) and libbpf's headers.

There are two: OUT for tc, and beside it the one for XDP.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "bpf" / "tc.bpf.c"
XDP_SOURCE = SOURCE.with_name("xdp.bpf.c")
_SUFFIX = ".bpf.o"
FLAGS = ("-O2", "-g", "-target", "bpf", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-sign-compare")


class BuildError(RuntimeError):
    """The compiler is missing or refused."""


def command(output: Path, source: Path = SOURCE, clang: str = "clang") -> list[str]:
    """The compiler's command line. The kernel's headers need the machine's own include directory beside them."""
    machine = Path("/usr/include") / f"{platform.machine()}-linux-gnu"
    include = [f"-I{machine}"] if machine.is_dir() else []
    # Debug information without the builder's paths: the same source gives the same object everywhere.
    prefix = f"-ffile-prefix-map={source.parent}=."
    return [clang, *FLAGS, *include, prefix, "-c", str(source), "-o", str(output)]


def build(output: Path, source: Path = SOURCE) -> Path:
    """Compile into `output`. Raises BuildError with what the compiler said."""
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(command(output, source), check=True, capture_output=True, text=True, timeout=120)
    except FileNotFoundError as error:
        raise BuildError("clang is not installed; install clang and libbpf-dev") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"clang failed with status {error.returncode}:\n{error.stderr}") from error
    return output


def xdp_object(tc_object: Path) -> Path:
    """Where the object for XDP lies: beside the one for tc, such as mobileip-xdp.bpf.o beside mobileip.bpf.o."""
    return tc_object.with_name(f"{tc_object.name.removesuffix(_SUFFIX)}-xdp{_SUFFIX}")


def build_both(output: Path, directory: Path = SOURCE.parent) -> Path:
    """Compile both objects of the sources in `directory`; `output` is the one for tc. Raises BuildError."""
    build(xdp_object(output), directory / XDP_SOURCE.name)
    return build(output, directory / SOURCE.name)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m mobileip.forwarding.build", description=__doc__)
    parser.add_argument(
        "output", type=Path, metavar="OUT", help="where to write mobileip.bpf.o; the other one goes beside it"
    )
    try:
        build_both(parser.parse_args().output)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
