/* Returns the texts in the dialog of an integration that are cut off or reach out of the window; through every shadow root. */
() => {
  const clipped = [];
  const look = (node, isInside) => {
    const inside = isInside || node.nodeName === "DIALOG-DATA-ENTRY-FLOW";
    const text = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
    if (inside && text && node.nodeType === Node.ELEMENT_NODE && !["STYLE", "SCRIPT"].includes(node.nodeName)) {
      const { left, right, width } = node.getBoundingClientRect();
      const isCut = node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 0 && getComputedStyle(node).overflowX !== "visible";
      if (isCut || (width > 0 && (left < -1 || right > innerWidth + 1))) clipped.push(node.textContent.trim());
    }
    for (const child of [...(node.shadowRoot?.childNodes ?? []), ...node.childNodes]) look(child, inside);
  };
  look(document.body, false);
  return clipped;
}
