"""The plan for a load beyond one machine: measured service times -> a discrete-event simulation -> waiting times.

`measure` writes what one request costs each process of a running stack, `simulation` plays requests through queues of
such processes, and `plan` first holds it against what the real stack did, then asks it about a load that is not here.
"""
