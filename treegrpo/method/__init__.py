"""The method: what a rollout's tree is, how it is grown, what its leaves credit, and how the adapter is updated."""
