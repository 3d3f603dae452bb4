"""Scripted people: they log in over HTTP as anybody would, and act through the same addresses."""

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

__all__ = ["Person", "RefusedError"]

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class RefusedError(RuntimeError):
    """The platform refused what a person tried; `code` is the problem's stable code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Person:
    """One signed-in member of the staff."""

    def __init__(self, base_url: str, username: str, password: str) -> None:
        self.username = username
        self._password = password
        self._http = httpx.Client(base_url=base_url, timeout=180.0, trust_env=False)

    def __enter__(self) -> Self:
        return self.login()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def login(self) -> Self:
        """Fill in the login form; raise `RefusedError` when the door stays shut."""
        page = self._http.get("/admin/login/")
        token = _TOKEN.search(page.text)
        form = {
            "username": self.username,
            "password": self._password,
            "csrfmiddlewaretoken": token[1] if token else "",
            "next": "/admin/",
        }
        answer = self._http.post("/admin/login/", data=form, headers={"Referer": str(page.url)})
        if answer.status_code != httpx.codes.FOUND:
            raise RefusedError("login", f"{self.username} was not let in ({answer.status_code})")
        return self

    def page(self, path: str) -> str:
        """Return a page as the browser gets it."""
        return self._http.get(path).raise_for_status().text

    def get(self, path: str, **query: Any) -> Any:
        """Return what `GET /api/v1{path}` answers."""
        return self._answer(self._http.get(f"/api/v1{path}", params=query))

    def all(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return every row of a list, page by page."""
        page = self.get(path, limit=500, **query)
        rows = list(page["results"])
        while page.get("next"):
            page = self._answer(self._http.get(page["next"]))
            rows += page["results"]
        return rows

    def post(self, path: str, body: Mapping[str, Any] | list[Any] | None = None) -> Any:
        """Do `POST /api/v1{path}`."""
        token = self._http.cookies.get("csrftoken") or ""
        headers = {"X-CSRFToken": token, "Referer": str(self._http.base_url)}
        return self._answer(self._http.post(f"/api/v1{path}", json=body if body is not None else {}, headers=headers))

    @staticmethod
    def _answer(response: httpx.Response) -> Any:
        if response.is_success:
            return response.json() if response.content else None
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        raise RefusedError(
            str(problem.get("code", response.status_code)),
            str(problem.get("detail", response.text[:300]))
            + (f" {problem['errors']}" if problem.get("errors") else ""),
        )
