"""Bytes to messages and back. No socket, no clock, no state, no configuration in here.

The invariant of every parser in this package: whatever the bytes, it returns a value or raises `Malformed`, nothing
else. Authenticators are checked over the bytes that were received (`RegistrationRequest.raw`), never over bytes that
were built again.

    errors           the one exception
    codes            reply codes (RFC 5944 6.4, RFC 3024, RFC 3519, the draft's 200 to 206)
    extensions       how extensions are framed, and which unknown ones may be skipped
    typed_extensions what is inside the extensions that the parties understand
    messages         Registration Request and Reply
    authentication   the authentication extensions 32, 33, 34 and their algorithms
    identification   timestamps as Identification, the window of replay protection
    encapsulation    IPv4 header, IP-in-IP, MIP tunnel data, minimal encapsulation, ICMP echo
"""
