"""What runs a check: a table of one right answer and of wrong ones, each with its sentence.

An `exercise` is its right answer, written as a function, with

- `returns`: what an answer is, `Array`, `Number`, or a tuple of such;
- `cases`: ``cases(data)`` lists the arguments with which it is tried, drawn from the generator
  `data`: there are as many sets of them as seeds. Or it lists such lists, what is at an edge last:
  an answer that is wrong on a list is told why, whatever it gives on those after it;
- or, if it draws random numbers itself, `traits`: ``traits(run, data)`` yields what is off (with
  both, traits are looked at once all cases are right);
- a table of `wrong` answers, with the sentence meant for each.

Without traits a student's outputs are compared with the right ones. If they differ, the wrong
answer that gives the same outputs lends its sentence; two that are given as keyword arguments of
the right one are tried together too. If there is none, the engine looks for an argument that is
ignored, a factor or a root that is missing, and else says where outputs differ.

With traits an answer is described by the names of what is off (`lib.checks.traits`). The wrong
answer with the same description lends its sentence; else the first finding has one of its own. With
`at_once` the first finding is said whatever the table has, and nothing is looked at after it.
"""

import copy
import inspect
import itertools
import linecache
import math
import numbers
import warnings
from collections import namedtuple
from contextlib import contextmanager
from functools import cached_property, partial, update_wrapper

import numpy as np

RTOL = 1e-5  # single precision is precise enough
CHANCE = "Two calls with the same arguments gave different results: nothing in it is random."
DIVIDED = "Was something divided by zero?"
TOO_HARD = ("raises", "not-finite")  # ideas missed in a case that is harder than others
EXERCISES = {}  # all, by name
OUTCOMES = {}  # of this session: the idea missed last, or None


class Missed(AssertionError):
    """An idea that an answer missed: a sentence, and a name such as "batch_mask/factor-in-mask"."""

    def __init__(self, sentence, idea="", line=""):
        super().__init__(sentence)
        self.idea, self.line = idea, line

    def _render_traceback_(self):
        """Show the sentence alone, in place of a traceback: asked for by IPython."""
        return [str(self), *([self.line] if self.line else []), f"[{self.idea}]"]


Finding = namedtuple("Finding", "name sentence")  # what is off in an answer that draws
Wrong = namedtuple("Wrong", "name sentence answer settings")  # an answer of a table


def found(off, name, sentence):
    """Yield a `Finding` if something is off."""
    if off:
        yield Finding(name, sentence)


def refuse(off, name, sentence):
    """Raise `Missed` if something is off: no table is looked at for a better sentence."""
    if off:
        raise Missed(sentence, name)


