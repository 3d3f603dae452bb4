"""A model judge beside people: rubrics, what the judge said, what people said, and how well the two agree."""

from functools import cached_property
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.access import Scope
from accounts.ids import uuid7
from accounts.models import User
from episodes.models import Episode
from evals.judges.rubric import Rubric, read_rubric
from evals.models.run import Result
from evals.querysets import FactsOfRunQuerySet, JudgedQuerySet
from evals.readings import JudgeCalibration as CalibrationReading
from harness.models import Agent

__all__ = ["JudgeCalibration", "JudgeLabel", "JudgeRubric", "JudgeVerdict"]

_ONE_ITEM = Q(result__isnull=False, episode__isnull=True) | Q(result__isnull=True, episode__isnull=False)


class JudgeRubric(models.Model):
    """A rubric that cases of an agent are judged by, once for each wording. Append-only: another word is another one."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="judge_rubrics")
    digest = models.CharField(max_length=64, help_text="Names everything a judge is told by it.")
    name = models.CharField(max_length=120)
    body = models.JSONField(help_text="Text, scale, anchors and pass mark.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = FactsOfRunQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (models.UniqueConstraint(fields=("agent", "digest"), name="judge_rubric_once"),)

    def __str__(self) -> str:
        return self.name

    @cached_property
    def rubric(self) -> Rubric:
        return read_rubric(self.body)

    def access_scope(self) -> Scope:
        return self.agent.access_scope()


class _Judged(models.Model):
    """A grade of one item, a result or an episode, under a rubric."""

    AGENT_PATH: ClassVar[str] = "rubric__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    rubric = models.ForeignKey(JudgeRubric, on_delete=models.PROTECT, related_name="%(class)ss")
    result = models.ForeignKey(Result, on_delete=models.PROTECT, null=True, related_name="%(class)ss")
    episode = models.ForeignKey(Episode, on_delete=models.PROTECT, null=True, related_name="%(class)ss")
    grade = models.PositiveSmallIntegerField()

    class Meta:
        abstract = True

    @property
    def item(self) -> Result | Episode:
        found = self.result if self.result is not None else self.episode
        assert found is not None  # the database holds exactly one
        return found

    @property
    def word(self) -> str:
        """Return the grade as people say it."""
        return self.rubric.rubric.word(self.grade)


class JudgeVerdict(_Judged):
    """What one judge said of one item. Append-only: the same judge is asked once."""

    judge_digest = models.CharField(
        max_length=64, help_text="Names the judge: its document, its model, how it is asked."
    )
    rationale = models.TextField(blank=True)
    judged_at = models.DateTimeField(db_default=Now())

    objects = JudgedQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=_ONE_ITEM, name="judge_verdict_of_one_item"),
            models.UniqueConstraint(fields=("rubric", "judge_digest", "result"), name="judge_verdict_once"),
            models.UniqueConstraint(fields=("rubric", "judge_digest", "episode"), name="judge_verdict_on_episode_once"),
        )

    def __str__(self) -> str:
        return f"{self.judge_digest[:8]} on {self.rubric}"

    def is_labeled(self) -> bool:
        """Return whether a person has said what they think of the item; until then the verdict is nobody's to see."""
        same = JudgeLabel.objects.filter(rubric_id=self.rubric_id)
        same = same.filter(result=self.result_id) if self.result_id else same.filter(episode=self.episode_id)
        return bool(same.exists())


class JudgeLabel(_Judged):
    """What one person said of one item before they saw the judge's verdict. Append-only: nobody takes a label back."""

    class Source(models.TextChoices):
        DESK = "desk", "Labeled here"
        IMPORT = "import", "Imported"

    note = models.TextField(blank=True)
    source = models.CharField(max_length=6, choices=Source.choices, default=Source.DESK)
    labeled_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", help_text="Who answers for it.")
    labeled_by_name = models.CharField(max_length=200, help_text="Whose judgment it is.")
    is_simulated = models.BooleanField(default=False)
    labeled_at = models.DateTimeField(db_default=Now())

    objects = JudgedQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        constraints = (
            models.CheckConstraint(condition=_ONE_ITEM, name="judge_label_of_one_item"),
            models.UniqueConstraint(fields=("rubric", "result", "labeled_by_name"), name="judge_label_once"),
            models.UniqueConstraint(
                fields=("rubric", "episode", "labeled_by_name"), name="judge_label_on_episode_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.labeled_by_name} on {self.rubric}"


class JudgeCalibration(models.Model):
    """How well one judge agrees with people on one rubric, measured at one moment. Append-only; the newest counts.

    A number is `None` where the labels of that moment could not give it. Another judge, and another rubric, start without.
    """

    AGENT_PATH: ClassVar[str] = "rubric__agent"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    rubric = models.ForeignKey(JudgeRubric, on_delete=models.PROTECT, related_name="calibrations")
    judge_digest = models.CharField(max_length=64)
    num_labels = models.PositiveIntegerField()
    num_clusters = models.PositiveIntegerField()
    kappa = models.FloatField(null=True)
    kappa_lower = models.FloatField(null=True)
    kappa_upper = models.FloatField(null=True)
    sensitivity_baseline = models.FloatField(null=True)
    sensitivity_candidate = models.FloatField(null=True)
    specificity_baseline = models.FloatField(null=True)
    specificity_candidate = models.FloatField(null=True)
    table = models.JSONField(default=list, help_text="How many items people (rows) and the judge (columns) graded how.")
    measured_by = models.CharField(max_length=200)
    measured_at = models.DateTimeField(db_default=Now())

    objects = FactsOfRunQuerySet.as_manager()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("rubric", "judge_digest", "-id"), name="judge_calibration_newest"),)

    def __str__(self) -> str:
        told = "not measurable" if self.kappa is None else f"{self.kappa:z.2f}"
        return f"kappa {told} on {self.num_labels} labels of {self.rubric}"

    def reading(self) -> CalibrationReading:
        """Return it as the gate reads it."""
        return CalibrationReading(
            kappa=self.kappa, kappa_lower=self.kappa_lower, labels=self.num_labels,
            sensitivity_baseline=self.sensitivity_baseline, sensitivity_candidate=self.sensitivity_candidate,
            specificity_baseline=self.specificity_baseline, specificity_candidate=self.specificity_candidate,
            rubric=self.rubric.name, clusters=self.num_clusters,
        )  # fmt: skip
