// Asks a person about the leaves of one prompt after the other. Closed, a button remains that opens it again.
import { api } from "comfyui/api";
import { element, iconButton } from "./element";
import type { Ballot } from "./schema";
import { castVote, fileUrl, Problem, readBallots } from "./server";
import { cast, given, noVotes, ranked, STARS, votesAfterKey, voteText, type How, type Votes } from "./votes";

const HINTS: Record<How, string> = {
  stars: "Arrows move, 1 to 5 give stars, 0 takes them back.",
  thumbs: "Arrows move, U and D vote, 0 takes it back.",
  rank: "Click the best first, then the next best. Arrows move, Enter gives the next place, 1 to 9 a place, 0 takes it back.",
};

export function votePanel(): void {
  const dialog = element("dialog", { className: "treegrpo votes", "aria-label": "Vote on pictures" });
  const reopen = element("button", { type: "button", className: "main", onclick: open });
  const corner = element("div", { className: "treegrpo waiting", hidden: true }, reopen);
  document.body.append(dialog, corner);

  let ballots: Ballot[] = [];
  let ballot: Ballot | null = null;
  let votes: Votes = [];
  let closed = false;
  let sending = false;
  let clock = 0;
  let cells: HTMLElement[] = [];

  const title = element("h2");
  const where = element("span", { className: "where" });
  const time = element("span", { className: "time" });
  const note = element("p", { className: "problem", role: "alert", hidden: true });
  const grid = element("div", { className: "pictures", role: "group", "aria-label": "Pictures" });
  const hint = element("p", { className: "hint" });
  const skip = element("button", { type: "button", onclick: () => void send(null) }, "Skip");
  const submit = element(
    "button",
    { type: "button", className: "main", title: "Ctrl+Enter", onclick: () => void send(votes) },
    "Submit",
  );
  dialog.append(
    element(
      "header",
      {},
      title,
      where,
      time,
      iconButton("\u00d7", "Close; the prompts keep waiting", () => dialog.close()),
    ),
    note,
    grid,
    element("footer", {}, hint, skip, submit),
  );

  function open(): void {
    closed = false;
    refresh();
  }

  dialog.addEventListener("close", () => {
    closed = ballots.length > 0;
    say("");
    refresh();
  });
  dialog.addEventListener("keydown", (event) => {
    // ComfyUI's own keys stay out of this; Escape is the browser's.
    event.stopPropagation();
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      event.preventDefault();
      if (!submit.disabled) void send(votes);
      return;
    }
    const picture = cells.indexOf((event.target as HTMLElement).closest<HTMLElement>(".picture")!);
    if (picture < 0 || !ballot || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target !== cells[picture] && (event.key === "Enter" || event.key === " ")) return;
    const to = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() }[event.key];
    const next = votesAfterKey(
      ballot.how,
      votes,
      picture,
      event.key.length === 1 ? event.key.toLowerCase() : event.key,
    );
    if (to !== undefined) focusOn(picture + to);
    else if (next) change(next);
    else return;
    event.preventDefault();
  });

  function columns(): number {
    const top = cells[0]?.offsetTop;
    const first = cells.findIndex((cell) => cell.offsetTop !== top);
    return first < 1 ? cells.length : first;
  }

  /** One stop of the Tab key; the arrows go on from there. */
  function focusOn(picture: number): void {
    if (picture < 0 || picture >= cells.length) return;
    cells.forEach((cell, i) => (cell.tabIndex = i === picture ? 0 : -1));
    cells[picture].focus();
  }

  function change(next: Votes): void {
    votes = next;
    showVotes();
  }

  function showVotes(): void {
    if (!ballot) return;
    const { how } = ballot;
    cells.forEach((cell, i) => {
      const vote = votes[i];
      cell.classList.toggle("voted", vote !== null);
      cell.classList.toggle("down", how === "thumbs" && vote === -1);
      cell.setAttribute("aria-label", `Picture ${i + 1} of ${cells.length}, ${voteText(how, vote)}`);
      const place = cell.querySelector(".place");
      if (place) place.textContent = vote === null ? "" : String(vote);
      for (const button of cell.querySelectorAll<HTMLButtonElement>("button[value]")) {
        const value = Number(button.value);
        const on = vote !== null && (how === "stars" ? value <= vote : value === vote);
        button.classList.toggle("on", on);
        button.setAttribute("aria-pressed", String(vote === value));
      }
    });
    submit.disabled = sending || given(votes) === 0;
    skip.disabled = sending;
  }

  /** Shows the first ballot that is open, unless it is shown already: votes that were cast stay. */
  function refresh(): void {
    const next = ballots[0] ?? null;
    if (next?.id !== ballot?.id) {
      ballot = next;
      votes = noVotes(next?.pictures.length ?? 0);
      build();
    }
    corner.hidden = !(closed && ballots.length);
    reopen.textContent =
      ballots.length === 1 ? "1 prompt waits for your vote" : `${ballots.length} prompts wait for your vote`;
    if (ballot && !closed && !dialog.open) {
      dialog.showModal();
      focusOn(0);
    }
    if (!ballot && dialog.open && note.hidden) dialog.close();
    clearInterval(clock);
    tick();
    if (dialog.open && ballot?.deadline) clock = window.setInterval(tick, 1000);
  }

  function build(): void {
    cells = ballot ? ballot.pictures.map((_, i) => cellOf(ballot!, i)) : [];
    grid.replaceChildren(...cells);
    grid.dataset.how = ballot?.how ?? "";
    title.textContent = ballot?.prompt || (ballot ? "No prompt" : "Nothing is left to vote on");
    where.textContent = ballot ? `${ballot.place} of ${ballot.of}` : "";
    hint.textContent = ballot ? HINTS[ballot.how] : "";
    skip.hidden = submit.hidden = !ballot;
    showVotes();
    if (dialog.open) focusOn(0);
  }

  function cellOf({ how, pictures }: Ballot, i: number): HTMLElement {
    const image = element("img", { src: fileUrl(pictures[i]), alt: "", draggable: false });
    const cell = element("div", { className: "picture", tabIndex: i ? -1 : 0, role: "group" }, image);
    image.onerror = () => image.replaceWith(element("div", { className: "gone" }, "This picture is gone."));
    cell.addEventListener("focus", () => focusOn(i));
    if (how === "rank") {
      cell.append(element("span", { className: "place" }));
      cell.addEventListener("click", () => change(ranked(votes, i)));
      return cell;
    }
    const vote = (value: number, sign: Node | string, label: string) =>
      element(
        "button",
        {
          type: "button",
          value: String(value),
          tabIndex: -1,
          title: label,
          "aria-label": label,
          onclick: () => change(cast(how, votes, i, value)),
        },
        sign,
      );
    const stars = Array.from({ length: STARS }, (_, at) => vote(at + 1, "\u2605", voteText(how, at + 1)));
    // From ComfyUI's own icons, since not every machine has a font with thumbs.
    const thumb = (way: string) => element("i", { className: `pi pi-thumbs-${way}-fill` });
    const thumbs = [vote(1, thumb("up"), voteText(how, 1)), vote(-1, thumb("down"), voteText(how, -1))];
    cell.append(element("div", { className: how }, ...(how === "stars" ? stars : thumbs)));
    cell.addEventListener("click", () => focusOn(i));
    return cell;
  }

  function tick(): void {
    const left = ballot?.deadline ? Math.max(0, Math.round(ballot.deadline - Date.now() / 1000)) : null;
    time.textContent = left === null ? "" : `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left`;
    time.classList.toggle("soon", left !== null && left < 30);
  }

  function say(text: string): void {
    note.textContent = text;
    note.hidden = !text;
  }

  async function send(what: Votes | null): Promise<void> {
    if (!ballot || sending) return;
    const { id } = ballot;
    sending = true;
    showVotes();
    try {
      await castVote(id, { votes: what });
      say("");
      ballots = ballots.filter((other) => other.id !== id);
    } catch (error) {
      say(error instanceof Error ? error.message : String(error));
      // Answered in another tab, or too late: the sentence says so, and the next one is due.
      if (error instanceof Problem && error.status === 404) ballots = ballots.filter((other) => other.id !== id);
    }
    sending = false;
    showVotes();
    refresh();
    void load();
  }

  let loading = false;
  let again = false;

  async function load(): Promise<void> {
    if (loading) {
      again = true;
      return;
    }
    loading = true;
    again = false;
    try {
      const before = ballot?.id;
      const fresh = (await readBallots()).ballots;
      if (fresh.length > ballots.length && !ballots.length) {
        closed = false; // a new round
        say("");
      } else if (
        !sending &&
        before &&
        dialog.open &&
        !fresh.some(({ id }) => id === before) &&
        ballots.some(({ id }) => id === before)
      )
        say("That prompt was answered elsewhere, or its time was up.");
      ballots = fresh;
      refresh();
    } catch (error) {
      if (dialog.open) say(error instanceof Error ? error.message : String(error));
    }
    loading = false;
    if (again) void load();
  }

  api.addEventListener("treegrpo.ballots", () => void load());
  api.addEventListener("reconnected", () => void load());
  void load();
}
