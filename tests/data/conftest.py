from tests.movielens import movielens

__all__ = ["movielens"]
