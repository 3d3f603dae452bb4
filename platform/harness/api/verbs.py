"""The API's shape for every governed row: lists and details through `visible_to`, state moved by verbs only."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

from django.db import models
from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, ValidationError
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.acting import acting
from accounts.exceptions import DomainError, NotPermittedError
from accounts.roles import Permission
from audit.transitions import Edge, Stateful, performer_of
from harness.authentication import actor_of

__all__ = ["GovernedViewSet", "InvalidArgumentsError", "StatefulViewSet", "VerbRequest", "with_verbs"]


class InvalidArgumentsError(DomainError):
    """The verb's arguments do not have the form it needs."""

    code = "invalid"
    http_status = 422


class VerbRequest(serializers.Serializer[Any]):
    """What every verb takes: the reason, plus the verb's own arguments."""

    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)


class GovernedViewSet(viewsets.ReadOnlyModelViewSet[Any]):
    """Lists and shows the rows their reader may see, narrowed by query parameters: `FILTERS` maps each to a lookup."""

    model: ClassVar[type[models.Model]]
    FILTERS: ClassVar[Mapping[str, str]] = {}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse reading to keys without the scope `view`, hence to agents' keys: exams are not theirs to read."""
        super().initial(request, *args, **kwargs)
        actor = actor_of(request)
        if request.method in SAFE_METHODS and actor.scopes is not None and Permission.VIEW.value not in actor.scopes:
            raise NotPermittedError(
                "This key lacks the scope 'view'; agents' keys read their harness and lessons only."
            )

    def get_queryset(self) -> models.QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return self.model._default_manager.none()
        manager = cast("Any", self.model._default_manager)
        given = self.request.query_params
        wanted = {lookup: given[name] for name, lookup in self.FILTERS.items() if given.get(name)}
        return cast("models.QuerySet[Any]", manager.visible_to(actor_of(self.request)).filter(**wanted))


class StatefulViewSet(GovernedViewSet):
    """Adds `POST …/{id}/{verb}` for every edge of the model's state machine; see `with_verbs`."""


def with_verbs[V: type[StatefulViewSet]](viewset: V) -> V:
    """Give `viewset` one endpoint per edge of its model. The verb decides; the endpoint only carries."""
    model = cast("type[Stateful]", viewset.model)
    for edge in model.EDGES:
        setattr(viewset, edge.verb, _endpoint(model, edge))
    return viewset


def _endpoint(model: type[Stateful], edge: Edge) -> Callable[..., Response]:
    def endpoint(self: StatefulViewSet, request: Request, pk: str | None = None) -> Response:
        row = cast("Stateful", self.get_object())
        body = VerbRequest(data=request.data)
        body.is_valid(raise_exception=True)
        actor, reason = actor_of(request), body.validated_data["reason"]
        with acting(actor, reason=reason):
            row._authorize(edge, actor)  # before anything is said about the row's state or the verb's arguments
            performer_of(model, edge.verb)(row, by=actor, reason=reason, **arguments_of(edge, request.data))
        row.refresh_from_db()
        return Response(self.get_serializer(row).data)

    endpoint.__name__ = edge.verb
    endpoint.__doc__ = (
        f"{edge.label} this {model._meta.verbose_name}: {', '.join(sorted(edge.sources))} → {edge.target}."
    )
    # The schema goes around the action, which would forget it the other way round.
    routed = action(detail=True, methods=["post"], url_path=edge.verb)(endpoint)
    return cast("Callable[..., Response]", extend_schema(request={"application/json": _body_of(edge)})(routed))


def _body_of(edge: Edge) -> dict[str, Any]:
    """Return the JSON Schema of what the verb takes: the reason, and its own arguments."""
    own = edge.form.model_json_schema() if edge.form else {}
    reason = {"type": "string", "maxLength": 4_000, "description": "Goes into the record."}
    required = [*own.get("required", ()), *(["reason"] if edge.needs_reason else ())]
    arguments = {name: _as_openapi(field) for name, field in own.get("properties", {}).items()}
    schema = {"type": "object", "properties": {"reason": reason, **arguments}}
    return schema | ({"required": required} if required else {})


def arguments_of(edge: Edge, data: Any) -> dict[str, Any]:
    """Return the verb's own arguments from a form or JSON body; raise `InvalidArgumentsError` when they do not fit."""
    if edge.form is None:
        return {}
    try:
        form: BaseModel = edge.form.model_validate(
            {name: data[name] for name in edge.form.model_fields if name in data}
        )
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidArgumentsError(f"Cannot {edge.label.lower()}: {problems}.") from error
    return form.model_dump()


def _as_openapi(field: dict[str, Any]) -> dict[str, Any]:
    """Return what OpenAPI 3.0 shares with the JSON Schema that pydantic writes."""
    kind = next((option for option in field.get("anyOf", ()) if option.get("type") != "null"), field)
    return {
        name: value for name, value in (field | kind).items() if name in {"type", "enum", "maxLength", "description"}
    }
