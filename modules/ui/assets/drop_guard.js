// A file dropped outside the fields for files must not take the browser away from the page.

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");

function refuse(event) {
  // A field that takes files has prevented the browser's own action by now; a file input has none that leaves the page.
  if (event.defaultPrevented || !holdsFiles(event) || event.target.closest?.("input[type=file]")) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "none";
}

window.addEventListener("dragover", refuse);
window.addEventListener("drop", refuse);
