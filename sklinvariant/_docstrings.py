"""Docstrings in numpydoc format, completed with the entries that several classes or functions share.

Each entry is written once and substituted when a class or function is defined. ``help`` and the API reference show
all of them.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

F = TypeVar("F", bound=Callable)

_FIRST = ("", "Parameters", "Attributes", "Returns")  # sections that come before all others; "" is the summary
_MAIN = ("fit", "from_estimator")  # other methods take the same parameters
_IGNORED = "y : None\n    Ignored."  # the default entry for y


class Documented:
    """Base of classes whose docstrings are completed.

    A class has the attributes that its bases document. A parameter that the docstring of a method leaves out is
    documented as in ``_shared_docs``, else as in the method of a base class, else as in `fit` or `from_estimator`.
    "Returns" is added to methods that return the object. Other methods that leave it out have that of the base class.
    """

    _shared_docs: ClassVar[str] = ""  # entries for the parameters of methods, also of those of subclasses
    _errors_of_fit: ClassVar[str] = ""  # entries for "Raises" of `fit` of subclasses
    _parameter_docs: ClassVar[dict[str, str]] = {}  # entries of the class, for the declared classes derived from it

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._parameter_docs = _entries(_sections(vars(cls).get("__doc__")).get("Parameters", ""))
        _add_attributes(cls)
        shared: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            shared |= _entries(inspect.cleandoc(vars(base).get("_shared_docs", "")))
        for name, method in sorted(vars(cls).items(), key=lambda item: item[0] not in _MAIN):
            # the function in a classmethod, and in what scikit-learn's `available_if` returns
            function = getattr(method, "__func__", getattr(method, "fn", method))
            if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
                continue
            known = {"y": _IGNORED}
            for main in () if name in _MAIN or name == "inverse_transform" else _MAIN:  # it has another X
                known |= _parameters_of(getattr(cls, main, None))
            inherited = getattr(super(cls, cls), name, None)
            known |= _parameters_of(inherited) | shared
            result = _section_of(inherited, "Returns")
            if _returns_itself(function):
                result = cls.__name__ if isinstance(method, classmethod) else "self"
            errors = inspect.cleandoc(cls._errors_of_fit) if name == "fit" else ""
            function.__doc__ = _completed(function, known, result, errors)


def document_parameters(cls: type) -> None:
    """Add the parameters that base classes document, and all defaults, to the docstring of a dataclass."""
    sections = _sections(vars(cls).get("__doc__"))
    cls._parameter_docs = _entries(sections.get("Parameters", ""))  # type: ignore[attr-defined]
    known: dict[str, str] = {}
    depth: dict[str, int] = {}
    for i, base in enumerate(reversed(cls.__mro__)):
        known |= vars(base).get("_parameter_docs", {})
        depth |= dict.fromkeys(vars(base).get("__annotations__", {}), -i)
    # the order of the signature: positional parameters first, then those of the class before those of its bases
    fields: Any = dataclasses.fields(cls)  # type: ignore[arg-type]
    sections["Parameters"] = "\n".join(
        _with_default(known.get(field.name, f"{field.name} : object"), field.default)
        for field in sorted(fields, key=lambda field: (field.kw_only, depth[field.name]))
    )
    cls.__doc__ = _joined(sections)


def documented_by(*sources: Any) -> Callable[[F], F]:
    """Complete the docstring of a function or class with entries for its parameters from these sources.

    A source is a function, a class or text.
    """

    def complete(function: F) -> F:
        known: dict[str, str] = {}
        for source in sources:
            known |= _entries(inspect.cleandoc(source)) if isinstance(source, str) else _parameters_of(source)
        function.__doc__ = _completed(function, known)
        return function

    return complete


def _add_attributes(cls):
    sections = _sections(vars(cls).get("__doc__"))
    cls._attribute_docs = _entries(sections.get("Attributes", ""))
    attributes: dict[str, str] = {}
    for base in (*cls.__mro__, *type(getattr(cls, "_reader", None)).__mro__):  # readers set attributes as well
        for name, entry in vars(base).get("_attribute_docs", {}).items():
            attributes.setdefault(name, entry)
    sections["Attributes"] = "\n".join(dict.fromkeys(attributes.values()))
    cls.__doc__ = _joined(sections) or None


def _completed(function, known, result="", errors=""):
    sections = _sections(function.__doc__)
    signature = inspect.signature(function)
    entries = _entries(sections.get("Parameters", ""))
    for name, parameter in signature.parameters.items():
        if name in known and name not in entries and (parameter.default is None or known[name] != _IGNORED):
            entries[name] = _with_default(known[name], parameter.default)
    order = [name for name in signature.parameters if name in entries]
    sections["Parameters"] = "\n".join(dict.fromkeys(entries[name] for name in [*order, *entries]))
    sections.setdefault("Returns", result)
    if errors:
        sections["Raises"] = "\n".join(filter(None, [sections.get("Raises"), errors]))
    return _joined(sections)


def _returns_itself(function):
    annotation = inspect.signature(function).return_annotation
    return annotation in (Self, "Self") or function.__name__ in ("fit", "partial_fit")


def _parameters_of(documented):
    """The entries of a class or function, unless it is scikit-learn's."""
    return _entries(_section_of(documented, "Parameters"))


def _section_of(documented, title):
    ours = not getattr(documented, "__module__", "sklearn").startswith("sklearn")
    return _sections(documented.__doc__).get(title, "") if ours else ""


def _sections(doc):
    """The sections of a docstring by title."""
    summary, *rest = re.split(r"^([A-Z][\w ]+)\n-{3,}\n", inspect.cleandoc(doc or ""), flags=re.MULTILINE)
    return {"": summary.strip()} | {title: text.strip("\n") for title, text in zip(rest[::2], rest[1::2], strict=True)}


def _joined(sections):
    titles = sorted(sections, key=lambda title: _FIRST.index(title) if title in _FIRST else len(_FIRST))
    heads = {title: f"{title}\n{'-' * len(title)}\n" if title else "" for title in titles}
    return "\n\n".join(head + sections[title] for title, head in heads.items() if sections[title])


def _entries(text):
    """The entries of a section by name. An entry for several names, such as "X, y", has all of them."""
    entries: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", text) if text else ():
        names = entry.partition("\n")[0].partition(" : ")[0]
        entries |= dict.fromkeys((name.strip(" *") for name in names.split(",")), entry)
    return entries


def _with_default(entry, default):
    head, newline, text = entry.partition("\n")
    if default is dataclasses.MISSING or head.endswith(" : None"):
        return entry
    shown = "" if default is inspect.Parameter.empty else f", default={_shown(default)}"
    return f"{head.partition(', default=')[0]}{shown}{newline}{text}"


def _shown(value):
    if inspect.isroutine(value):
        return value.__name__
    return re.sub(r"\binf\b", "np.inf", repr(value).replace("'", '"'))
