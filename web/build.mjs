// Bundles src into dist/treegrpo.js and dist/treegrpo.css: the same bytes from the same sources, wherever it runs.
// ComfyUI imports every .js under dist, so there is one. `node build.mjs` writes; tests compare.
import { readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { compile } from "json-schema-to-typescript";

const web = dirname(fileURLToPath(import.meta.url));

/** Served from /extensions/<folder>/, two levels below ComfyUI's own /scripts/. */
const comfyui = {
  name: "comfyui",
  setup(build) {
    build.onResolve({ filter: /^comfyui\// }, ({ path }) => ({
      path: path.replace("comfyui/", "../../scripts/") + ".js",
      external: true,
    }));
  },
};

/** The files of dist by name. */
export async function bundle() {
  const result = await build({
    absWorkingDir: web,
    entryPoints: ["src/treegrpo.ts"],
    outdir: "dist",
    bundle: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    legalComments: "none",
    metafile: true,
    write: false,
    plugins: [comfyui],
  });
  const files = Object.fromEntries(result.outputFiles.map(({ path, text }) => [path.slice(web.length + 1), text]));
  files["dist/treegrpo.licenses.txt"] = await licenses(Object.keys(result.metafile.inputs));
  return files;
}

/** The types that src/schema.ts has to hold. */
export async function types() {
  const schema = JSON.parse(await readFile(join(web, "schema.json"), "utf8"));
  return compile(schema, "TreeGRPO", {
    bannerComment: "// Made from ../schema.json by `npm run build`; do not edit.",
    unreachableDefinitions: true,
    additionalProperties: false,
    maxItems: -1,
  });
}

/** What the authors of the bundled packages ask to be passed on. */
async function licenses(inputs) {
  const names = new Set(inputs.map((input) => /^node_modules\/([^/]+)\//.exec(input)?.[1]).filter(Boolean));
  const texts = [...names].sort().map(async (name) => {
    const text = await readFile(join(web, "node_modules", name, "LICENSE"), "utf8");
    return `${name}\n\n${text.trim()}\n`;
  });
  return (await Promise.all(texts)).join(`\n${"-".repeat(80)}\n\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(join(web, "src/schema.ts"), await types());
  for (const [name, text] of Object.entries(await bundle())) await writeFile(join(web, name), text);
}
