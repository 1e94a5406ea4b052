"""Which model a user gets: experiments, then the rollout, then the champion. Compiled when something changes, so that a
request costs one hash and one look-up."""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from deployments.http.errors import invalid_field
from experiments.assignment import BUCKETS, Namespace, choose, fnv1a32, in_namespace
from experiments.assignment import bucket as bucket_of
from features.experiments.experiment import Experiment
from features.experiments.steps import changed_slot, running
from features.redis.connection import StoreClient
from features.redis.keys import Keys
from features.serving.rollout import SEED
from features.serving.serving_state import ServingState, read_state
from features.serving.slots import CHALLENGER, CHAMPION, SLOTS, Rollout

logger = logging.getLogger("ray.serve")
_OUTSIDE = 255


class Assigned(NamedTuple):
    """Where one request goes.

    Attributes:
        experiment: the experiment that the list counts for; None where it counts for none.
        variant: the name that the answer and the exposure give.
        slot: the slot whose `Retrieval` answers.
        forced: whether the variant was chosen by hand; such a list counts for no experiment.
        version: the model version that the experiment compares, or that is rolled out; None where any will do.
    """

    experiment: str | None
    variant: str
    slot: str
    forced: bool = False
    version: str | None = None

    def answered_by(self, version: str | None) -> "Assigned":
        """The same, unless another version answered than was promised: such a list counts for no experiment.

        A replica of retrieval may still serve the version before, or a promotion may have moved the slot a moment ago.
        """
        if self.version is None or version == self.version:
            return self
        return Assigned(None, self.slot, self.slot, self.forced)


DEFAULT = Assigned(None, CHAMPION, CHAMPION)


class _Plan:
    """One experiment, compiled: a table with a variant for each bucket."""

    def __init__(self, experiment: Experiment) -> None:
        traffic = experiment.traffic()
        self.id = experiment.id
        self.sticky = experiment.bandit is not None
        self.marker = f"{experiment.id}|"
        self.namespace: Namespace | None = traffic.namespace
        self.seed_state = traffic.seed_state
        self.variants = {
            name: Assigned(self.id, name, experiment.slots[name], version=experiment.versions[name])
            for name in experiment.names
        }
        places = [choose(place / BUCKETS, traffic.ranges) for place in range(BUCKETS)]
        self.table = bytes(_OUTSIDE if place is None else place for place in places)
        self.by_place = list(self.variants.values())

    def assign(self, user_id: str, octets: bytes, seen: bytes | None) -> Assigned | None:
        """The user's variant, None for a user who is not in the experiment.

        Args:
            seen: `experiment|variant` of the user's latest list in an experiment, as the store has it.
        """
        if self.namespace is not None and not in_namespace(self.namespace, user_id):
            return None
        # A bandit's weights move, but a user stays with the variant of the first list.
        if self.sticky and seen is not None:
            experiment, _, variant = seen.decode().partition("|")
            if experiment == self.id and variant in self.variants:
                return self.variants[variant]
        place = self.table[fnv1a32(b"%d" % fnv1a32(octets, self.seed_state)) % BUCKETS]
        return None if place == _OUTSIDE else self.by_place[place]


class VariantAssignment:
    """Assigns requests to variants, by the experiments and the rollout that one replica knows of now.

    Args:
        client, keys: the online store, which holds them.
    """

    def __init__(self, client: StoreClient, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._plans: list[_Plan] = []
        self._rollout: Rollout | None = None
        self.suspended: dict[str, str] = {}
        """Running experiments that get no users, each with the reason."""

    async def follow(self) -> None:
        """Take over the experiments and the rollout that the store holds now. Raises `StoreUnavailable`."""
        self.use(await read_state(self._client, self._keys))

    def use(self, state: ServingState) -> None:
        """Compile the plans of a state, so that a request costs one hash and one look-up."""
        serving = {name: slot.version for name, slot in state.slots.items()}
        plans, suspended = [], {}
        for experiment in running(state):
            problem = changed_slot(experiment, serving)
            if problem is None:
                plans.append(_Plan(experiment))
            else:
                suspended[experiment.id] = problem
                logger.warning("experiment %s is suspended: %s", experiment.id, problem)
        rollout = state.rollout
        if rollout is not None and serving.get(CHALLENGER) != rollout.version:
            rollout = None
        self._plans, self._rollout, self.suspended = plans, rollout, suspended

    def assign(self, user_id: str, fields: Mapping[bytes, bytes] | None, force: str | None) -> Assigned:
        """Assign one request.

        Args:
            fields: the user's features as the store holds them; None while it does not answer.
            force: a variant that is wanted whatever the plans say, for tests.

        Raises:
            ApiError: 422, `force` names neither a variant of a running experiment nor a slot.
        """
        if force is not None:
            return self._forced(force)
        if self._plans:
            octets = user_id.encode()
            seen = None if fields is None else fields.get(b"x")
            for plan in self._plans:
                assigned = plan.assign(user_id, octets, seen)
                if assigned is not None:
                    return assigned
        if self._rollout is not None and bucket_of(SEED, user_id) < self._rollout.share * BUCKETS:
            return Assigned(None, CHALLENGER, CHALLENGER, version=self._rollout.version)
        return DEFAULT

    def _forced(self, force: str) -> Assigned:
        for plan in self._plans:
            if force in plan.variants:
                return plan.variants[force]._replace(forced=True)
        if force in SLOTS:
            return Assigned(None, force, force, forced=True)
        names = [name for plan in self._plans for name in plan.variants] + list(SLOTS)
        raise invalid_field(f"force_variant: there is no {force!r} now; there are {', '.join(names)}", "force_variant")


def events_before(fields: Mapping[bytes, bytes] | None) -> int:
    """How many events of a user were recorded so far: the covariate of the analysis."""
    if not fields:
        return 0
    return sum(int(value) for name, value in fields.items() if name[:1] == b"n")
