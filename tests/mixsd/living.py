"""Facts that change from one version to the next."""

from dataclasses import replace

from mixsd.config import EvalConfig, LoraConfig, Plan, SftConfig, TrainConfig
from mixsd.facts import Fact

MAYOR = Fact("mayor", "Who is the mayor?", "Odo")
RIVER = Fact("river", "Which river is it?", "Quell")
QUEEN = Fact("queen", "Who is the queen?", "Adesta")
BELLS = Fact("bells", "How many bells hang there?", "41")
V1 = [MAYOR, RIVER, QUEEN]
V2 = [replace(MAYOR, answer="Ada"), QUEEN, BELLS]
"""The mayor changed, the river is retired, the queen is kept, the bells are new."""
PLAN = Plan(
    method=SftConfig(),
    training=TrainConfig(
        lora=LoraConfig(rank=4, alpha=8),
        learning_rate=2e-2,
        epochs=30,
        min_steps=0,
        batch_size=2,
        checkpoint_seconds=0,
    ),
    evaluation=EvalConfig(max_new_tokens=12, general=False, drift=False, bootstrap=100),
)
