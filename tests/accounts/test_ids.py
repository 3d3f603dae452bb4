from accounts.ids import uuid7


def test_uuid7__many__are_version_7_ordered_and_distinct():
    made = [uuid7() for _ in range(5_000)]

    assert {one.version for one in made} == {7}
    assert {one.variant for one in made} == {"specified in RFC 4122"}
    assert len(set(made)) == len(made)
    # Two ids of the same fraction of a millisecond may come in either order.
    stamps = [one.int >> 64 for one in made]
    assert stamps == sorted(stamps)
