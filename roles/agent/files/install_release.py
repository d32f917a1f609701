"""Install a release on this host: `install_release.py RELEASE.tar PREFIX STAMP`. Runs as root, with the host's Python.

Makes the virtual environment where there is none, installs the wheels by their hashes and from nowhere else, puts the
BPF objects in their place, and writes STAMP last, so that an installation that was cut short is done again.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path


def run(*command: str | Path) -> None:
    """Run one step; what it says is shown when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")


def main() -> None:
    """Command line."""
    release, prefix, stamp = (Path(argument) for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(dir=prefix, prefix=".install-") as scratch:
        with tarfile.open(release) as archive:
            # The filter came with 3.11.4; the archive is our own either way.
            if hasattr(tarfile, "data_filter"):
                archive.extraction_filter = tarfile.data_filter
            archive.extractall(scratch)
        # Also after an upgrade of the distribution's Python: the old release's modules are not seen by the new one.
        python = prefix / "bin" / "python3"
        current = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        if not (python.exists() and (prefix / "lib" / current / "site-packages" / "pip").exists()):
            venv.EnvBuilder(symlinks=True, with_pip=True).create(prefix)
        quietly = ("--quiet", "--disable-pip-version-check", "--no-cache-dir", "--root-user-action=ignore")
        # Reinstalled by force: a release may change without its version number.
        only_these = (
            "--no-index",
            "--find-links",
            f"{scratch}/wheels",
            "--require-hashes",
            "--force-reinstall",
            "--no-deps",
        )
        run(python, "-I", "-m", "pip", "install", *quietly, *only_these, "-r", f"{scratch}/requirements.txt")
        for bpf_object in sorted(Path(scratch).glob("*.bpf.o")):
            bpf_object.chmod(0o644)
            bpf_object.replace(prefix / "lib" / bpf_object.name)
    for old in stamp.parent.glob("installed-*"):
        old.unlink()
    stamp.write_text("Written by install_release.py: the release with this hash is installed.\n", encoding="ascii")


if __name__ == "__main__":
    main()
