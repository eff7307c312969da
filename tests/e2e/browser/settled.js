/* Says whether every picture and icon of the page has come or will never come, and every text is set; through every shadow root. */
() => {
  const settled = (node) =>
    (node.nodeName !== "IMG" || node.complete || node.loading === "lazy") &&
    (node.nodeName !== "HA-MARKDOWN-ELEMENT" || !node.content || node.innerHTML !== "") &&
    (node.nodeName !== "HA-STATE-ICON" || node.shadowRoot?.childElementCount > 0) &&
    [...(node.shadowRoot?.children ?? []), ...(node.children ?? [])].every(settled);
  return settled(document.body);
}
