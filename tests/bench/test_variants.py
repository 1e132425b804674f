import torch

from treegrpo.bench.variants import REFERENCE, learning_groups, method_configs


def test_methods_have_the_same_leaves_and_differ_in_plan_window_and_kernel_only():
    configs = method_configs(branch=3, depth=3, prompts_per_iteration=4)
    for config in configs.values():
        assert config.make_plan(0, torch.Generator().manual_seed(0)).leaves == 27
    first = configs["TreeGRPO"].model_dump(exclude={"plan", "window", "kernel"})
    assert all(config.model_dump(exclude={"plan", "window", "kernel"}) == first for config in configs.values())
    # The paper's count at 27 leaves: 270 evaluations and, every step being trained, 270 training steps.
    cost = configs["DanceGRPO"].make_plan(0, torch.Generator()).cost()
    assert (cost.evaluations, cost.trained_nodes) == (270, 270)


def test_learning_compares_with_treegrpo_as_it_comes_in_every_group():
    groups = learning_groups()
    assert set(groups) == {"methods", "ablations", "rates"}
    for configs in groups.values():
        assert next(iter(configs)) == REFERENCE
        assert configs[REFERENCE] == groups["methods"][REFERENCE]
        for config in configs.values():
            config.make_plan(0, torch.Generator().manual_seed(0))  # raises for what cannot be
    assert {"Flow-GRPO", "Flow-GRPO, cps", "DanceGRPO, cps", "BranchGRPO, cps"} < groups["methods"].keys()
    assert groups["methods"].keys() < groups["rates"].keys()


def test_contenders_differ_and_an_ablation_changes_one_table():
    configs = {name: config for group in learning_groups().values() for name, config in group.items()}
    assert len({config.model_dump_json() for config in configs.values()}) == len(configs)
    base = configs[REFERENCE]
    for name, config in learning_groups()["ablations"].items():
        different = [key for key, table in config if table != getattr(base, key)]
        assert len(different) == {REFERENCE: 0, "siblings and steps": 2}.get(name, 1), name


def test_ablations_have_the_leaves_that_their_names_say():
    leaves = {
        name: config.make_plan(0, torch.Generator().manual_seed(0)).leaves
        for name, config in learning_groups()["ablations"].items()
    }
    assert {name: leaves[name] for name in ("k2 w3", "k2 w4", "k4 w3", "k3 w2", "k3 w4", "2 trees")} == {
        "k2 w3": 8,
        "k2 w4": 16,
        "k4 w3": 64,
        "k3 w2": 9,
        "k3 w4": 81,
        "2 trees": 54,
    }
    assert leaves["3 trees of k3 w2"] == leaves[REFERENCE] == 27
