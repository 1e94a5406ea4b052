from deployments.autopilot.confirmation import CALM, Confirmation
from deployments.operations.monitor_views import DriftView


def test_drift_of_taste_near_the_threshold_does_not_come_and_go() -> None:
    confirmation = Confirmation({"items"})

    def seen(name: str, *drifted: bool | None) -> list[bool | None]:
        views = [DriftView(name=name, value=0.2, threshold=0.2, drifted=one, detail="") for one in drifted]
        return [confirmation.confirm(view).drifted for view in views]

    assert seen("items", None, True, False, True, True, False, True) == [None, False, False, False, True, True, True]
    assert seen("items", *[False] * CALM) == [True] * (CALM - 1) + [False]
    assert seen("click_rate", True, True, False, True) == [False, True, False, False]
