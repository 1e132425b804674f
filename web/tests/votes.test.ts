import { describe, expect, test } from "vitest";
import { cast, cleared, given, noVotes, placed, ranked, votesAfterKey, voteText, type Votes } from "../src/votes";

describe("stars and thumbs", () => {
  test("are given, changed, and taken back by giving them again", () => {
    let votes = cast("stars", noVotes(3), 1, 4);
    expect(votes).toEqual([null, 4, null]);
    votes = cast("stars", votes, 1, 2);
    expect(votes).toEqual([null, 2, null]);
    expect(cast("stars", votes, 1, 2)).toEqual(noVotes(3));
    expect(given(votes)).toBe(1);
  });

  test("keys", () => {
    expect(votesAfterKey("stars", noVotes(2), 0, "5")).toEqual([5, null]);
    expect(votesAfterKey("stars", noVotes(2), 0, "6")).toBeNull();
    expect(votesAfterKey("thumbs", noVotes(2), 1, "u")).toEqual([null, 1]);
    expect(votesAfterKey("thumbs", noVotes(2), 1, "2")).toEqual([null, -1]);
    expect(votesAfterKey("thumbs", [1, -1], 1, "0")).toEqual([1, null]);
    expect(votesAfterKey("stars", [1, 3], 0, "Delete")).toEqual([null, 3]);
    expect(votesAfterKey("stars", noVotes(2), 0, "x")).toBeNull();
  });
});

describe("a ranking", () => {
  test("is made by clicking in order of preference", () => {
    const votes = [2, 0, 1].reduce<Votes>((all, picture) => ranked(all, picture), noVotes(4));
    expect(votes).toEqual([2, 3, 1, null]);
  });

  test("has no gaps: those behind move up, or make room", () => {
    expect(ranked([2, 3, 1, null], 0)).toEqual([null, 2, 1, null]);
    expect(cleared("rank", [2, 3, 1, null], 2)).toEqual([1, 2, null, null]);
    expect(placed([2, 3, 1, null], 3, 1)).toEqual([3, 4, 2, 1]);
    expect(placed([2, 3, 1, null], 1, 1)).toEqual([3, 1, 2, null]);
    expect(placed(noVotes(3), 0, 3)).toEqual([1, null, null]);
  });

  test("keys", () => {
    expect(votesAfterKey("rank", [1, null], 1, "Enter")).toEqual([1, 2]);
    expect(votesAfterKey("rank", [1, null], 1, "1")).toEqual([2, 1]);
    expect(votesAfterKey("rank", [1, 2], 0, "0")).toEqual([null, 1]);
  });
});

test("votes in words", () => {
  expect([
    voteText("stars", 1),
    voteText("stars", 3),
    voteText("thumbs", -1),
    voteText("rank", 2),
    voteText("rank", null),
  ]).toEqual(["1 star", "3 stars", "thumb down", "place 2", "no vote"]);
});
