"""The Settings tab: every setting, searchable. The browser renders it (assets/settings.js)."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.ui.components.scripted_html import build_scripted_html

_HTML = """
<div id="settings" class="ui settings-tab">
  <div class="settings-head">
    <input class="settings-find" type="search" placeholder="Search options" aria-label="Search options">
    <button type="button" class="settings-reset">Reset all to defaults</button>
  </div>
  <p class="notice settings-remark" hidden></p>
  <p class="settings-words" role="status"></p>
  <nav class="settings-sections" aria-label="Sections"></nav>
  <div class="settings-list"></div>
</div>
"""


def build(engine: Engine) -> None:
    """Build the tab in the current Gradio context."""
    del engine  # the browser calls the /internal routes
    build_scripted_html(_HTML, "settings.js", "settings_panel")
