/* The least program that steps a model: linked once with the model and once with a stub, the difference is the model. */

#include "under_test.h"

static model_state state;
static volatile float elapsed = 1.0f;
static float inputs[MODEL_INPUTS], outputs[MODEL_OUTPUTS];
#ifdef MODEL_LEVEL
static float lower[MODEL_OUTPUTS], upper[MODEL_OUTPUTS];
#endif

int main(void)
{
    model_init(&state);
    for (;;) {
        model_step(&state, inputs, elapsed, outputs);
#ifdef MODEL_LEVEL
        model_interval(&state, outputs, lower, upper);
#endif
#ifdef MODEL_RECENT
        model_truth(&state, 0, inputs[0], lower[0], upper[0]);
#endif
    }
}
