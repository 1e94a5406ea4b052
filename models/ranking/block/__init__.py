"""The candidate block of the ranker's features: `columns` say which features it holds and where, and one compiled
function for each group of them writes it, request by request. `models.ranking.features` gives them meaning."""
