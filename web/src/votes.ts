// A ballot that is being filled in: one vote per picture, null for none.
import type { Ballot } from "./schema";

export type How = Ballot["how"];
export type Votes = (number | null)[];

/** How many stars there are. */
export const STARS = 5;

export function noVotes(pictures: number): Votes {
  return Array.from({ length: pictures }, () => null);
}

/** The votes with another one for a picture; the same one again takes it back. */
export function cast(how: How, votes: Votes, picture: number, vote: number): Votes {
  if (how === "rank") return placed(votes, picture, vote);
  return votes.map((old, i) => (i === picture ? (old === vote ? null : vote) : old));
}

/** The picture at a place; those behind make room, so that every place is given once and none is left out. */
export function placed(votes: Votes, picture: number, place: number): Votes {
  const order = ranking(votes).filter((other) => other !== picture);
  order.splice(Math.max(0, place - 1), 0, picture);
  return fromRanking(order, votes.length);
}

/** The next place for a picture that has none; one that has loses it, and those behind move up. */
export function ranked(votes: Votes, picture: number): Votes {
  return votes[picture] === null ? placed(votes, picture, votes.length) : cleared("rank", votes, picture);
}

export function cleared(how: How, votes: Votes, picture: number): Votes {
  if (how !== "rank") return votes.map((vote, i) => (i === picture ? null : vote));
  return fromRanking(
    ranking(votes).filter((other) => other !== picture),
    votes.length,
  );
}

export function given(votes: Votes): number {
  return votes.filter((vote) => vote !== null).length;
}

/** What a key means for the picture that has the focus; null when it means nothing. */
export function votesAfterKey(how: How, votes: Votes, picture: number, key: string): Votes | null {
  if (key === "0" || key === "Delete" || key === "Backspace") return cleared(how, votes, picture);
  const digit = /^[1-9]$/.test(key) ? Number(key) : 0;
  if (how === "stars") return digit >= 1 && digit <= STARS ? cast(how, votes, picture, digit) : null;
  if (how === "thumbs") {
    if (key === "u" || digit === 1) return cast(how, votes, picture, 1);
    if (key === "d" || digit === 2) return cast(how, votes, picture, -1);
    return null;
  }
  if (key === "Enter" || key === " ") return ranked(votes, picture);
  return digit ? placed(votes, picture, digit) : null;
}

/** In words. */
export function voteText(how: How, vote: number | null): string {
  if (vote === null) return "no vote";
  if (how === "stars") return vote === 1 ? "1 star" : `${vote} stars`;
  if (how === "thumbs") return vote > 0 ? "thumb up" : "thumb down";
  return `place ${vote}`;
}

/** Pictures that have a place, the best first. */
function ranking(votes: Votes): number[] {
  const chosen = votes.flatMap((vote, i) => (vote === null ? [] : [i]));
  return chosen.sort((a, b) => votes[a]! - votes[b]!);
}

function fromRanking(order: number[], pictures: number): Votes {
  const votes = noVotes(pictures);
  order.forEach((picture, i) => (votes[picture] = i + 1));
  return votes;
}
