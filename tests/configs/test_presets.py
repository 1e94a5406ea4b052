"""Every preset on small data of its domain: it is guessed, loads, trains, and hides what it should and nothing else."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from configs.event_types import CONFIGS_DIR, load_event_types
from configs.settings import SettingsError, load_settings
from data.dataset import load_dataset
from data.mapping.import_tables import import_tables
from data.mapping.plan import Sources, make_plan
from data.matrix import pairs_to_csr
from jobs.simulate.simulated_users import LIKED, draw_users, take_up
from models.factors.als import AlsParameters, fit_als
from models.training.training_data import training_data_of

PRESETS = sorted(path.stem for path in (CONFIGS_DIR / "presets").glob("*.yaml"))
# Columns of a table as the domain has it, the words of its event types, and whether the goal hides the item.
DOMAINS: dict[str, tuple[str, tuple[str, ...], str, bool]] = {
    "movies": ("userId,movieId,rating,timestamp", (), "rating", True),
    "shops": ("visitor,product_id,event,timestamp", ("view", "cart", "buy"), "purchase", False),
    "groceries": ("household_id,product_id,sales_value,timestamp", (), "purchase", False),
    "video": ("viewer,video_id,watch_seconds,timestamp", (), "watch", True),
    "courses": ("student,course_id,action,timestamp", ("enroll", "completed"), "apply", True),
    "news": ("reader,news_id,event,timestamp", ("view", "click"), "click", True),
    "jobs": ("applicant,job_id,action,timestamp", ("view", "saved", "applied"), "apply", True),
}


def test_every_preset_has_a_domain() -> None:
    assert sorted(DOMAINS) == PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_guessed_from_its_domain_and_trains(tmp_path: Path, preset: str) -> None:
    header, words, goal, hides = DOMAINS[preset]
    rows = []
    for n in range(120):
        cell = words[n % len(words)] if words else str(n % 5 + 1)
        rows.append(f"u{n % 11},i{n % 7},{cell},{1_700_000_000 + 1000 * n}")
    (tmp_path / "t.csv").write_text("\n".join([header, *rows]) + "\n")
    plan = make_plan(Sources(str(tmp_path / "t.csv")))
    assert plan.chosen.preset == preset
    meta = import_tables(plan, tmp_path / "data" / "processed", None).meta
    assert (meta.n_interactions, meta.preset) == (120, preset)
    types = load_event_types(load_settings(data_dir=tmp_path / "data").data.events)
    assert bool(types.seen_codes[types[goal].code]) == hides
    frame = load_dataset(tmp_path / "data" / "processed").interactions
    data = training_data_of(frame, types, "t", ("str", "str"), 0, {}, "")
    interest = data.interest("preference")
    assert len(interest.users) > 0
    assert np.isfinite(interest.weights).all()
    assert (interest.weights > 0).any()
    matrix = pairs_to_csr(interest.users, interest.items, interest.weights, len(data.users), len(data.items))
    assert np.isfinite(fit_als(matrix, AlsParameters(factors=4), 0).item_factors).all()
    users = draw_users(frame, types, 3, seed=0, run="t")
    assert {user.goal.event_type for user in users} == {"complete" if preset == "courses" else goal}
    assert all(user.history for user in users)
    assert any(taste.appeal == LIKED for user in users for taste in user.taste.values())
    generator = np.random.default_rng(0)
    items = [f"i{n}" for n in range(7)]
    taken = [one for user in users for one in take_up(user, items, np.ones(7), None, generator)]
    # What is simulated is an event that the system takes: with a value where its type needs one.
    allowed = [(types[one.event_type].value, one.value) for one in taken]
    assert all(value is None if kind is None else value is not None or not kind.required for kind, value in allowed)


@pytest.mark.parametrize(
    ("words", "preset"),
    [
        (("view", "watch"), "video"),
        (("click", "complete"), "video"),
        (("view", "apply"), "jobs"),
        (("view", "applied"), "jobs"),
        (("view", "like"), "shops"),
        (("view", "purchase"), "shops"),
    ],
)
def test_types_of_events_tell_a_preset_where_names_do_not(tmp_path: Path, words: tuple[str, ...], preset: str) -> None:
    """Regression: words that are the types themselves told nothing, and the folder in which a table lies told more."""
    folder = tmp_path / "movies"  # says nothing of the table
    folder.mkdir()
    rows = [f"u{n % 11},i{n % 7},{words[n % len(words)]},{1_700_000_000 + n},{n}\n" for n in range(60)]
    (folder / "t.csv").write_text("user,item,event,timestamp,seconds\n" + "".join(rows))
    assert make_plan(Sources(str(folder / "t.csv"))).chosen.preset == preset


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_trending_decays_by_the_preset(preset: str) -> None:
    """Regression: it decayed by a week whatever the domain, so that news of last week were trending."""
    assert load_settings(data={"events": preset}).serving.trending_window == ("1h" if preset == "news" else "7d")
    own = load_settings(data={"events": preset}, serving={"trending_window": "1d"})
    assert own.serving.trending_window == "1d"


def test_a_newsletter_is_no_news(tmp_path: Path) -> None:
    rows = [f"u{n % 11},i{n % 7},{n},{1_700_000_000 + n},yes\n" for n in range(60)]
    (tmp_path / "t.csv").write_text("user,item,amount,timestamp,newsletter\n" + "".join(rows))
    assert make_plan(Sources(str(tmp_path / "t.csv"))).chosen.preset in ("shops", "groceries")


def test_the_name_of_a_table_tells_a_preset(tmp_path: Path) -> None:
    rows = [f"u{n % 11},i{n % 7},{n},{1_700_000_000 + n}\n" for n in range(60)]
    (tmp_path / "supermarket-orders").mkdir()
    (tmp_path / "supermarket-orders" / "t.csv").write_text("user,item,amount,timestamp\n" + "".join(rows))
    assert make_plan(Sources(str(tmp_path / "supermarket-orders"))).chosen.preset == "groceries"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no mapping `types`"),
        ("settings: {store: {attribution_window_s: 60}}\n", "there is no mapping `types`"),
        ("types: [watch]\n", "there is no mapping `types`"),
        ("types: {watch: {linear: {per: 60, max: 1.0}}}\n", r"watch\.linear: Extra inputs are not permitted"),
        ("types: {watch: true}\n", "watch: give its fields"),
        ("types: {watch: {seen: false\n", "it is not YAML"),
        ("types: {listen: {seen: false}}\n", "names unknown event types: listen"),
    ],
)
def test_a_preset_of_ones_own_that_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    folder = copy_of_presets(tmp_path, monkeypatch)
    (folder / "mine.yaml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        load_event_types("mine")


def test_presets_of_ones_own_as_the_pages_have_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_of_presets(tmp_path, monkeypatch)
    (folder / "mine.yaml").write_text("types: {}\n")
    assert load_event_types("mine").by_name == load_event_types("movies").by_name
    (folder / "again.yaml").write_text("types: {watch: {seen: false}, purchase: {seen: true}}\n")
    again = load_event_types("again")
    assert (again["watch"].seen, again["purchase"].seen) == (False, True)
    (folder / "clips.yaml").write_text(
        "types:\n  watch: {preference: {linear: {per: 60, max: 1.0}}, consumption: {linear: {per: 60, max: 1.0}}}\n"
    )
    codes = np.array([load_event_types("clips")["watch"].code])
    assert load_event_types("clips").confidence(codes, np.array([30.0]), "preference").tolist() == [0.5]


def copy_of_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of presets of a copy of `configs`, which is read in the place of the real one."""
    copy = tmp_path / "configs"
    shutil.copytree(CONFIGS_DIR / "presets", copy / "presets")
    shutil.copy(CONFIGS_DIR / "events.yaml", copy)
    monkeypatch.setattr("configs.event_types.CONFIGS_DIR", copy)
    return copy / "presets"


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_thought_over_for_days_belongs_to_a_list_for_longer(preset: str) -> None:
    slow = preset in ("groceries", "jobs", "courses")
    assert load_settings(data={"events": preset}).store.attribution_window_s == (604_800 if slow else 86_400)
