import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const stub = (name: string) => fileURLToPath(new URL(`tests/comfyui/${name}.ts`, import.meta.url));

export default defineConfig({
  resolve: { alias: { "comfyui/app": stub("app"), "comfyui/api": stub("api") } },
  test: {
    environment: "happy-dom",
    include: ["tests/*.test.ts"],
    // Every file has a page of its own either way; threads of their own took three times as long.
    pool: "threads",
    poolOptions: { threads: { singleThread: true } },
  },
});
