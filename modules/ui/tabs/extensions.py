"""The Extensions tab: what is loaded, failed or disabled, and how to install more. The browser renders it (assets/extensions.js)."""

from __future__ import annotations

from modules.ui.scripted_html import scripted_tab

_HTML = """
<div id="extensions" class="ui extensions">
  <div class="extensions-head">
    <span class="extensions-words" role="status"></span>
    <label class="extensions-all"><input type="checkbox"> Disable all extensions</label>
    <button type="button" class="extensions-restart" hidden>Restart the server</button>
  </div>
  <p class="notice extensions-remark" role="alert" hidden></p>
  <p class="notice extensions-elsewhere" hidden>Extensions run any code, so they are installed, enabled and removed on the machine that the server runs on. Open the page there, or start the server with --enable-insecure-extension-access.</p>
  <ul class="extensions-list" aria-label="Extensions"></ul>
  <p class="extensions-none" hidden></p>
  <details class="extensions-get">
    <summary>Install an extension</summary>
    <p class="extensions-hint">Made for this program: those of A1111's WebUI do not work here. It is loaded by the next start.</p>
    <form class="extensions-git">
      <label>Git repository <input name="address" required placeholder="https://…, user@host:path or a path"></label>
      <button type="submit">Clone</button>
    </form>
    <p class="notice extensions-forbidden" hidden>This server was started with --no-downloads: download the extension elsewhere, and install it as a zip.</p>
    <form class="extensions-file">
      <label>Zip or script (.py) <input name="file" type="file" accept=".zip,.py" required></label>
      <button type="submit">Install</button>
    </form>
    <form class="extensions-folder">
      <label>Folder of the server's machine <input name="path" required placeholder="Its whole path; it is copied"></label>
      <button type="submit">Copy</button>
    </form>
  </details>
  <dialog class="extensions-warning" aria-labelledby="extensions-warning-title">
    <h2 id="extensions-warning-title">This runs code on your computer</h2>
    <p>An extension can do all that you can do on the machine of the server: read, change and delete files, and send them elsewhere. Nothing checks what it does. Install only what you trust.</p>
    <p class="extensions-subject"></p>
    <div class="extensions-choice">
      <button type="button" data-choice="cancel">Cancel</button>
      <button type="button" data-choice="accept">I trust it: install</button>
    </div>
  </dialog>
</div>
"""

build = scripted_tab(_HTML, "extensions.js", "extensions_panel")