class Exercise:
    """A check: called with a student's function it prints a line, or raises `Missed`."""

    def __init__(
        self, right, *, returns, done, cases=None, traits=None, otherwise="", chance=CHANCE,
        rtol=RTOL, phases=None, at_once=False,
    ):  # fmt: skip
        update_wrapper(self, right)
        self.right, self.returns, self.done = right, returns, done
        self.cases, self.traits, self.otherwise, self.at_once = cases, traits, otherwise, at_once
        self.chance, self.rtol, self.phases, self.table = chance, rtol, phases, []
        parameters = inspect.signature(right).parameters.values()
        self.arguments = [each.name for each in parameters
                          if each.kind not in (each.KEYWORD_ONLY, each.VAR_KEYWORD)]  # fmt: skip
        self.part = right.__module__.rpartition(".")[2]
        EXERCISES[self.name] = self

    @property
    def name(self):
        return self.right.__name__

    def __call__(self, student, seed=0):
        """Check a student's function, with arguments drawn with a seed: 0 in the notebook."""
        __tracebackhide__ = True
        try:
            self.look(student, seed)
        except Missed as missed:
            missed.idea = f"{self.name}/{missed.idea}"
            OUTCOMES[self.name] = missed.idea
            raise missed.with_traceback(None) from None
        OUTCOMES[self.name] = None
        print(f"{self.name}: {self.done}")

    def wrong(self, name, sentence, *answers):
        """Add wrong answers that miss one idea.

        An answer is a function like the right one, or a dict: the right one with these keyword
        arguments. Without answers it decorates a function. The sentence may name arguments of a
        case in braces, and {yours} and {right} where a number is returned.
        """

        def add(*answers):
            for answer in answers:
                settings = answer if isinstance(answer, dict) else None
                function = answer if settings is None else partial(self.right, **settings)
                self.table.append(Wrong(name, sentence, function, settings))
            return answers[0]

        return add(*answers) if answers else add

    def look(self, student, seed):
        """Raise `Missed` if the function is not right; names without the exercise."""
        if self.cases is not None:
            self._compare(student, seed)
        if self.traits is not None:
            self._describe(student, seed)
        if self.phases is not None:
            self._other_phases(student, self.phases(np.random.default_rng(seed)))

    # Answers without chance

    def _compare(self, student, seed):
        cases = self.cases(np.random.default_rng(seed))
        for some in itertools.accumulate(cases) if isinstance(cases[0], list) else [cases]:
            self._compare_on(student, some)

    def _compare_on(self, student, cases):
        right = [self._run(self.right, case) for case in cases]
        tried = [self._outcome(student, case) for case in cases]
        raw, yours, missed = zip(*tried, strict=True)
        if yours[0] is not None:
            again = call(student, **self._complete(cases[0]))
            refuse(not same(raw[0], again), "not-repeatable", self.chance)
        self._stop(cases, raw, missed)
        equal = np.array([[y is not None and close(y[p], r[p], self.rtol) for p in range(len(r))]
                          for y, r in zip(yours, right, strict=True)])  # fmt: skip
        if equal.all():
            return
        able = [i for i, each in enumerate(yours) if each is not None]
        failed = next((i for i, each in enumerate(missed) if each), 0)
        first, part = next(((i, p) for i, p in np.argwhere(~equal) if i in able), (failed, 0))
        words = {name: in_short(value) for name, value in cases[first].items()}
        words |= {"what": self._slots[part].what, "right": in_short(right[first][part])}
        words["yours"] = in_short(yours[first][part]) if first in able else "NaN"
        fails = equal[able].all()  # right, but for cases that are harder than others
        matchers = [self._matcher(yours, range(len(right[0])))]
        if len(right[0]) > 1 and not fails:
            matchers.append(self._matcher(yours, [part]))
        self._match(matchers, cases, **words)
        more = self.otherwise.format(**words)
        if fails:
            hard = f"{missed[first]}".rstrip(".") + f". {more}".rstrip()
            raise Missed(hard[:390], missed[first].idea, missed[first].line)
        given = raw[first][part] if isinstance(self.returns, tuple) else raw[first]
        coarse = getattr(given, "dtype", None) in (np.float16, np.float32)
        those = zip(*((cases[i], yours[i][part], right[i][part]) for i in able), strict=True)
        self._name(*those, able.index(first), coarse, words, more)

    def _stop(self, cases, raw, missed):
        """Raise what is missed in every case, or in one that is no harder than others."""
        stop = [each for each in missed if each and each.idea not in TOO_HARD]
        if not stop and not all(missed):
            return
        if any(each is not None for each in raw):
            matches = [lambda wrong: all(map(alike, raw, wrong))]
            case = next(case for case, each in zip(cases, missed, strict=True) if each)
            words = {name: in_short(value) for name, value in case.items()}
            self._match(matches, cases, True, what=self._slots[0].what, **words)
        raise (stop or missed)[0]

    def _matcher(self, yours, parts):
        """Make a function that says whether a wrong answer's outputs are these, in some parts."""

        def matches(wrong):
            return all(w is y if w is None or y is None else close(y[p], w[p], self.rtol)
                       for y, w in zip(yours, wrong, strict=True) for p in parts)  # fmt: skip

        return matches

    def _name(self, cases, yours, right, first, coarse, words, more):
        """Say in what outputs that no wrong answer of the table has differ from the right ones."""
        what = words["what"]
        for name, sentence in off_by(yours, right, cases, self.rtol):
            raise Missed(f"{what} {sentence}. {more}".strip(), name)
        ignored = self._ignored(cases, yours, right)
        refuse(ignored, f"ignores-{ignored}",
               f"{what} does not depend on {ignored}, and it should.")  # fmt: skip
        refuse(coarse and close(yours[first], right[first], 0.01), "single-precision",
               f"{what} is right to a few digits only: compute in double precision.")  # fmt: skip
        pairs = list(zip(yours, right, strict=True))
        off = [np.subtract(*pair) for pair in pairs if not close(*pair, self.rtol)]
        signs = {sign for each in off for sign in np.sign(each).ravel()}
        nearly = signs >= {-1, 1} and all(close(*pair, 0.05) for pair in pairs)
        refuse(nearly, "nearly", f"{what} is near the right one, but not exact: is it an average "
               f"of samples, or rounded? {more}".rstrip())  # fmt: skip
        asked = ", ".join(f"{name}={words[name]}" for name in cases[first])
        detail = difference(yours[first], right[first])
        raise Missed(f"{what} is off, for {asked}: {detail} {more}".strip(), "otherwise")

    def _match(self, matchers, cases, raw=False, **format_):
        """Raise the sentence of a wrong answer that matches, or else of a pair of such."""
        singles = [(each, each.answer) for each in self.table]
        settings = [each for each in self.table if each.settings]
        pairs = [(one, partial(self.right, **one.settings, **two.settings))
                 for one, two in itertools.combinations(settings, 2)
                 if not one.settings.keys() & two.settings.keys()]  # fmt: skip
        for group, matches in itertools.product((singles, pairs), matchers):
            for wrong, answer in group:
                if matches(self._attempt(answer, case, raw) for case in cases):
                    raise Missed(wrong.sentence.format_map(Lenient(format_)), wrong.name)

    def _outcome(self, student, case):
        """What a student's function returns, as it is and as it is read, and what is missed."""
        result = None
        try:
            result = call(student, **self._complete(case))
            return result, self._read(result, case), None
        except Missed as missed:
            error, hint = missed.__cause__, getattr(self._slots[0], "infinite", DIVIDED)
            arithmetic = isinstance(error, ArithmeticError) or "math domain" in str(error)
            if arithmetic and hint != DIVIDED:  # where NumPy has NaN, Python's numbers raise
                return result, None, Missed(f"{missed}. {hint}", "not-finite", missed.line)
            return result, None, missed

    def _attempt(self, answer, case, raw):
        """What a wrong answer returns: None if a case is too hard, NaN for what is no answer."""
        try:
            return self._run(answer, case, raw)
        except Missed as missed:
            return None if missed.idea in TOO_HARD else [math.nan] * len(self._slots)
        except Exception:
            return None

    def _ignored(self, cases, yours, right):
        """An argument on which the right output depends, and the student's never does."""
        follows = {}
        for (i, one), (j, two) in itertools.combinations(enumerate(cases), 2):
            names = [name for name in one if not same(one[name], two[name])]
            if len(names) == 1 and not close(right[i], right[j], self.rtol):
                follows.setdefault(names[0], []).append(close(yours[i], yours[j], 1e-12))
        return next((name for name, equal in follows.items() if all(equal)), None)

    # Answers that draw

    def _describe(self, student, seed):
        findings = list(itertools.islice(self.findings(student, seed), 1 if self.at_once else None))
        names = [each.name for each in findings]
        for wrong in self.table if names and not self.at_once else ():
            if self._names_of(wrong, seed) == names:
                raise Missed(wrong.sentence.format_map(Lenient()), wrong.name)
        for each in findings:
            raise Missed(each.sentence, each.name)

    def findings(self, answer, seed=0):
        """What is off in an answer that draws."""
        return self.traits(partial(self._try, answer), np.random.default_rng(seed))

    def _names_of(self, wrong, seed):
        try:
            return [each.name for each in self.findings(wrong.answer, seed)]
        except Missed as missed:
            return [missed.idea]

    def _try(self, answer, rng=None, raw=False, **case):
        """Call an answer, and read what it returns."""
        result = call(answer, **self._complete(case, rng))
        if raw:
            return result
        read = self._read(result, case)
        return read if isinstance(self.returns, tuple) else read[0]

    # Both

    def _other_phases(self, student, case):
        """Other phases, and other spellings, are errors."""
        for phase in ("predict", "Train", "TEST", "training", "testing", "eval", "rain", "t", ""):
            arguments = self._complete(case | {"phase": phase})
            try:
                with silenced():
                    student(*(arguments[name] for name in self.arguments))
            except ValueError:
                continue
            except Exception as error:
                text = f"phase={phase!r} raised {type(error).__name__}: {error}"
                text = f"An unknown phase must raise a ValueError; {text}"
                raise Missed(text, "other-phase") from None
            raise Missed(f"phase={phase!r} was accepted. A misspelt phase that passes in silence "
                         "is a mask left on, or never applied: raise a ValueError.",
                         "other-phase")  # fmt: skip

    def _complete(self, case, rng=None):
        """The arguments of a case, in their order; a generator if one is wanted."""
        drawn = {"rng": rng or np.random.default_rng(0)}
        return {name: (drawn | case)[name] for name in self.arguments}

    def _run(self, answer, case, raw=False):
        with silenced():
            result = answer(*self._complete(copy.deepcopy(case)).values())
        return result if raw else self._read(result, case)

    @cached_property
    def _slots(self):
        return self.returns if isinstance(self.returns, tuple) else (self.returns,)

    def _read(self, result, case):
        """A student's arrays and numbers, of the right shapes."""
        if not isinstance(self.returns, tuple):
            return [self.returns.read(result, case)]
        n, names = len(self.returns), ", ".join(slot.short for slot in self.returns)
        is_array = isinstance(result, np.ndarray) and result.ndim > 0
        several = isinstance(result, list | tuple) or is_array
        number = {2: "two", 3: "three", 4: "four"}.get(n, n)
        refuse(not several or len(result) != n, "how-many",
               f"The function must return {number} things: return {names}.")  # fmt: skip
        return [slot.read(each, case) for slot, each in zip(self.returns, result, strict=True)]


