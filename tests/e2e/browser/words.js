/* Returns all words of the page, through every shadow root. */
() => {
  const words = [];
  const read = (node) => {
    if (node.nodeType === Node.TEXT_NODE && node.data.trim()) words.push(node.data.trim());
    if (["SCRIPT", "STYLE"].includes(node.nodeName)) return;
    if (node.shadowRoot) node.shadowRoot.childNodes.forEach(read);
    node.childNodes.forEach(read);
  };
  read(document.body);
  return words.join("\n");
}
