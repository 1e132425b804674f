// The routes of ../schema.json.
import { api } from "comfyui/api";
import type { Ballots, Picture, Run, Runs, Tree, Vote } from "./schema";

/** Something went wrong, in words for the user. status is 0 where there was no answer. */
export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

export const readRuns = () => ask<Runs>("/treegrpo/runs");
export const readRun = (run: string) => ask<Run>(`/treegrpo/runs/${encodeURIComponent(run)}`);
export const readWorkflow = (run: string) => ask<object>(`/treegrpo/runs/${encodeURIComponent(run)}/workflow`);
export const readTree = (run: string, tree: number | "live") =>
  ask<Tree>(`/treegrpo/runs/${encodeURIComponent(run)}/trees/${tree}`);
export const readBallots = () => ask<Ballots>("/treegrpo/ballots");
export const castVote = (ballot: string, vote: Vote) =>
  ask<unknown>(`/treegrpo/ballots/${encodeURIComponent(ballot)}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(vote),
  });

/** Where a file is; a version makes the browser fetch what has changed. */
export function fileUrl(picture: Picture, version?: number): string {
  const query = new URLSearchParams({ ...picture });
  if (version !== undefined) query.set("rand", String(version));
  return api.apiURL(`/view?${query}`);
}

async function ask<T>(route: string, options: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await api.fetchApi(route, { cache: "no-store", ...options });
  } catch {
    throw new Problem("ComfyUI does not answer.", 0);
  }
  const answer: unknown = await response.json().catch(() => null);
  if (!response.ok) throw new Problem(errorIn(answer) ?? `ComfyUI answered with ${response.status}.`, response.status);
  if (answer === null || typeof answer !== "object")
    throw new Problem("ComfyUI's answer was cut short.", response.status);
  return answer as T;
}

function errorIn(answer: unknown): string | null {
  const error = (answer as { error?: unknown } | null)?.error;
  return typeof error === "string" ? error : null;
}
