"""The lab: real hosts (podman containers that boot systemd) and the wires between them.

`python molecule/resources/lab --help` lists the commands; `topology.yml` beside this package is what they act on.
"""
