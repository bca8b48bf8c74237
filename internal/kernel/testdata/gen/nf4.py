# Writes ../nf4.safetensors: a weight of bf16 numbers, what bitsandbytes makes of it as NF4 with double quantisation, and what it reads
# from that. Made with bitsandbytes 0.50.2, torch 2.15.0 on a CPU.
import os
import bitsandbytes.functional as F
import torch
from safetensors.torch import save_file

torch.manual_seed(7)
w = torch.randn(101, 172) * torch.logspace(-3, 1, 101)[:, None]  # blocks run across rows, the last is not full; 272 scales of 2 groups
w[3, :90] = 0  # a block of zeros
w = w.to(torch.bfloat16)
q, state = F.quantize_4bit(w.float(), blocksize=64, compress_statistics=True, quant_type="nf4")
d = F.dequantize_4bit(q, state)
save_file({
    "weight": w, "packed": q.flatten(), "table": state.code.float(), "dequantised": d.float(),
    "scales": state.absmax.flatten(), "scale_table": state.state2.code.float(), "scales_of_scales": state.state2.absmax.float(),
    "offset": state.offset.float().reshape(1)}, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "nf4.safetensors"))
print({k: (v.shape, v.dtype) for k, v in {"q": q, "absmax": state.absmax, "a2": state.state2.absmax, "off": state.offset, "code": state.code}.items()}, state.state2.blocksize)
