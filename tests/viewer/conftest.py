"""A real browser, in which a page may ask for nothing but itself."""

from types import SimpleNamespace

import pytest


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens HTML; in the end there must be no request and no script that is not ours.

    Nor may the console say anything, unless faults are what a test is about.
    """
    opened = []

    def open_(html, faults=False, **options):
        path = tmp_path / f"{len(opened)}.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(**options)
        page = context.new_page()
        seen = SimpleNamespace(requests=[], faults=[])
        page.on("request", lambda request: seen.requests.append(request))
        page.on("console", lambda message: seen.faults.append(message.text))
        page.on("pageerror", lambda error: seen.faults.append(str(error)))
        page.on("dialog", lambda dialog: seen.faults.append(dialog.message))
        opened.append((context, page, seen, path.as_uri(), faults))
        page.goto(path.as_uri())
        return page

    yield open_
    for context, page, seen, address, faults in opened:
        assert page.evaluate("window.hacked") is None
        sent = [x for x in seen.requests if not (faults and x.failure == "csp")]
        asked = [x.url for x in sent if not x.url.startswith("data:")]
        assert asked == [address]
        assert faults or not seen.faults
        assert len(context.pages) == 1
        context.close()
