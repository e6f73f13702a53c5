// What is wider than its place scrolls. Make that possible with the keyboard, where it is needed.

function makeReachable() {
  const wide =
    "div.math .formula, span.math, .pst-scrollable-table-container, .cell_output .output";
  for (const each of document.querySelectorAll(wide)) {
    if (each.scrollWidth > each.clientWidth) {
      each.tabIndex = 0;
    } else {
      each.removeAttribute("tabindex");
    }
  }
}

window.addEventListener("load", makeReachable);
window.addEventListener("resize", makeReachable);
// What is folded has no width until it is opened.
document.addEventListener("toggle", makeReachable, true);
