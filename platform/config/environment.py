"""Every environment variable Whetstone reads, typed, in one place. With none set, a working development system results."""

import contextlib
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ROOT", "STATE", "Environment", "development_secret"]

ROOT = Path(__file__).resolve().parent.parent.parent
STATE = ROOT / ".whetstone"


class Environment(BaseSettings):
    """The process environment; names are the fields in upper case."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore")

    whetstone_env: Literal["development", "production"] = "development"
    secret_key: SecretStr | None = None
    allowed_hosts: str = ""
    csrf_trusted_origins: str = ""
    database_url: str | None = None
    redis_url: str | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    inference_endpoint: str = ""
    inference_api_key: SecretStr = SecretStr("")
    inference_keys: dict[str, SecretStr] = Field(default_factory=dict)
    inference_models: dict[str, str] = Field(default_factory=dict)
    inference_prices: dict[str, tuple[float, float]] = Field(default_factory=dict)
    inference_timeout_s: float = 60.0
    inference_daily_budget_usd: float = 10.0

    @property
    def is_production(self) -> bool:
        return self.whetstone_env == "production"

    @model_validator(mode="after")
    def _production_is_explicit(self) -> "Environment":
        if not self.is_production:
            return self
        missing = [
            name.upper()
            for name in ("secret_key", "allowed_hosts", "database_url", "redis_url")
            if not getattr(self, name)
        ]
        if missing:
            raise ValueError(f"WHETSTONE_ENV=production needs {', '.join(missing)}: set them in the environment.")
        return self


def development_secret() -> str:
    """Return this checkout's own secret key, made on first use and readable by its owner only."""
    import secrets  # noqa: PLC0415  # development only

    path = STATE / "secret_key"
    if not path.exists():
        STATE.mkdir(mode=0o755, exist_ok=True)
        fresh = path.with_suffix(f".{secrets.token_hex(4)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(fresh)
        fresh.unlink()
    return path.read_text()
