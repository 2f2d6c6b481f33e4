// Follows a job: by the server's stream of events while its tab is in sight, else by asking once a second, as a browser
// has only six connections to a server, and as previews are made for a stream alone. Goes on by itself when the server answers again.
const RETRY_MS = 2000;
const POLL_MS = 1000;
const ENDED = ["done", "failed", "cancelled"];

export const hasEnded = (status) => ENDED.includes(status.state);

// Calls `onStatus` with each new status, `onLost` when the server no longer answers, and `onGone` if it has forgotten
// the job. Returns {stop, setInSight}.
export function followJob(id, {onStatus, onLost, onGone}) {
  const address = `${window.webuiRoot}/internal/jobs/${id}`;
  const isSeen = () => isInSight && !document.hidden;
  let stream = null, timer = 0, isInSight = true, isStopped = false, hasSpoken = true;

  function disconnect() {
    stream?.close();
    stream = null;
    clearTimeout(timer);
  }

  function stop() {
    isStopped = true;
    document.removeEventListener("visibilitychange", connect);
    disconnect();
  }

  function receive(status) {
    if (isStopped) return;
    if (hasEnded(status)) stop();
    onStatus(status);
  }

  function connect() {
    disconnect();
    if (isStopped) return;
    if (!isSeen()) {
      timer = setTimeout(ask, POLL_MS);
      return;
    }
    stream = new EventSource(`${address}/events`);
    hasSpoken = false;
    stream.onmessage = (event) => {
      hasSpoken = true;
      receive(JSON.parse(event.data));
    };
    stream.onerror = ask;  // cut off by a proxy, or by the end of the server
  }

  async function ask() {
    disconnect();
    const response = await fetch(address).catch(() => null);
    if (isStopped) return;
    if (response?.status === 404) {
      stop();
      onGone();
    } else if (response?.ok) {
      receive(await response.json());
      if (isStopped) return;
      if (hasSpoken || !isSeen()) connect();
      else timer = setTimeout(connect, RETRY_MS);  // a proxy that passes no streams on
    } else {
      onLost();
      timer = setTimeout(ask, RETRY_MS);
    }
  }

  document.addEventListener("visibilitychange", connect);
  connect();
  return {
    stop,
    setInSight(isNow) {
      if (isNow === isInSight) return;
      isInSight = isNow;
      connect();
    },
  };
}

// Ids of the jobs that a tab shows, the current or last one first, then those that wait. They are kept per browser tab
// first, so that two tabs of one browser do not take each other's jobs.
const key = (prefix) => `webui-job-${prefix}`;

export function recallJobs(prefix) {
  const text = sessionStorage.getItem(key(prefix)) ?? localStorage.getItem(key(prefix)) ?? "";
  return text.split(" ").filter(Boolean);
}

export function rememberJobs(prefix, ids) {
  for (const storage of [sessionStorage, localStorage]) {
    if (ids.length) storage.setItem(key(prefix), ids.join(" "));
    else storage.removeItem(key(prefix));
  }
}
