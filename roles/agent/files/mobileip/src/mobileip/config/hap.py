"""The HA Parameter extension of a deployment (draft 2.5.3), as proxy and home agent are told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from mobileip.config.findings import Finding
from mobileip.config.problems import KeyPath
from mobileip.config.values import Model

ONE_HOP_EXTENSIONS = frozenset({0, 32, 33, 34, 36, 44, 45, 130, 132, 137, 144, 149})
"""Types that end at the proxy whatever is configured: they concern one leg only."""

HAP_TYPES: Mapping[str, int] = {
    "draft-short": 126,
    "rfc4064-long": 127,
    "cvse": 38,
    "nvse": 134,
    "exp-skippable": 255,
}
"""Type numbers where none is named; only "draft-short" and "exp-skippable" may have others."""


class HapForm(Model):
    """One form of the HA Parameter extension (draft 2.5.3, which assigns no numbers)."""

    encoding: Literal["draft-short", "rfc4064-long", "cvse", "nvse", "exp-skippable"] = Field(
        default="draft-short", description="layout of the extension"
    )
    type: int | None = Field(default=None, ge=1, le=255, description="type number; left out, the encoding's own")
    subtype: int = Field(default=0, ge=0, le=255, description="sub-type number, not with cvse and nvse")
    vendor: int | None = Field(
        default=None, ge=1, le=0xFFFFFF, description="SMI enterprise number, with cvse and nvse (RFC 3115)"
    )
    vendor_type: int = Field(default=0, ge=0, le=0xFFFF, description="the vendor's own type number, with cvse and nvse")

    @property
    def number(self) -> int:
        """The type number."""
        return HAP_TYPES[self.encoding] if self.type is None else self.type


class HapForms(HapForm):
    """The deployment's own form, and others that are accepted."""

    accept: list[HapForm] = Field(
        default_factory=list, description="further forms that are accepted; an answer has the form received"
    )

    @property
    def forms(self) -> tuple[HapForm, ...]:
        """All forms that are accepted, the deployment's own first."""
        return (self, *self.accept)


def hap_findings(hap: HapForms) -> Iterator[Finding]:
    """What no single key of a form can know: numbers that go with encodings."""
    for index, form in enumerate(hap.forms):
        base: KeyPath = ("hap",) if index == 0 else ("hap", "accept", index - 1)
        vendors = form.encoding in {"cvse", "nvse"}
        free = form.encoding in {"draft-short", "exp-skippable"}
        if not free and form.number != HAP_TYPES[form.encoding]:
            advice = f"leave it out, it is {HAP_TYPES[form.encoding]}"
            yield (*base, "type"), form.number, f"does not go with encoding {form.encoding}", advice
        if free and form.number in ONE_HOP_EXTENSIONS | {38, 127, 131, 134, 139, 145}:
            advice = "choose a number that no document gives away, such as 126"
            yield (*base, "type"), form.number, "means another extension", advice
        if free and (form.number >= 128) != (form.encoding == "exp-skippable"):
            advice = "draft-short is below 128, so that nobody skips it, exp-skippable is 128 or more"
            yield (*base, "type"), form.number, f"does not go with encoding {form.encoding}", advice
        if vendors != (form.vendor is not None):
            advice = "name the SMI enterprise number" if vendors else "it belongs to cvse and nvse only"
            yield (*base, "vendor"), form.vendor, f"does not go with encoding {form.encoding}", advice
