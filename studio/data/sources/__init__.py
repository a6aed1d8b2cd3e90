"""A file (JSON, JSONL, CSV, TSV, Parquet, XLSX, text; gz and zip of these) → numbered rows."""

from studio.data.sources.contract import MAX_PROBLEMS, SourceError
from studio.data.sources.encodings import ENCODINGS
from studio.data.sources.reader import READERS, SUFFIXES, RowReader, candidate_encodings

__all__ = ["ENCODINGS", "MAX_PROBLEMS", "READERS", "SUFFIXES", "RowReader", "SourceError", "candidate_encodings"]
