"""The parties of Mobile IP as pure state machines: `feed(event, now)` returns actions, and only `runtime` does them.

`now` is Unix time in seconds; no clock, socket or log in here. The order of the returned actions is the contract:
what must be durable comes before the datagram that relies on it (an accepted Identification before the relayed
request, a binding before its reply).

    events, actions, bindings   what goes in, what comes out, what is kept
    security                    which message may be believed
    gate                        what proxy and home agent do with a request before their own rules
    nat, location, assignment   which tunnel, inside or outside, which home agent
    pending, extension_policy   what the proxy waits for, what it lets through
    rate_limit                  how often a reply may be provoked
    node_requests, node_replies what a mobile node asks, and which answers it believes
    node_attempts, node_identifications, node_discovery, node_place
                                its repetition, its Identifications, its foreign agent, where it is
    proxy, home_agent, foreign_agent, mobile_node   the four parties
"""
