"""The Queue tab: all jobs of the page and the API, live. The browser renders it (assets/queue.js)."""

from __future__ import annotations

from modules.ui.scripted_html import scripted_tab

_HTML = """
<div id="queue" class="ui queue">
  <div class="queue-head">
    <span class="queue-words" role="status"></span>
    <button type="button" data-queue="pause" title="Start no further job until Resume">Pause</button>
    <button type="button" data-queue="resume" hidden>Resume</button>
    <button type="button" data-queue="cancel" title="Stop what runs, and take out what waits">Cancel all</button>
  </div>
  <p class="notice queue-remark" hidden></p>
  <details class="queue-workers" open hidden><summary></summary></details>
  <ol class="queue-jobs" aria-label="Running and waiting jobs"></ol>
  <p class="queue-empty" hidden>No jobs yet: what you generate, and what programs ask for, is listed here.</p>
  <div class="queue-head queue-title" hidden>
    <h2>Ended</h2>
    <button type="button" class="queue-clear" title="Take the ended jobs out of this list; their pictures stay">Clear</button>
    <button type="button" class="queue-again" hidden></button>
  </div>
  <ol class="queue-past" aria-label="Ended jobs"></ol>
</div>
"""

build = scripted_tab(_HTML, "queue.js", "queue_panel")
