"""What can go wrong, as one tree.

ContainerPolicyError
├── UsageError            the user wrote something that can't work: an option, a URI, a file
│   ├── TargetError       a target URI that can't be understood
│   └── PackError         a policy, an example or a waiver that can't be understood
├── Unreachable           a target that can't be read at all
└── CannotLook            one fact that could not be read, so a verdict would be a guess
    └── NotRestored       what an experiment changed could not be put back
"""


class ContainerPolicyError(Exception):
    """Base of every error that is the environment's or the user's, not a bug."""


class UsageError(ContainerPolicyError):
    """The command line, a setting or a file is wrong; the message says how to mend it."""


class TargetError(UsageError):
    """A target URI names something that does not exist or is not allowed."""


class PackError(UsageError):
    """A file of a pack is wrong; the message names file, line, key and allowed values."""


class Unreachable(ContainerPolicyError):
    """The whole target can't be read: no connection, no credentials, no permission."""


class CannotLook(ContainerPolicyError):
    """One fact is missing, so what depends on it is not evaluated - never passed.

    Raised by the model when a check asks for what could not be read.
    """


class NotRestored(CannotLook):
    """An experiment's change stands: the message says which, and how to undo it by hand."""
