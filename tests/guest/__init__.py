"""A second kernel for tests: a guest that reads this machine's files and sees nothing of its network.

One boot, one command. The guest's root is the machine's own root file system under a layer in memory, so the checkout
and its virtual environment are there, at the same paths, and what is written is gone with the guest; what should stay
goes to the directory that `$GUEST_RESULTS` names. What only guests need (strongSwan) is unpacked beside, not installed.

`python -m tests.guest pytest FILE...` and `python -m tests.guest run COMMAND...` do the same from a shell.
docs/decisions/guest-kernel.md says why this kernel.
"""

from tests.guest.errors import GuestError
from tests.guest.machine import Finished, Guest

__all__ = ["Finished", "Guest", "GuestError"]
