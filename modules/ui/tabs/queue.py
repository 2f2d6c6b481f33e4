"""The Queue tab: all jobs of the page and the API, live. The browser renders it (assets/queue.js)."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.ui.components.scripted_html import build_scripted_html

_HTML = """
<div id="queue" class="ui queue">
  <div class="queue-head">
    <span class="queue-words" role="status"></span>
    <button type="button" data-queue="pause">Pause</button>
    <button type="button" data-queue="resume" hidden>Resume</button>
    <button type="button" data-queue="cancel">Cancel all</button>
  </div>
  <p class="notice queue-remark" hidden></p>
  <ol class="queue-jobs" aria-label="Running and waiting jobs"></ol>
  <h3 class="queue-title" hidden>Ended</h3>
  <ol class="queue-past" aria-label="Ended jobs"></ol>
</div>
"""


def build(engine: Engine) -> None:
    """Build the tab in the current Gradio context."""
    del engine  # the browser calls the /internal routes
    build_scripted_html(_HTML, "queue.js", "queue_panel")
