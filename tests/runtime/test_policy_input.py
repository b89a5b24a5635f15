"""What a policy is shown."""

import numpy as np
import pytest

from torchliquid.errors import InputError
from torchliquid.runtime.policy import Seen


@pytest.mark.parametrize(
    ("seen", "wrong"),
    [
        (Seen(None, "picture", (2, 2, 1)), np.full((2, 2, 1), 0.5)),  # would all become 0
        (Seen(None, "picture", (2, 2, 1)), np.full((2, 2, 1), 256)),  # would wrap around
        (Seen(None, "choice", (3,), first=1), "left"),
        (Seen(None, "choice", (3,), first=1), 0),
    ],
)
def test_what_is_not_of_its_numbers_is_refused(seen, wrong):
    with pytest.raises(InputError, match="whole numbers from"):
        seen.flat(wrong)


def test_pictures_of_any_type_are_the_same():
    picture = np.arange(0, 256, 17, dtype=np.uint8).reshape(4, 4, 1)
    seen = Seen(None, "picture", (4, 4, 1))
    for dtype in (np.uint8, np.int64, np.float32):
        np.testing.assert_array_equal(seen.flat(picture.astype(dtype)), picture.ravel())
    np.testing.assert_array_equal(Seen(None, "choice", (3,), first=1).flat(np.uint8(3)), [0, 0, 1])
