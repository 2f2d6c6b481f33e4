"""The Settings tab: every setting, searchable. The browser renders it (assets/settings.js)."""

from __future__ import annotations

from modules.ui.scripted_html import scripted_tab

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

build = scripted_tab(_HTML, "settings.js", "settings_panel")
