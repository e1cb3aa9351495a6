"""Forms of identifiers (contract §1): a prefix, an underscore, and so many lower-case hexadecimal digits."""

from __future__ import annotations

import msgspec

DIGITS = "0123456789abcdef"


class IdForm(msgspec.Struct, frozen=True):
    """One kind of identifier. `IdForm("wrk", 16)` is that of workers."""

    prefix: str
    digits: int

    def fits(self, text: str) -> bool:
        """Return whether a text is an identifier of this kind."""
        start = len(self.prefix) + 1
        return (
            len(text) == start + self.digits and text.startswith(f"{self.prefix}_") and not text[start:].strip(DIGITS)
        )

    def of(self, digits: str) -> str:
        """Return the identifier with these digits."""
        return f"{self.prefix}_{digits}"

    @property
    def expected(self) -> str:
        """Describe the form."""
        return f"{self.prefix}_ and {self.digits} hex digits expected"


WORKER_ID = IdForm("wrk", 16)
CERTIFICATE_ID = IdForm("mcert", 20)
POLICY_ID = IdForm("pol", 16)
CONSENT_ID = IdForm("con", 16)
EVENT_ID = IdForm("aud", 16)
AGENT_ID = IdForm("agt", 16)
JOB_ID = IdForm("job", 16)
WITHDRAWAL_ID = IdForm("wdr", 16)
POST_ID = IdForm("post", 16)
COMMENT_ID = IdForm("cmt", 16)
