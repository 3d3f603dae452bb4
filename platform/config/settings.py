"""Settings of the whole platform. Environments differ by variables (`config.environment`), never by other files."""

from typing import Any

import django_stubs_ext
import structlog
from django.utils.csp import CSP

from config.embedded import database_settings, redis_url
from config.environment import ROOT, STATE, Environment, development_secret
from config.logs import cut_addresses, cut_values

django_stubs_ext.monkeypatch()

ENV = Environment()
IS_PRODUCTION = ENV.is_production

# Security
SECRET_KEY = ENV.secret_key.get_secret_value() if ENV.secret_key else development_secret()
DEBUG = False
ALLOWED_HOSTS = ENV.allowed_hosts.split(",") if ENV.allowed_hosts else ["127.0.0.1", "localhost", "[::1]", "testserver"]
CSRF_TRUSTED_ORIGINS = [origin for origin in ENV.csrf_trusted_origins.split(",") if origin]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = IS_PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if IS_PRODUCTION else None
SECURE_HSTS_SECONDS = 31_536_000 if IS_PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_PRODUCTION
SECURE_HSTS_PRELOAD = IS_PRODUCTION
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_PRODUCTION
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 12 * 3600
X_FRAME_OPTIONS = "DENY"
# The admin's skin evaluates expressions of its own templates; nothing from other hosts and no inline script runs.
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF, CSP.UNSAFE_EVAL],
    "style-src": [CSP.SELF, CSP.UNSAFE_INLINE],
    "img-src": [CSP.SELF, "data:"],
    "connect-src": [CSP.SELF],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}

# Applications, lowest floor last
INSTALLED_APPS = [
    "config.apps.WhetstoneConfig",
    "demo",
    "console",
    "releases",
    "evals",
    "proposals",
    "episodes",
    "lessons",
    "harness",
    "inference",
    "jobs",
    "audit",
    "accounts",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.simple_history",
    "console.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "simple_history",
    "django_rq",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "config.requests.AccessLogMiddleware",
    "config.requests.NoNulMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.ActingMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.csp",
            ],
        },
    }
]

# People
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.backends.RoleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "/admin/"

