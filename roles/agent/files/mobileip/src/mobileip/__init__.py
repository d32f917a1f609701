"""Mobile IPv4 traversal of IPsec VPN gateways: MIP Proxy, home agent, foreign agent and mobile node.

Layers, each importing only what stands above it: `wire` (bytes and messages), `registration` (the parties as
state machines) and `forwarding` (data packets), `store` (what outlives the process), `runtime` (sockets and clock).
"""

__version__ = "0.1.0"
