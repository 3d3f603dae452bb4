"""Secrets and personal data in a text, found by rules: a static finding for proposals, a cut for what is stored.

Rules find shapes, not meaning: a checksum guards the kinds that have one, and addresses that name an office
(support@…) or a domain reserved for examples (RFC 2606) are nobody's. A text without findings may still name a person.
"""

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import re2

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
    return _TRACES.search(text.encode("utf-8", "replace")) is not None


def json_may_hold(body: bytes, kinds: Collection[str] | None = None) -> bool:
    """Tell the same of all texts in a JSON value by its bytes, in UTF-8 and without needless escapes.

    Its names and numbers are looked at too, so True is said more often.
    """
    if kinds is not None and not kinds:
        return False
    return _TRACES.search(body) is not None


def redact(text: str, kinds: Collection[str] | None = None) -> str:
    """Return the text with each finding replaced by its kind in brackets, such as `[email]`."""
    if not may_hold(text, kinds):
        return text
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


def _once_over() -> re2.Options:
    """Return what lets the automaton hold chosen text without running out of memory, or saying so for each of it."""
    options = re2.Options()
    options.max_mem = 64 * 1024 * 1024
    options.log_errors = False
    return options


# What a finding of `_RULES` cannot be without, as one automaton that goes over a text once: of keys, what they begin
# with and ten characters more. Looser than the rules where they look around themselves, and where JSON writes a
# character as two. Python counts digits of every script, and takes two more letters for an i.
_TRACES = re2.compile(
    r"@|-----BEGIN|github_pat_"
    r"|(?:AKIA|ASIA|gh[pousr]_|glpat-|sk-|k_live_|xox[abeoprs]-|AIza|eyJ)[0-9A-Za-z_-]{10}"
    r"|(?i:ap[i\x{130}\x{131}][_-]?key|secret|(?:access|auth)[_-]?token|passw)"
    r"|[A-Z]{2}\p{Nd}{2}"
    r"|\p{Nd}(?:[ -]?\p{Nd}){12}",
    _once_over(),
)

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
