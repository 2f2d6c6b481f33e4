// What a form keeps in the browser: per browser tab first, so that two tabs do not overwrite each other; the next visit
// starts from the last.

// Returns the values that were kept under a key, {} for none.
export function kept(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key) ?? localStorage.getItem(key)) ?? {};
  } catch {
    return {};
  }
}

export function keep(key, values) {
  const text = JSON.stringify(values);
  for (const storage of [sessionStorage, localStorage]) {
    try {
      storage.setItem(key, text);
    } catch {
      // full, or forbidden: the form works without
    }
  }
}
