"""Make an installation for one person: their account, a team, every role, and an agent if one is named."""

import json
import secrets
import sys
from pathlib import Path
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils.text import slugify

from accounts.acting import MACHINE, acting
from accounts.exceptions import DomainError
from accounts.models import Membership, Team, User
from accounts.roles import Role
from audit.record import record
from harness.models import Agent
from harness.registration import add_agent

__all__ = ["Command"]

MEANING = (
    "This is a single-person installation: one person holds every role. Nobody judges their own change, so whatever that "
    "person writes cannot be approved until a second person has a role."
)


class Command(BaseCommand):
    help = "Make a single-person installation: account, team, every role, and optionally an agent with its document."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", required=True)
        parser.add_argument("--team", required=True, help="The team's name; its slug is made from it.")
        parser.add_argument("--agent", help="The slug of an agent to make.")
        parser.add_argument("--document", type=Path, help="The agent's first document, a JSON file.")
        parser.add_argument(
            "--password-stdin", action="store_true", help="Read the password; else one is made and printed once."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["document"] and not options["agent"]:
            raise CommandError("--document needs --agent: say whose document it is.")
        document = self._document(options["document"])
        username = options["username"]
        if User.objects.filter(username=username).exists():
            raise CommandError(
                f"{username!r} exists already: this command makes a new installation. Give roles in the admin."
            )
        password = sys.stdin.readline().rstrip("\n") if options["password_stdin"] else secrets.token_urlsafe(15)
        try:
            validate_password(password, User(username=username))
            with transaction.atomic(), acting(MACHINE, reason="single-person installation"):
                user, agent = self._install(options, password, document)
        except ValidationError as error:
            raise CommandError("The password is refused: " + " ".join(error.messages)) from error
        except DomainError as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(self.style.SUCCESS(f"{user.username} holds every role in {options['team']}."))
        if agent:
            served = f"serves version {agent.stable.number}" if agent.stable else "waits for its first document"
            self.stdout.write(f"Agent {agent.slug} {served}.")
        if not options["password_stdin"]:
            self.stdout.write(f"Password, shown this once: {password}")
        self.stdout.write(MEANING)

    def _document(self, path: Path | None) -> dict[str, Any] | None:
        if path is None:
            return None
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CommandError(f"Cannot read a JSON document from {path}: {error}.") from error
        if not isinstance(document, dict):
            raise CommandError(f"{path} holds no JSON object; a harness is one object of layers.")
        return document

    def _install(
        self, options: dict[str, Any], password: str, document: dict[str, Any] | None
    ) -> tuple[User, Agent | None]:
        user = User.objects.create_user(options["username"], password=password, is_staff=True, is_superuser=True)
        slug = slugify(options["team"])[:60]
        if not slug:
            raise DomainError(f"No slug can be made from the team name {options['team']!r}: use letters or digits.")
        if Team.objects.filter(slug=slug).exists():
            raise DomainError(f"Team {slug!r} exists already: ask its administrator for a role there.")
        team = Team(slug=slug, name=options["team"])
        team.save(force_insert=True)
        for role in Role:
            Membership(user=user, team=team, role=role).save(force_insert=True)
        agent = self._agent(options["agent"], user, team, document) if options["agent"] else None
        record(
            "installation.bootstrap", team, reason=MEANING, team_id=team.pk,
            facts={"people": 1, "roles": [str(role) for role in Role], "user": str(user.pk)},
        )  # fmt: skip
        return user, agent

    def _agent(self, slug: str, user: User, team: Team, document: dict[str, Any] | None) -> Agent:
        name, by = slug.replace("-", " ").capitalize(), user.as_actor()
        agent = add_agent(team=team, slug=slug, name=name, by=by, reason="single-person installation")
        if document is not None:
            agent.bootstrap(document, by=by, reason="the first version")
        return agent
