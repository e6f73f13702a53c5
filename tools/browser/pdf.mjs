// Print the whole book, built as one page, to a PDF.
//
//     node pdf.mjs FOLDER OUTPUT.pdf
//
// What is folded is unfolded. Solutions of exercises and answers of quizzes move to an appendix at
// the end, each with a link from where it was and back.

import { join } from "node:path";
import { launch, PATIENCE, serve } from "./book.mjs";

const [folder, output] = process.argv.slice(2);
if (!output) throw new Error("say which folder holds the book on one page, and where the PDF goes");
const { server, address } = await serve(folder);
const browser = await launch();
const page = await browser.newPage();
page.setDefaultTimeout(PATIENCE);
// Sphinx writes the page into book/, and its paths as if it stood at the top: there we open it.
await page.route(`${address}/whole-book.html`, (route) => {
  route.fulfill({ path: join(folder, "book", "index.html"), contentType: "text/html; charset=utf-8" });
});
await page.goto(`${address}/whole-book.html`, { waitUntil: "load" });
await page.emulateMedia({ media: "print", colorScheme: "light" });

const counts = await page.evaluate(async () => {
  document.documentElement.classList.remove("from-the-top");
  const article = document.querySelector("article");
  const appendix = document.createElement("section");
  appendix.innerHTML = "<h1>Appendix: solutions and answers</h1>";
  appendix.classList.add("appendix", "new-page");
  let number = 0;
  const move = (block, name, chapter) => {
    number += 1;
    const here = document.createElement("p");
    block.id ||= `appendix-${number}`;
    here.innerHTML = `<a href="#${block.id}" id="from-${number}">${name} in the appendix</a>`;
    block.replaceWith(here);
    const back = document.createElement("p");
    back.innerHTML = `<a href="#from-${number}">back to the text</a>`;
    chapter.append(block, back);
  };
  // Each page of the book is a section of its own behind an anchor that names it.
  for (const anchor of article.querySelectorAll('span[id^="document-"]')) {
    const page = anchor.nextElementSibling;
    page.classList.add("new-page");
    const chapter = document.createElement("section");
    const heading = document.createElement("h2");
    heading.textContent = page.querySelector("h2").textContent.replace(/#$/, "");
    chapter.append(heading);
    for (const solution of page.querySelectorAll("div.solution")) {
      move(solution, "Solution", chapter);
    }
    for (const answer of page.querySelectorAll("details.sd-dropdown")) {
      const asked = document.createElement("p");
      asked.innerHTML = `<strong>${answer.querySelector(".sd-summary-text").innerHTML}</strong>`;
      answer.before(asked);
      move(answer, asked.textContent.startsWith("Hint") ? "Hint" : "Answer", chapter);
    }
    if (chapter.childElementCount > 1) appendix.append(chapter);
  }
  article.append(appendix);
  for (const each of document.querySelectorAll("details")) each.open = true;
  for (const each of document.querySelectorAll(".admonition.dropdown, .toggle-hidden")) {
    each.classList.remove("toggle-hidden");
  }
  const long = (each) => each.textContent.split("\n").length > 20;
  for (const each of [...document.querySelectorAll(".cell_input, .cell_output")].filter(long)) {
    each.classList.add("long");
  }
  for (const each of document.images) each.loading = "eager";
  await Promise.all([...document.images].map((each) => each.decode().catch(() => {})));
  await document.fonts.ready;
  return { moved: number, images: document.images.length, formulas: document.querySelectorAll("math").length };
});

await page.addStyleTag({
  content: `
    .bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .prev-next-footer,
    .bd-footer-content, .headerlink, .toggle-button, .copybtn, .moving-figure p, details.hide > summary,
    .sd-summary-state-marker { display: none !important; }
    .bd-container, .bd-container__inner, .bd-main, .bd-content, .bd-article-container { display: block !important; max-width: none !important; }
    .new-page { break-before: page; }
    .appendix > h1 { display: block !important; } /* the theme prints no first heading */
    .cell_input, .cell_output, .highlight, pre, figure, tr { break-inside: avoid; }
    h1, h2, h3, h4 { break-after: avoid; }
    pre { white-space: pre-wrap !important; overflow-wrap: anywhere; }
    article *:not(#_):not(#_) { box-shadow: none !important; } /* a shadow is printed as a picture */
    .solution, details, .long, .long div, .long pre { break-inside: auto !important; }
    .long, .long div { display: block !important; }
    /* What scrolls is not broken between pages. */
    pre, .highlight, .pst-scrollable-table-container, .cell_output .output { overflow: visible !important; }
    .cell_output img { max-height: 200mm; }`,
});
await page.pdf({
  path: output,
  format: "A4",
  scale: 0.78,
  margin: { top: "18mm", bottom: "18mm", left: "17mm", right: "17mm" },
  printBackground: true,
  outline: true,
  tagged: true,
  displayHeaderFooter: true,
  headerTemplate: "<span></span>",
  footerTemplate: '<div style="font-size:8px;width:100%;text-align:center"><span class="pageNumber"></span></div>',
});
await browser.close();
server.close();
console.log(`${output}: ${counts.images} images, ${counts.formulas} formulas, ${counts.moved} answers in the appendix`);
