// Nothing here asks how large something is before the browser has laid it out by itself.
{
  // What is wider than its place scrolls. Make that possible with the keyboard, where it is needed.
  const wide =
    "div.math .formula, span.math, .pst-scrollable-table-container, .cell_output .output, pre";
  const reachable = new ResizeObserver((entries) => {
    const scrolls = entries.map(({ target }) => target.scrollWidth > target.clientWidth);
    entries.forEach(({ target }, place) => {
      if (scrolls[place]) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    });
  });
  for (const each of document.querySelectorAll(wide)) reachable.observe(each);

  // Sections further down are laid out one by one, once the reader does something or has had time to
  // look at the first screen; and all at once for who follows a link to one of them.
  const { classList } = document.documentElement;
  const later = [...document.querySelectorAll(".from-the-top article > section > section")];
  const signs = ["pointermove", "pointerdown", "keydown", "scroll"];
  const whenIdle = window.requestIdleCallback ?? ((next) => setTimeout(next, 20));

  function layOutNext() {
    later.shift()?.classList.add("laid-out");
    if (later.length > 0) whenIdle(layOutNext);
    else classList.remove("from-the-top");
  }

  function begin() {
    clearTimeout(timer);
    for (const sign of signs) removeEventListener(sign, begin);
    whenIdle(layOutNext);
  }

  const timer = setTimeout(begin, 4000);
  for (const sign of signs) addEventListener(sign, begin, { passive: true });
  addEventListener("click", ({ target }) => {
    if (target.closest('a[href*="#"]')) classList.remove("from-the-top");
  });
}
