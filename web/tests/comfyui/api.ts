// In place of ComfyUI's api: routes answer what a test lays down, and keep count of who asked.

type Answer = unknown | ((options?: RequestInit) => unknown);

class Api extends EventTarget {
  routes = new Map<string, Answer>();
  asked: { route: string; options?: RequestInit }[] = [];
  down = false;

  async fetchApi(route: string, options?: RequestInit): Promise<Response> {
    this.asked.push({ route, options });
    if (this.down) throw new TypeError("Failed to fetch");
    const laid = this.routes.get(decodeURIComponent(route));
    const answer: unknown = typeof laid === "function" ? laid(options) : laid;
    if (answer === undefined) return new Response(JSON.stringify({ error: `${route} is not there.` }), { status: 404 });
    return answer instanceof Response ? answer : new Response(JSON.stringify(answer));
  }

  apiURL(route: string): string {
    return "/api" + route;
  }

  times(route: string): number {
    return this.asked.filter((one) => decodeURIComponent(one.route) === route).length;
  }

  tell(event: string, detail?: unknown): void {
    this.dispatchEvent(new CustomEvent(event, { detail }));
  }

  reset(): void {
    this.routes.clear();
    this.asked = [];
    this.down = false;
  }
}

export const api = new Api();

/** Lets everything that was started come to its end. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await new Promise((done) => setTimeout(done, 0));
}
