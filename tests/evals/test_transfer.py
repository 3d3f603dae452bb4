"""What a learning is on another model, from the gate's numbers."""

from evals.transfer import transfer_of


def read(differences, p, *, protected="pass", bound=-0.01, crashes="pass", advised=None):
    told = {"lower_bound": bound, "mean": 0.0, "margin": 0.05, "clusters": 160} | (
        {"advised": advised} if advised else {}
    )
    return transfer_of([
        {"name": "target", "verdict": "pass", "sentence": "",
         "numbers": {"p": p, "alpha": 0.05, "differences": differences, "clusters": len(differences), "effect": 0.2}},
        {"name": "protected", "verdict": protected, "sentence": f"{protected}: mean -1.0 pp.", "numbers": told},
        {"name": "crashes", "verdict": crashes, "sentence": f"{crashes}: 9 crashes against 0.", "numbers": {}},
    ])  # fmt: skip


def test_transfer__gain_shown_and_protected_bound_within_margin__transfers():
    found = read([1000] * 6, 1 / 64)

    assert found.label == "transfers"
    assert found.numbers["p_loss"] == 1.0
    assert "protected lower bound -1.0 pp" in found.sentence


def test_transfer__loss_shown_or_protected_failed_or_more_crashes__is_harmful():
    assert read([-1000] * 6, 1.0).label == "harmful"
    assert read([1000] * 6, 1 / 64, protected="fail").label == "harmful"
    assert read([1000] * 6, 1 / 64, crashes="fail").label == "harmful"
    assert read([1000] * 6, 1 / 64, advised="fail").label == "harmful"


def test_transfer__nothing_shown__is_neutral():
    assert read([1000, -1000], 0.75).label == "neutral"
    assert "is not shown to work still" in read([1000] * 6, 1 / 64, protected="hold").sentence
    assert read([1000] * 6, 1 / 64, bound=None).label == "neutral"
