"""Wrong answers that every bug hunt knows, made from its right one.

A right answer treat(**patient) returns the number of the fault, then the tensors called `names`.
"""


def named_not_mended(treat, names):
    return lambda **patient: (treat(**patient)[0], *(patient[name] for name in names))


def mended_not_named(treat):
    return lambda **patient: (0, *treat(**patient)[1:])


def counted_from_one(treat):
    return lambda **patient: (treat(**patient)[0] + 1, *treat(**patient)[1:])


def only_the_number(treat):
    return lambda **patient: treat(**patient)[0]


def missing(treat, names, fault):
    """Takes this fault for health."""

    def doctor(**patient):
        answer = treat(**patient)
        return (0, *(patient[name] for name in names)) if answer[0] == fault else answer

    return doctor


def instead(treat, fault, place, treatment):
    """Another treatment(**patient) of tensor number `place`, the first being 1."""

    def doctor(**patient):
        answer = list(treat(**patient))
        if answer[0] == fault:
            answer[place] = treatment(**patient)
        return tuple(answer)

    return doctor


def in_place(treat, names):
    """Changes what it was given."""

    def doctor(**patient):
        fault, *mended = treat(**patient)
        for name, new in zip(names, mended, strict=True):
            patient[name].copy_(new.clone())
        return fault, *(patient[name] for name in names)

    return doctor
