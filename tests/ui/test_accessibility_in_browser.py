"""axe (https://github.com/dequelabs/axe-core) on every tab, wide and narrow, light and dark."""

from __future__ import annotations

import pytest

from tests.ui.browsing import Traffic, needs_browser, open_tab, panel_of
from tools.docs_tables import TAB_TITLES

pytestmark = needs_browser

VIEWS = [
    pytest.param({"width": 1280, "height": 800}, "light", id="wide and light"),
    pytest.param({"width": 390, "height": 844}, "dark", id="narrow and dark"),
    pytest.param(
        {"width": 1280, "height": 800}, "dark", id="wide and dark", marks=pytest.mark.slow
    ),
    pytest.param(
        {"width": 390, "height": 844}, "light", id="narrow and light", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize(("viewport", "scheme"), VIEWS)
def test_no_tab_has_a_serious_violation(page, viewport, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(viewport)
    found, traffic = [], Traffic(page)
    for tab in TAB_TITLES:
        open_tab(page, tab)
        page.evaluate(
            "for (const part of document.querySelectorAll('#tabs details')) part.open = true"
        )
        traffic.wait_until_quiet()  # what opens asks the server for its rows
        # The bar and the tabs are the same for all: they are looked at once.
        part = None if tab == TAB_TITLES[0] else panel_of(tab)
        for violation in axe.Axe().run(page, context=part).response["violations"]:
            if violation["impact"] in ("serious", "critical"):
                nodes = [" ".join(node["target"][:1]) for node in violation["nodes"]][:4]
                found.append(f"{tab}: {violation['id']} {len(violation['nodes'])}x {nodes}")
    assert not found, "\n".join(found)
