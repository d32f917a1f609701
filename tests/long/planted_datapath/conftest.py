"""The compiled object, a bpffs and namespaces, as the data path's own tests have them."""

from __future__ import annotations

from tests.forwarding.conftest import bpf_object, bpffs, needs_root, pin_dir
from tests.forwarding.test_rules_equal_programs import interfaces

__all__ = ["bpf_object", "bpffs", "interfaces", "needs_root", "pin_dir"]
