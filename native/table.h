// Linear models and trees on live samples. The samples and sums for the features are in arrays that Python owns.
#pragma once

#include <nanobind/nanobind.h>

namespace torchliquid {
void bind_table(nanobind::module_& m);
}
