"""Evaluations of any data set: how it is given, what cannot be asked of it, and P5 with a known answer."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from configs.event_types import load_event_types
from configs.groups.data_settings import Data
from configs.settings import Settings, with_preset
from data.dataset import DataError, Tables, load_dataset, processed_dir
from data.dataset_writer import write_dataset
from deployments.console.evaluation_view import latest_evaluation
from jobs.evaluate import evaluate
from jobs.evaluate.evaluate import evaluate_protocols, main
from jobs.evaluate.evaluation_report import new_items_table, write_report
from jobs.evaluate.given_data import settings_for
from models.evaluation.applicability import (
    NO_REPEATS,
    NO_TIMES,
    NOT_DESCRIBED,
    ONE_EVENT,
    ONE_MOMENT,
    WHOLE_DAYS,
    why_not,
)
from models.evaluation.contenders import Contender, Note, ProtocolData, fit_stage, open_bench
from models.evaluation.prequential import _bounded
from models.evaluation.protocols import PARAMETERS
from models.evaluation.repeats import last_week, repeats, with_repeats
from models.training.training_data import TrainingData, training_data_of
from tests.jobs.job_data import two_tastes, write_interactions

DAY = 86_400_000
FEW = 8
FIRST = 1_500_000_000_000 // DAY * DAY


def shop(n_users: int = 40, n_weeks: int = 6) -> pd.DataFrame:
    """Everybody buys the same three things each week; in the last one most take up what a few had in the second."""
    rows = []
    for user in range(n_users):
        for week in range(n_weeks):
            own = [f"own-{user}-{n}" for n in range(2)] + [f"taste-{user % 4}"]
            new = [f"late-{user % 4}"] if week == (1 if user < FEW else n_weeks - 1) else []
            for place, item in enumerate(own + new):
                at = FIRST + (7 * week + place) * DAY + 3_600_000 * (user % 20) + 1000 * place
                rows.append((f"u{user}", item, "purchase", np.float32("nan"), at))
    return pd.DataFrame(rows, columns=["user_id", "item_id", "event_type", "value", "timestamp_ms"])


def data_of(frame: pd.DataFrame, preset: str = "groceries") -> TrainingData:
    return training_data_of(frame, load_event_types(preset), "a test", ("str", "str"), 0, {}, "")


def config_of(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    tracking = settings.tracking.model_copy(update={"uri": "http://127.0.0.1:9"})
    found = settings.model_copy(update={"tracking": tracking})
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(found.model_dump(mode="json", exclude={"data"})))
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(tmp_path / "settings.yaml"))
    return found


def test_a_table_is_evaluated_beside_the_data_set_in_place(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config_of(settings, tmp_path, monkeypatch)
    write_interactions(settings, two_tastes())
    before = (processed_dir(settings) / "dataset.json").read_bytes()
    frame = shop()
    table = pd.DataFrame({"customer": frame["user_id"], "sku": frame["item_id"], "time": frame["timestamp_ms"]})
    table.to_csv(tmp_path / "orders.csv", index=False)
    options = ["--protocol", "P1", "P3", "P5", "--ranker", "off", "--preset", "groceries"]
    assert main(["--data", str(tmp_path / "orders.csv"), *options]) == 0
    said = capsys.readouterr().out
    assert "P5 new" in said
    assert "P3 is left out: no user has 25 events" in said
    assert "NDCG@10 by segment" in said
    assert (processed_dir(settings) / "dataset.json").read_bytes() == before
    folder = settings.state_dir / "evaluation"
    report = json.loads((folder / "evaluation.json").read_text())
    assert (report["data"], report["preset"], report["users"]) == ("orders", "groceries", 40)
    assert (folder / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    found = {(arm["protocol"], arm["name"]): arm for arm in report["arms"]}
    assert found["P5 all", "personal frequency"]["ndcg_at_10"]["mean"] > 0.7
    assert ("P5 new", "personal frequency") not in found
    shown = latest_evaluation(settings.state_dir).report
    assert shown is not None
    assert len(shown.arms) == len(report["arms"])
    assert set(report["als"]) == {"P1"}
    assert set(report["skipped"]) == {"P3"}


def test_a_prepared_folder_and_a_built_in_name_are_found(settings: Settings, tmp_path: Path) -> None:
    write_interactions(settings, two_tastes(), name="ml-100k")
    assert settings_for(settings, None) is settings
    assert settings_for(settings, "movielens-100k").data_dir == settings.data_dir
    elsewhere = tmp_path / "prepared"
    processed_dir(settings).rename(elsewhere)
    found = settings_for(settings, str(elsewhere), preset="shops")
    assert load_dataset(processed_dir(found)).meta.name == "ml-100k"
    assert found.data.events == "shops"
    with pytest.raises(DataError, match="there is no 'netflix'; give a table, a prepared folder, or movielens-100k"):
        settings_for(settings, "netflix")
    with pytest.raises(DataError, match=r"none\.csv"):
        settings_for(settings, str(tmp_path / "none.csv"))


def test_what_cannot_be_asked_of_data_is_said() -> None:
    data = data_of(shop())
    assert [why_not(protocol, data, True) for protocol in ("P1", "P2", "P4", "P5")] == [""] * 4
    assert [why_not(protocol, data, False) for protocol in ("P1", "P2", "P5")] == ["", NO_TIMES, NO_TIMES]
    days = replace(data, times_ms=data.times_ms // DAY * DAY)
    assert [why_not(protocol, days, True) for protocol in ("P2", "P4", "P5")] == [WHOLE_DAYS, WHOLE_DAYS, ""]
    moment = replace(data, times_ms=np.full(len(data), FIRST))
    assert [why_not(protocol, moment, True) for protocol in ("P2", "P5")] == [ONE_MOMENT, ONE_MOMENT]
    once = data_of(shop(n_weeks=1).drop_duplicates("user_id").assign(item_id=["a", "b"] * 20))
    assert [why_not(protocol, once, True) for protocol in ("P1", "P2", "P4", "P5")] == [ONE_EVENT] * 4
    assert "no user has 25 events" in why_not("P3", once, True)
    assert why_not("P5", data_of(shop(n_weeks=1)), True) == NO_REPEATS
    assert [why_not("P6", data, False, described) for described in (True, False)] == ["", NOT_DESCRIBED]
    assert "0 items have 5 events" in why_not("P6", data_of(shop().drop_duplicates("item_id")), True)


def test_the_last_week_is_seven_calendar_days() -> None:
    data = data_of(shop())
    week = last_week(data)
    last_day = int(data.times_ms.max()) // DAY
    assert week.at_ms == (last_day - 6) * DAY
    assert data.times_ms[week.train].max() < week.at_ms <= data.times_ms[week.window].min()
    assert len(week.train) + len(week.window) == len(data)
    short = data_of(shop(n_weeks=1))
    assert "the last tenth" in last_week(short).text
    assert len(last_week(short).window) == len(short) - round(0.9 * len(short))


def test_repeats_are_found_again_and_new_things_are_no_repeats(settings: Settings) -> None:
    """P5 has a known answer: what everybody bought each week comes again, and under *new* nothing of it is shown."""
    write_interactions(settings, shop())
    own = settings.model_copy(update={"data": Data(events="groceries")})
    dataset = load_dataset(processed_dir(own))
    data = training_data_of(dataset.interactions, load_event_types("groceries"), "a test", ("str", "str"), 0, {}, "")
    bench = open_bench(dataset, data, "consumption", ranker=True)
    arms = {(arm.protocol, arm.name): arm for arm in repeats(bench, lambda line: None)}
    own_lists = arms["P5 all", "personal, recent"]
    assert float(own_lists.metrics.recall.mean()) > 0.7
    assert float(own_lists.metrics.ndcg.mean()) > float(arms["P5 all", "popularity"].metrics.ndcg.mean())
    rising = [text for text in bench.data.users.ids.astype(str).tolist() if int(text[1:]) >= FEW]
    frame = shop()
    had = frame[frame["timestamp_ms"] < last_week(data).at_ms].groupby("user_id")["item_id"].agg(set)
    new = {name: arm for (protocol, name), arm in arms.items() if protocol == "P5 new"}
    assert {"popularity", "GF-CF", "EASE", "ALS"} <= set(new)
    for name, arm in new.items():
        assert len(arm.recommended) == len(rising), name
        for user, row, right in zip(rising, arm.recommended, arm.relevant, strict=True):
            shown = set(bench.data.items.ids[row[row >= 0]].astype(str).tolist())
            assert not shown & had[user], name
            assert bench.data.items.ids[right.indices].astype(str).tolist() == [f"late-{int(user[1:]) % 4}"]
    assert with_repeats(data.types, "all").seen_codes.sum() == 0


def test_an_evaluation_trains_with_the_histories_and_the_window_of_the_settings(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The models that it judged had read 500 events of a user and what trends by a week, whatever would serve."""
    write_interactions(settings, shop(n_weeks=3))
    asked = []

    def answers(bench: ProtocolData, note: Note) -> list[Contender]:
        asked.append((bench.recipe(PARAMETERS), fit_stage(bench, np.arange(len(bench.data)), PARAMETERS)))
        return []

    monkeypatch.setitem(evaluate.PROTOCOLS, "P5", answers)
    own = with_preset(settings.model_copy(update={"data": Data(events="groceries")}))
    serving = own.serving.model_copy(update={"trending_window": "1h"})
    evaluate_protocols(own.model_copy(update={"serving": serving}), ["P5"], "consumption", False)
    [(recipe, stage)] = asked
    assert own.store.history_limit == 1500
    assert (recipe.history_limit, stage.history_limit) == (1500, 1500)
    assert (recipe.trending_window, stage.trending_window) == ("1h", "1h")


