import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const stub = (name: string) => fileURLToPath(new URL(`tests/comfyui/${name}.ts`, import.meta.url));

export default defineConfig({
  resolve: { alias: { "comfyui/app": stub("app"), "comfyui/api": stub("api") } },
  test: {
    environment: "happy-dom",
    include: ["tests/*.test.ts"],
    // A page is made for every file either way, and in one thread ten times as fast.
    pool: "threads",
    poolOptions: { threads: { singleThread: true } },
  },
});
