"""What happens to a data packet: the decision in the kernel (`bpf/`), its model in Python (`rules`), and the tables.

`entries` says what the tables hold, `loader` loads, pins and attaches the programs, `tables` reads and writes the
pinned tables. Nothing here knows of sockets, registrations or configuration files.
"""
