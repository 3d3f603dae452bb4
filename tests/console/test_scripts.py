"""The content security policy lets no inline script run, so no page may need one."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from harness.models import Agent
from tests.console.world import build_world


class Inline(HTMLParser):
    """Collects scripts without a source and attributes that are scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        runs = (given.get("type") or "text/javascript") in {"text/javascript", "module", "application/javascript"}
        if tag == "script" and "src" not in given and runs:
            self.found.append(self.get_starttag_text() or tag)
        self.found += [name for name, value in attrs if re.fullmatch("on[a-z]+", name) and value]
        self.found += [value for _, value in attrs if (value or "").lower().startswith("javascript:")]


def inline(page: bytes) -> list[str]:
    parser = Inline()
    parser.feed(page.decode())
    return parser.found


@pytest.mark.parametrize("path", ["/api/docs", "/admin/login/"])
def test_open_pages__have_no_inline_script(db: None, path: str) -> None:
    answer = Client().get(path)

    assert answer.status_code == 200
    assert "unsafe-inline" not in re.search(r"script-src[^;]*", answer["Content-Security-Policy"])[0]  # type: ignore[index]  # the policy names scripts
    assert inline(answer.content) == []


def test_docs__its_script__is_served(db: None) -> None:
    client = Client()
    source = re.search(rb'<script src="(/api/docs\?[^"]+)"', client.get("/api/docs").content)

    assert source is not None
    answer = client.get(source[1].decode().replace("&amp;", "&"))
    assert answer["Content-Type"].startswith("application/javascript")
    assert b"SwaggerUIBundle" in answer.content


@pytest.mark.no_cover
def test_admin_pages__of_every_model__have_no_inline_script(cast: SimpleNamespace, agent: Agent) -> None:
    build_world(agent, cast.engineer)
    client = Client()
    client.force_login(cast.engineer)

    found = {}
    for model in admin.site._registry:
        base = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        row = model._default_manager.visible_to(cast.engineer.as_actor()).first()
        pages = [reverse(f"{base}_changelist"), reverse(f"{base}_add")]
        pages += [reverse(f"{base}_change", args=(row.pk,))] if row is not None else []
        found |= {page: inline(client.get(page).content) for page in pages}

    assert {page: scripts for page, scripts in found.items() if scripts} == {}
