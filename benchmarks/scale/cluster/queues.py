"""The events of a simulated cluster, one after another, compiled: see `benchmarks.scale.cluster.simulation`.

Times are in microseconds. Processes stand in one row: proxies, ranking, ingestion, retrieval, stores, the clients.
"""

import heapq

import numpy as np
from numba import njit

# Jobs of the processes, and what happens by itself.
_PROXY, _FIRST, _READ, _CALL, _RETRIEVE, _REPLY, _WRITE, _LAST, _CLIENT = range(9)
_ARRIVE, _SUBMIT, _CPU_DONE, _SYNC_DONE = range(4)
LEAST_SHARE, MAX_BATCH, CALLS = 8, 64, 2


@njit(cache=True)
def play(costs, sizes, cores, network, kinds, stores, arrivals, connections, noise, chances):  # type: ignore[no-untyped-def]
    """The events in their order. Returns start and end of each request, processor time of each process, how many
    calls, questions in them and syncs there were, and the time of the last event; all in microseconds."""
    n = len(kinds)
    client, proxy, first, call, retrieve_call, retrieve, reply = costs[:7]
    last, read, write, sync, cached, ingest, event_write = costs[7:]
    first_ranking = sizes[0]
    first_ingestion = first_ranking + sizes[1]
    first_retrieval = first_ingestion + sizes[2]
    first_store = first_retrieval + sizes[3]
    the_client = first_store + sizes[4]
    processes = the_client + 1
    # Jobs: linked lists, one for each process. A job's subject is a request, or a batch.
    most = 9 * n + 16
    job_kind, job_subject = np.zeros(most, np.int64), np.zeros(most, np.int64)
    job_time, job_next = np.zeros(most), np.full(most, -1, np.int64)
    jobs = 0
    head, tail = np.full(processes, -1, np.int64), np.full(processes, -1, np.int64)
    taken_until = np.full(processes, -1, np.int64)  # of a store: the last job of what it took at once
    working, queued = np.zeros(processes, np.bool_), np.zeros(processes, np.bool_)
    length, busy = np.zeros(processes, np.int64), np.zeros(processes)
    ready, ready_from = [0 for _ in range(0)], 0
    free = cores if cores > 0 else processes
    # Requests and batches.
    started, ended = np.zeros(n), np.zeros(n)
    place = np.zeros(n, np.int64)  # the ingress replica
    open_at = np.zeros(processes, np.int64)
    question_next = np.full(n, -1, np.int64)
    wait_head, wait_tail = np.full(processes, -1, np.int64), np.full(processes, -1, np.int64)
    waiting, in_flight, calls = (
        np.zeros(processes, np.int64),
        np.zeros(processes, np.int64),
        np.zeros(processes, np.int64),
    )
    batch_first, batch_size, batch_place = (
        np.zeros(n + 1, np.int64),
        np.zeros(n + 1, np.int64),
        np.zeros(n + 1, np.int64),
    )
    batches, questions, syncs = 0, 0, 0
    heap = [(0.0, 0, 0, 0, 0)]  # time, number, what, process or request, job
    heap.pop()
    number, drawn, chance, begun, now = 0, 0, 0, 0, 0.0
    if connections > 0:
        for request in range(min(connections, n)):
            heapq.heappush(heap, (0.0, number, _SUBMIT, the_client, -1 - request))
            number += 1
        begun = min(connections, n)
    else:
        heapq.heappush(heap, (arrivals[0], number, _ARRIVE, 0, 0))
        number += 1
    while len(heap) > 0:
        now, _, what, where, job = heapq.heappop(heap)
        to_kind, to_subject, to_process, to_time, to_delay = -1, 0, 0, 0.0, 0.0
        if what == _ARRIVE:
            started[where] = now
            chance += 1
            to_kind, to_subject, to_time = _PROXY, where, proxy
            to_process = chances[chance & 65535] % sizes[0]
            if where + 1 < n:
                heapq.heappush(heap, (arrivals[where + 1], number, _ARRIVE, where + 1, 0))
                number += 1
        elif what == _SUBMIT:
            if job < 0:  # a client's next request
                to_kind, to_subject, to_process, to_time = _CLIENT, -1 - job, the_client, client
            else:
                job_next[job] = -1
                if head[where] < 0:
                    head[where] = job
                else:
                    job_next[tail[where]] = job
                tail[where] = job
                if not working[where] and not queued[where]:
                    queued[where] = True
                    ready.append(where)
        elif what == _CPU_DONE:
            free += 1
            if first_store <= where < the_client and job == 1 and sync > 0.0:
                heapq.heappush(heap, (now + sync, number, _SYNC_DONE, where, 0))
                number += 1
            else:
                what = _SYNC_DONE  # nothing to wait for
        if what == _SYNC_DONE:
            working[where] = False
            # All jobs that were taken are done: one, or of a store what it took at once.
            while True:
                done = head[where]
                head[where] = job_next[done]
                length[where] -= 1
                kind, subject = job_kind[done], job_subject[done]
                follow_kind, follow_process, follow_time, follow_delay = -1, 0, 0.0, network
                if kind == _CLIENT:
                    started[subject] = now
                    chance += 1
                    follow_kind, follow_process, follow_time = _PROXY, chances[chance & 65535] % sizes[0], proxy
                elif kind == _PROXY:
                    low, high = (
                        (first_ingestion, first_retrieval) if kinds[subject] == 2 else (first_ranking, first_ingestion)
                    )
                    chance += 1
                    best = low + chances[chance & 65535] % (high - low)
                    for other in range(low, high):
                        if open_at[other] < open_at[best]:
                            best = other
                    place[subject] = best
                    open_at[best] += 1
                    follow_kind, follow_process = _FIRST, best
                    follow_time = ingest / 2 if kinds[subject] == 2 else (cached / 2 if kinds[subject] == 1 else first)
                elif kind == _FIRST:
                    follow_kind = _WRITE if kinds[subject] == 2 else _READ
                    follow_time = event_write if kinds[subject] == 2 else read
                    follow_process = first_store + stores[subject]
                elif kind == _READ and kinds[subject] == 1:
                    follow_kind, follow_process, follow_time = _WRITE, first_store + stores[subject], write
                elif kind == _WRITE:
                    follow_kind, follow_process = _LAST, place[subject]
                    follow_time = ingest / 2 if kinds[subject] == 2 else (cached / 2 if kinds[subject] == 1 else last)
                elif kind == _LAST:
                    open_at[place[subject]] -= 1
                    ended[subject] = now + network
                    if connections > 0 and begun < n:
                        heapq.heappush(heap, (now + network, number, _SUBMIT, the_client, -1 - begun))
                        number += 1
                        begun += 1
                elif kind == _CALL:
                    low = first_retrieval
                    one = low + chances[(chance + 1) & 65535] % sizes[3]
                    two = low + chances[(chance + 2) & 65535] % sizes[3]
                    chance += 2
                    follow_kind, follow_process = _RETRIEVE, one if length[one] <= length[two] else two
                    follow_time = retrieve_call + retrieve * batch_size[subject]
                    length[follow_process] += 1
                elif kind == _RETRIEVE:
                    follow_kind, follow_process = _REPLY, batch_place[subject]
                    follow_time = call / 2 + reply * batch_size[subject]
                flush = -1
                if kind == _READ and kinds[subject] == 0:
                    mine = place[subject]
                    question_next[subject] = -1
                    if wait_head[mine] < 0:
                        wait_head[mine] = subject
                    else:
                        question_next[wait_tail[mine]] = subject
                    wait_tail[mine] = subject
                    waiting[mine] += 1
                    if calls[mine] < CALLS:
                        calls[mine] += 1
                        flush = mine
                elif kind == _REPLY:
                    mine = batch_place[subject]
                    in_flight[mine] -= batch_size[subject]
                    request = batch_first[subject]
                    for _ in range(batch_size[subject]):
                        drawn += 1
                        job_kind[jobs], job_subject[jobs], job_time[jobs] = (
                            _WRITE,
                            request,
                            write * noise[drawn & 65535],
                        )
                        heapq.heappush(heap, (now + network, number, _SUBMIT, first_store + stores[request], jobs))
                        length[first_store + stores[request]] += 1
                        number += 1
                        jobs += 1
                        request = question_next[request]
                    if waiting[mine] > 0:
                        flush = mine
                    else:
                        calls[mine] -= 1
                if flush >= 0:
                    share = -(-(waiting[flush] + in_flight[flush]) // CALLS)
                    size = min(max(share, LEAST_SHARE), MAX_BATCH, waiting[flush])
                    batch_first[batches], batch_size[batches], batch_place[batches] = wait_head[flush], size, flush
                    final = wait_head[flush]
                    for _ in range(size - 1):
                        final = question_next[final]
                    wait_head[flush] = question_next[final]
                    waiting[flush] -= size
                    in_flight[flush] += size
                    follow_kind, follow_process, follow_time, follow_delay = _CALL, flush, call / 2, 0.0
                    subject = batches
                    batches += 1
                    questions += size
                if follow_kind >= 0:
                    drawn += 1
                    job_kind[jobs], job_subject[jobs] = follow_kind, subject
                    job_time[jobs] = follow_time * noise[drawn & 65535]
                    if follow_kind != _RETRIEVE:
                        length[follow_process] += 1
                    heapq.heappush(heap, (now + follow_delay, number, _SUBMIT, follow_process, jobs))
                    number += 1
                    jobs += 1
                if not first_store <= where < the_client or done == taken_until[where]:
                    break
            if head[where] >= 0 and not queued[where]:
                queued[where] = True
                ready.append(where)
        if to_kind >= 0:
            drawn += 1
            job_kind[jobs], job_subject[jobs] = to_kind, to_subject
            job_time[jobs] = to_time * noise[drawn & 65535]
            length[to_process] += 1
            heapq.heappush(heap, (now + to_delay, number, _SUBMIT, to_process, jobs))
            number += 1
            jobs += 1
        # Cores are given to processes in the order in which these became ready.
        while free > 0 and ready_from < len(ready):
            starting = ready[ready_from]
            ready_from += 1
            queued[starting], working[starting] = False, True
            free -= 1
            took, writes = job_time[head[starting]], 0
            if first_store <= starting < the_client:
                took = 0.0
                follow = head[starting]
                while follow >= 0:
                    took += job_time[follow]
                    if job_kind[follow] == _WRITE:
                        writes = 1
                    taken_until[starting] = follow
                    follow = job_next[follow]
            busy[starting] += took
            syncs += writes
            heapq.heappush(heap, (now + took, number, _CPU_DONE, starting, writes))
            number += 1
    counts = np.array([float(batches), float(questions), float(syncs)])
    return started, ended, busy, counts, now
