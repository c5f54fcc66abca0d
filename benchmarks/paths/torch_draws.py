"""torch on the CPU: what is only checked, so the check is the cost; a step of training; and its import."""

from benchmarks.case import Case

TORCH = "import torch\ntorch.set_num_threads(1)\nrand = torch.rand\n"
GENERATOR = f"{TORCH}one = torch.Generator()\n"
DROPOUT = f"{TORCH}ones, dropout = torch.ones(64, 64), torch.nn.functional.dropout\n"
STEP = f"""{TORCH}
layers = [torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(128, 10)]
model = torch.nn.Sequential(*layers)
adjusted = torch.optim.SGD(model.parameters(), lr=0.01)
x, y = torch.ones(32, 64), torch.zeros(32, dtype=torch.long)
def step():
    adjusted.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    adjusted.step()
"""

CASES = [
    Case("torch.rand(1)", "rand(1)", TORCH, needs="torch", ratio=1.03),
    Case("torch.rand(1, generator=...)", "rand(1, generator=one)", GENERATOR, needs="torch", ratio=1.06),
    Case("torch.rand(10**6)", "rand(1000000)", TORCH, needs="torch", ratio=1.01),
    Case("dropout of 64 x 64 values", "dropout(ones)", DROPOUT, needs="torch", ratio=1.03),
    Case("a step of training with dropout, 32 x 64 values", "step()", STEP, needs="torch", ratio=1.01),
]
