// What the tools in this folder share: the built book, served on loopback, and a browser.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, relative, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".json": "application/json",
  ".mjs": "text/javascript",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".webp": "image/webp",
  ".woff2": "font/woff2",
};
const COMPRESSED = /^text\/|json|svg/;

export const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

// How many milliseconds a tool waits for what comes in a blink on a quiet machine.
export const PATIENCE = 300_000;

/**
 * Serve a folder on a free port of loopback, text compressed, as the usual hosts do; resolves to
 * the server and its address.
 */
export function serve(folder) {
  const root = resolve(folder);
  const compressed = new Map(); // path -> its contents
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    let file = resolve(join(root, path));
    if (file.startsWith(root) && existsSync(file) && statSync(file).isDirectory()) {
      file = join(file, "index.html");
    }
    if (!file.startsWith(root) || !existsSync(file)) {
      response.writeHead(404).end("not found");
      return;
    }
    const type = TYPES[extname(file)] ?? "application/octet-stream";
    const headers = { "Content-Type": type };
    let body = readFileSync(file);
    if (COMPRESSED.test(type)) {
      if (!compressed.has(file)) compressed.set(file, gzipSync(body));
      body = compressed.get(file);
      headers["Content-Encoding"] = "gzip";
    }
    response.writeHead(200, { ...headers, "Content-Length": body.length }).end(body);
  });
  return new Promise((done) => {
    server.listen(0, "127.0.0.1", () => {
      done({ server, address: `http://127.0.0.1:${server.address().port}` });
    });
  });
}

/** Where Chromium is: the system's, or the one that CHROMIUM names. */
export function chromiumPath() {
  const path = process.env.CHROMIUM || "/usr/bin/chromium";
  if (!existsSync(path)) {
    throw new Error(`no Chromium at ${path}: install it, or set CHROMIUM to its path`);
  }
  return path;
}

/** Start Chromium. */
export function launch() {
  return chromium.launch({ executablePath: chromiumPath(), args: FLAGS, timeout: PATIENCE });
}

/** Paths of all pages below a folder, relative to it, sorted. */
export function pagesOf(folder) {
  const found = [];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith(".html")) {
      const path = relative(folder, join(entry.parentPath ?? entry.path, entry.name));
      if (!path.startsWith("_")) found.push(path);
    }
  }
  return found.sort();
}

/** Run jobs, several at a time. */
export async function inParallel(jobs, workers) {
  const queue = [...jobs];
  const worker = async () => {
    while (queue.length > 0) await queue.shift()();
  };
  await Promise.all(Array.from({ length: workers }, worker));
}
