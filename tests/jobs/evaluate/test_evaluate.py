import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml
from mlflow import MlflowClient

from configs.groups.data_settings import Data
from configs.settings import Settings
from data.dataset import DataError
from data.matrix import pairs_to_mask
from data.prepare import MOVIELENS, prepare
from jobs.batch.interactions_csv import read_interactions
from jobs.evaluate.evaluate import evaluate_protocols, main
from jobs.evaluate.evaluation_report import (
    REFERENCES,
    by_activity,
    list_difference,
    novelty,
    table,
    tracked_metrics,
    write_report,
)
from jobs.train.mlflow_registry import MlflowRegistry
from models.evaluation.baselines import fit_ease_scorer, fit_item_knn, history_models, recent_popularity_scores
from tests.jobs.job_data import two_tastes, write_interactions

DAY = 86_400_000


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def tastes(path: Path, columns: tuple[str, ...] = ("user", "item", "rating", "timestamp")) -> Path:
    frame = two_tastes(n_users=80)
    named = pd.DataFrame(
        {
            "user": "u" + frame["user_id"],
            "item": frame["item_id"],
            "rating": frame["value"],
            "timestamp": frame["timestamp_ms"] // 1000,
        }
    )
    named[list(columns)].to_csv(path, index=False)
    return path


@pytest.mark.parametrize("ranker", ["on", "off"])
@pytest.mark.parametrize("columns", [("user", "item"), ("user", "item", "rating", "timestamp")])
def test_recommendations_for_a_csv(tmp_path: Path, ranker: str, columns: tuple[str, ...]) -> None:
    train, out = tastes(tmp_path / "train.csv", columns), tmp_path / "recs.csv"
    users = csv(tmp_path / "users.csv", "user\nu3\nu0\nstranger\nu3\n")
    options = ["--factors", "8", "--regularization", "2", "--alpha", "4", "--ranker", ranker]
    assert main(["--train", str(train), "--recommend-for", str(users), "--out", str(out), *options]) == 0
    found = pd.read_csv(out, dtype={"user": str, "item": str})
    assert list(found.columns) == ["user", "item", "rank"]
    assert found["user"].unique().tolist() == ["u3", "u0", "stranger"]
    had = pd.read_csv(train, dtype=str).groupby("user")["item"].agg(set)
    for user, mine in found.groupby("user"):
        assert mine["rank"].tolist() == list(range(1, 11))
        assert mine["item"].is_unique
        assert not set(mine["item"]) & had.get(user, set())
    own = found[found["user"] == "u3"]["item"].astype(int)
    assert (own % 2 == 1).sum() >= 5  # 5 of the 20 odd items are left


