"""When the page is at rest: Gradio has been answered all that it has asked, and has painted it."""

from __future__ import annotations

# To run in each page before its own scripts. An event is a question; its id comes with the answer to that, and what it
# gives over a stream that all events share. (Whether that stream is open says nothing: Gradio opens one too many when
# an event ends before its id has come.)
COUNT_EVENTS = r"""
  (() => {
    const fetch = window.fetch;
    const begun = new Set(), ended = new Set();  // ids of events
    let open = 0;  // questions that have no answer yet

    async function listen(body) {
      const words = body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part = await words.read(); !part.done; part = await words.read()) {
        const messages = (text + part.value).split("\n\n");
        text = messages.pop();
        for (const message of messages) {
          const told = JSON.parse(message.replace("data: ", ""));
          if (told.msg === "process_completed") ended.add(told.event_id);
        }
      }
    }

    async function note(answer) {
      open += 1;
      try {
        const told = await (await answer).clone().json();
        if (told.event_id) begun.add(told.event_id);
      } finally {
        open -= 1;
      }
    }

    window.fetch = (what, how) => {
      const answer = fetch(what, how), url = String(what.url ?? what);
      if (url.includes("/gradio_api/queue/data")) {
        answer.then((one) => listen(one.clone().body)).catch(() => {});  // cut off where it is closed
      } else if (/\/gradio_api\/(queue|run)\//.test(url)) {
        note(answer).catch(() => {});
      }
      return answer;
    };
    window.unanswered = () => open + begun.difference(ended).size;
  })();
"""
# An answer is painted, and sets off the next event, in one of the page's next turns.
REST = """
  async () => {
    const deadline = performance.now() + 120000;
    for (let turn = 0; turn < 10; turn++) {
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
      if (window.unanswered()) turn = 0;
      if (performance.now() > deadline) throw new Error(`${window.unanswered()} events are not answered`);
    }
  }
"""


def wait_until_at_rest(page) -> None:
    """Wait until no event of Gradio is due."""
    page.evaluate(REST)
