"""What is found by chance: the same search in data from another time.

Neighbouring samples are similar, so if single samples were shuffled, everything would look significant. Instead, whole
series are paired with another time: with few series each is rotated by a random offset, with many the partners are
permuted. Both preserve how slowly signals change and remove the link in time (Theiler et al., Physica D 58, 1992; Quian
Quiroga et al., Phys. Rev. E 65, 2002).

Rotation is only valid if the beginning could follow the end. Two signals that drift are correlated anyway, and rotated
ones less so. With few series, what each signal adds to its own past is therefore compared (:func:`news`), as in Haugh's
test of independence of two time series (J. Am. Stat. Assoc. 71, 1976). It has no drift. Each statistic is compared with
the largest one over all comparisons, so that many comparisons find no more by chance than one (Westfall and Young,
1993).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import block_diag
from scipy.stats import rankdata

from torchliquid.errors import InputError

Arrays = Sequence[np.ndarray]

DRAWS = 399

SHORTEST = 40
"""Minimum length of the longest of a few series: rotating it by each of its samples gives the smallest useful p
value."""


@dataclass(frozen=True, eq=False)
class Surrogates:
    """How series are paired with another time, one row per draw.

    Attributes:
        lengths: (N,) samples of each series.
        offsets: (S, N) by how many samples each series is rotated; None if partners are permuted.
        partners: (S, N) the partner of each series; None if series are rotated.
    """

    lengths: np.ndarray
    offsets: np.ndarray | None
    partners: np.ndarray | None

    @classmethod
    def draw(cls, lengths: Sequence[int], permute: bool, seed: int, draws: int = DRAWS) -> Surrogates:
        """Draw pairings.

        All offsets are equally likely, also small ones: without them the rate of false positives in short recordings is
        several times the stated one. So a signal that changes slowly compared with the length of its recording cannot
        be distinguished from chance.

        Args:
            lengths: samples of each series.
            permute: pair each series with another one, instead of rotating it.

        Raises:
            InputError: there are too few series or samples.
        """
        n, rng = np.array(lengths), np.random.default_rng(seed)
        if permute:
            if len(n) < 5:
                raise InputError(f"{len(n)} series are too few to distinguish a role from chance; give at least 5")
            return cls(n, None, np.stack([rng.permutation(len(n)) for _ in range(draws)]))
        if n.max() < SHORTEST:
            raise InputError(
                f"series of up to {n.max()} samples are too short to distinguish a role from chance; "
                f"give one of at least {SHORTEST}"
            )
        return cls(n, rng.integers(0, n, size=(draws, len(n))), None)

    def control(self, seed: int) -> Surrogates:
        """One more pairing, far from the real one: each series rotated by half, or paired at random."""
        if self.partners is None:
            return replace(self, offsets=self.lengths[None] // 2)
        return Surrogates.draw(self.lengths.tolist(), True, seed, draws=1)

    def correlations(self, x: Arrays, y: Arrays, lags: int) -> tuple[np.ndarray, np.ndarray]:
        """Correlations of x with the y of ``lag`` samples before, for the real pairing and by chance.

        Args:
            x: for each series (T, H), NaN if unknown.
            y: for each series (T, F), NaN if unknown.

        Returns:
            (H, F, lags + 1) correlations, and (S, H, F) the largest absolute ones over the lags in each draw.
        """
        known = [np.isfinite(b) for b in y]
        x = [np.nan_to_num(a, nan=0.0) for a in _centred(x)]
        y = [np.where(k, b, 0.0) for k, b in zip(known, _centred(y), strict=True)]
        # Only values of x beside a known y count.
        square = sum((a * a).T @ k.astype(float) for a, k in zip(x, known, strict=True))
        norm = np.sqrt(square * sum((b * b).sum(0) for b in y))
        with np.errstate(divide="ignore"):
            scale = np.where(norm > 1e-9, 1 / norm, 0.0)
        found = self._permuted(x, y, lags) if self.offsets is None else self._turned(x, y, lags)
        real, chance = found[0] * scale[..., None], found[1] * scale
        return np.clip(real, -1, 1), np.minimum(chance, 1)

    def _turned(self, x: Arrays, y: Arrays, lags: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.offsets is not None
        units, features = x[0].shape[1], y[0].shape[1]
        spectra = [(np.fft.rfft(a, axis=0), np.fft.rfft(b, axis=0).conj()) for a, b in zip(x, y, strict=True)]
        steps = np.arange(lags + 1)
        real = np.zeros((units, features, lags + 1))
        chance = np.zeros((len(self.offsets), units, features))
        for h in range(units):
            drawn = np.zeros((len(self.offsets), lags + 1, features))
            for i, (a, b) in enumerate(spectra):
                circular = np.fft.irfft(a[:, h, None] * b, self.lengths[i], axis=0)  # at every lag at once
                real[h] += circular[steps % len(circular)].T
                drawn += circular[(self.offsets[:, i, None] + steps) % len(circular)]
            chance[:, h] = np.abs(drawn).max(1)
        return real, chance

    def _permuted(self, x: Arrays, y: Arrays, lags: int) -> tuple[np.ndarray, np.ndarray]:
        assert self.partners is not None
        size = int(self.lengths.max()) + lags
        a, b = (np.stack([np.fft.rfft(part, size, axis=0) for part in parts], 1) for parts in (x, y))
        a, b = a.swapaxes(1, 2), b.conj()  # (frequency, H, N) and (frequency, N, F)

        def at_lags(partners: np.ndarray) -> np.ndarray:
            found: np.ndarray = np.fft.irfft(a @ b[:, partners], size, axis=0)[: lags + 1]
            return found

        real = np.moveaxis(at_lags(np.arange(len(self.lengths))), 0, -1)
        return real, np.stack([np.abs(at_lags(partners)).max(0) for partners in self.partners])

    def telling(self, parts: Arrays) -> list[np.ndarray]:
        """The signals to correlate: ranks for many series, :func:`news` for a few."""
        return ranked(parts) if self.offsets is None else news(parts)


def chances(real: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The probability, for each of many correlations, that any of them is as strong without a link.

    Correlations are scaled by their spread over the draws. Each is then compared with the largest of those that are not
    stronger in the real data (Westfall and Young's step-down).

    Args:
        real: absolute correlations, of any shape.
        drawn: (S, ...) the same in each draw.

    Returns:
        p values, adjusted for the number of comparisons: at least 1 / (S + 1).
    """
    # Fisher's scale has about the same spread for any correlation: 0.99 and 0.999 are far apart on it.
    pool = np.arctanh(np.minimum(np.concatenate([real[None], drawn]), 1 - 1e-6)).reshape(len(drawn) + 1, -1)
    spread = pool.std(0)
    scores = np.where(spread > 1e-12, (pool - pool.mean(0)) / np.where(spread > 1e-12, spread, 1.0), -np.inf)
    order = np.argsort(scores[0])
    largest = np.maximum.accumulate(scores[1:, order], axis=1)
    ordered = (1 + (largest >= scores[0, order]).sum(0)) / len(pool)
    p = np.empty(len(order))
    p[order] = np.maximum.accumulate(ordered[::-1])[::-1]
    return p.reshape(real.shape)


