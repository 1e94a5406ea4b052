from features.serving.promotion import earlier
from features.serving.slots import SlotDecision


def test_rollbacks_go_further_back() -> None:
    def decision(version: str, reason: str = "better") -> SlotDecision:
        return SlotDecision("champion", version, None, 0, reason)

    history = [decision("a"), decision("b"), decision("c")]
    assert earlier(history[::-1]) == "b"
    history.append(decision("b", "rollback: worse"))
    assert earlier(history[::-1]) == "a"
    history.append(decision("a", "rollback: worse too"))
    assert earlier(history[::-1]) is None
    history.append(decision("d"))
    assert earlier(history[::-1]) == "a"
