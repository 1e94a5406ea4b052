"""One recommendation: request -> user features -> variant -> candidates -> ordered list -> exposure -> answer.

`endpoints` hands a checked request to `ranking`, which takes these steps in order. In between, `candidate_call` carries
`messages` (question, reply) to a replica of `retrieval`, once for all requests that wait (`micro_batch`); there
`loaded_model` finds candidates and `ranker_features` computes what the ranker needs to know of them.
"""