def test_all_users_of_a_csv(tmp_path: Path) -> None:
    train, out = tastes(tmp_path / "train.csv"), tmp_path / "recs.csv"
    options = ["--factors", "8", "--ranker", "off"]
    assert main(["--train", str(train), "--recommend-for", "all", "--out", str(out), *options]) == 0
    assert pd.read_csv(out).groupby("user").size().tolist() == [10] * 80


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("user,thing\n1,2\n", "row 1: there is no column 'item'; it has user, thing"),
        ("user,item,rating\n1,2,5\n1,3,good\n", "row 3, column 'rating': 'good' is not a number"),
        ("user,item,rating\n1,2,inf\n", "row 2, column 'rating': 'inf' is not a number"),
        ("user,item,timestamp\n1,2,\n", "row 2, column 'timestamp': '' is neither a number nor a date"),
        ("user,item,timestamp\n1,2,7\n1,3,soon\n", "row 3, column 'timestamp': 'soon' is not a number"),
        ("user,item\n1,2\n,3\n", "row 3, column 'user': '' is empty"),
        ("user,item\n", "it has no rows"),
        ("", "row 1: it is empty"),
        ("user,item\n1,2\n", "a model needs at least 2 users and 2 items"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, capsys: pytest.CaptureFixture, text: str, words: str) -> None:
    train = csv(tmp_path / "train.csv", text)
    assert main(["--train", str(train), "--recommend-for", "all", "--out", str(tmp_path / "out.csv")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("evaluate: ")
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


def test_order_stands_in_for_time(tmp_path: Path) -> None:
    frame = read_interactions(csv(tmp_path / "train.csv", "user,item\na,x\nb,y\n"))
    assert frame["timestamp_ms"].tolist() == [0, 1000]
    assert frame["event_type"].tolist() == ["purchase", "purchase"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("1 5", [1.0, 5.0]),
        ("1 10", [0.5, 5.0]),  # another scale
        ("-1 0", [0.5, 5.0]),
        ("1 900", [None, None]),  # amounts
        ("3 3", [None, None]),  # all alike: they say nothing
    ],
)
def test_ratings_of_any_scale(tmp_path: Path, given: str, kept: list[float | None]) -> None:
    rows = "".join(f"a,i{place},{value}\n" for place, value in enumerate(given.split()))
    frame = read_interactions(csv(tmp_path / "train.csv", f"user,item,rating\n{rows}"))
    assert [None if np.isnan(value) else value for value in frame["value"]] == kept
    assert set(frame["event_type"]) == ({"purchase"} if kept[0] is None else {"rating"})


@pytest.mark.parametrize("moment", ["893286638", "893286638000", "1998-04-22T23:10:38", "893286638.0"])
def test_timestamps_in_any_unit(tmp_path: Path, moment: str) -> None:
    frame = read_interactions(csv(tmp_path / "train.csv", f"user,item,timestamp\na,x,{moment}\n"))
    assert frame["timestamp_ms"].tolist() == [893_286_638_000]


def test_headers_and_ids_as_people_write_them(tmp_path: Path) -> None:
    text = "\ufeffUser, Item ,note\n007,Zoë,a\n007,Zoë,b\nb c,x;y,c\n"
    frame = read_interactions(csv(tmp_path / "train.csv", text))
    assert frame[["user_id", "item_id"]].to_numpy().tolist() == [["007", "Zoë"], ["b c", "x;y"]]


def test_of_repeated_rows_the_latest_counts(tmp_path: Path) -> None:
    text = "user,item,rating,timestamp\na,x,1,20\na,x,5,10\na,y,2,5\n"
    frame = read_interactions(csv(tmp_path / "train.csv", text))
    assert frame[["item_id", "value"]].to_numpy().tolist() == [["x", 1.0], ["y", 2.0]]


@pytest.mark.parametrize("rows", ["a,x\nb,y\n", "a,x\na,y\nb,x\n", "".join(f"u{n},i{n % 3}\n" for n in range(30))])
def test_data_too_small_for_any_search(tmp_path: Path, rows: str, capsys: pytest.CaptureFixture) -> None:
    train, out = csv(tmp_path / "train.csv", f"user,item\n{rows}"), tmp_path / "out.csv"
    assert main(["--train", str(train), "--recommend-for", "all", "--out", str(out)]) == 0
    assert "left out" in capsys.readouterr().out
    found = pd.read_csv(out, dtype=str)
    had = pd.read_csv(train, dtype=str)
    assert not set(zip(found["user"], found["item"], strict=True)) & set(zip(had["user"], had["item"], strict=True))
    assert set(found["item"]) <= set(had["item"])


def test_parameters_and_second_stage_are_found_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    train, out = tastes(tmp_path / "train.csv"), tmp_path / "recs.csv"
    assert main(["--train", str(train), "--recommend-for", "all", "--out", str(out), "--factors", "8"]) == 0
    said = capsys.readouterr().out
    assert "the best of 20 points" in said
    assert "second stage" in said
    found = pd.read_csv(out, dtype=str)
    mine = found[found["rank"].astype(int) <= 3]
    same = mine["item"].astype(int) % 2 == mine["user"].str[1:].astype(int) % 2
    assert same.mean() > 0.95


def test_new_users_on_a_small_data_set(settings: Settings, tmp_path: Path) -> None:
    """The machinery end to end; the numbers themselves are held by benchmarks on MovieLens."""
    write_interactions(settings, two_tastes(n_users=60, n_items=80, per_user=30))
    report = evaluate_protocols(settings, ["P3"], "consumption", ranker=False)
    assert not any(arm["reference"] for arm in report["arms"])  # they are MovieLens' own, whose names the arms share
    found = {(arm["protocol"], arm["name"]): arm["ndcg_at_10"] for arm in report["arms"]}
    assert found["P3 k=0", "fold-in with prior"] == found["P3 k=0", "popularity"]
    assert found["P3 k=10", "plain fold-in"]["mean"] > found["P3 k=10", "popularity"]["mean"]
    assert "fold-in with prior over popularity" in table(report["arms"], report["comparisons"])
    data, page, picture = write_report(tmp_path / "report", report)
    assert len(json.loads(data.read_text())["arms"]) == 18 + 5 * 4  # those that read histories need one
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Plotly.newPlot" in page.read_text()


def test_without_trustworthy_times_nothing_is_judged_in_time_order(settings: Settings, tmp_path: Path) -> None:
    rows = [f"u{n % 40},i{(n * 7 + n // 40) % 60}" for n in range(1600)]
    (tmp_path / "orders.csv").write_text("customer,sku\n" + "\n".join(rows) + "\n")
    own = settings.model_copy(update={"data": Data(source=tmp_path / "orders.csv")})
    prepare(own, lambda line: None)
    report = evaluate_protocols(own, ["P1", "P2", "P3", "P4"], "consumption", ranker=False)
    assert {arm["protocol"].split(" ")[0] for arm in report["arms"]} == {"P1", "P3"}
    assert not report["time_trusted"]
    assert set(report["skipped"]) == {"P2", "P4"}
    assert all("nothing is judged in time order" in reason for reason in report["skipped"].values())
    with pytest.raises(DataError, match="nothing is judged in time order"):
        evaluate_protocols(own, ["P2"], "consumption", ranker=False)


@pytest.fixture
def tracked(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """MLflow in a file of the test's own, and the commands configured for it."""
    # By its name the numbers that were published of MovieLens stand beside those of this data.
    write_interactions(settings, two_tastes(n_users=60, n_items=80, per_user=30), name=MOVIELENS)
    tracking = settings.tracking.model_copy(update={"uri": f"sqlite:///{tmp_path}/mlflow.db"})
    found = settings.model_copy(update={"tracking": tracking})
    config = tmp_path / "settings.yaml"
    config.write_text(yaml.safe_dump(found.model_dump(mode="json")))
    monkeypatch.setenv("RAYCOMMEND_CONFIG", str(config))
    monkeypatch.chdir(tmp_path)  # where MLflow then puts the files
    return found


def test_every_report_is_found_in_mlflow(tracked: Settings, capsys: pytest.CaptureFixture) -> None:
    assert main(["--protocol", "P3", "--ranker", "off", "--weighting", "both"]) == 0
    assert "not in MLflow" not in capsys.readouterr().out
    client = MlflowClient(tracked.tracking_uri)
    experiment = client.get_experiment_by_name(tracked.tracking.experiment)
    assert experiment is not None
    runs = {run.data.tags["weighting"]: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"consumption", "preference"}
    for weighting, run in runs.items():
        report = json.loads((tracked.state_dir / "evaluation" / weighting / "evaluation.json").read_text())
        assert run.info.status == "FINISHED"
        assert run.data.tags["data_fingerprint"] == report["fingerprint"]
        assert run.data.metrics == pytest.approx(tracked_metrics(report["arms"]))
        assert len(run.data.metrics) == 2 * 38
        names = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert names == {"evaluation.json", "evaluation.html", "evaluation.png"}
        assert any(arm["reference"] for arm in report["arms"]) == (weighting == "consumption")


def test_mlflow_takes_the_names_of_all_arms(tracked: Settings) -> None:
    """Regression: the comma in one of P4's names kept every full report out of MLflow."""
    measured = {"map_at_10": {"mean": 0.1}, "ndcg_at_10": {"mean": 0.2}}
    metrics = tracked_metrics([{"protocol": protocol, "name": name, **measured} for protocol, name in REFERENCES])
    assert len(metrics) == 2 * len(REFERENCES)
    run = MlflowRegistry(tracked).log_report("evaluation", metrics, {}, [])
    assert MlflowClient(tracked.tracking_uri).get_run(run).data.metrics == metrics


def test_the_served_lists_are_those_of_everybodys_taste(settings: Settings) -> None:
    """Also where the times say nothing: rows sorted by user are put in a random order before windows are cut."""
    frame = two_tastes(n_users=80, n_items=60, per_user=20).sort_values("user_id", kind="stable")
    frame = frame[frame["value"] > 1].assign(timestamp_ms=np.arange(80 * 20) * 1000)
    write_interactions(settings, frame.reset_index(drop=True), time_trusted=False)
    report = evaluate_protocols(settings, ["P1"], "consumption", ranker=True)
    found = {arm["name"]: arm["ndcg_at_10"]["mean"] for arm in report["arms"]}
    assert found["served"] > 1.5 * found["popularity"]


def test_baselines_have_known_answers() -> None:
    train = pairs_to_mask(np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 2]), 3, 3)
    asked = pairs_to_mask(np.array([0]), np.array([0]), 1, 3)
    assert fit_item_knn(train)(asked)[0].tolist() == pytest.approx([0, 1, 0])
    assert fit_ease_scorer(train, 1.0)(asked)[0].argmax() == 1
    # Four users have the first item; two of them like the second beside it, the two others care little for the third.
    liked = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 0.2, 0], [1, 0, 0.2, 0], [0, 0, 0, 1]]))
    first = sp.csr_matrix(np.array([[1.0, 0, 0, 0]]))
    cosine, bm25 = (fit_item_knn(liked, kind)(first)[0] for kind in ("cosine", "bm25"))
    assert cosine[1] == cosine[2]
    assert bm25[1] > bm25[2] > bm25[3] == 0
    recent = recent_popularity_scores(np.array([0, 0, 1]), np.array([0, 0, 7 * DAY]), 2)
    assert recent.tolist() == pytest.approx([1.0, 1.0])


