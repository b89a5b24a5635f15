/* A model that does nothing. */

#include "under_test.h"

void model_init(model_state *state)
{
    state->faults = 0;
}

int model_step(model_state *state, const float inputs[MODEL_INPUTS], float elapsed, float outputs[MODEL_OUTPUTS])
{
    (void)elapsed;
    outputs[0] = inputs[0];
    return (int)state->faults;
}
