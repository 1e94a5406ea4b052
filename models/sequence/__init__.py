"""A sequence model (SASRec class): the order of a user's latest events gives the vector that items are ranked by.

`parameters` says what defines a model. `histories` cuts events into sequences, `batches` these into what one step of
training reads. `network` is the model in JAX and `training` fits it: these two need the extra `sequence`. What is
trained are plain arrays (`weights`), which `encoder` reads in numpy: serving and judging need no JAX.
"""
