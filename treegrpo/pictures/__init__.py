"""Pictures of a run, for people: before and after, the reward curve, a grown tree."""
