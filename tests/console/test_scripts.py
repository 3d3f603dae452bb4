"""The content security policy lets no inline script run, so no page may need one; the admin's are read in test_admin_pages."""

import re

import pytest
from django.test import Client

from tests.console.inline_scripts import inline_scripts


@pytest.mark.parametrize("path", ["/api/docs", "/admin/login/"])
def test_open_pages__have_no_inline_script(db: None, path: str) -> None:
    answer = Client().get(path)

    assert answer.status_code == 200
    assert "unsafe-inline" not in re.search(r"script-src[^;]*", answer["Content-Security-Policy"])[0]  # type: ignore[index]  # the policy names scripts
    assert inline_scripts(answer.content) == []


def test_docs__its_script__is_served(db: None) -> None:
    client = Client()
    source = re.search(rb'<script src="(/api/docs\?[^"]+)"', client.get("/api/docs").content)

    assert source is not None
    answer = client.get(source[1].decode().replace("&amp;", "&"))
    assert answer["Content-Type"].startswith("application/javascript")
    assert b"SwaggerUIBundle" in answer.content
