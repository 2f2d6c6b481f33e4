"""The Models tab: the installed model files and downloads. The browser renders it (assets/models.js)."""

from __future__ import annotations

from modules.ui.scripted_html import scripted_tab

_HTML = """
<div id="models" class="ui models">
  <div class="models-head">
    <input class="models-find" type="search" placeholder="Search by name or hash" aria-label="Search model files by name or hash">
    <select class="models-kind" aria-label="Kind"></select>
    <select class="models-family" aria-label="Family"></select>
    <button type="button" class="models-refresh">Refresh</button>
  </div>
  <p class="models-words" role="status"></p>
  <p class="notice error models-remark" role="alert" hidden></p>
  <details class="models-get">
    <summary>Get models</summary>
    <p class="models-hint">One click puts the file, and its .yaml where it needs one, into the right folder. A licence applies to each; some must be accepted on the model's page first.</p>
    <p class="notice models-forbidden" hidden>This server was started with --no-downloads: download the files elsewhere, and put them into their folders.</p>
    <ul class="models-catalogue" aria-label="Official models"></ul>
    <form class="models-address">
      <label>Another address <input name="url" type="url" required placeholder="https://… of Hugging Face, Civitai or any other site"></label>
      <label>Kind <select name="kind"></select></label>
      <label>Name, if another <input name="name"></label>
      <label>SHA-256, if known <input name="sha256"></label>
      <button type="submit">Download</button>
    </form>
    <form class="models-token">
      <label>Token of <select name="host"></select></label>
      <label><span class="models-token-words">a new one, or empty to remove it</span> <input name="token" type="password" autocomplete="off"></label>
      <button type="submit">Keep</button>
    </form>
  </details>
  <ul class="models-downloads" aria-label="Downloads"></ul>
  <ul class="models-list" aria-label="Installed model files"></ul>
  <button type="button" class="models-more" hidden>Show more</button>
  <details class="models-trash" hidden>
    <summary>Trash</summary>
    <ul class="models-deleted" aria-label="Deleted model files"></ul>
  </details>
</div>
"""

build = scripted_tab(_HTML, "models.js", "models_panel")
