"""Stands in for the get-pip script that ansible-test would download: the pip that this Python carries."""

import runpy
import sys

sys.argv = ["ensurepip", "--default-pip"]
runpy.run_module("ensurepip", run_name="__main__")
