"""Simulated and recorded users of a benchmark over REST: the same verbs as in the admin."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from evals.conversing.asking import ask_for_calibration
from evals.conversing.recorded import add_recorded_case
from evals.models import Case, SimulationCalibration
from harness.api.verbs import GovernedViewSet, VerbRequest
from harness.authentication import actor_of

__all__ = ["SimulationActions"]


class RecordedCaseCreate(serializers.Serializer[Any]):
    """A recorded conversation to make a scripted draft of."""

    conversation = serializers.CharField(max_length=200, help_text="The id under which the agent reported it.")
    name = serializers.CharField(max_length=160)
    kind = serializers.ChoiceField(choices=Case.Kind.choices)
    expectations = serializers.DictField()


class RecordedCaseDetail(serializers.ModelSerializer[Case]):
    """The draft; its text is read at its own address."""

    class Meta:
        model = Case
        fields = ("id", "name", "split", "status")


class CalibrationAsked(serializers.Serializer[Any]):
    """What is under way."""

    sentence = serializers.CharField()


class SimulationCalibrationDetail(serializers.ModelSerializer[SimulationCalibration]):
    class Meta:
        model = SimulationCalibration
        fields = (
            "id", "verdict", "sentence", "manner", "manner_digest", "harness_digest", "reading", "tolerance",
            "asked_by", "created_at",
        )  # fmt: skip


class SimulationActions(GovernedViewSet):
    """What a benchmark offers for cases that are conversations."""

    @extend_schema(request=RecordedCaseCreate, responses={201: RecordedCaseDetail})
    @action(detail=True, methods=["post"])
    def recorded_cases(self, request: Request, pk: str | None = None) -> Response:
        """Add a draft that says what the user of a recorded conversation said, in order."""
        body = RecordedCaseCreate(data=request.data)
        body.is_valid(raise_exception=True)
        case = add_recorded_case(self.get_object(), by=actor_of(request), **body.validated_data)
        return Response(RecordedCaseDetail(case).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=VerbRequest, responses={202: CalibrationAsked})
    @action(detail=True, methods=["post"])
    def calibrate_simulation(self, request: Request, pk: str | None = None) -> Response:
        """Play the simulated users and compare them with recorded ones; the answer comes as a calibration."""
        body = VerbRequest(data=request.data)
        body.is_valid(raise_exception=True)
        said = ask_for_calibration(self.get_object(), by=actor_of(request), reason=body.validated_data["reason"])
        return Response({"sentence": said}, status=status.HTTP_202_ACCEPTED)

    @extend_schema(responses=SimulationCalibrationDetail(many=True))
    @action(detail=True, methods=["get"])
    def simulation_calibrations(self, request: Request, pk: str | None = None) -> Response:
        """Return how like recorded users the simulated ones were found to be, the newest first."""
        rows = SimulationCalibration.objects.filter(benchmark=self.get_object())
        page = self.paginate_queryset(rows.order_by("-id"))
        return self.get_paginated_response(SimulationCalibrationDetail(page, many=True).data)
