from deployments.console.snapshot import ComponentView, HealthView, Snapshot, tagged


def snapshot(detail: str, problems: list[str]) -> Snapshot:
    return Snapshot(
        health=HealthView(status="ok", components={"autopilot": ComponentView(status="ok", detail=detail)}),
        system=None,
        model=None,
        learning=None,
        replicas=None,
        split=None,
        timeline=None,
        problems=problems,
    )


def test_the_tag_names_what_is_said_and_not_when() -> None:
    first = tagged(snapshot("it looked 1 s ago", []))
    later = tagged(snapshot("it looked 2.5 s ago", []))
    assert first.etag == later.etag
    assert first.content != later.content


def test_another_content_has_another_tag() -> None:
    first = tagged(snapshot("it looked 1 s ago", []))
    assert first.etag != tagged(snapshot("it never looked", [])).etag
    assert first.etag != tagged(snapshot("it looked 1 s ago", ["system: no answer"])).etag
