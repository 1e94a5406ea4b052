"""The functions that Ray Serve runs, and the stack that runs them on one machine.

`apps` wraps Ray Serve round the plain classes of the other parts. A request passes `access` (who may) and `http` (bytes
to a checked request), then one of `recommend` (request, user features, candidates, ordered list, exposure, answer),
`events` (event, stored event, answer) or `console` (stored state, view). Each replica follows the serving state and
counts by `replica`. What people and `autopilot` decide about models and experiments goes through `operations`. `local`
starts it all.
"""

from configs.moved_modules import tell_moves

tell_moves()
