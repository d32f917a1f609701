"""The compiled parts, where the builder asks for them: everything else is in pyproject.toml.

`MOBILEIP_COMPILED=1 pip wheel .` makes a wheel for this Python and machine; without it the wheel is pure.
"""

import os

from setuptools import Extension, setup

compiled = Extension(
    "_mobileip", ["native/_mobileip.c"], libraries=["m"], extra_compile_args=["-O3", "-g0"], extra_link_args=["-s"]
)
setup(ext_modules=[compiled] if os.environ.get("MOBILEIP_COMPILED") == "1" else [])
