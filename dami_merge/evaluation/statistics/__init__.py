"""What rollouts say about each λ: means, intervals, differences, the Pareto frontier. Knows only numbers."""