class Lenient(dict):
    """Leaves a name in braces as it is where nothing is given for it."""

    def __missing__(self, key):
        return "{" + key + "}"


def varied(name, *values):
    """Wrong answers that differ from the right one in one keyword argument, a value each."""
    return [{name: value} for value in values]


def exercise(**settings):
    """Make the decorated function, a right answer, an `Exercise`; see there."""
    return partial(Exercise, **settings)


class Array:
    """An array of numbers.

    Sentences call it `what`, such as "The mask", and `short` where it is one of several. Its
    `shape` is a function of the arguments of a case, by their names; `why` is said where it is
    wrong, `infinite` where an entry is NaN or infinite.
    """

    def __init__(self, what, shape, why="", short="", infinite=DIVIDED):
        self.what, self.shape, self.why, self.short = what, shape, why, short or what
        self.infinite = infinite

    def read(self, result, case):
        # fmt: off
        names = inspect.signature(self.shape).parameters
        shape = tuple(self.shape(**{name: case[name] for name in names}))
        if hasattr(result, "detach"):
            result = result.detach().numpy()
        refuse(isinstance(result, numbers.Real) and shape, "single-number",
               f"{self.what} is a single number; it must have shape {shape}. {self.why}".rstrip())
        refuse(not isinstance(result, np.ndarray), "no-array",
               f"{self.what} must be a NumPy array, yours is of type {type(result).__name__}. "
               "np.asarray(...) makes one of a list.")
        refuse(result.shape != shape, "shape", f"{self.what} must have shape {shape}, yours has "
               f"{result.shape}. {self.why}".rstrip())
        refuse(result.dtype.kind not in "biuf", "no-numbers",
               f"{self.what} must hold numbers, yours holds {result.dtype}.")
        result = result.astype(float)
        refuse(not np.isfinite(result).all(), "not-finite",
               f"{self.what} has entries that are NaN or infinite. {self.infinite}")
        return result
        # fmt: on


