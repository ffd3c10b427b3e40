"""How the sparsest AND-OR logic of a game is found: one linear programme, three solvers.

`programme` states it and proves bounds; `sparsest` chooses the solver: `interior_point` for few
players, `splitting` beyond, `tolerant_splitting` where the logic may be off by a little noise.
"""
