"""What does a running half-cheetah do next? Seventeen observations a step (Hasani et al., arXiv 2006.04439)."""

from __future__ import annotations

import numpy as np

from torchliquid.datasets.dataset import Dataset
from torchliquid.datasets.fetch import Source, locate
from torchliquid.datasets.rollouts import next_observation
from torchliquid.tasks import Task

_SHA256 = (
    "c043e141c6dd99e9b41ac7a9d4bc741b0991cff6a769954517e9c204ce3c7ccc",
    "f231fe66284b535c745f9f44a595aac2f740b988171d3db3201597e821c6c5d3",
    "7ff8a0c8974247187717417f6a163023b739c3a22a374894becff1723ce67f68",
    "28109a8f9eae1ec0246aca4f5bfa10ebf21e9f86e62e448b9f8b66f345091680",
    "b478f21d00868db66d6aef8a14ed69f6214120870cc1491dec85a3f74aeb46eb",
    "45e6288f3d5ba610b98aea300c117b032c6585144eb55e7f7fb67178d71eb4d6",
    "ab93f0d3b9e0c5f1a7886a089e76d5ff99f955ad0671f23d98351d05fecf4913",
    "e29bc1ffee113f760b3efd33831dea0485626e2deddc1ee7a81baf30344aeaaa",
    "c7028a2301720e65a31f608d362c03f811aca977ebb0f3ee0d6985bc4f6f1c2c",
    "937afdd66e3c6487a48b1d04c2f2120ba24be563296f5bfaa8bef741083c7b7c",
    "625dbb7c7f8451816799b3dcd47d20ace4a82019e52d467e7a985422551be890",
    "d230f2c43a84462fda2f5af28480f7a2b7945f032731587fca896229dc3b02dc",
    "feef3754c2c547fdd7cfd697323eea81b212c854bfd3029f04048e277b9399c1",
    "53e9e0d128f9e21def2ee015bc41c40184b22df5928d05f5a978687d3696c76d",
    "f022f778ad332f8c6986709ca27dd18823130bb3a7f71f646c8a5ccdc483acda",
    "bcb9e34a17317e31f22ef71d82aa180c282ab08b81a21bfcfefb827dabbd8ee8",
    "7d22f86d205728c7c106d43c97cfc4038621700bc88bf4081855e1c01b2c9229",
    "403d52608b364089a4c8d48cc89758eacdb89b572ef6ca0c0829a4cf40fb063c",
    "6d8322ec8351fb68ec11e4173ed23c4c247c23faa4e66be6cfa3dbeec0717e5a",
    "7354afb2041a1af8117f0c2dca36f57cd489d6bb77f939bc81d134409836b358",
    "9d22d9138c0fd51eaa8271e484ce0a5b3c3f8ef592f5c91cf55933af4091e4d2",
    "363b31828ed262556cb987dc7ad470c8c039e6ca492a92e9139d4ab5422924d1",
    "27f624129fdeca0c4fa40499cb48ba5321d2bfd9b4effd0de189124de9fb7a5f",
    "680f5675eed8d8cc62ca9fcba2fe0f23a2acbad51019b7bb0d3954dc6e607e9b",
    "ae98a98829f61ec23260818743e7f659601641c459a4a797a8df86e235ec4b85",
    "a2488d0aaf847990f1a90f302803891b51dc5ba40e28e94f044ca11e428292ae",
    "bc9acb935a821810ecef4050b6d1e9e7bdb992601b70393492efa9c471e26c0c",
    "573e85ef1bda7c22583f362de712e62a33e8f9be319bf1bf4d754d822edfe701",
    "a20bdc1de0904a0522128db016d592f2ef95559ae9b6623e1496cb590bd552e0",
    "49f13631038f37b52e1fd929ecf430d02a6f140a32b43bec764855db41780c78",
    "f5b868f5886f5014fc2f4060fcce9694c0e30b03fc9e402ae6da3805da9d6a65",
)
_FILES = (
    "https://raw.githubusercontent.com/raminmh/liquid_time_constant_networks/"
    "cfc6a1fb85de178f9f147d0d54eaf73371f41bda/experiments_with_ltcs/data/cheetah"
)
SOURCE = Source(
    name="cheetah",
    address="https://github.com/raminmh/liquid_time_constant_networks (experiments_with_ltcs/data/cheetah)",
    direct={f"trace_{i:04d}.npy": f"{_FILES}/trace_{i:04d}.npy" for i in range(len(_SHA256))},
    files={f"trace_{i:04d}.npy": (digest,) for i, digest in enumerate(_SHA256)},
    sizes={f"trace_{i:04d}.npy": (136_128,) for i in range(len(_SHA256))},
)


def load() -> Dataset:
    files = sorted(SOURCE.files)
    rollouts = {file.removesuffix(".npy"): np.load(locate(SOURCE, file), allow_pickle=False) for file in files}
    names = list(rollouts)
    train = next_observation(rollouts, names[15:25])
    return Dataset(
        name="cheetah",
        train=train,
        tests={"test": next_observation(rollouts, names[5:15])},
        validation=next_observation(rollouts, names[:5]),
        task=Task.infer(train, kind="regression", per="step"),
        notes=(
            "Rollouts 0 to 4 validate, 5 to 14 test, 15 to 24 train, as published; the last six are not used.",
            "The target is the next observation, all seventeen values; published figures are its mean squared error.",
        ),
        source=SOURCE.address,
        licence="Apache-2.0",
    )
