// The part of ComfyUI's frontend that this extension uses.

declare module "comfyui/api" {
  export const api: EventTarget & {
    fetchApi(route: string, options?: RequestInit): Promise<Response>;
    apiURL(route: string): string;
  };
}

declare module "comfyui/app" {
  export interface Widget {
    name: string;
    value: unknown;
    serialize?: boolean;
    callback?: (...values: unknown[]) => void;
  }

  export interface GraphNode {
    id: number | string;
    comfyClass?: string;
    size: [number, number];
    properties: Record<string, unknown>;
    widgets?: Widget[];
    hideOutputImages?: boolean;
    addDOMWidget(name: string, type: string, element: HTMLElement, options: object): Widget;
    setSize(size: [number, number]): void;
    onExecuted?(output: Record<string, unknown>): void;
    onConfigure?(saved: unknown): void;
    onRemoved?(): void;
    onDrawBackground?(): void;
  }

  export interface SidebarTab {
    id: string;
    icon: string;
    title: string;
    tooltip?: string;
    type: "custom";
    render(element: HTMLElement): void;
    destroy?(): void;
  }

  export const app: {
    registerExtension(extension: { name: string; setup?(): void; nodeCreated?(node: GraphNode): void }): void;
    loadGraphData(workflow: object, clean: boolean, restoreView: boolean, name: string): Promise<void>;
    queuePrompt(number: number): Promise<unknown>;
    extensionManager: { registerSidebarTab(tab: SidebarTab): void };
  };
}
