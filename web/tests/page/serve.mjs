// The bundle in a page without ComfyUI, to look at: `node tests/page/serve.mjs [port]`, then
// /?node=train|preview|empty&width=640&height=700&tree=27|4096&theme=light|dark, /?panel=runs, /?votes=stars|thumbs|rank.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { build } from "esbuild";

const web = new URL("../../", import.meta.url);
const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript" };

const bundled = await build({
  entryPoints: [
    new URL("page.ts", import.meta.url).pathname,
    new URL("app.ts", import.meta.url).pathname,
    new URL("api.ts", import.meta.url).pathname,
  ],
  bundle: true,
  splitting: true,
  format: "esm",
  outdir: "/scripts",
  write: false,
});
const made = new Map(bundled.outputFiles.map(({ path, text }) => [path, text]));

createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const path = pathname === "/" ? "/index.html" : pathname;
  const file = path.startsWith("/extensions/treegrpo/")
    ? new URL("dist/" + path.slice("/extensions/treegrpo/".length), web)
    : new URL("tests/page" + path, web);
  try {
    const body = made.get(path) ?? (await readFile(file));
    response.writeHead(200, { "Content-Type": TYPES[extname(path)] ?? "text/plain" }).end(body);
  } catch {
    response.writeHead(404).end();
  }
}).listen(Number(process.argv[2] ?? 8199), "127.0.0.1");
