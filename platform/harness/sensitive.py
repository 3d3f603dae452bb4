"""Secrets and personal data in a text, found by rules: a static finding for proposals, a cut for what is stored.

Rules find shapes, not meaning: a checksum guards the kinds that have one, and addresses that name an office
(support@…) or a domain reserved for examples (RFC 2606) are nobody's. A text without findings may still name a person.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

__all__ = ["KINDS", "Finding", "find", "json_may_hold", "may_hold", "redact"]


@dataclass(frozen=True)
class Finding:
    """One stretch of a text that should not be there: its kind and where it lies (`text[start:end]`)."""

    kind: str
    start: int
    end: int
    text: str

    @property
    def masked(self) -> str:
        """The finding as it may be shown: its first characters and its length."""
        return f"{self.text[:4].splitlines()[0]}… ({len(self.text)} characters)"


def find(text: str, kinds: Collection[str] | None = None) -> list[Finding]:
    """Return the findings of these kinds (None: all of `KINDS`) in the order of the text; no two overlap."""
    found = sorted(_candidates(text, kinds), key=lambda finding: (finding.start, -finding.end))
    apart: list[Finding] = []
    for finding in found:
        if not apart or finding.start >= apart[-1].end:
            apart.append(finding)
    return apart


def may_hold(text: str, kinds: Collection[str] | None = None) -> bool:
    """Tell quickly whether the text could have findings; False is certain, True asks for a look with `find`."""
    if kinds is not None and not kinds:
        return False
    return _may_hold(text.encode("utf-8", "replace"))


def json_may_hold(body: bytes, kinds: Collection[str] | None = None) -> bool:
    """Tell the same of all texts in a JSON value by its bytes, in UTF-8 and without needless escapes.

    Its names and numbers are looked at too, so True is said more often.
    """
    return _may_hold(body) if kinds is None or kinds else False


def _may_hold(body: bytes) -> bool:
    if b"@" in body or b"-----BEGIN" in body:
        return True
    if _LONG_WORD in body.translate(_WORDS) and any(mark in body for mark in _KEY_MARKS):
        return True
    folded = body.lower() if body.isascii() else body.decode("utf-8", "replace").casefold().encode()
    if any(hint in folded for hint in _PASSWORD_HINTS) and any(mark in folded for mark in _PASSWORD_MARKS):
        return True
    shape = body.translate(_SHAPES)
    return b"AA00" in shape or b"0" * 13 in shape.translate(None, b" -")


def redact(text: str, kinds: Collection[str] | None = None) -> str:
    """Return the text with each finding replaced by its kind in brackets, such as `[email]`."""
    pieces, position = [], 0
    for finding in find(text, kinds):
        pieces += [text[position : finding.start], f"[{finding.kind}]"]
        position = finding.end
    return "".join([*pieces, text[position:]])


def _candidates(text: str, kinds: Collection[str] | None) -> Iterator[Finding]:
    for kind, pattern, is_real in _RULES:
        if kinds is None or kind in kinds:
            for match in pattern.finditer(text):
                if is_real(match[0]):
                    yield Finding(kind, match.start(), match.end(), match[0])


_OFFICES = frozenset(
    {
        *("accounts", "admin", "billing", "care", "careers", "claims", "complaints", "contact", "customercare"),
        *("customerservice", "hello", "help", "helpdesk", "info", "jobs", "legal", "mail", "marketing", "no-reply"),
        *("noreply", "office", "orders", "postmaster", "press", "privacy", "returns", "sales", "security", "service"),
        *("shop", "support", "team", "webmaster"),
    }
)
_RESERVED_DOMAIN = re.compile(r"(^|\.)(example(\.(com|net|org))?|invalid|test|localhost)$", re.IGNORECASE)


def _is_personal_address(address: str) -> bool:
    local, _, domain = address.rpartition("@")
    return local.lower() not in _OFFICES and not _RESERVED_DOMAIN.search(domain)


def _is_card(text: str) -> bool:
    """Luhn's checksum (ISO/IEC 7812-1 annex B) over 13 to 19 digits."""
    digits = [int(character) for character in text if character.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """The mod-97 checksum of ISO 13616."""
    compact = re.sub(r"\s", "", text).upper()
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


def _always(_: str) -> bool:
    return True


def _has_letters_and_digits(text: str) -> bool:
    value = re.split(r"[:=]\s*[\"']?", text, maxsplit=1)[-1]
    return any(character.isdigit() for character in value) and any(character.isalpha() for character in value)


_KEYS = (
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",  # Amazon
    r"\bgh[pousr]_[0-9A-Za-z]{30,255}\b|\bgithub_pat_[0-9A-Za-z_]{40,255}\b",  # GitHub
    r"\bglpat-[0-9A-Za-z_-]{20,64}",  # GitLab
    r"\bsk-[0-9A-Za-z_-]{20,200}\b",  # OpenAI, Anthropic
    r"\b[rs]k_live_[0-9A-Za-z]{16,200}\b",  # Stripe
    r"\bxox[abeoprs]-[0-9A-Za-z-]{10,250}",  # Slack
    r"\bAIza[0-9A-Za-z_-]{35}\b",  # Google
    # JSON Web Token. A dash may not lead into one, and no part gives characters back: else every `-eyJ` of a long row
    # of them would be tried as a beginning, each with thousands of ends.
    r"\beyJ(?<!-eyJ)[0-9A-Za-z_-]{10,2000}+\.eyJ[0-9A-Za-z_-]{10,4000}+\.[0-9A-Za-z_-]{10,2000}",
)

# What a finding cannot be without: a key is a word of fifteen characters that begins in a known way, a password has a
# name before it.
_WORD_CHARACTERS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"
_WORDS = bytes.maketrans(_WORD_CHARACTERS, b"w" * len(_WORD_CHARACTERS))
_LONG_WORD = b"w" * 15
_KEY_MARKS = (
    b"AKIA", b"ASIA", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"sk-", b"k_live_", b"xox",
    b"AIza", b"eyJ",
)  # fmt: skip
_PASSWORD_MARKS = (
    b"apikey", b"api_key", b"api-key", b"secret", b"access_token", b"access-token", b"accesstoken", b"auth_token",
    b"auth-token", b"authtoken", b"passw",
)  # fmt: skip
_PASSWORD_HINTS = (b"api", b"secret", b"token", b"passw")  # each mark holds one of these
# IBANs begin with two capitals and two digits; cards have thirteen digits, perhaps in groups.
_SHAPES = bytes.maketrans(b"123456789BCDEFGHIJKLMNOPQRSTUVWXYZ", b"0" * 9 + b"A" * 25)

type _Rule = tuple[str, re.Pattern[str], Callable[[str], bool]]

_RULES: tuple[_Rule, ...] = (
    (
        "private_key",
        # An opening line alone counts: half a key is a leak too.
        re.compile(r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:[^-]{1,20000}-----END [^-]{1,60}-----)?"),
        _always,
    ),
    ("api_key", re.compile("|".join(_KEYS)), _always),
    (
        "password",
        re.compile(
            r"\b(?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?token|auth[_-]?token|password|passwd)"
            r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?[^\s\"',;]{12,200}",
            re.IGNORECASE,
        ),
        _has_letters_and_digits,
    ),
    ("password", re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{1,100}:[^\s/@]{1,100}@"), _always),
    (
        "email",
        re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),
        _is_personal_address,
    ),
    ("iban", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[0-9A-Z]{4}){2,7}(?: ?[0-9A-Z]{1,4})?\b"), _is_iban),
    ("card", re.compile(r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])"), _is_card),
)

KINDS = tuple(dict.fromkeys(kind for kind, _, _ in _RULES))
"""Every kind of finding; policies name them."""
