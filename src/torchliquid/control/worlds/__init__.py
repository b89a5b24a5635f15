"""Two worlds to steer in, registered in Gymnasium as ``torchliquid/FlyToTarget-v0`` and ``torchliquid/KeepLane-v0``."""
