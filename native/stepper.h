// A network on live samples: n streams side by side, the state kept in arrays that Python owns.
#pragma once

#include <nanobind/nanobind.h>

namespace torchliquid {
void bind_stepper(nanobind::module_& m);
}
