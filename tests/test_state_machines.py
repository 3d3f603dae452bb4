"""Every edge of every state machine: verb, button, endpoint, permission, event, refusal. Generated from the tables."""

import copy

import pytest
from django.urls import reverse

from accounts.acting import MACHINE
from accounts.exceptions import DomainError, NotPermittedError
from accounts.roles import ROLES
from audit.models import Event
from audit.record import reference
from tests.conftest import make_agent, make_cast
from tests.machines import ENDPOINTS, MACHINES, Stage, arguments_for, holder_of, put

EDGES = [(model, edge) for model in MACHINES for edge in model.EDGES]
STATES = [(model, state) for model in MACHINES for state, _ in model.Status.choices]
NAMES = [f"{model.__name__}.{edge.verb}" for model, edge in EDGES]
every_edge = pytest.mark.parametrize(("model", "edge"), EDGES, ids=NAMES)


@pytest.fixture(scope="module")
def stage_of_all(lasting):
    cast = make_cast()
    return Stage(make_agent(cast.team, cast.administrator, "shop-desk"), cast)


@pytest.fixture
def stage(stage_of_all, db):
    return copy.deepcopy(stage_of_all)


@pytest.fixture
def cast(stage):
    return stage.cast


def ready(stage, model, edge):
    """A row in a state the edge starts from, with everything the verb demands."""
    row = stage.row(model)
    source = min(edge.sources)
    put(row, source)
    stage.prepare(row, edge)
    return row


def endpoint(model, row, edge):
    return f"/api/v1/{ENDPOINTS[model]}/{row.pk}/{edge.verb}"


def button(model, row, edge):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_verb", args=(row.pk, edge.verb))


def test_machines__all_of_the_design__are_here():
    assert {model.__name__ for model in MACHINES} == {"Case", "Change", "Pattern", "Proposal", "Release", "Run"}
    assert len(EDGES) == 51


@every_edge
def test_edge__walked_by_who_may__moves_and_writes_its_event(stage, model, edge, cast):
    row = ready(stage, model, edge)
    before, person = row.status, holder_of(cast, edge)
    by = MACHINE if person is None else person.as_actor()

    getattr(row, edge.verb)(by=by, reason="because it must", **arguments_for(edge, row))

    row.refresh_from_db()
    event = (
        Event.objects.about(reference(row)).filter(action=f"{model._meta.model_name}.{edge.verb}").order_by("-id")[0]
    )
    assert row.status == edge.target
    assert (event.facts["from"], event.facts["to"], event.actor) == (before, edge.target, by.name)
    assert event.team_id == stage.agent.team_id
    assert row.history.first().status == edge.target


@every_edge
def test_edge__from_another_state__is_refused_with_a_sentence(stage, model, edge, cast, api):
    row = stage.row(model)
    wrong = sorted({state for state, _ in model.Status.choices} - edge.sources)
    put(row, wrong[0])
    person = holder_of(cast, edge) or cast.administrator
    events = Event.objects.count()

    answer = api(person).post(endpoint(model, row, edge), {"reason": "because it must"}, format="json")

    row.refresh_from_db()
    assert row.status == wrong[0]
    assert answer.status_code in {403, 409, 422}, answer.content
    assert answer["Content-Type"].startswith("application/problem+json")
    assert answer.json()["code"]
    assert len(answer.json()["detail"]) > 20
    assert Event.objects.count() == events


@every_edge
def test_edge__endpoint__lets_in_who_may_and_nobody_else(stage, model, edge, cast, api):
    row = ready(stage, model, edge)
    start = row.status

    assert api(None).post(endpoint(model, row, edge), {"reason": "x"}, format="json").status_code in {401, 403}
    assert api(cast.outsider).post(endpoint(model, row, edge), {"reason": "x"}, format="json").status_code == 404
    for role, permissions in ROLES.items():
        if edge.permission in permissions:
            continue
        answer = api(getattr(cast, role.value)).post(endpoint(model, row, edge), {"reason": "x"}, format="json")
        row.refresh_from_db()
        assert (answer.status_code, answer.json()["code"]) == (403, "not_permitted"), (role, answer.content)
        assert row.status == start

    person = holder_of(cast, edge)
    if person is not None:
        answer = api(person).post(endpoint(model, row, edge), {"reason": "because it must"}, format="json")
        row.refresh_from_db()
        assert (answer.status_code, row.status) == (200, edge.target), answer.content


@pytest.mark.parametrize(("model", "state"), STATES, ids=[f"{model.__name__}.{state}" for model, state in STATES])
def test_state__buttons__are_its_edges_and_stand_for_who_may_only(stage, model, state, cast, client):
    row = put(stage.row(model), state)
    page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=(row.pk,))
    for role, permissions in ROLES.items():
        client.force_login(getattr(cast, role.value))

        shown = client.get(page).content.decode()

        verbs = {edge.verb for edge in model.EDGES if f'"{button(model, row, edge)}"' in shown}
        may = {edge.verb for edge in model.EDGES if state in edge.sources and edge.permission in permissions}
        assert verbs == may, role


@every_edge
def test_edge__by_the_machine__only_where_the_table_says_so(stage, model, edge):
    row = ready(stage, model, edge)

    if edge.by_machine:
        getattr(row, edge.verb)(by=MACHINE, reason="measured", **arguments_for(edge, row))
        assert row.status == edge.target
    else:
        with pytest.raises((NotPermittedError, DomainError)):
            getattr(row, edge.verb)(by=MACHINE, reason="measured", **arguments_for(edge, row))
        row.refresh_from_db()
        assert row.status in edge.sources


@every_edge
def test_edge__decision_without_a_reason__is_refused(stage, model, edge, cast):
    row = ready(stage, model, edge)
    person = holder_of(cast, edge)
    if not edge.needs_reason or person is None:
        assert edge.permission is None or not edge.needs_reason
        return

    with pytest.raises(DomainError):
        getattr(row, edge.verb)(by=person.as_actor(), reason="  ", **arguments_for(edge, row))

    row.refresh_from_db()
    assert row.status in edge.sources
