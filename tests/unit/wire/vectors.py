"""Messages whose bytes are known from elsewhere: HMACs by OpenSSL, framing by tshark and tcpdump."""

from __future__ import annotations

from ipaddress import IPv4Address

from mobileip.wire.authentication import SecurityAssociation

KEY = bytes(range(16))
ASSOCIATION = SecurityAssociation(256, KEY)

HOME = IPv4Address("10.1.0.5")
HOME_AGENT = IPv4Address("10.1.0.1")
MIPP_PUB = IPv4Address("203.0.113.10")
CARE_OF = IPv4Address("198.51.100.7")
IDENTIFICATION = 0xE8754E00_12345678

# D and T set, lifetime 600, HA Parameter (type 126) 10.1.0.1, MN-HA by HMAC-MD5: 54 bytes.
REQUEST = bytes.fromhex(
    "012202580a010005cb00710ac6336407e8754e00123456787e0600000a010001201400000100b220b51747533f524a6cfeb3caa30ccd"
)
REQUEST_MD5_PREFIX_SUFFIX = bytes.fromhex("bd00dfef87a6ae8b69e03540f90603a7")
REQUEST_MD5_PREFIX_SUFFIX_RFC2002 = bytes.fromhex("0f2cb85b5140ec195d3ced37d581f7cf")

# Code 0, lifetime 300, the same addresses and Identification, HA Parameter, MN-HA: 50 bytes.
REPLY = bytes.fromhex(
    "0300012c0a010005cb00710ae8754e00123456787e0600000a010001201400000100b5a1d0083b64ac001e15cf8d4f072ecd"
)
