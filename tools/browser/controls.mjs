// What a reader can press, turn or type, and what has to happen then.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PATIENCE } from "./book.mjs";

const WIDE = { width: 1280, height: 900 };
const PHONE = { width: 360, height: 740 };

// Name, what a page has to have, the screen, what is done, and what the page then answers truly.
const CONTROLS = [
  {
    name: "Ctrl+K opens the search, Escape closes it",
    has: "search-button__wrapper",
    act: async (page) => {
      await page.keyboard.press("Control+k");
      await page.keyboard.type("mask");
    },
    expect: () => document.querySelector(".search-button__wrapper.show input")?.value === "mask",
    then: (page) => page.keyboard.press("Escape"),
    after: () => !document.querySelector(".search-button__wrapper.show"),
  },
  {
    name: "the search button leads to results",
    has: "search-button-field",
    act: async (page) => {
      await page.click(".search-button-field");
      await page.keyboard.type("mask");
      await page.keyboard.press("Enter");
      await page.waitForURL("**/search.html?q=mask");
    },
    expect: () => document.querySelectorAll("#search-results li").length > 2,
  },
  {
    name: "the theme switch goes from automatic to dark",
    has: "theme-switch-button",
    act: (page) => page.click(".theme-switch-button"),
    expect: () => document.documentElement.dataset.theme === "dark" && localStorage.getItem("mode") === "dark",
  },
  {
    name: "on a phone, the contents open and close",
    has: "primary-toggle",
    screen: PHONE,
    act: (page) => page.click(".bd-header-article .primary-toggle"),
    expect: () => document.querySelector(".bd-sidebar-primary").getBoundingClientRect().left === 0,
    then: (page) => page.keyboard.press("Escape"),
    after: () => document.querySelector(".bd-sidebar-primary").getBoundingClientRect().right <= 0,
  },
  {
    name: "on a phone, the page's own contents open",
    has: "secondary-toggle",
    screen: PHONE,
    act: (page) => page.click(".bd-header-article .secondary-toggle"),
    expect: () => document.querySelector(".bd-sidebar-secondary").getBoundingClientRect().right <= innerWidth,
  },
  {
    name: "on a phone, a tap beside the contents closes them",
    has: "primary-toggle",
    screen: PHONE,
    act: async (page) => {
      await page.click(".bd-header-article .primary-toggle");
      await page.mouse.click(PHONE.width - 5, PHONE.height / 2);
    },
    expect: () => document.querySelector(".bd-sidebar-primary").getBoundingClientRect().right <= 0,
  },
  {
    name: "the menu of downloads opens, the arrows move in it, Escape closes it",
    has: "dropdown-download-buttons",
    act: async (page) => {
      await page.focus(".dropdown-download-buttons > button");
      await page.keyboard.press("Enter");
      await page.keyboard.press("ArrowUp");
    },
    expect: () => {
      const items = [...document.querySelectorAll(".dropdown-download-buttons .dropdown-item")];
      return items.at(-1).checkVisibility() && document.activeElement === items.at(-1);
    },
    then: (page) => page.keyboard.press("Escape"),
    after: () => !document.querySelector(".dropdown-download-buttons .dropdown-menu").checkVisibility(),
  },
  {
    name: "the contents of the page lead to a place, and mark it",
    has: 'id="quiz"',
    act: (page) => page.click(".bd-toc-nav .toc-h2:nth-child(3) > a"),
    expect: () => {
      const link = document.querySelector(".bd-toc-nav a.active");
      const top = link && document.getElementById(link.hash.slice(1)).getBoundingClientRect().top;
      return link && location.hash === link.hash && top >= 0 && top < 200;
    },
  },
  {
    name: "an address with a place opens there",
    has: 'id="quiz"',
    act: async (page) => {
      await page.goto(`${page.url()}#quiz`);
      await page.reload();
    },
    expect: () => {
      const { top } = document.getElementById("quiz").getBoundingClientRect();
      return document.readyState === "complete" && top >= 0 && top < innerHeight;
    },
  },
  {
    name: "code is copied",
    has: 'class="highlight',
    act: async (page) => {
      await page.hover("div.highlight");
      await page.click("div.highlight .copybtn");
    },
    expect: async () => {
      const copy = (await navigator.clipboard.readText()).trim();
      return copy !== "" && document.querySelector("div.highlight pre").textContent.includes(copy);
    },
  },
  {
    name: "a solution is folded, and opens",
    has: "solution dropdown",
    act: (page) => page.click(".solution .toggle-button"),
    expect: () => {
      const [first, second] = document.querySelectorAll(".solution");
      const height = (each) => each.getBoundingClientRect().height;
      return height(first) > 100 && (!second || height(second) < 100);
    },
  },
  {
    name: "an answer is folded, and opens",
    has: "sd-dropdown",
    act: (page) => page.click("details.sd-dropdown > summary"),
    expect: () => document.querySelector("details.sd-dropdown .sd-card-body, details.sd-dropdown .sd-summary-content").checkVisibility(),
  },
  {
    name: "a slider, moved by the keyboard, shows another frame",
    has: "moving-figure",
    act: async (page) => {
      const control = page.locator(".moving-figure input").first();
      const image = page.locator(".moving-figure img").first();
      const before = await image.getAttribute("src");
      await control.focus();
      await control.press((await control.inputValue()) === "0" ? "ArrowRight" : "ArrowLeft");
      if ((await image.getAttribute("src")) === before) throw new Error("the picture stays");
      await image.evaluate((each) => each.decode());
    },
    expect: () => document.querySelector(".moving-figure img").naturalWidth > 0,
  },
];

/** Try every control on the first page that has it. */
export async function checkControls(browser, address, folder, pages, report) {
  for (const { name, has, screen, act, expect, then, after } of CONTROLS) {
    const path = pages.find((each) => each.startsWith("book/") && readFileSync(join(folder, each), "utf8").includes(has));
    if (!path) {
      report("book", "controls", `no page to try: ${name}`);
      continue;
    }
    const context = await browser.newContext({ viewport: screen ?? WIDE, colorScheme: "light", reducedMotion: "reduce" });
    context.setDefaultTimeout(PATIENCE);
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const page = await context.newPage();
    try {
      await page.goto(`${address}/${path}`);
      await act(page);
      await page.waitForFunction(expect);
      if (then) {
        await then(page);
        await page.waitForFunction(after);
      }
    } catch (error) {
      report(path, "controls", `${name}: ${error.message.split("\n")[0]}`);
    }
    await context.close();
  }
}
