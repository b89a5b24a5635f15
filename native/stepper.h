// A network on live samples of n streams. The state is in arrays that Python owns.
#pragma once

#include <nanobind/nanobind.h>

namespace torchliquid {
void bind_stepper(nanobind::module_& m);
}
