"""Influence: how fast a rate moves when a pair is trained on, to first order and for every pair at once.

The first step of DPO moves the weights along the sum of the gradients of the pairs' margins ln p(y+|x) - ln p(y-|x).
So a pair moves a target R by `<grad R, grad margin>` a unit step, its influence. By symmetry that is how fast the
pair's margin moves when the weights move along grad R: two forward passes over the table, with the weights a little
forth and back, give it for every pair, with no gradient of any single one. Cf. TracIn (Pruthi et al. 2020), LESS (Xia
et al. 2024).
"""
