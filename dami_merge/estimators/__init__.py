"""From a query to the λ it needs: features, fitted estimators, the dial that turns them into λ, the judge."""
