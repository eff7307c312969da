/* Counts the person's clicks, and which of them are in a dialog of an integration. */
addEventListener(
  "click",
  (event) => {
    const names = event.composedPath().map((node) => node.nodeName);
    if (event.isTrusted) window.countClick(names.includes("DIALOG-DATA-ENTRY-FLOW"));
  },
  true,
);
