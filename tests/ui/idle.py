"""Waits until the page is idle: Gradio has received and rendered the outputs of all events."""

from __future__ import annotations

# Runs in each page before its own scripts. The response to an event's request has the event's id; its outputs arrive
# over a stream that all events share. (Whether that stream is open does not matter: Gradio opens one too many when
# an event ends before its id has arrived.)
COUNT_EVENTS = r"""
  (() => {
    const originalFetch = window.fetch;
    const started = new Map(), ended = new Set();  // ids of events; of those that have started, when
    let pendingRequests = 0;

    async function readStream(body) {
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const messages = (text + part.value).split("\n\n");
        text = messages.pop();
        for (const message of messages) {
          const data = JSON.parse(message.replace("data: ", ""));
          if (data.msg === "process_completed") ended.add(data.event_id);
        }
      }
    }

    async function readEventId(response) {
      pendingRequests += 1;
      try {
        const data = await (await response).clone().json();
        if (data.event_id) started.set(data.event_id, performance.now());
      } finally {
        pendingRequests -= 1;
      }
    }

    window.fetch = (resource, options) => {
      const response = originalFetch(resource, options), url = String(resource.url ?? resource);
      if (url.includes("/gradio_api/queue/data")) {
        response.then((stream) => readStream(stream.clone().body)).catch(() => {});  // cut off where it is closed
      } else if (/\/gradio_api\/(queue|run)\//.test(url)) {
        readEventId(response).catch(() => {});
      }
      return response;
    };
    // Gradio loses the end of an event whose stream is cut off before: it was seen once in a whole run of the tests. What
    // such an event should have changed is checked by the test itself.
    window.pendingEvents = () => {
      const since = performance.now() - 30000;
      const open = [...started].filter(([id, time]) => !ended.has(id) && time > since);
      return pendingRequests + open.length;
    };
  })();
"""
# A response is rendered, and triggers the next event, within the next frames.
WAIT_UNTIL_IDLE = """
  async () => {
    const deadline = performance.now() + 120000;
    for (let frame = 0; frame < 10; frame++) {
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      if (window.pendingEvents()) frame = 0;
      if (performance.now() > deadline) throw new Error(`${window.pendingEvents()} events are pending`);
    }
  }
"""


def wait_until_idle(page) -> None:
    """Wait until no event of Gradio is pending."""
    page.evaluate(WAIT_UNTIL_IDLE)
