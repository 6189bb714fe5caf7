"""All graded questions, by id, in the order of the lessons."""

from minivit.checks.questions import (
    cosine_ceiling,
    cut_diagonal,
    diagonal_z,
    fair_choice,
    fold_norm,
    logit_form,
    masked_reading,
    other_layout,
    paired_gain,
    patch_matrix,
    qk_head,
    sick_layer,
    table_gram,
    turned_basis,
    wave_gain,
    window_mass,
)

_MODULES = (
    patch_matrix,
    masked_reading,
    other_layout,
    logit_form,
    diagonal_z,
    fold_norm,
    turned_basis,
    cosine_ceiling,
    window_mass,
    table_gram,
    wave_gain,
    sick_layer,
    qk_head,
    cut_diagonal,
    paired_gain,
    fair_choice,
)
QUESTIONS = {module.QUESTION.id: module.QUESTION for module in _MODULES}
