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
  const response = await fetch(`${window.webuiRoot}/internal/${path}`, options).catch(() => null);
  if (!response) throw new Error("The server does not answer.");
  const data = await response.json().catch(() => null);
  if (!response.ok) throw new Error(data?.detail ?? `The server answered ${response.status}.`);
  return data;
}

// Returns a number of bytes as a person reads it.
export function size(bytes) {
  if (bytes === null || bytes === undefined) return "size unknown";
  const [divisor, unit] = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]].find(([limit]) => bytes >= limit) ?? [1, "bytes"];
  return `${(bytes / divisor).toFixed(divisor > 1e6 ? 2 : 0)} ${unit}`;
}

// Returns a new button; what it does is its title and its name for screen readers.
export function button(label, help, action) {
  const element = make("button", "", label);
  element.type = "button";
  element.title = help;
  element.setAttribute("aria-label", help.startsWith(label) ? help : `${label}: ${help}`);
  element.addEventListener("click", action);
  return element;
}
