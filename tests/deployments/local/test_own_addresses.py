"""Whoever sources the stack's `env` file and types `make up` again means the same stack."""

from pathlib import Path

from configs.settings import Settings
from deployments.local.stack import LocalStack


def test_the_stacks_own_addresses_are_not_taken_for_somebody_elses_store(tmp_path: Path) -> None:
    plain = Settings(state_dir=tmp_path)
    sourced = Settings(state_dir=tmp_path, store={"url": plain.store_url}, tracking={"uri": plain.tracking_uri})
    assert LocalStack(sourced).settings == plain
    other = Settings(state_dir=tmp_path, store={"url": "redis://10.0.0.7:6379/0"})
    assert LocalStack(other).settings.store.url == "redis://10.0.0.7:6379/0"
