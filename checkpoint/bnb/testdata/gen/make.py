"""Writes packed.safetensors and plain.safetensors: matrices that bitsandbytes packed, and what it unpacks them to.

    python make.py LIBRARY OUT    # LIBRARY: libbitsandbytes_cpu.so of bitsandbytes 0.50.2

The numbers are packed and unpacked by the compiled functions of the wheel, called without torch; names, the JSON object and the
order of halves are those of functional.py (QuantState.as_dict) and backends/default/ops.py. numpy 2.4.6, safetensors 0.8.0.
"""
import ctypes, json, sys
import numpy as np
from safetensors.numpy import save_file

lib = ctypes.CDLL(sys.argv[1])
out = sys.argv[2]
NF4 = np.array([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], np.float32)
HALF = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3], np.float32) / np.float32(12)  # functional.get_4bit_type
FP4 = np.concatenate([HALF, -HALF])
p = lambda x: x.ctypes.data_as(ctypes.c_void_p)
ll = ctypes.c_longlong


def pack(w, code, block):
    flat = w.reshape(-1)
    most = np.abs(flat.reshape(-1, block)).max(1).astype(np.float32)
    scaled = (flat.reshape(-1, block) / most[:, None]).reshape(-1)
    q = np.abs(scaled[:, None] - code[None]).argmin(1).astype(np.uint8)
    return (q[::2] << 4 | q[1::2]).reshape(-1, 1), most


def unpack(kind, q, most, block, shape):
    x = np.zeros(int(np.prod(shape)), np.float32)
    getattr(lib, f"cdequantize_blockwise_cpu_{kind}_fp32")(p(q), p(most), p(x), ll(block), ll(shape[0]), ll(shape[1]))
    return x.reshape(shape)


def state(packed, name, kind, code, block, shape, dtype, **more):
    packed[name + ".quant_map"] = code
    text = json.dumps({"quant_type": kind, "blocksize": block, "dtype": dtype, "shape": list(shape), **more})
    packed[f"{name}.quant_state.bitsandbytes__{kind}"] = np.frombuffer(text.encode(), np.uint8).copy()


rng = np.random.default_rng(1)
packed, plain = {}, {}
for name, kind, code, block, shape in [("a.weight", "nf4", NF4, 64, (10, 64)), ("b.weight", "fp4", FP4, 32, (6, 96))]:
    w = rng.normal(size=shape).astype(np.float32)
    q, most = pack(w, code, block)
    packed[name], packed[name + ".absmax"] = q, most
    state(packed, name, kind, code, block, shape, "float32")
    plain[name] = unpack(kind, q, most, block, shape)

# double quantisation: the factors are packed by a table of 256
w = rng.normal(size=(48, 64)).astype(np.float32)
q, most = pack(w, NF4, 64)
code8 = np.sort(np.concatenate([np.linspace(-1, 1, 255), [0.0]])).astype(np.float32)
offset = np.float32(most.mean())
inner = most - offset
big = np.abs(np.pad(inner, (0, -len(inner) % 32)).reshape(-1, 32)).max(1).astype(np.float32)
q8 = np.zeros(len(inner), np.uint8)
for i, v in enumerate(inner):
    q8[i] = np.abs(v / big[i // 32] - code8).argmin()
seen = np.zeros(len(inner), np.float32)
lib.cdequantize_blockwise_cpu_fp32(p(code8), p(q8), p(big), p(seen), ll(32), ll(len(inner)))
packed["c.weight"], packed["c.weight.absmax"] = q, q8
packed["c.weight.nested_absmax"], packed["c.weight.nested_quant_map"] = big, code8
state(packed, "c.weight", "nf4", NF4, 64, (48, 64), "float32", nested_blocksize=32, nested_dtype="float32", nested_offset=float(offset))
plain["c.weight"] = unpack("nf4", q, (seen + offset).astype(np.float32), 64, (48, 64))

# eight bits
w = rng.normal(size=(5, 12)).astype(np.float32)
scb = np.abs(w).max(1).astype(np.float32)
packed["d.weight"] = np.round(w * (np.float32(127) / scb[:, None])).astype(np.int8)
packed["d.SCB"], packed["d.weight_format"] = scb, np.array(0, np.uint8)
plain["d.weight"] = packed["d.weight"].astype(np.float32) * scb[:, None] * np.float32(7.874015718698502e-3)

packed["e.weight"] = plain["e.weight"] = rng.normal(size=(3, 2)).astype(np.float32)
save_file(packed, out + "/packed.safetensors", {"format": "pt"})
save_file(plain, out + "/plain.safetensors", {"format": "pt"})
