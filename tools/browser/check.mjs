// Open every page of the built book in Chromium, and check what a reader would notice.
//
//     node check.mjs FOLDER [--only PART_OF_A_PATH] [--screenshots FOLDER]
//
// On each page, light and dark, at 1280 and at 360 pixels: no accessibility violation (axe-core,
// every rule), no message of the browser's console, nothing wider than the screen, no formula cut
// off, every image loaded and described, no request that leaves the book. Once a page: every link
// inside the book leads to a page and a place on it; what a first visit loads, and what the first
// paint waits for, stay within bounds; and the search finds it. Once a book: what can be pressed or
// turned does what it is for (controls.mjs).

import { mkdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { inParallel, launch, pagesOf, PATIENCE, serve } from "./book.mjs";
import { checkControls } from "./controls.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const THEMES = ["light", "dark"];
const WIDTHS = [1280, 360];
// A first visit, with an empty cache: bytes as compressed by the server.
const MOST_BYTES = 350_000; // beside the page's pictures
const MOST_BYTES_OF_PICTURES = 500_000; // all of the page's, with the frames of figures that move
const MOST_REQUESTS = 20; // beside pictures
const MOST_BLOCKING = 1; // the style sheet

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: "string" }, screenshots: { type: "string" } },
});
const folder = positionals[0];
if (!folder) throw new Error("say which folder holds the built book");
if (values.screenshots) mkdirSync(values.screenshots, { recursive: true });

const problems = [];
const anchors = new Map(); // page -> ids on it
const links = []; // {page, target, fragment}
const phrases = new Map(); // page -> its title
const weights = new Map(); // page -> what a first visit loads

const { server, address } = await serve(folder);
const browser = await launch();
const pages = pagesOf(folder).filter((path) => path !== "index.html"); // that one only redirects
const chosen = pages.filter((path) => !values.only || path.includes(values.only));

function report(path, where, what) {
  problems.push(`${path} (${where}): ${what}`);
  console.error(problems.at(-1));
}

/** Open a page in a fresh context, and collect what goes wrong while it loads. */
async function open(path, theme, width) {
  const where = `${theme}, ${width}`;
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme: theme,
    reducedMotion: "reduce",
  });
  context.setDefaultTimeout(PATIENCE);
  await context.addInitScript((mode) => {
    localStorage.setItem("mode", mode);
    localStorage.setItem("theme", mode);
  }, theme);
  const page = await context.newPage();
  const loaded = []; // {url, bytes}
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) {
      report(path, where, `console: ${message.text()}`);
    }
  });
  page.on("pageerror", (error) => report(path, where, `error: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(address) && !url.startsWith("data:") && !url.startsWith("blob:")) {
      report(path, where, `asks the network for ${url}`);
    }
  });
  page.on("response", (response) => {
    if (response.status() >= 400) report(path, where, `${response.status()}: ${response.url()}`);
    loaded.push({ url: response.url(), bytes: Number(response.headers()["content-length"] ?? 0) });
  });
  await page.goto(`${address}/${path}`, { waitUntil: "load" });
  return { context, page, where, loaded };
}

/** Add up what a first visit loads, and what the first paint waits for. */
async function weigh(path, page, where, loaded) {
  const own = new Set(readFileSync(join(folder, path), "utf8").match(/_images\/[\w.-]+/g));
  const others = loaded.filter(({ url }) => !url.includes("/_images/") && !url.startsWith("data:"));
  const total = (numbers) => numbers.reduce((sum, each) => sum + each, 0);
  const weight = {
    bytes: total(others.map((each) => each.bytes)),
    pictures: total([...own].map((name) => statSync(join(folder, name)).size)),
    requests: others.length,
    blocking: await page.evaluate(() =>
      performance.getEntriesByType("resource").filter((each) => each.renderBlockingStatus === "blocking").length,
    ),
  };
  weights.set(path, weight);
  const bounds = { bytes: MOST_BYTES, pictures: MOST_BYTES_OF_PICTURES, requests: MOST_REQUESTS, blocking: MOST_BLOCKING };
  for (const [what, most] of Object.entries(bounds)) {
    if (weight[what] > most) report(path, where, `a first visit's ${what}: ${weight[what]}; at most ${most}`);
  }
}

/** Lay out and unfold everything, at once and without fading in, and ask for every image. */
async function unfold(page) {
  await page.evaluate(() => dispatchEvent(new Event("scroll"))); // what the rest of the page waits for
  await page.waitForFunction(() => !document.documentElement.classList.contains("from-the-top"));
  await page.addStyleTag({
    content: "*, ::before, ::after { animation: none !important; transition: none !important; }",
  });
  await page.evaluate(async () => {
    for (const each of document.querySelectorAll("details")) each.open = true;
    for (const each of document.querySelectorAll("img")) each.loading = "eager";
    await Promise.all([...document.images].map((each) => each.decode().catch(() => {})));
  });
}

