"""What an evaluation is made of: the data, ready for every protocol, and one model's answers to one of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from configs.decay import TRENDING_WINDOW, Window
from configs.event_types import Weighting
from data.dataset import Dataset
from data.fields.frames import frame_attributes
from models.evaluation.metrics import UserMetrics, user_metrics
from models.factors.als import AlsParameters
from models.sequence.parameters import SequenceParameters
from models.training.first_stage import HISTORY_LIMIT, FirstStage, fit_first_stage
from models.training.item_facts import ItemFacts, descriptions_of, frame_descriptions, frame_facts, known_attributes
from models.training.parameter_grid import choose_parameters
from models.training.past_requests import Requests, rows_in_store_order
from models.training.ranker_windows import Recipe
from models.training.training_data import TrainingData

K = 10
MOST_ASKED = 5_000  # users of one split, a random choice where there are more: their intervals are narrow by then
CANDIDATES = 100
TRENDING = 50
_FACTORS = 64
Note = Callable[[str], None]


class Answer(NamedTuple):
    """One model's lists.

    `items` (n, K) int64, -1 padded; `cpu_s`: processor time of fitting and answering; `scores` (n, K) float32 of these
    items, None where the model's scores mean nothing between users.
    """

    items: np.ndarray
    cpu_s: float = 0.0
    scores: np.ndarray | None = None


Answers = dict[str, Answer]


@dataclass(frozen=True)
class Contender:
    """One model's answers, judged.

    Attributes:
        protocol: "P1", "P2 warm", "P3 k=5", ...
        recommended: (n, K) int, -1 padded.
        metrics: one value of each metric for each user.
        activity: (n,) events in the history of each user.
        counts: (n_items,) users of each item in training, for novelty; 0 for unknown items.
        relevant: (n, n_items), stored entries are relevant.
        cpu_s: processor time that the model took, fit and answers.
        scores: (n, K) float32, as in `Answer`.
    """

    protocol: str
    name: str
    recommended: np.ndarray
    metrics: UserMetrics
    activity: np.ndarray
    counts: np.ndarray
    n_train_users: int
    relevant: sp.csr_matrix
    cpu_s: float = 0.0
    scores: np.ndarray | None = None


@dataclass(frozen=True)
class ProtocolData:
    """The data set, ready for every protocol. `data` is in store order; `source_row` leads back to the file's order.

    Attributes:
        fixed: ALS parameters by protocol that were chosen before, on inner splits; None to choose them here.
        horizon_s, history_limit, trending_window: as in `models.training.ranker_windows.Recipe`.
        sequence: of the sequence model that is asked too; None to do without.
    """

    dataset: Dataset
    data: TrainingData
    source_row: np.ndarray
    catalogue: ItemFacts
    weighting: Weighting
    ranker: bool
    seed: int = 0
    threads: int = 0
    fixed: Mapping[str, AlsParameters] | None = None
    chosen: dict[str, AlsParameters] = field(default_factory=dict)
    horizon_s: float | None = None
    history_limit: int = HISTORY_LIMIT
    trending_window: Window = TRENDING_WINDOW
    sequence: SequenceParameters | None = None

    def parameters(self, protocol: str, train: np.ndarray, note: Note) -> AlsParameters:
        """ALS parameters for a protocol: the fixed ones, or those that do best on inner splits of the rows `train`."""
        if self.fixed is not None:
            return self.fixed[protocol]
        if protocol not in self.chosen:
            self.chosen[protocol] = choose_parameters(
                self.data.rows(np.sort(train)),
                self.weighting,
                _FACTORS,
                self.seed,
                lambda line: note(f"{protocol}: ALS: {line}"),
                self.threads,
            )
        return self.chosen[protocol]

    def recipe(self, parameters: AlsParameters, trending: int = TRENDING) -> Recipe:
        """How the models are made whose first stage has these parameters."""
        return Recipe(
            self.weighting,
            parameters,
            0.5,
            CANDIDATES,
            trending,
            self.history_limit,
            self.trending_window,
            horizon_s=self.horizon_s,
        )

    @property
    def least(self) -> float:
        """Confidence above which an event is relevant: a rating of 3 has .5 under "preference" and is not."""
        return 0.0 if self.weighting == "consumption" else 0.5

    def relevant_rows(self, rows: np.ndarray) -> np.ndarray:
        """Those that count as relevant: all under "consumption", ratings of 4 and more (and what speaks as clearly)
        under "preference"."""
        if self.weighting == "consumption":
            return rows
        return rows[
            self.data.types.confidence(self.data.codes[rows], self.data.values[rows], "preference") > self.least
        ]


def open_bench(
    dataset: Dataset,
    data: TrainingData,
    weighting: Weighting,
    ranker: bool,
    seed: int = 0,
    fixed: Mapping[str, AlsParameters] | None = None,
    horizon_s: float | None = None,
    history_limit: int = HISTORY_LIMIT,
    trending_window: Window = TRENDING_WINDOW,
) -> ProtocolData:
    """Put the events in store order and remember where each came from."""
    source = rows_in_store_order(data)
    marked = data.rows(source)
    of_items, of_users = (
        dict(zip(frame[name], frame_attributes(frame, schema), strict=True))
        for frame, name, schema in (
            (dataset.items, "item_id", dataset.item_attributes),
            (dataset.users, "user_id", dataset.user_attributes),
        )
    )
    known = known_attributes(
        marked.items, of_items, dataset.item_attributes, marked.users, of_users, dataset.user_attributes
    )
    facts = replace(
        frame_facts(marked.items, dataset.items),
        attributes=known,
        described=descriptions_of(marked.items, frame_descriptions(dataset.items, of_items), dataset.item_attributes),
    )
    return ProtocolData(
        dataset,
        marked,
        source,
        facts,
        weighting,
        ranker,
        seed,
        fixed=fixed,
        horizon_s=horizon_s,
        history_limit=history_limit,
        trending_window=trending_window,
    )


def fit_stage(bench: ProtocolData, train: np.ndarray, parameters: AlsParameters) -> FirstStage:
    """The first stage of these rows, as serving would have it."""
    return fit_first_stage(
        bench.data,
        train,
        bench.weighting,
        parameters,
        bench.catalogue,
        bench.seed,
        bench.threads,
        history_limit=bench.history_limit,
        trending_window=bench.trending_window,
    )


class Clock:
    """Processor time of this process, all threads together, since it was made or last read, in seconds."""

    def __init__(self) -> None:
        self._start = time.process_time()

    def __call__(self) -> float:
        start, self._start = self._start, time.process_time()
        return self._start - start


def sampled(requests: Requests, seed: int, most: int = MOST_ASKED) -> Requests:
    """All requests, or a random choice of `most` where there are more."""
    if len(requests) <= most:
        return requests
    return requests.some(np.sort(np.random.default_rng(seed).choice(len(requests), most, replace=False)))


def contenders(protocol: str, answers: Answers, requests: Requests, stage: FirstStage) -> list[Contender]:
    """The answers to these requests, judged."""
    activity = np.array([len(rows) for rows in requests.rows])
    counts = np.bincount(stage.weights.indices, minlength=stage.weights.shape[1]).astype(np.float64)
    n_users = int((np.diff(stage.weights.indptr) > 0).sum())
    return [
        Contender(
            protocol,
            name,
            answer.items,
            user_metrics(answer.items, requests.relevant),
            activity,
            counts,
            n_users,
            requests.relevant,
            answer.cpu_s,
            answer.scores,
        )
        for name, answer in answers.items()
    ]


def pooled(arms: Sequence[Contender]) -> list[Contender]:
    """Arms of one protocol and name become one: their users together."""
    groups: dict[tuple[str, str], list[Contender]] = {}
    for arm in arms:
        groups.setdefault((arm.protocol, arm.name), []).append(arm)
    found = []
    for parts in groups.values():
        fields = UserMetrics.__dataclass_fields__
        metrics = UserMetrics(**{f: np.concatenate([getattr(part.metrics, f) for part in parts]) for f in fields})
        scores = [part.scores for part in parts if part.scores is not None]
        found.append(
            replace(
                parts[-1],
                recommended=np.concatenate([part.recommended for part in parts]),
                metrics=metrics,
                activity=np.concatenate([part.activity for part in parts]),
                relevant=sp.csr_matrix(sp.vstack([part.relevant for part in parts])),
                cpu_s=sum(part.cpu_s for part in parts),
                scores=np.concatenate(scores) if len(scores) == len(parts) else None,
            )
        )
    return sorted(found, key=lambda arm: list(dict.fromkeys(a.protocol for a in arms)).index(arm.protocol))
