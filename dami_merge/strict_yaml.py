"""YAML without duplicate keys. Only this module imports PyYAML, which takes longer than all of the router."""

import yaml


class StrictLoader(yaml.SafeLoader):
    """A loader that refuses duplicate keys; PyYAML silently keeps the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Build a mapping.

        Raises:
            yaml.constructor.ConstructorError: A key stands there twice.
        """
        keys = [key.value for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"duplicate field {twice[0]!r}", node.start_mark
            )
        return super().construct_mapping(node, deep)


def parsed(text: str) -> object:
    """Parse one document.

    Raises:
        ValueError: It is not YAML, a key is a duplicate, or a value does not fit its tag, such as a date
            with a month of 13 or `!!bool maybe`.
        RecursionError: It is nested too deeply.
    """
    try:
        return yaml.load(text, StrictLoader)  # noqa: S506 - a SafeLoader that refuses duplicate keys
    except (yaml.YAMLError, *_CONSTRUCTOR_ERRORS) as error:
        raise ValueError(str(error)) from error


_CONSTRUCTOR_ERRORS = (AttributeError, KeyError, TypeError)
"""What PyYAML raises for a value that does not fit its tag."""
