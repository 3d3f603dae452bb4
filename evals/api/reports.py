"""Shapes of a run's progress, report and comparison on the wire: what its page draws, number by number."""

from typing import Any

from rest_framework import serializers

__all__ = ["ComparisonDetail", "ProgressDetail", "ReportDetail"]


class ArmProgressDetail(serializers.Serializer[Any]):
    arm = serializers.CharField()
    played = serializers.IntegerField()
    planned = serializers.IntegerField()
    crashed = serializers.IntegerField()
    dropped = serializers.IntegerField()
    cost_usd = serializers.FloatField()


class ProgressDetail(serializers.Serializer[Any]):
    """How far a run has come; poll it while `is_live`."""

    status = serializers.CharField()
    is_live = serializers.BooleanField()
    played = serializers.IntegerField()
    planned = serializers.IntegerField()
    percent = serializers.IntegerField()
    elapsed_s = serializers.FloatField(allow_null=True)
    remaining_s = serializers.FloatField(allow_null=True)
    cost_usd = serializers.FloatField()
    arms = ArmProgressDetail(many=True)


class MeasureDetail(serializers.Serializer[Any]):
    """One number of a gate against its limit; beyond a limit that `asks`, more people must look."""

    label = serializers.CharField()  # type: ignore[assignment]  # a field of the measure that Field also has an attribute for
    value = serializers.FloatField(allow_null=True)
    relation = serializers.CharField()
    limit = serializers.FloatField(allow_null=True)
    unit = serializers.CharField()
    asks = serializers.BooleanField()
    is_met = serializers.BooleanField(allow_null=True)


class GateDetail(serializers.Serializer[Any]):
    name = serializers.CharField()
    verdict = serializers.CharField()
    sentence = serializers.CharField()
    measures = MeasureDetail(many=True)


class SliceDetail(serializers.Serializer[Any]):
    """One row of the forest plot: mean difference of the score with a one-sided bound on either end."""

    kind = serializers.CharField()
    name = serializers.CharField()
    split = serializers.CharField()
    cases = serializers.IntegerField()
    clusters = serializers.IntegerField()
    pairs = serializers.IntegerField()
    mean = serializers.FloatField()
    lower = serializers.FloatField()
    upper = serializers.FloatField()
    baseline = serializers.FloatField()
    candidate = serializers.FloatField()
    fixed = serializers.IntegerField()
    broken = serializers.IntegerField()
    is_target = serializers.BooleanField()
    is_protected = serializers.BooleanField()
    is_gated = serializers.BooleanField()


class ReliabilityDetail(serializers.Serializer[Any]):
    """pass^k of both arms over the cases with at least k trials."""

    group = serializers.CharField()
    k = serializers.IntegerField()
    cases = serializers.IntegerField()
    baseline = serializers.FloatField()
    candidate = serializers.FloatField()


class ArmSpreadDetail(serializers.Serializer[Any]):
    median = serializers.FloatField()
    lower = serializers.FloatField(allow_null=True)
    upper = serializers.FloatField(allow_null=True)
    values = serializers.ListField(child=serializers.FloatField())


class SpreadDetail(serializers.Serializer[Any]):
    """Latency or cost in both arms, one value a cluster, and the ratio candidate / baseline."""

    metric = serializers.CharField()
    unit = serializers.CharField()
    clusters = serializers.IntegerField()
    baseline = ArmSpreadDetail()
    candidate = ArmSpreadDetail()
    ratios = serializers.ListField(child=serializers.FloatField())
    ratio = serializers.FloatField()
    ratio_lower = serializers.FloatField(allow_null=True)
    ratio_upper = serializers.FloatField(allow_null=True)
    limit = serializers.FloatField()
    confidence = serializers.FloatField()


class CaseLineDetail(serializers.Serializer[Any]):
    """One case of a run: passed trials of those in which neither arm crashed or was dropped."""

    run_case = serializers.CharField()
    case = serializers.CharField()
    name = serializers.CharField()
    intent = serializers.CharField()
    split = serializers.CharField()
    kind = serializers.CharField()
    cluster = serializers.CharField()
    is_target = serializers.BooleanField()
    is_protected = serializers.BooleanField()
    outcome = serializers.CharField()
    pairs = serializers.IntegerField()
    baseline_passed = serializers.IntegerField()
    candidate_passed = serializers.IntegerField()
    num_crashed = serializers.IntegerField()
    num_dropped = serializers.IntegerField()
    violations = serializers.IntegerField()


class ReportDetail(serializers.Serializer[Any]):
    """Everything the run's page draws. Differences are candidate - baseline; shares are of one."""

    split = serializers.CharField()
    confidence = serializers.FloatField()
    margin = serializers.FloatField()
    look = serializers.IntegerField()
    gates = GateDetail(many=True)
    summaries = SliceDetail(many=True)
    intents = SliceDetail(many=True)
    reliability = ReliabilityDetail(many=True)
    spreads = SpreadDetail(many=True)
    broken = CaseLineDetail(many=True)
    fixed = CaseLineDetail(many=True)
    crashed = CaseLineDetail(many=True)
    dropped = CaseLineDetail(many=True)


class MeasureChangeDetail(serializers.Serializer[Any]):
    label = serializers.CharField()  # type: ignore[assignment]  # a field of the change that Field also has an attribute for
    unit = serializers.CharField()
    this = serializers.FloatField(allow_null=True)
    other = serializers.FloatField(allow_null=True)
    change = serializers.FloatField(allow_null=True)


class GateChangeDetail(serializers.Serializer[Any]):
    name = serializers.CharField()
    this = serializers.CharField(allow_null=True)
    other = serializers.CharField(allow_null=True)
    measures = MeasureChangeDetail(many=True)


class SliceChangeDetail(serializers.Serializer[Any]):
    kind = serializers.CharField()
    name = serializers.CharField()
    this = SliceDetail(allow_null=True)
    other = SliceDetail(allow_null=True)


class CaseChangeDetail(serializers.Serializer[Any]):
    this = CaseLineDetail()
    other = CaseLineDetail()
    change = serializers.FloatField()


class ComparisonDetail(serializers.Serializer[Any]):
    """Two judged runs beside each other; `cases` are those whose candidates differ of the `both` that both played."""

    gates = GateChangeDetail(many=True)
    slices = SliceChangeDetail(many=True)
    cases = CaseChangeDetail(many=True)
    both = serializers.IntegerField()
