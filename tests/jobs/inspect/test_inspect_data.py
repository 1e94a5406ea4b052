from pathlib import Path

import pytest

from jobs.inspect.inspect_data import main

ROWS = [
    *("c1;s1;2026-01-01 10:00;2", "c1;s1;2026-01-01 10:00;2", "c1;s1;2026-01-03 10:00;2", "c2;s1;2026-01-01 10:00;1"),
    *("c2;s2;2026-01-11 10:00;1", ";s2;2026-01-11 10:00;1"),
]


@pytest.fixture
def orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = tmp_path / "settings.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\ndata_dir: {tmp_path / 'data'}\n")
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(config))
    path = tmp_path / "orders.csv"
    path.write_text("customer;sku;ordered_at;amount\n" + "\n".join(ROWS) + "\n")
    return path


def test_the_map_and_the_state_of_the_data_are_shown(
    orders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(orders)]) == 0
    told = capsys.readouterr().out
    for line in (
        "user_id     <- customer",
        "6 rows read",
        "5 (purchase 5)",
        "2, 2.5 events each",
        "2026-01-01 10:00 to 2026-01-11 10:00 (10 days)",
        "c1: 60.00% of the events",
        "s1: 80.00% of the events",
        "1 events repeat another in user, item, type and time",
        "40.0% of the events are of an item that the user had before",
        "40.0% of the events share their time with another of the same user",
        "refused: 1 rows",
        "1 x customer: is empty",
    ):
        assert line in told
    assert list((tmp_path / "data").iterdir()) == []
    assert (tmp_path / "state" / "imports" / "refused-orders-inspected.jsonl").is_file()


def test_times_that_only_order_are_not_shown_as_dates(
    orders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders.write_text("customer,sku,day,amount\n" + "".join(f"c{n % 3},s{n % 4},{n},1\n" for n in range(20)))
    assert main([str(orders)]) == 0
    told = capsys.readouterr().out
    assert "span          not known: there are no times, only an order" in told
    assert "times         say what came before what, and not when" in told


def test_what_is_not_clear_is_said_with_what_to_write(
    orders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    orders.write_text(orders.read_text().replace("customer", "who_knows"))
    assert main([str(orders)]) == 1
    assert "MAP=map.yaml" in capsys.readouterr().err
    own = tmp_path / "map.yaml"
    own.write_text("interactions: {user_id: who_knows}")
    assert main([str(orders), "--map", str(own)]) == 0
