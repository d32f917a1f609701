"""Registration through the proxy: `load.c` plays nodes and home agent, the daemon runs as shipped between them."""
