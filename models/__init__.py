"""The mathematics: arrays in, arrays out.

Events -> `factors` (interest, ALS, fold-in) -> `retrieval` (index, candidates) -> `ranking` (features, trees) -> lists.
`training` makes past requests and learns from them, `evaluation` judges, `bundle` is a model on disk, `monitoring`
compares live windows. `batch_only` serves lists made ahead of time, not yet requests.
"""

from configs.moved_modules import tell_moves

tell_moves()
