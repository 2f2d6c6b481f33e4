// What the modules of the page share.

// Returns a new element; text is set as text, never as markup.
export function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

// Returns the JSON that an /internal route answers with.
// Throws an Error with the server's own sentence if it refuses, and one in words if it does not answer.
export async function call(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: {"content-type": "application/json"},
  };
  return ask(path, options);
}

// Uploads an image and returns what it is: {id, width, height}. Throws as `call` does.
// Calls `onProgress` with the share that has been sent, 0 to 1.
export function upload(file, onProgress = () => {}) {
  const body = new FormData();
  body.append("file", file, file.name || "picture");
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();  // fetch does not tell how much was sent
    request.open("POST", `${window.webuiRoot}/internal/uploads`);
    request.responseType = "json";
    request.upload.onprogress = ({loaded, total}) => onProgress(loaded / total);
    request.onerror = () => reject(new Error("The server does not answer."));
    request.onload = () => {
      if (request.status < 400) resolve(request.response);
      else reject(new Error(request.response?.detail ?? `The server answered ${request.status}.`));
    };
    request.send(body);
  });
}

async function ask(path, options) {
  const response = await fetch(`${window.webuiRoot}/internal/${path}`, options).catch(() => null);
  if (!response) throw new Error("The server does not answer.");
  const data = await response.json().catch(() => null);
  if (!response.ok) {
    const error = new Error(data?.detail ?? `The server answered ${response.status}.`);
    throw Object.assign(error, {status: response.status});
  }
  return data;
}

// Returns a number of bytes as a person reads it.
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "size unknown";
  const [divisor, unit] = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]].find(([limit]) => bytes >= limit) ?? [1, "bytes"];
  return `${(bytes / divisor).toFixed(divisor > 1e6 ? 2 : 0)} ${unit}`;
}

// Returns a button; help is its title, and its name for screen readers where its label is a sign without letters.
export function button(label, help, action) {
  const element = make("button", "", label);
  element.type = "button";
  element.title = help;
  const isSign = !/\p{L}/u.test(label);
  element.setAttribute("aria-label", isSign || help.startsWith(label) ? help : `${label}: ${help}`);
  element.addEventListener("click", action);
  return element;
}

// Copies a text, also where the page comes over http from another machine and has no clipboard of its own.
export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const box = make("textarea", "", text);
  (document.querySelector("dialog[open]") ?? document.body).append(box);
  box.value = text;
  box.select();
  document.execCommand("copy");
  box.remove();
}
