// What a reader can press or type. It stands in place of the theme's scripts and of Bootstrap, which
// measure the whole page before a slow phone may answer.
{
  const root = document.documentElement;
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];

  // Light, dark, or as the system is.
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function setMode(mode) {
    const theme = mode === "auto" ? (dark.matches ? "dark" : "light") : mode;
    Object.assign(root.dataset, { mode, theme });
    localStorage.setItem("mode", mode);
    localStorage.setItem("theme", theme);
    for (const menu of all(".dropdown-menu")) {
      menu.classList.toggle("dropdown-menu-dark", theme === "dark");
    }
  }

  function changeMode() {
    const modes = dark.matches ? ["auto", "light", "dark"] : ["auto", "dark", "light"];
    setMode(modes[(modes.indexOf(root.dataset.mode) + 1) % modes.length]);
  }

  setMode(root.dataset.mode);
  dark.addEventListener("change", () => setMode(root.dataset.mode));
  for (const button of all(".theme-switch-button")) button.addEventListener("click", changeMode);

  // The search: the field of the page that has one, or else the one that opens over the page.
  const onMac = /^(Mac|iPhone)/.test(navigator.platform);
  const dialog = one(".search-button__wrapper");
  const field = one(".bd-search-container input") ?? dialog.querySelector("input");
  let cameFrom;

  function toggleSearch() {
    const opens = document.activeElement !== field;
    if (dialog.contains(field)) dialog.classList.toggle("show", opens);
    if (opens) {
      cameFrom = document.activeElement;
      field.select();
      field.focus();
    } else {
      field.blur();
      cameFrom?.focus();
    }
  }

  for (const each of all(".search-button__button, .search-button__overlay")) {
    each.addEventListener("mousedown", (event) => event.preventDefault()); // the focus stays
    each.addEventListener("click", toggleSearch);
  }
  document.addEventListener("keydown", (event) => {
    const pressed = ["ctrlKey", "metaKey", "shiftKey", "altKey"].filter((key) => event[key]);
    const modifier = onMac ? "metaKey" : "ctrlKey";
    if (event.key.toLowerCase() === "k" && pressed.join() === modifier) {
      event.preventDefault();
      toggleSearch();
    } else if (event.key === "Escape" && document.activeElement === field) {
      toggleSearch();
    }
  });
  if (onMac) {
    for (const shown of all(".search-button__kbd-shortcut")) {
      shown.querySelector("kbd").textContent = "⌘";
    }
  }

  // Menus: open and close with a click, move with the arrow keys, leave with Escape.
  for (const button of all('[data-bs-toggle="dropdown"]')) {
    const menu = button.nextElementSibling;
    const items = [...menu.querySelectorAll("a, button")];
    const show = (shown) => {
      for (const each of [menu, button]) each.classList.toggle("show", shown);
      button.setAttribute("aria-expanded", shown);
    };
    button.addEventListener("click", () => show(!menu.classList.contains("show")));
    document.addEventListener("click", ({ target }) => {
      if (!button.parentElement.contains(target)) show(false);
    });
    button.parentElement.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) {
        event.preventDefault();
        show(true);
        const place = Math.max(items.indexOf(document.activeElement), Math.min(-step, 0));
        items.at((place + step) % items.length).focus();
      } else if (event.key === "Escape") {
        show(false);
        button.focus();
      }
    });
  }

  // Sidebars: a hidden box is checked where one is not as it stands at first.
  for (const side of ["primary", "secondary"]) {
    const box = one(`#pst-${side}-sidebar-checkbox`);
    const sidebar = one(`.bd-sidebar-${side}`);
    const button = one(`.bd-header-article .${side}-toggle`);
    if (!sidebar || !button) continue;
    button.addEventListener("click", () => {
      box.checked = !box.checked;
      // It comes into sight first.
      if (box.checked) setTimeout(() => sidebar.querySelector("a, button").focus(), 100);
    });
    box.addEventListener("change", () => button.focus());
    sidebar.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      box.checked = false;
      button.focus();
    });
  }

  // The book's contents stay where they were; at first, they show the page's own place.
  const contents = one(".bd-sidebar-primary");
  const current = one(".bd-docs-nav a.current");
  const scrolled = sessionStorage.getItem("contents-scrolled");
  if (contents && scrolled) {
    requestAnimationFrame(() => (contents.scrollTop = scrolled));
  } else if (contents && current) {
    const show = ([{ boundingClientRect, rootBounds, isIntersecting }], observer) => {
      observer.disconnect();
      if (!isIntersecting) contents.scrollTop += boundingClientRect.top - rootBounds.height / 4;
    };
    new IntersectionObserver(show, { root: contents }).observe(current);
  }
  addEventListener("pagehide", () => {
    sessionStorage.setItem("contents-scrolled", contents?.scrollTop ?? 0);
  });

  // The page's contents mark the section that stands in the upper part of the screen.
  const linkTo = new Map(
    all(".bd-toc-nav a").map((link) => [document.getElementById(link.hash.slice(1)), link]),
  );
  const onScreen = new Set();
  const spy = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) onScreen.add(target);
        else onScreen.delete(target);
      }
      const here = [...linkTo].filter(([section]) => onScreen.has(section)).at(-1)?.[1];
      for (const link of linkTo.values()) link.classList.toggle("active", link === here);
      for (const item of all(".bd-toc-nav li")) item.classList.toggle("active", item.contains(here));
    },
    { rootMargin: "0px 0px -60% 0px" },
  );
  for (const section of linkTo.keys()) if (section) spy.observe(section);

  // Below the bar at the top is a shadow once the page is scrolled.
  new IntersectionObserver(([{ boundingClientRect }]) => {
    document.body.classList.toggle("scrolled", boundingClientRect.y < 0);
  }).observe(one(".sbt-scroll-pixel-helper"));

  window.toggleFullScreen = () =>
    document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen?.();
}
