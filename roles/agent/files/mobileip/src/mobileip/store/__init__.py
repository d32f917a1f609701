"""What outlives the process: bindings and the last Identification accepted from each node.

A store takes the `Persist…` and `Forget…` actions of a burst in one durable commit and gives back, after a restart,
the records that `restore()` of the state machines wants. It knows no event loop: the caller decides on the thread.
"""
