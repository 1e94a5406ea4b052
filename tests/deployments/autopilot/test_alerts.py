"""Alerts over real HTTP to a receiver that answers as it is told."""

import pytest

from configs.settings import Alerts
from deployments.autopilot.alerts import CALM_MS, QUEUE, Webhook, changes
from deployments.operations.monitor_views import Alert
from tests.deployments.webhook_receiver import Receiver, wait_for

pytestmark = pytest.mark.anyio
SLOW = Alert(name="slow", severity="warning", text="99 % took up to 900 ms")
ERRORS = Alert(name="errors", severity="critical", text="5.0% of 100 requests failed")


def test_told_once_again_while_it_lasts_and_when_it_is_over() -> None:
    out, told = changes([SLOW, ERRORS], {}, 1000, 500)
    assert out == [(SLOW, True), (ERRORS, True)]
    out, told = changes([SLOW, ERRORS], told, 1400, 500)
    assert out == []
    out, told = changes([SLOW], told, 1600, 500)
    assert out == [(SLOW, True)]  # the other may come again
    assert (told["slow"].since_ms, told["slow"].told_ms) == (1000, 1600)
    out, told = changes([SLOW, ERRORS], told, 1650, 50_000)
    assert out == []
    out, told = changes([SLOW], told, 1650 + CALM_MS, 10**9)
    assert out == [(ERRORS, False)]
    out, told = changes([], told, 1650 + 2 * CALM_MS, 10**9)
    assert out == [(SLOW, False)]
    assert told == {}


async def test_the_generic_form_and_that_of_slack(receiver: Receiver) -> None:
    Webhook(receiver.settings()).tell(SLOW, on=True)
    await wait_for(lambda: len(receiver.bodies) == 1)
    Webhook(receiver.settings(format="slack")).tell(SLOW, on=False)
    await wait_for(lambda: len(receiver.bodies) == 2)
    generic, slack = receiver.bodies
    assert generic.pop("time_ms") > 0
    assert generic == {
        "source": "raycommend", "status": "firing", "name": "slow", "severity": "warning",
        "text": "99 % took up to 900 ms",
    }  # fmt: skip
    assert slack == {"text": "[RESOLVED] raycommend slow: 99 % took up to 900 ms"}


async def test_a_receiver_that_fails_gets_it_later_in_order(receiver: Receiver) -> None:
    receiver.answers = [500, 503, 429]
    webhook = Webhook(receiver.settings())
    webhook.tell(SLOW, on=True)
    webhook.tell(ERRORS, on=True)
    await wait_for(lambda: webhook.delivered == 2)
    assert [body["name"] for body in receiver.bodies] == ["slow", "errors"]


async def test_one_that_refuses_is_not_asked_again(receiver: Receiver) -> None:
    receiver.answers = [400]
    webhook = Webhook(receiver.settings())
    webhook.tell(SLOW, on=True)
    webhook.tell(ERRORS, on=True)
    await wait_for(lambda: webhook.delivered == 1)
    assert webhook.dropped == 1
    assert [body["name"] for body in receiver.bodies] == ["errors"]


async def test_a_receiver_that_is_silent_or_away_holds_nothing_up(receiver: Receiver) -> None:
    receiver.answering.clear()
    slow = Webhook(receiver.settings())
    away = Webhook(Alerts(webhook="http://127.0.0.1:9/hook"))
    for _ in range(QUEUE + 5):
        slow.tell(SLOW, on=True)
        away.tell(SLOW, on=True)
    assert receiver.bodies == []
    assert slow.dropped == away.dropped == 5  # the oldest ones
    await wait_for(lambda: away.dropped > 5)
    receiver.answering.set()
    await wait_for(lambda: slow.delivered > 0)


async def test_without_an_address_nothing_is_told() -> None:
    webhook = Webhook(Alerts())
    for _ in range(QUEUE + 5):
        webhook.tell(SLOW, on=True)
    assert (webhook.delivered, webhook.dropped) == (0, 0)  # nothing waits, or the queue would have run over