class Number:
    """One number, `whole` or not; else as `Array`."""

    def __init__(self, what, short="", whole=False, infinite=DIVIDED):
        self.what, self.short, self.whole = what, short or what, whole
        self.infinite = infinite

    def read(self, result, case):
        if hasattr(result, "item") and getattr(result, "ndim", 1) == 0:
            result = result.item()
        is_number = isinstance(result, numbers.Real) or (
            isinstance(result, np.ndarray) and result.size == 1 and result.dtype.kind in "biuf"
        )
        # fmt: off
        refuse(not is_number, "no-number",
               f"{self.what} must be one number, yours is {brief(result)} "
               f"({type(result).__name__}).")
        result = float(np.ravel(result)[0])
        refuse(not math.isfinite(result), "not-finite",
               f"{self.what} is {result}. {self.infinite}")
        refuse(self.whole and result != int(result), "not-whole",
               f"{self.what} is {result:.3g}: it must be a whole number.")
        return result
        # fmt: on


def call(function, **arguments):
    """Call a student's function, by position, and say what goes wrong.

    It gets copies, but of random generators and torch modules the object itself; it must not change
    its arguments, nor return None.
    """
    # fmt: off
    is_class = isinstance(function, type) and not hasattr(function, "forward")  # nn.Module is one
    refuse(not callable(function) or is_class, "no-function",
           f"The check wants the function itself, without parentheses: it got {brief(function)}.")
    name = getattr(function, "__name__", "your function")
    described = f"{name}({', '.join(f'{key}={brief(value)}' for key, value in arguments.items())})"
    given = {key: value if is_itself(value) else copy.deepcopy(value)
             for key, value in arguments.items()}
    try:
        with silenced():
            result = function(*given.values())
    except NotImplementedError:
        raise Missed(f"{name} is not written yet. Replace the line `raise NotImplementedError(...)`"
                     " with your code, run its cell, then this one.", "not-written") from None
    except Missed:
        raise
    except Exception as error:
        text = f"{described} raised {type(error).__name__}: {error}"
        raise Missed(text[:390], "raises", own_line(function, error)) from error
    for key, value in given.items():
        refuse(not same(value, arguments[key]), "changes-argument",
               f"{name} changed its argument {key} in place. Whoever called it still needs the old "
               "values: compute a new array, without *= or assignments into the old one.")
    refuse(result is None, "returns-none",
           f"{described} returned None. Is a `return` missing, or is the function still empty?")
    return result
    # fmt: on


