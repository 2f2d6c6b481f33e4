"""The Gallery tab: every saved image. The browser renders it (assets/gallery.js)."""

from __future__ import annotations

from modules.ui.scripted_html import scripted_tab

_SEARCH_HELP = (
    "Words that all occur, in any order. &quot;two words&quot; keeps them together, -word excludes. Or look in one place:"
    " model:dream sampler:euler seed:7 size:512x768 date:2026-01 date:2026-01-01..2026-01-31 name:00012"
)
_HTML = f"""
<div id="pictures" class="pic ui">
  <div class="pic-tools" role="search">
    <input type="search" class="pic-search" data-filter="text" maxlength="4000" placeholder="Search prompt, model, sampler, seed, size:512x768, date:2026-01"
      aria-label="Search" title="{_SEARCH_HELP}">
    <select data-filter="folder" aria-label="Folder" hidden></select>
    <select data-filter="model" aria-label="Model" hidden></select>
    <select data-filter="sampler" aria-label="Sampler" hidden></select>
    <select data-filter="size" aria-label="Size" hidden></select>
    <label class="pic-date">From <input type="date" data-filter="since"></label>
    <label class="pic-date">to <input type="date" data-filter="until"></label>
  </div>
  <div class="pic-status">
    <button type="button" data-switch="favourites" aria-pressed="false" title="Show favourites alone">★ Favourites</button>
    <button type="button" data-switch="trashed" aria-pressed="false" title="Show what is in the trash">Trash <span class="pic-trash-count"></span></button>
    <button type="button" data-switch="oldest_first" aria-pressed="false" title="Show the oldest pictures first">Oldest first</button>
    <button type="button" class="pic-empty-trash" data-act="empty-trash" title="Delete everything in the trash for good" hidden>Empty trash</button>
    <input type="range" class="pic-side" min="90" max="320" step="10" aria-label="Size of the thumbnails" title="Size of the thumbnails">
    <p class="pic-words" role="status"></p>
    <button type="button" class="pic-renew" data-act="renew" hidden>The pictures have changed: show them</button>
  </div>
  <p class="notice pic-remark" hidden></p>
  <div class="pic-actions" role="toolbar" aria-label="Chosen pictures" hidden>
    <span class="pic-chosen-words" role="status"></span>
    <button type="button" data-act="compare" title="Compare two pictures with a slider, and list what differs">Compare</button>
    <button type="button" data-act="favourite" title="Make them favourites, or no longer (F)">★ Favourite</button>
    <button type="button" data-act="zip" title="Download them as one archive">Zip</button>
    <button type="button" data-act="trash" title="Move them to the trash (Del)">Trash</button>
    <button type="button" data-act="restore" title="Move them back to their folders" hidden>Restore</button>
    <button type="button" data-act="erase" title="Delete them for good" hidden>Delete for good</button>
    <button type="button" data-act="clear" title="Choose none (Esc)">Clear</button>
  </div>
  <div class="pic-viewport"><p class="pic-empty"></p></div>
  <div class="pic-toast" role="status" hidden></div>
</div>
"""

build = scripted_tab(_HTML, "gallery.js", "gallery_panel")
