"""Makes ../chat.parquet and ../columns.parquet as Hugging Face datasets write them. Made with pyarrow 26.0.1.

    python parquet.py
"""
import os

import pyarrow as pa
import pyarrow.parquet as pq

here = os.path.dirname(os.path.abspath(__file__))

call = pa.struct([("name", pa.string()), ("arguments", pa.string())])
message = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(call))])
chat = pa.table({
    "messages": pa.array([
        [{"role": "user", "content": "Zwei?", "tool_calls": None}, {"role": "assistant", "content": "Deux.", "tool_calls": []}],
        [{"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": "{}"}]}],
        [],
    ], pa.list_(message)),
    "id": pa.array([7, 8, 9], pa.int32()),
})
pq.write_table(chat, os.path.join(here, "..", "chat.parquet"), compression="zstd")

columns = pa.table({
    "prompt": pa.array(["café", "b", None], pa.string()),
    "completion": pa.array(["x", "y", "z"], pa.large_string()),
    "score": pa.array([0.5, -1.0, 2.25], pa.float32()),
    "good": pa.array([True, False, None], pa.bool_()),
    "history": pa.array([[["q", "a"]], [], None], pa.list_(pa.list_(pa.string()))),
    "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
    "extra": pa.array([{"z": 1, "a": "s"}, None, {"z": None, "a": "t"}], pa.struct([("z", pa.int64()), ("a", pa.string())])),
})
pq.write_table(columns, os.path.join(here, "..", "columns.parquet"), compression="snappy", row_group_size=2)