# Data
DATABASES = {"default": database_settings()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SIMPLE_HISTORY_HISTORY_ID_USE_UUID = True
SIMPLE_HISTORY_HISTORY_CHANGE_REASON_USE_TEXT_FIELD = True
SIMPLE_HISTORY_ENFORCE_HISTORY_MODEL_PERMISSIONS = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
DATA_UPLOAD_MAX_MEMORY_SIZE = 32 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000

# A web process's threads, and how many of them take in what is reported at a time; the others go on serving harnesses
WEB_THREADS = 8
CAPTURE_PLACES = 6

# Jobs
REDIS_URL = redis_url()
_QUEUE = {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 600, "SERIALIZER": "rq.serializers.JSONSerializer"}
RQ_QUEUES = {name: dict(_QUEUE) for name in ("default", "runs", "embedding", "clock")}
RQ = {"COMMIT_MODE": "auto"}
SCHEDULE: list[tuple[str, int]] = [
    ("audit.jobs.seal", 1),
    ("audit.jobs.note_head", 60),
    ("jobs.reconciler.reconcile", 2),
    ("jobs.reconciler.forget_finished", 300),
    ("episodes.trace_jobs.assemble_traces", 1),
    ("episodes.jobs.read_captured", 1),
    ("episodes.jobs.understand_captured", 1),
    ("episodes.jobs.settle_conversations", 2),
    ("episodes.jobs.commit_captured", 60),
    ("episodes.jobs.take_account", 10),
    ("episodes.jobs.pass_stuck", 30),
    ("proposals.jobs.draft_everywhere", 30),
    ("evals.jobs.validate_next", 2),
    ("evals.jobs.watch_runs", 10),
    ("evals.drafting_jobs.label_drafts", 10),
    ("releases.jobs.tick_releases", 2),
]

# Where a lower floor must call a higher one
AUDIT_VERIFICATIONS = [
    "episodes.commitments.verify_committed"
]  # functions that yield `audit.chain.Finding`; `verify_audit` runs them too
HARNESS_RESOLVER = "releases.serving.resolve"
# Checks of final states that cases may name besides `includes` and `equals`: name to dotted path of a function.
STATE_CHECKS: dict[str, str] = {}
AGENT_CARDS = ["console.attempts.card"]  # what an agent's page shows besides: a template's name and what it needs

# Serving: a thread hears of changes at once and looks every second; 0 reads anew at every call, for tests
SERVING_LISTENS = True
SERVING_POLL_S = 1.0

# Models
INFERENCE_ENDPOINT = ENV.inference_endpoint
INFERENCE_API_KEY = ENV.inference_api_key.get_secret_value()
INFERENCE_KEYS = {
    url.rstrip("/"): key.get_secret_value() for url, key in ENV.inference_keys.items()
}  # of other endpoints
INFERENCE_MODELS = ENV.inference_models
INFERENCE_PRICES = ENV.inference_prices  # model's name: US dollars per million input tokens, output tokens
INFERENCE_TIMEOUT_S = ENV.inference_timeout_s
INFERENCE_DAILY_BUDGET_USD = ENV.inference_daily_budget_usd

# API
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "harness.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["harness.api.parsers.StrictJsonParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "harness.pagination.NewestFirst",
    "EXCEPTION_HANDLER": "harness.problems.as_problem",
    "PAGE_SIZE": 50,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Whetstone API",
    "DESCRIPTION": "Agents fetch their harness and report episodes; people and programs move proposals, runs and releases.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    # Choice fields of different rows share names; without these the schema would number them.
    "ENUM_NAME_OVERRIDES": {
        "CaseKind": "evals.models.Case.Kind",
        "AgentRunner": "harness.models.Agent.Runner",
        "RunRunner": "evals.models.Run.Runner",
        "CaseStatus": "evals.models.Case.Status",
        "ChangeKind": "harness.models.Change.Kind",
        "ChangeStatus": "harness.models.Change.Status",
        "CritiqueSource": "episodes.models.Critique.Source",
        "FlagReason": "episodes.models.Flag.Reason",
        "KeyKind": "harness.models.ApiKey.Kind",
        "Layer": "episodes.models.judgments.Layer",
        "OutcomeSource": "episodes.models.Outcome.Source",
        "PatternStatus": "episodes.models.Pattern.Status",
        "ProposalStatus": "proposals.models.Proposal.Status",
        "ReleaseStatus": "releases.models.Release.Status",
        "RunStatus": "evals.models.Run.Status",
        "SignalKind": "episodes.models.Signal.Kind",
        "StepKind": "episodes.detectors.readings.STEP_KIND_CHOICES",
        "Split": "episodes.models.records.Split",
        "Verdict": "evals.models.Run.Verdict",
    },
}

# Pages
STATIC_URL = "/static/"
STATIC_ROOT = STATE / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if IS_PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = not IS_PRODUCTION
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
UNFOLD = {
    "SITE_TITLE": "Whetstone",
    "SITE_HEADER": "Whetstone",
    "SITE_SUBHEADER": "sharper with every pass",
    "SITE_SYMBOL": "auto_fix_high",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": "console.navigation.icon"},
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "console.navigation.environment_badge",
    "DASHBOARD_CALLBACK": "console.home.dashboard",
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": "console.navigation.navigation"},
}

# Logs: no query strings, no bodies, no prompt text
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processors": [
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                cut_addresses,
                cut_values,
                # Plain tracebacks: rich ones print local variables, and those hold what users said.
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer() if IS_PRODUCTION else structlog.dev.ConsoleRenderer(colors=False),
            ],
            "foreign_pre_chain": [
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso"),
            ],
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        name: {"level": ENV.log_level}
        for name in ("access", "audit", "jobs", "episodes", "proposals", "evals", "releases", "inference", "demo")
    },
}

BASE_DIR = ROOT
