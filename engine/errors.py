"""Every error daogou raises on purpose.

* DaogouError
  x CatalogError            a catalog file cannot be read as asked
    · RejectedRowError      a row was rejected and the run is strict
  x QueryError              the words of a query cannot be searched
  x FilterError             a filter names an unknown field or an ill-typed value
  x ModelError              a model folder is missing, foreign, damaged or does not fit
    · MissingExtraError     the work needs an optional dependency that is not installed
    · StageUnavailableError a stage was asked for that the snapshot was built without
  x SnapshotError
    · SnapshotNotFoundError no such store or snapshot
    · SnapshotDamagedError  a file is missing, truncated or altered
    · SnapshotSchemaError   written by an older or newer daogou
    · StoreLockedError      another process is writing to the store
    · RecallError           an approximate index finds too little to be published
  x OutOfTimeError          what was asked for cannot be had before the deadline
  x TrainingError           a training cannot go on as asked
  x EvaluationError         queries, judgments or run files do not fit together
  x SettingsError           an option or environment variable has a value that cannot be used
  x ProductNotFoundError    no product has that id

A message says what is wrong, where (file, row, field) and what to do about it.
"""


class DaogouError(Exception):
    """Base of every error daogou raises on purpose."""


class CatalogError(DaogouError):
    """A catalog file cannot be read as asked."""


class RejectedRowError(CatalogError):
    """A row was rejected and the run was asked to be strict."""


class QueryError(DaogouError):
    """The words of a query cannot be searched."""

    def __init__(self, message: str, *, part: str = "query") -> None:
        super().__init__(message)
        self.part = part
        """Of the request: `query`, `question`, `before`, `products`, `history`, `k`."""


class FilterError(DaogouError):
    """A filter names an unknown field or carries an ill-typed value."""

    def __init__(self, message: str, *, part: str = "filters") -> None:
        super().__init__(message)
        self.part = part
        """Of the request: `filters` or `facets`."""


class ModelError(DaogouError):
    """A model folder is missing, foreign, damaged or does not fit the snapshot."""


class MissingExtraError(ModelError):
    """The work needs an optional dependency that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs an optional part. Install it with: pip install 'daogou[{extra}]'"
        )


class StageUnavailableError(ModelError):
    """A stage was asked for that the snapshot was built without."""


class SnapshotError(DaogouError):
    """A snapshot or its store cannot be used."""


class SnapshotNotFoundError(SnapshotError):
    """There is no such store or snapshot."""


class SnapshotDamagedError(SnapshotError):
    """A file of the snapshot is missing, truncated or altered."""


class SnapshotSchemaError(SnapshotError):
    """The snapshot was written by an older or newer daogou."""


class StoreLockedError(SnapshotError):
    """Another process is writing to the store."""


class RecallError(SnapshotError):
    """An approximate index of vectors finds too little to be published."""


class EvaluationError(DaogouError):
    """Queries, judgments or run files do not fit together."""


class TrainingError(DaogouError):
    """A training cannot start or go on as asked."""


class SettingsError(DaogouError):
    """An option or environment variable has a value that cannot be used."""


class OutOfTimeError(DaogouError):
    """What was asked for cannot be had before the deadline."""


class ProductNotFoundError(DaogouError):
    """No product of the snapshot has that id."""