def test_many_events_are_asked_about_by_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request of P4 holds its user's whole history: of one user with most of the events only so many are asked."""
    monkeypatch.setattr("models.evaluation.prequential.MOST_EVENTS", 1_000)
    user = np.where(np.arange(5_000) % 5 == 0, np.arange(5_000) // 5, 0)
    asked = np.arange(0, 5_000)
    chosen = _bounded(asked, user, 0)
    assert (np.diff(chosen) > 0).all()
    assert 300 < len(chosen) <= 1_000
    assert np.count_nonzero(user[chosen] == 0) == 200
    assert _bounded(asked[:1_000], user, 0).tolist() == asked[:1_000].tolist()


def test_new_items_are_part_of_the_report(settings: Settings, tmp_path: Path) -> None:
    """Two tastes whose items say of which they are: new ones reach those who have that taste."""
    frame = two_tastes(n_users=80, n_items=200, per_user=60)
    interactions = frame.assign(event_type="purchase", value=np.float32("nan"))
    items = pd.DataFrame({"item_id": interactions["item_id"].unique()})
    parity = items["item_id"].astype(int) % 2
    items = items.assign(title=items["item_id"], year=None, categories=[[f"kind {n}"] for n in parity], added_ms=None)
    users = pd.DataFrame({"user_id": interactions["user_id"].unique()})
    write_dataset(
        processed_dir(settings), Tables(interactions, items, users), "kinds", "a test", "0" * 64, ("int", "int")
    )
    report = evaluate_protocols(settings, ["P6"], "consumption", ranker=False)
    assert (report["arms"], report["skipped"]) == ([], {})
    found = {record["name"]: record["recall_at_10_among_new"]["mean"] for record in report["new_items"]}
    assert found["categories"] > found["random"] + 0.2
    assert "P6 categories" in new_items_table(report["new_items"])
    _, page, picture = write_report(tmp_path / "report", report)  # with P6 alone
    assert "P6, recall@50 of new items" in page.read_text()
    assert picture.read_bytes().startswith(b"\x89PNG")
