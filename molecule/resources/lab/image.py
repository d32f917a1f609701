"""Images of Debian 13. The tag of an image is a hash of its recipe, so that a changed recipe is a new image."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab import names
from lab.commands import run
from lab.errors import LabError
from lab.machine import podman

_RECIPES = names.RESOURCES / "image"
_BUILD = _RECIPES / "build.sh"


@dataclass(frozen=True)
class Image:
    """`name` is the folder of the recipe, and of the repository in podman's store the last part."""

    name: str
    repository: str

    @property
    def _recipe(self) -> Path:
        return _RECIPES / self.name

    @property
    def log(self) -> Path:
        """Where `build` writes what it does."""
        return names.CHECKOUT / "build" / "logs" / f"{self.name}-image.log"

    def tag(self) -> str:
        """The image's name with the hash of everything that goes into it."""
        digest = hashlib.sha256()
        for path in [_BUILD, *sorted(self._recipe.iterdir())]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return f"{self.repository}:{digest.hexdigest()[:12]}"

    def exists(self) -> bool:
        """Whether podman has the image of the recipe as it is now."""
        return bool(run(podman("images", "--quiet", "--filter", f"reference={self.tag()}")).strip())

    def build(self) -> None:
        """Builds the image and imports it; progress goes to `log`. Raises LabError when that fails."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        names.BUILD_DIRECTORY.mkdir(parents=True, exist_ok=True)
        tarball = names.BUILD_DIRECTORY / f"{self.name}-image.tar"
        try:
            with self.log.open("w", encoding="utf-8") as output:
                done = subprocess.run(
                    ["bash", str(_BUILD), str(self._recipe), str(tarball)],
                    env={**os.environ, "LAB_PYTHON": sys.executable},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=900,
                    check=False,
                )
            if done.returncode != 0:
                last = "\n  ".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
                raise LabError(f"the {self.name}'s image could not be built (all of it in {self.log}):\n  {last}")
            run(podman("import", "--quiet", str(tarball), self.tag()), timeout=300)
        finally:
            tarball.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes every image that this recipe or an earlier one made."""
        found = run(podman("images", "--quiet", "--filter", f"reference={self.repository}")).split()
        if found:
            run(podman("rmi", "--force", *sorted(set(found))), timeout=120)


HOST = Image("host", "localhost/mobileip-lab")
CONTROLLER = Image("controller", "localhost/mobileip-controller")
