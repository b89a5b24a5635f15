"""Words that several pages explain in place."""

from __future__ import annotations

NETWORKS = {
    "liquid network": "A small recurrent network whose neurons are described by differential equations, so that it "
    "can be fed samples at uneven times. LTC is solved step by step, CfC has the solution in closed form. It learns "
    "in training only; what changes while it runs is its state, and how fast that state changes.",
    "NCP": "Neural circuit policy: a sparse wiring in layers (sensory, inter, command, motor neurons).",
}

METRICS = {
    "accuracy": "Share of samples (or series) given the right class.",
    "macro F1": "For each class the balance of misses and false alarms, averaged over the classes, rare ones as much.",
    "log loss": "How surprised the stated probabilities are by the truth; 0 is perfect.",
    "ROC AUC": "How often a sample of the second class gets a higher probability than one of the first; 0.5 is chance.",
    "average precision": "Mean share of true alarms as the alarm threshold is lowered.",
    "RMSE": "Root of the mean squared error, in the target's unit.",
    "MAE": "Mean absolute error, in the target's unit.",
    "R²": "Share of the target's variance that is explained; 0 is no better than its mean.",
}

METRIC_LABELS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
}


def metric_label(metric: str) -> str:
    """What a metric is called in a sentence."""
    return METRIC_LABELS.get(metric, metric)