def news(parts: Arrays, most: int = 8) -> list[np.ndarray]:
    """What each column adds to the prediction from its own past, as ranks over all series.

    The past are the column's last samples, up to ``most``, as many as Schwarz's criterion selects, with the same
    weights in all series. Each series has its own level, and its own slope if that criterion selects slopes: in a
    signal with two values an insignificant slope would order all equal values by time, in the ranks.

    Args:
        parts: for each series (T, F), NaN if unknown.

    Returns:
        For each series (T, F); NaN if the sample or one of those before it is unknown or missing.
    """
    most = min(most, max(len(part) for part in parts) // 10)
    level = block_diag(*(np.ones((len(part), 1)) for part in parts))
    slope = block_diag(*(np.linspace(-1, 1, len(part))[:, None] for part in parts))
    columns = []
    for j in range(parts[0].shape[1]):
        past = [_lagged(part[:, j], most) for part in parts]
        whole = np.concatenate(past)
        known = np.isfinite(whole).all(1)
        left = np.full(len(whole), np.nan)
        if known.sum() > 2 * most + 2:
            left[known] = _residuals(whole[known], level[known], slope[known])
        columns.append(left)
    return ranked(np.split(np.column_stack(columns), np.cumsum([len(part) for part in parts])[:-1]))


def ranked(parts: Arrays) -> list[np.ndarray]:
    """Each column's ranks over all series."""
    ranks = rankdata(np.concatenate(parts), axis=0, nan_policy="omit")
    return np.split(ranks, np.cumsum([len(part) for part in parts])[:-1])


def _lagged(column: np.ndarray, most: int) -> np.ndarray:
    """(T, most + 1) each sample and those before it; NaN before the first."""
    padded = np.concatenate([np.full(most, np.nan), column])
    return np.lib.stride_tricks.sliding_window_view(padded, most + 1)[:, ::-1]


def _residuals(rows: np.ndarray, level: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """The regression of the first column on the levels, with slopes or without, and on as many of the other columns as
    minimise Schwarz's criterion."""
    n, best, found = len(rows), np.inf, rows[:, 0]
    for drift in (level, np.column_stack([level, slope])):
        for order in range(rows.shape[1]):
            part = np.column_stack([drift, rows[:, 1 : 1 + order]])
            left = rows[:, 0] - part @ np.linalg.lstsq(part, rows[:, 0], rcond=None)[0]
            criterion = n * np.log(left @ left / n + 1e-300) + part.shape[1] * np.log(n)
            if criterion < best:
                best, found = criterion, left
    return np.asarray(found)


def _centred(parts: Arrays) -> list[np.ndarray]:
    whole = np.concatenate(parts)
    known = np.isfinite(whole)
    mean = np.where(known, whole, 0.0).sum(0) / np.maximum(known.sum(0), 1)
    return [part - mean for part in parts]
