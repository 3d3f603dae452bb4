"""`manage.py verify_audit`: walk the whole chain and name every broken place."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from audit.chain import seal_events, status, verify_chain

__all__ = ["Command"]


class Command(BaseCommand):
    """Verify the record; exit 1 and name the sequence numbers when it does not hold."""

    help = "Verify the chain over the audit record; names the sequence number of every broken place."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seal", action="store_true", help="seal waiting events first")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["seal"]:
            while seal_events():
                pass
        findings = list(verify_chain())
        chain = status()
        for finding in findings:
            self.stderr.write(f"sequence {finding.seq}: {finding.problem}")
        tail = f"{chain.unsealed} events unsealed, the oldest for {chain.oldest_unsealed_age_s:.1f} s"
        if findings:
            raise CommandError(
                f"The record does not hold at sequence {findings[0].seq} ({len(findings)} findings; {tail})."
            )
        self.stdout.write(f"The record holds: {chain.sealed} events sealed, head {chain.head[:16]}…; {tail}.")