def test_baselines_that_read_histories_find_the_other_half_of_a_block() -> None:
    """Users of two blocks of items: who has half of a block gets the rest of it, by every model of that kind."""
    rows = np.repeat(np.arange(40), 6)
    columns = np.concatenate([user % 2 * 8 + np.random.default_rng(user).permutation(8)[:6] for user in range(40)])
    train = pairs_to_mask(rows, columns, 40, 16)
    asked = pairs_to_mask(np.zeros(4, int), np.arange(4), 1, 16)
    for name, fit in history_models(16).items():
        scores = fit(train)(asked)[0]
        assert scores[4:8].min() > scores[8:].max(), name


def test_breadth_has_known_answers() -> None:
    assert list_difference(np.array([[0, 1], [0, 1]])) == 0
    assert list_difference(np.array([[0, 1], [2, 3]])) == 1
    assert list_difference(np.array([[0, 1], [0, 3]])) == 0.5
    assert novelty(np.array([[0, 1]]), np.array([4.0, 1.0]), 4) == 1.0  # 0 and 2 bits
    found = by_activity(np.arange(9), np.array([0.0] * 3 + [0.5] * 3 + [1.0] * 3))
    assert list(found.values()) == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("weighting", ["consumption", pytest.param("preference", marks=pytest.mark.matrix)])
