/* What a page calls of a model that is compiled to WebAssembly: one state, its arrays, a step, and how much a neuron
   keeps of a push. */

#include "under_test.h"

static model_state now, before;
static float inputs[MODEL_INPUTS], outputs[MODEL_OUTPUTS], aside[MODEL_OUTPUTS];

float *web_inputs(void)
{
    return inputs;
}

float *web_outputs(void)
{
    return outputs;
}

float *web_hidden(void)
{
    return now.hidden;
}

float *web_features(void)
{
    return now.features;
}

void web_init(void)
{
    model_init(&now);
    before = now;
}

int web_step(float elapsed)
{
    before = now;
    return model_step(&now, inputs, elapsed, outputs);
}

/* The share of a small push to one neuron that the last step left, by central differences. */
float web_left(int neuron, float elapsed, float push)
{
    model_state up = before, down = before;
    up.hidden[neuron] += push;
    down.hidden[neuron] -= push;
    model_step(&up, inputs, elapsed, aside);
    model_step(&down, inputs, elapsed, aside);
    return (up.hidden[neuron] - down.hidden[neuron]) / (2.0f * push);
}