async function checkView(path, theme, width) {
  const { context, page, where, loaded } = await open(path, theme, width);
  try {
    const first = theme === THEMES[0] && width === WIDTHS[0];
    if (first) await weigh(path, page, where, loaded);
    await unfold(page);
    const seen = await page.evaluate(() => ({
      theme: document.documentElement.dataset.theme,
      wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      images: [...document.images]
        .filter((each) => each.checkVisibility())
        .filter((each) => !each.complete || each.naturalWidth === 0 || !each.hasAttribute("alt"))
        .map((each) => each.getAttribute("src")),
      cut: [...document.querySelectorAll("article :is(span.math, div.math .formula)")]
        .filter((each) => each.checkVisibility() && each.scrollWidth > each.clientWidth + 1)
        .filter((each) => getComputedStyle(each).overflowX === "hidden" || each.tabIndex < 0)
        .map((each) => each.textContent),
      unrendered: document.querySelectorAll("article mtext.math-error, article merror").length,
    }));
    if (seen.theme !== theme) report(path, where, `shows the ${seen.theme} theme`);
    if (seen.wide > 0) report(path, where, `is ${seen.wide} pixels wider than the screen`);
    for (const image of seen.images) report(path, where, `image not loaded or without alt: ${image}`);
    for (const formula of seen.cut) report(path, where, `cut off, and can't be scrolled by keyboard: ${formula}`);
    if (seen.unrendered > 0) report(path, where, `${seen.unrendered} formulas are not rendered`);

    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
    for (const violation of violations) {
      const nodes = violation.nodes.map((node) => node.target.join(" ")).slice(0, 3);
      report(path, where, `${violation.id} (${violation.nodes.length}): ${violation.help}: ${nodes.join(" | ")}`);
    }
    if (values.screenshots) {
      const name = `${path.replaceAll("/", "-").replace(".html", "")}-${theme}-${width}.png`;
      await page.screenshot({ path: join(values.screenshots, name), fullPage: true });
    }
    if (first) await collect(page, path);
  } finally {
    await context.close();
  }
}

/** Note the page's places, links and title. */
async function collect(page, path) {
  const found = await page.evaluate(() => ({
    ids: [...document.querySelectorAll("[id], a[name]")].map((each) => each.id || each.name),
    links: [...document.querySelectorAll("a[href]")].map((each) => each.href),
    title: document.querySelector("article h1")?.textContent ?? "",
  }));
  anchors.set(path, new Set(found.ids));
  phrases.set(path, found.title.replace(/^[\d.]+/, "").replace(/#$/, "").trim());
  for (const link of found.links) {
    if (!link.startsWith(address)) continue;
    const url = new URL(link);
    links.push({ page: path, target: url.pathname.slice(1), fragment: url.hash.slice(1) });
  }
}

async function checkLinks() {
  const seen = new Set();
  for (const { page, target, fragment } of links) {
    const key = `${page} ${target} ${fragment}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const answer = await fetch(`${address}/${target}`, { method: "HEAD" });
    if (!answer.ok) {
      report(page, "links", `dead link to ${target}`);
    } else if (fragment && anchors.has(target)) {
      const ids = anchors.get(target);
      if (!ids.has(decodeURIComponent(fragment)) && !ids.has(fragment)) {
        report(page, "links", `no place #${fragment} on ${target}`);
      }
    }
  }
}

/** Search for the title of each page of the book: the page is among the results. */
async function checkSearch() {
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  for (const [path, phrase] of phrases) {
    if (!path.startsWith("book/") || !phrase) continue;
    await page.goto(`${address}/search.html?q=${encodeURIComponent(phrase)}`);
    await page.waitForFunction(() => {
      const summary = document.querySelector("#search-results .search-summary");
      return /finished|not match/.test(summary?.textContent);
    });
    const found = page.locator(`#search-results a[href*="${path}"]`);
    if ((await found.count()) === 0) report(path, "search", `not found by its title, "${phrase}"`);
  }
  await context.close();
}

const jobs = chosen.flatMap((path) =>
  THEMES.flatMap((theme) => WIDTHS.map((width) => () => checkView(path, theme, width))),
);
try {
  await inParallel(jobs, availableParallelism());
  await checkLinks();
  await checkSearch();
  await checkControls(browser, address, folder, pages, report);
} finally {
  await browser.close();
  server.close();
}
if (problems.length > 0) {
  console.error(`${problems.length} problems on ${chosen.length} pages`);
  process.exit(1);
}
for (const what of ["bytes", "pictures", "requests"]) {
  const [path, weight] = [...weights].reduce((one, other) => (other[1][what] > one[1][what] ? other : one));
  console.log(`most ${what} at a first visit: ${weight[what]} (${path})`);
}
console.log(`${chosen.length} pages, ${jobs.length} views: nothing to mend`);
