"""Load test for your own machine and data: browsing users who ask, look at the list and react.

    pip install locust
    locust -f benchmarks/measuring/locustfile.py --host http://127.0.0.1:8000

Send it to a system of your own only.
"""

import random

from locust import HttpUser, between, task

USERS = 943


class Visitor(HttpUser):
    """Asks ten times as often as it reacts."""

    wait_time = between(0.5, 2.0)

    def on_start(self) -> None:
        self.user_id = random.randint(1, USERS)  # noqa: S311 - any user will do
        self.shown: list[int] = []
        self.recommendation_id = ""

    @task(10)
    def browse(self) -> None:
        with self.client.post("/api/v1/recommend", json={"user_id": self.user_id}, catch_response=True) as answer:
            content = answer.json()
            if answer.status_code != 200 or content["degraded"]:
                answer.failure(answer.text)
                return
            self.shown = [entry["item_id"] for entry in content["recommendations"]]
            self.recommendation_id = content["recommendation_id"]

    @task(1)
    def react(self) -> None:
        if self.shown:
            event = {
                "user_id": self.user_id,
                "item_id": random.choice(self.shown),  # noqa: S311
                "event_type": "click",
                "recommendation_id": self.recommendation_id,
            }
            self.client.post("/api/v1/events", json=event)