def own_line(function, error):
    """The line of the student's own cell from which an error came."""
    file = getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", None)
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = linecache.getline(file, trace.tb_lineno).strip()
        trace = trace.tb_next
    return f"Your line: {line}" if line else ""


@contextmanager
def silenced():
    """Nothing is said of roots of negative numbers and the like: what comes out is looked at."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def brief(value):
    """Describe an argument in a few words."""
    if isinstance(value, np.random.Generator):
        return "rng"
    if hasattr(value, "shape") and np.ndim(value) > 0:
        return f"<array {' x '.join(map(str, value.shape))}>"
    if isinstance(value, list | tuple):
        text = ", ".join(brief(item) for item in value)
        return f"[{text}]" if isinstance(value, list) else f"({text})"
    return repr(value) if isinstance(value, str | numbers.Number) else f"<{type(value).__name__}>"


def in_short(value):
    """A number to some digits, anything else as `brief` has it."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return f"{value:.6g}" if is_number else brief(value)


def is_itself(value):
    """Whether a function gets the very object: a generator, a torch module that has no equal."""
    is_module = hasattr(value, "state_dict") and type(value).__eq__ is object.__eq__
    return isinstance(value, np.random.Generator) or is_module


def same(a, b):
    """Whether two arguments are the same, lists of arrays included."""
    if is_itself(a):
        return True
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return isinstance(b, dict) and same([*a.items()], [*b.items()])
    if hasattr(a, "state_dict"):  # a torch module is no array of its layers
        return a == b
    a, b = (each.detach() if hasattr(each, "detach") else each for each in (a, b))
    try:
        return bool(np.array_equal(a, b) or np.array_equal(a, b, equal_nan=True))
    except Exception:
        return a is b


