"""P7: each user's latest event from all earlier ones, the protocol by which sequence models are compared in print.

With one relevant item a user, recall@10 is the hit rate. Published on MovieLens-1M (5-core, all items ranked, none that
the user had): eSASRec .3133 recall and .1772 NDCG.
"""

import numpy as np

from data.matrix import pairs_to_mask
from models.evaluation.baselines import baselines, left_out_of
from models.evaluation.contenders import Answer, Clock, Contender, K, Note, ProtocolData, contenders, fit_stage, sampled
from models.evaluation.served import SEQUENCE, fit_sequence_model, sequence_lists
from models.training.first_stage import find_candidates
from models.training.past_requests import user_requests


def leave_one_out(bench: ProtocolData, note: Note) -> list[Contender]:
    """P7's arms, over users with two events or more whose latest is on an item that others have too."""
    data, shape = bench.data, (len(bench.data.users), len(bench.data.items))
    order = np.lexsort((data.turn, data.user))
    last = np.ones(len(order), bool)
    last[:-1] = data.user[order][1:] != data.user[order][:-1]
    last[1:] &= data.user[order][1:] == data.user[order][:-1]
    last[:1] = False
    test, train = np.sort(order[last]), np.sort(order[~last])
    parameters = bench.parameters("P7", train, note)
    clock = Clock()
    stage = fit_stage(bench, train, parameters)
    fitting_s = clock()
    right = bench.relevant_rows(test)
    right = right[stage.known_items[data.item[right]]]
    relevant = pairs_to_mask(data.user[right], data.item[right], *shape).astype(np.float32)
    requests = sampled(user_requests(data, train, relevant), bench.seed)
    note(f"P7: {len(requests):,} users")
    if not len(requests):
        return []
    arms = baselines(stage, requests, left_out_of(stage, requests), train)
    clock()
    found = find_candidates(stage, requests, K)
    arms["ALS"] = Answer(found.items, fitting_s + clock(), found.scores)
    if bench.sequence is not None:
        fitted, fitting_s = fit_sequence_model(bench, data, train, note)
        arms[SEQUENCE] = sequence_lists(stage, fitted, requests, fitting_s)
    return contenders("P7", arms, requests, stage)
