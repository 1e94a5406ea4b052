"""Reading anyone's tables as Arrow batches in bounded memory, each row with the number that messages name.

`open_table` picks the reader: `csv_table` and `csv_blocks` (CSV, TSV, RecBole's atomic files), `json_lines`,
`parquet_table` and `sql_table`; `addresses` finds the files of a path, a folder or an object store.
"""
