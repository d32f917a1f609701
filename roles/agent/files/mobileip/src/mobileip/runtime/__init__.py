"""The shell around the state machines: sockets, clock, signals, kernel tables, control socket.

No rule of the protocol is in here. `daemon` takes events, asks the machine, makes what it says durable and performs it
in order; the other files are the things it performs with. Nothing outside this package imports it, except `cli`.
"""
