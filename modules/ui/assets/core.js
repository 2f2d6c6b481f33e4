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
