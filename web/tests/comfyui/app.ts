// In place of ComfyUI's app.
import { vi } from "vitest";

export const app = {
  registerExtension: vi.fn(),
  loadGraphData: vi.fn(async () => {}),
  queuePrompt: vi.fn(async () => {}),
  extensionManager: { registerSidebarTab: vi.fn() },
};
