// Tells of jobs outside the page: in its title, by a sound, and by a notification of the system. The last two are settings.
import {listen} from "../page_state.js";

const NOTES_HZ = [659.26, 880];  // e'' and a''
const NOTE_S = 0.22;
const TITLE = document.title;
const shares = new Map();  // prefix -> how much of its running job is done, 0 to 1
let settings = {}, audio = null;

listen("choices", (choices) => { settings = choices.settings; });

// Shows in the title how much of a tab's job is done; null for no job.
export function showShare(prefix, share) {
  if (share === null) shares.delete(prefix);
  else shares.set(prefix, share);
  const [first] = shares.values();
  const title = first === undefined ? TITLE : `${Math.round(first * 100)}% · ${TITLE}`;
  if (document.title !== title) document.title = title;
}

// Browsers allow sounds and ask about notifications only in answer to a click.
export function prepareToNotify() {
  if (settings.notification_audio) {
    audio ??= new AudioContext();
    audio.resume();
  }
  if (settings.browser_notification && window.Notification?.permission === "default") Notification.requestPermission();
}

function playSound() {
  if (!audio) return;
  NOTES_HZ.forEach((pitch, index) => {
    const start = audio.currentTime + index * NOTE_S * 0.7;
    const tone = new OscillatorNode(audio, {frequency: pitch});
    const loudness = new GainNode(audio, {gain: 0});
    loudness.gain.setValueAtTime(0, start);
    loudness.gain.linearRampToValueAtTime(0.3 * settings.notification_volume / 100, start + 0.02);
    loudness.gain.exponentialRampToValueAtTime(0.0001, start + 2 * NOTE_S);
    tone.connect(loudness).connect(audio.destination);
    tone.start(start);
    tone.stop(start + 2 * NOTE_S);
  });
}

// Tells that the last job of a tab has ended.
export function notify(text) {
  if (settings.notification_audio && settings.notification_volume) playSound();
  if (settings.browser_notification && document.hidden && window.Notification?.permission === "granted") {
    const notification = new Notification(TITLE, {body: text, tag: "webui"});
    notification.onclick = () => {
      window.focus();
      notification.close();
    };
  }
}
