"""Rubrics and their judge over REST: the same verbs as in the admin, and the queue told as blindly."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.access import require
from accounts.roles import Permission
from evals.freezing import gate_policy_of
from evals.judges.appointing import appoint_judge
from evals.judges.importing import import_labels
from evals.judges.labeling import item_of, label
from evals.judges.material import material_of
from evals.judges.measuring import MAX_DRAWN
from evals.judges.requesting import ask_for_calibration, ask_for_episodes
from evals.judges.waiting import disagreements, progress_of, waiting
from evals.models import JudgeCalibration, JudgeRubric, JudgeVerdict, Result
from evals.secrecy import ExamReader
from harness.api.verbs import GovernedViewSet, VerbRequest
from harness.authentication import actor_of

__all__ = ["JudgeRubricViewSet"]

_PAGE = 20
_MAX_IMPORTED = 2_000


class _Item(serializers.Serializer[Any]):
    """One item, as it is named in a label."""

    result = serializers.UUIDField(allow_null=True, required=False)
    episode = serializers.UUIDField(allow_null=True, required=False)


class CalibrationDetail(serializers.ModelSerializer[JudgeCalibration]):
    class Meta:
        model = JudgeCalibration
        fields = (
            "id", "judge_digest", "num_labels", "num_clusters", "kappa", "kappa_lower", "kappa_upper",
            "sensitivity_baseline", "sensitivity_candidate", "specificity_baseline", "specificity_candidate", "table",
            "measured_at", "measured_by",
        )  # fmt: skip


class JudgeRubricRow(serializers.ModelSerializer[JudgeRubric]):
    agent = serializers.CharField(source="agent.slug")

    class Meta:
        model = JudgeRubric
        fields = ("id", "agent", "name", "digest", "body", "created_at")


class JudgeRubricDetail(JudgeRubricRow):
    """A rubric with how far its judge is from deciding."""

    may_decide = serializers.BooleanField()
    needs = serializers.ListField(child=serializers.CharField(), help_text="What the judge lacks before it may decide.")
    judge_digest = serializers.CharField()
    labels = serializers.DictField(child=serializers.IntegerField(), help_text="By arm; those of episodes have none.")
    calibration = CalibrationDetail(allow_null=True)

    class Meta(JudgeRubricRow.Meta):
        fields = (  # type: ignore[assignment]  # a longer tuple of names
            *JudgeRubricRow.Meta.fields, "may_decide", "needs", "judge_digest", "labels", "calibration",
        )  # fmt: skip


class WaitingItem(_Item):
    """An item to label: what was said and done, without arm, version or verdict."""

    messages = serializers.ListField(child=serializers.DictField())
    reply = serializers.CharField()
    handed_off = serializers.BooleanField()
    steps = serializers.ListField(child=serializers.DictField())


class LabelCreate(_Item):
    """What a person says of one item; it is final."""

    grade = serializers.IntegerField(min_value=0, max_value=10)
    note = serializers.CharField(required=False, allow_blank=True, default="", max_length=4_000)


class LabelDetail(serializers.Serializer[Any]):
    """The label, and only now what the judge had said; null where no judge was asked."""

    id = serializers.UUIDField()
    grade = serializers.IntegerField()
    judge_grade = serializers.IntegerField(allow_null=True)
    judge_rationale = serializers.CharField(allow_null=True)
    agrees = serializers.BooleanField(allow_null=True)


class ImportLabels(serializers.Serializer[Any]):
    """Labels given elsewhere: `result` or `episode`, `grade`, and perhaps `by` and `note`."""

    labels = serializers.ListField(child=serializers.DictField(), max_length=_MAX_IMPORTED)


class ImportedDetail(serializers.Serializer[Any]):
    added = serializers.IntegerField()
    known = serializers.IntegerField()


class Disagreement(_Item):
    """An item on which the judge and the first person to label it differ."""

    judge_grade = serializers.IntegerField()
    judge_rationale = serializers.CharField()
    their_grade = serializers.IntegerField()
    their_name = serializers.CharField()
    their_note = serializers.CharField()


class DrawEpisodes(VerbRequest):
    number = serializers.IntegerField(min_value=1, max_value=MAX_DRAWN)


class Said(serializers.Serializer[Any]):
    """What was done."""

    sentence = serializers.CharField()


class JudgeRubricViewSet(GovernedViewSet):
    """Rubrics that cases are judged by, and how well their judge agrees with people."""

    model = JudgeRubric
    FILTERS = {"agent": "agent__slug"}

    def get_serializer_class(self) -> Any:
        return JudgeRubricRow if self.action == "list" else JudgeRubricDetail

    def get_queryset(self) -> Any:
        return super().get_queryset().select_related("agent__policy")

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        row: JudgeRubric = self.get_object()
        progress = progress_of(row, gate_policy_of(row.agent))
        found = progress.calibration
        shown = {
            "may_decide": not progress.faults, "needs": progress.faults, "judge_digest": progress.judge_digest,
            "labels": {arm or "episodes": number for arm, number in progress.labels.items()},
            "calibration": None if found is None else CalibrationDetail(found).data,
        }  # fmt: skip
        return Response(JudgeRubricRow(row).data | shown)

    @extend_schema(responses=WaitingItem(many=True))
    @action(detail=True, methods=["get"], pagination_class=None)
    def waiting(self, request: Request, pk: str | None = None) -> Response:
        """Return the next items to label, the ones that are worth most first; 20 at a time."""
        row, actor = self.get_object(), actor_of(request)
        reader = ExamReader(actor)
        return Response([_told(one) for one in waiting(row, by=actor)[:_PAGE] if _reads(reader, one)])

    @extend_schema(request=LabelCreate, responses={201: LabelDetail})
    @action(detail=True, methods=["post"])
    def labels(self, request: Request, pk: str | None = None) -> Response:
        """Label one item, and learn what the judge had said of it."""
        body = LabelCreate(data=request.data)
        body.is_valid(raise_exception=True)
        given, row, actor = body.validated_data, self.get_object(), actor_of(request)
        require(actor, Permission.LABEL_RESULT, row.access_scope(), act=f"label by {row}")
        item = item_of(row, result=given.get("result"), episode=given.get("episode"))
        done = label(row, item, grade=given["grade"], note=given["note"], by=actor)
        verdict = done.verdict
        told = {
            "id": done.label.pk, "grade": done.label.grade, "agrees": done.agrees,
            "judge_grade": None if verdict is None else verdict.grade,
            "judge_rationale": None if verdict is None else verdict.rationale,
        }  # fmt: skip
        return Response(told, status=status.HTTP_201_CREATED)

    @extend_schema(request=ImportLabels, responses=ImportedDetail)
    @action(detail=True, methods=["post"])
    def import_labels(self, request: Request, pk: str | None = None) -> Response:
        """Take labels that people gave elsewhere, all of them or none; those that are there already once."""
        body = ImportLabels(data=request.data)
        body.is_valid(raise_exception=True)
        done = import_labels(self.get_object(), body.validated_data["labels"], by=actor_of(request))
        return Response({"added": done.added, "known": done.known})

    @extend_schema(responses=Disagreement(many=True))
    @action(detail=True, methods=["get"], pagination_class=None)
    def disagreements(self, request: Request, pk: str | None = None) -> Response:
        """Return the newest items on which the judge and a person differ; 20 of them."""
        row, actor = self.get_object(), actor_of(request)
        reader = ExamReader(actor)
        shown = [one for one in disagreements(row, by=actor)[:_PAGE] if _reads(reader, one)]
        return Response(
            [
                {
                    "result": one.result_id, "episode": one.episode_id, "judge_grade": one.grade,
                    "judge_rationale": one.rationale, "their_grade": one.their_grade, "their_name": one.their_name,
                    "their_note": one.their_note,
                }
                for one in shown
            ]
        )  # fmt: skip

    @extend_schema(request=VerbRequest, responses={202: Said})
    @action(detail=True, methods=["post"])
    def calibrate(self, request: Request, pk: str | None = None) -> Response:
        """Have the present judge grade what people labeled, and measure it."""
        body = VerbRequest(data=request.data)
        body.is_valid(raise_exception=True)
        said = ask_for_calibration(self.get_object(), by=actor_of(request), reason=body.validated_data["reason"])
        return Response({"sentence": said}, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=DrawEpisodes, responses={202: Said})
    @action(detail=True, methods=["post"])
    def draw_episodes(self, request: Request, pk: str | None = None) -> Response:
        """Have the present judge grade episodes, which people then label without reading the exam."""
        body = DrawEpisodes(data=request.data)
        body.is_valid(raise_exception=True)
        said = ask_for_episodes(self.get_object(), by=actor_of(request), **body.validated_data)
        return Response({"sentence": said}, status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=VerbRequest, responses=Said)
    @action(detail=True, methods=["post"])
    def appoint_judge(self, request: Request, pk: str | None = None) -> Response:
        """Give the agent's team a judge with the shipped document."""
        body = VerbRequest(data=request.data)
        body.is_valid(raise_exception=True)
        judge = appoint_judge(self.get_object().agent, by=actor_of(request), reason=body.validated_data["reason"])
        return Response({"sentence": f"{judge} judges from now on."})


def _told(verdict: JudgeVerdict) -> dict[str, Any]:
    material = material_of(verdict.item)
    return {
        "result": verdict.result_id, "episode": verdict.episode_id, "messages": list(material.messages),
        "reply": material.reply, "handed_off": material.handed_off, "steps": material.plain_steps(),
    }  # fmt: skip


def _reads(reader: ExamReader, verdict: JudgeVerdict) -> bool:
    item = verdict.item
    return not isinstance(item, Result) or reader.reads(item.run_case.case.benchmark, item.run_case.split)
