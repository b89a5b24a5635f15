// The instruction sets that kernels are compiled for, and those that this processor has.
#pragma once

#include <vector>

#include "kernels.h"

namespace torchliquid {

// Best first; never empty.
const std::vector<const InstructionSet*>& instruction_sets();

// The instruction set in use: the best one, unless another is selected.
const InstructionSet& instruction_set();
void use_instruction_set(const InstructionSet&);

}  // namespace torchliquid
