// The instruction sets compiled in, and those this processor has.
#pragma once

#include <vector>

#include "kernels.h"

namespace torchliquid {

// Best first; never empty.
const std::vector<const InstructionSet*>& instruction_sets();

}  // namespace torchliquid
