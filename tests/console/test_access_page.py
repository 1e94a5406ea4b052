"""The page of keys and the audit log, on a store of its own: the first key turns keys on for everybody."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from configs.settings import Settings
from tests.console.served import served
from tests.features.servers import Server, valkey_binary
from tests.waiting import wait_for


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    store = Server(valkey_binary(), tmp_path / "store")
    try:
        with served(Settings(state_dir=tmp_path / "state", data_dir=tmp_path, store={"url": store.url})) as address:
            yield address
    finally:
        store.stop()


def status(url: str, key: str | None) -> int:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.get(f"{url}/api/v1/keys", headers=headers).status_code


def test_a_person_makes_rotates_and_revokes_keys_and_reads_who_did_it(browser: Browser, url: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(30_000)
    try:
        page.goto(f"{url}/#/access")
        keys = page.locator("section", has=page.get_by_role("heading", name="API keys"))
        expect(keys).to_contain_text("There are no keys")

        def make(name: str, scope: str) -> str:
            page.get_by_role("button", name="Make a key").click()
            page.get_by_label("Who will use it").fill(name)
            page.get_by_label(scope, exact=True).check()
            page.get_by_role("button", name="Make it").click()
            text = page.locator("#new-key").inner_text()
            page.get_by_role("button", name="Close").click()
            return text

        operator = make("operator", "admin")
        # The console goes on with the key that it has made.
        expect(keys.get_by_role("row", name="operator")).to_contain_text("valid")
        shop = make("shop", "read")
        expect(keys.get_by_role("row", name="shop")).to_contain_text("read")
        wait_for(lambda: [status(url, key) for key in (operator, shop, None)] == [200, 403, 401], 10)

        page.get_by_role("button", name="Rotate: shop").click()
        page.get_by_role("button", name="Rotate it").click()
        renewed = page.locator("#new-key").inner_text()
        assert renewed not in (shop, operator)
        page.get_by_role("button", name="Close").click()
        expect(keys).to_contain_text("The one before ends")

        page.get_by_role("button", name="Revoke: shop").click()
        page.get_by_role("button", name="Revoke it").click()
        expect(keys.get_by_role("row", name="shop")).to_contain_text("revoked")
        expect(page.get_by_role("button", name="Revoke: shop")).to_have_count(0)
        audit = page.locator("section", has=page.get_by_role("heading", name="Audit log"))
        expect(audit).to_contain_text("DELETE /api/v1/keys/shop")
        expect(audit).to_contain_text("key operator")
        assert operator not in page.content()
    finally:
        context.close()
