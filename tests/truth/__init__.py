"""The truth table's corpus: deployable cases, each with a known fault or mended, in one file each.

`CHALLENGE/PLATFORM/CASE.yaml` is what is deployed; the comments that it begins with say what comes
out when it is measured. Kubernetes' files are manifests, Compose's are projects, those of Swarm and
the engine hold the bodies of the API's requests, named `truth-CASE` because they share a namespace.
"""

from tests.truth.cases import Case, Outcome, Question, cases

__all__ = ["Case", "Outcome", "Question", "cases"]
