// @vitest-environment node
import { readdir, readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { Ajv2020 } from "ajv/dist/2020.js";
import { expect, test } from "vitest";
import { bundle, types } from "../build.mjs";
import { grownTree, growing, someCurves, someRun, summary } from "./trees";

const web = new URL("../", import.meta.url);
const read = (name: string) => readFile(new URL(name, web), "utf8");

test("dist is what the sources make; if not, `npm run build`", async () => {
  for (const [name, text] of Object.entries(await bundle())) expect(text === (await read(name)), name).toBe(true);
});

test("ComfyUI finds one script, which is small and asks for nothing but ComfyUI's own", async () => {
  const files = await readdir(new URL("dist/", web), { recursive: true });
  expect(files.filter((name) => name.endsWith(".js"))).toEqual(["treegrpo.js"]);
  const script = await read("dist/treegrpo.js");
  expect(gzipSync(script).length).toBeLessThan(150_000);
  const imports = [...script.matchAll(/^import .* from "(.*)";$/gm)].map(([, path]) => path);
  expect(new Set(imports)).toEqual(new Set(["../../scripts/app.js", "../../scripts/api.js"]));
});

test("all styles are under .treegrpo", async () => {
  const css = (await read("dist/treegrpo.css")).replace(/\/\*[^]*?\*\//g, "");
  const selectors = [...css.matchAll(/([^{}]+)\{/g)]
    .map(([, selector]) => selector.trim())
    .filter((selector) => !selector.startsWith("@"));
  for (const selector of selectors.flatMap((selector) => selector.split(",")))
    expect(selector.trim()).toMatch(/^\.treegrpo\b/);
});

test("the types are those of schema.json; if not, `npm run build`", async () => {
  expect((await types()) === (await read("src/schema.ts"))).toBe(true);
});

test("what the tests make up is what the server would answer", async () => {
  const ajv = new Ajv2020({ allowUnionTypes: true }).addSchema(JSON.parse(await read("schema.json")), "treegrpo");
  const check = (name: string, value: unknown) => {
    const valid = ajv.getSchema(`treegrpo#/$defs/${name}`)!;
    expect(valid(value), `${name}: ${ajv.errorsText(valid.errors)}`).toBe(true);
  };
  for (const generations of [0, 1, 3]) check("Tree", growing(grownTree(), generations));
  check("Tree", grownTree([4, 4, 4, 4, 4, 4], ["one"], 12));
  check("Run", someRun());
  check("Runs", { runs: [summary()] });
  check("Curves", someCurves(3, ["a", "b"]));
});