def test_every_protocol_runs_on_any_data_set(settings: Settings, weighting: str) -> None:
    """Regression: ids that are no numbers were a ValueError, 80,000 training rows were taken for granted, and a
    repeated purchase for a pair of its own."""
    frame = two_tastes(n_users=60, per_user=26).assign(event_type="purchase", value=np.float32("nan"))
    frame = pd.concat([frame, frame.iloc[::3].assign(timestamp_ms=frame["timestamp_ms"].max() + 1000)])
    frame = frame.assign(user_id="u" + frame["user_id"], item_id="sku-" + frame["item_id"])
    write_interactions(settings, frame.reset_index(drop=True))
    shops = settings.model_copy(update={"data": settings.data.model_copy(update={"events": "shops"})})
    report = evaluate_protocols(shops, ["P1", "P2", "P3", "P4", "P5"], weighting, ranker=True)
    asked = {arm["protocol"]: arm["users"] for arm in report["arms"]}
    assert {protocol.split()[0] for protocol in asked} == {"P1", "P2", "P3", "P4", "P5"}
    served = {one["over"] for one in report["comparisons"] if (one["protocol"], one["of"]) == ("P1", "served")}
    assert len(served - {"ALS + ranker"}) == 1  # the best baseline
    assert "P5 all" in asked  # in the last tenth nobody takes up what is new to them
    assert min(asked.values()) > 0
    assert not report["skipped"]
    for arm in report["arms"]:
        assert {"head items", "tail items"} & set(arm["segments"])
