// Linear models and trees on live samples: the features of the last samples, kept up to date in arrays that Python owns.
#pragma once

#include <nanobind/nanobind.h>

namespace torchliquid {
void bind_table(nanobind::module_& m);
}
