"""The kernel that a guest runs: Debian's own, in QEMU, from packages that nobody installs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.guest.errors import GuestError
from tests.guest.packages import needed, unpacked

_HERE = Path(__file__).parent
_INITRAMFS = "initramfs.gz"
_FIRST_MODULES = ("virtio_pci", "9pnet_virtio", "9p")
"""What reaching this machine's files takes; all others are loaded from there."""


@dataclass(frozen=True)
class Kernel:
    """An image, the first file system that it is given, and the folder of its modules."""

    image: Path
    initramfs: Path
    modules: Path

    @property
    def release(self) -> str:
        """As `uname -r` says."""
        return self.modules.name


def debian_kernel() -> Kernel:
    """The stock kernel of this machine's Debian release. Raises GuestError when apt cannot bring it."""
    (name,) = needed("linux-image-amd64")
    tree = unpacked("kernel", [name, "busybox-static"], dependencies=False)
    (image,) = (tree / "boot").glob("vmlinuz-*")
    (modules,) = (tree / "usr/lib/modules").glob("*")
    if not (tree / _INITRAMFS).exists():
        _run(["depmod", "--basedir", str(tree / "usr"), modules.name])
        _make_initramfs(tree, modules)
    return Kernel(image, tree / _INITRAMFS, modules)


def _make_initramfs(tree: Path, modules: Path) -> None:
    root = tree / "initramfs"
    shutil.rmtree(root, ignore_errors=True)
    for directory in ("bin", "modules", "host"):
        (root / directory).mkdir(parents=True)
    busybox = next(tree.rglob("bin/busybox"))
    shutil.copy(busybox, root / "bin/busybox")
    shutil.copy(_HERE / "initramfs.sh", root / "init")
    (root / "init").chmod(0o755)
    files: list[str] = []
    for module in _FIRST_MODULES:
        command = ["modprobe", "--dirname", str(tree / "usr"), "--set-version", modules.name, "--show-depends", module]
        files += [line.split()[1] for line in _run(command).splitlines() if line.startswith("insmod")]
    for number, file in enumerate(dict.fromkeys(files)):
        shutil.copy(file, root / f"modules/{number:02}-{Path(file).name}")
    pack = f"cd {root} && find . | {busybox} cpio -o -H newc | gzip -1 >{tree / 'making.gz'}"
    _run(["bash", "-o", "pipefail", "-c", pack])
    (tree / "making.gz").rename(tree / _INITRAMFS)


def qemu(kernel: Kernel, run: Path, packages: Path, *, memory: int, cpus: int, counted_time: bool = False) -> list[str]:
    """The command that is the guest: `memory` MiB, no network device, this machine's files by 9p, `run` to write to.

    Without hardware: QEMU translates. GUEST_ACCELERATOR=kvm is for machines whose KVM runs guests; not with
    `counted_time`, see `Guest`.
    """
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        raise GuestError("package qemu-system-x86: not installed here; run `make deps`")
    accelerator = "tcg" if counted_time else os.environ.get("GUEST_ACCELERATOR", "tcg")
    clock = ["-icount", "shift=0"] if counted_time else []
    environment = {
        "GUEST_INIT": _HERE / "init.sh",
        "GUEST_RUN": run,
        "GUEST_MODULES": kernel.modules,
    }
    parameters = ["console=ttyS0", "quiet", "panic=-1", "mitigations=off"]
    parameters += [f"{name}={value}" for name, value in environment.items()]
    common = "security_model=none,multidevs=remap"
    return [
        program, "-nodefaults", "-nographic", "-no-reboot", "-nic", "none", "-serial", "stdio",
        "-accel", accelerator, *clock, "-cpu", "max" if accelerator == "tcg" else "host",
        "-m", str(memory), "-smp", str(cpus),
        "-kernel", str(kernel.image), "-initrd", str(kernel.initramfs), "-append", " ".join(parameters),
        "-virtfs", f"local,path=/,mount_tag=host,readonly=on,{common}",
        "-virtfs", f"local,path={packages},mount_tag=packages,readonly=on,{common}",
        "-virtfs", f"local,path={run},mount_tag=run,{common}",
    ]  # fmt: skip


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GuestError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout
