"""The ledger, to read: what models were asked for, what it took and what came of it."""

from django.contrib import admin

from audit.facts import FactAdmin, choices
from inference.models import LedgerEntry

__all__ = ["LedgerEntryAdmin"]


@admin.register(LedgerEntry)
class LedgerEntryAdmin(FactAdmin):
    list_display = (
        *("at", "role", "purpose", "outcome", "model"),
        *("input_tokens", "output_tokens", "cost_usd", "latency_ms"),
    )
    list_filter = (
        "outcome",
        choices("role", "role", (("critic", "Critic"), ("proposer", "Proposer"), ("judge", "Judge"))),
    )
    search_fields = ("=call_id", "=agent_id", "=model", "=source", "purpose", "provider_model")
    search_help_text = "Purpose, a whole model or endpoint, or the whole id of a call or an agent"
    fieldsets = (
        (None, {"fields": ("at", "role", "purpose", "outcome", "error")}),
        ("Whom it was asked for", {"fields": ("agent_id", "team_id", "call_id", "attempt")}),
        ("Who answered", {"fields": ("source", "model", "provider_model")}),
        ("What it took", {"fields": ("input_tokens", "output_tokens", "is_estimated", "cost_usd", "latency_ms")}),
    )
