"""`manage.py verify_audit`: walk the whole chain and name every broken place."""

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.chain import GENESIS, Finding, seal_events, status, verify_chain, verify_elsewhere, verify_head

__all__ = ["Command"]


def _head(text: str) -> tuple[int, str]:
    seq, _, hash_ = text.partition(":")
    if not seq.isdecimal() or len(hash_) != len(GENESIS):
        raise ArgumentTypeError(f"{text!r} is no head: give the number, a colon and the 64 digits of the hash.")
    return int(seq), hash_


def _place(finding: Finding) -> str:
    return "no one sequence" if finding.seq is None else f"sequence {finding.seq}"


class Command(BaseCommand):
    """Verify the record; exit 1 and name the sequence numbers when it does not hold."""

    help = "Verify the chain over the audit record; names the sequence number of every broken place."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seal", action="store_true", help="seal waiting events first")
        parser.add_argument(
            "--head", metavar="SEQ:HASH", type=_head, help="a head noted earlier, as the log line chain.head has it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["seal"]:
            while seal_events():
                pass
        findings = [*verify_chain(), *(verify_head(*options["head"]) if options["head"] else ()), *verify_elsewhere()]
        chain = status()
        for finding in findings:
            self.stderr.write(f"{_place(finding)}: {finding.problem}")
        tail = f"{chain.unsealed} events unsealed, the oldest for {chain.oldest_unsealed_age_s:.1f} s"
        if findings:
            raise CommandError(f"The record does not hold at {_place(findings[0])} ({len(findings)} findings; {tail}).")
        self.stdout.write(f"The record holds: {chain.sealed} events sealed, head {chain.sealed}:{chain.head}; {tail}.")
