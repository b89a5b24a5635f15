// The instruction sets compiled in, and those this processor has.
#pragma once

#include <vector>

#include "kernels.h"

namespace torchliquid {

// Best first; never empty.
const std::vector<const InstructionSet*>& instruction_sets();

// The one in use: the best, until another is chosen.
const InstructionSet& instruction_set();
void use_instruction_set(const InstructionSet&);

}  // namespace torchliquid
