"""The image of the hosts. Its tag is a hash of its recipe, so that a changed recipe is a new image."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from lab import names
from lab.commands import run
from lab.errors import LabError
from lab.machine import podman

_REPOSITORY = "localhost/mobileip-lab"
_RECIPE = names.RESOURCES / "image"


def tag() -> str:
    """The image's name with the hash of everything that goes into it."""
    digest = hashlib.sha256()
    for path in sorted(_RECIPE.iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"{_REPOSITORY}:{digest.hexdigest()[:12]}"


def exists() -> bool:
    """Whether podman has the image of the recipe as it is now."""
    return bool(run(podman("images", "--quiet", "--filter", f"reference={tag()}")).strip())


def build() -> None:
    """Builds the image and imports it; progress goes to build/logs/image.log. Raises LabError when that fails."""
    log = names.CHECKOUT / "build" / "logs" / "image.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    names.BUILD_DIRECTORY.mkdir(parents=True, exist_ok=True)
    tarball = names.BUILD_DIRECTORY / "image.tar"
    try:
        with log.open("w", encoding="utf-8") as output:
            done = subprocess.run(
                ["bash", str(_RECIPE / "build.sh"), str(tarball)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=900,
                check=False,
            )
        if done.returncode != 0:
            last = "\n  ".join(Path(log).read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
            raise LabError(f"the image could not be built (all of it in {log}):\n  {last}")
        run(podman("import", "--quiet", str(tarball), tag()), timeout=300)
    finally:
        tarball.unlink(missing_ok=True)


def remove() -> None:
    """Removes every image that this recipe or an earlier one made."""
    found = run(podman("images", "--quiet", "--filter", f"reference={_REPOSITORY}")).split()
    if found:
        run(podman("rmi", "--force", *sorted(set(found))), timeout=120)