def alike(a, b):
    """As `same`, but for rounding: of one type, NaN and infinity in the same places."""
    if type(a) is not type(b) or a is None:
        return a is b
    if isinstance(a, list | tuple):
        return isinstance(b, list | tuple) and len(a) == len(b) and all(map(alike, a, b))
    try:
        return np.asarray(a).dtype.kind in "biuf" and close(a, b, RTOL)
    except Exception:
        return same(a, b)


def close(a, b, rtol):
    """Whether two numbers or arrays are equal, to a share of the largest entry."""
    if np.shape(a) != np.shape(b):
        return False
    a, b = np.asarray(a, float), np.asarray(b, float)
    largest = np.abs(b[np.isfinite(b)]).max(initial=0.0) or 1e-4  # 0 may come out as 1e-16
    return bool(np.allclose(a, b, rtol, atol=rtol * min(largest, 1.0), equal_nan=True))


def difference(yours, right):
    """Where two of one shape differ most, in words."""
    if np.ndim(right) == 0:
        return f"yours is {in_short(float(yours))}, right is {in_short(float(right))}."
    at = tuple(int(i) for i in np.unravel_index(np.abs(yours - right).argmax(), right.shape))
    where = at[0] if len(at) == 1 else at
    return f"at index {where} yours is {yours[at]:.6g}, right is {right[at]:.6g}."


FORMS = {  # of the right outputs, and what it means if a student's have it
    "sign": (np.negative, "has the wrong sign"),
    "complement": (lambda r: 1 - r, "is 1 minus what it should be"),
    "squared": (np.square, "is the square of what it should be"),
    "root": (lambda r: np.sqrt(np.abs(r)), "is the root of what it should be"),
    "logarithm": (lambda r: np.log(np.abs(r)), "is the logarithm of what it should be"),
    "exponential": (np.exp, "is exp of what it should be"),
    "twice": (lambda r: 2 * r, "is twice what it should be"),
    "half": (lambda r: r / 2, "is half of what it should be"),
    **{f"rounded-to-{n}": (partial(np.round, decimals=n), "is rounded: return it as it is")
       for n in range(1, 5)},
}  # fmt: skip
BY_NUMBER = {  # with an argument that is a number
    "times-{}": (np.multiply, "is {} times too large"),
    "by-{}": (np.divide, "is divided by {} once too often"),
    "times-1-{}": (lambda r, n: r * (1 - n), "is multiplied by 1 - {}, and should not be"),
}
BY_ROWS = {  # with the number of rows of an argument that is an array
    "times-len-{}": (np.multiply, "is as many times too large as {} has rows"),
    "by-len-{}": (np.divide, "is divided by the number of rows of {}, and should not be"),
}


def off_by(yours, right, cases, rtol):
    """Name what would turn the right outputs into the student's: a factor, a root, a square."""
    forms = [(name, form, [()] * len(cases), said) for name, (form, said) in FORMS.items()]
    for key, value in cases[0].items():
        is_number = isinstance(value, float | int) and not isinstance(value, bool)
        is_array = hasattr(value, "shape") and np.ndim(value) > 0
        sizes = [(case[key] if is_number else len(case[key]) if is_array else 0,) for case in cases]
        for name, (form, said) in (BY_NUMBER if is_number else BY_ROWS if is_array else {}).items():
            forms.append((name.format(key), form, sizes, said.format(key)))
    with silenced():
        for name, form, sizes, said in forms:
            if all(close(y, form(np.asarray(r), *size), rtol)
                   for y, r, size in zip(yours, right, sizes, strict=True)):  # fmt: skip
                yield name, said


def summary_of(part):
    """Make a function that says which exercises of a part are done in this session."""

    def summary():
        """Print which exercises are done, which are not, and what the last check of each said."""
        for name, each in EXERCISES.items():
            if each.part == part:
                idea = OUTCOMES.get(name, "not checked yet")
                print(f"{'✓' if idea is None else '✗'} {name}{f': {idea}' if idea else ''}")

    return summary
