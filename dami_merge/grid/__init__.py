"""From a recipe to a published grid: plan, execute, publish. Only `materialize` and `build` know torch."""
